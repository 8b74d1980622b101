"""The numbers that a perplexity run comes down to."""

import dataclasses
import itertools
import math
import re
from typing import NamedTuple

from glassesjax.cache.obstacles import Obstacle
from glassesjax.cache.policies import SHORT
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import Interval
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.totals import FULL, CellName, LossSource, Totals

LARGEST = 700.0  # of a logarithm whose exponential float64 has


class AtPosition(NamedTuple):
    """The perplexity of neighboring positions, over all windows."""

    start: int
    """The first of them."""
    perplexity: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """One policy with one size of the state, over what all policies and sizes have read."""

    cell: CellName
    tokens: int
    """Scored ones."""
    nll: float
    """Sum of their losses, in nats."""
    perplexity: float
    """Infinite where float64 ends, or where a loss is not finite."""
    over_full: float | None
    """Perplexity over that of the full state; None where that was not measured."""
    bytes: int
    """Of the state of one sequence."""
    tokens_per_second: float
    by_position: list[AtPosition]
    """By where in its window a segment begins."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSummary:
    """Two policies on the same tokens."""

    first: CellName
    second: CellName
    difference: Interval
    """Mean loss of the first less that of the second, in nats a token."""
    ratio: Interval
    """The same as a ratio of perplexities."""
    distinct: bool
    """Whether the interval leaves out that both are equal."""


class ShortSummary(NamedTuple):
    """How the policies of one size compare with starting anew."""

    policies: int
    """That evict."""
    lower: int
    """Those whose perplexity is lower, by the interval of the paired difference."""
    higher: int
    tied: int
    """Those that are not told apart from it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeSummary:
    """One size of the state."""

    slots: int
    policies: list[str]
    """Those that evict and were measured at it, in the order of the run."""
    pairs: list[PairSummary]
    """Each two of them."""
    over_full: list[PairSummary]
    """Each with the full state, where that was measured."""
    over_sinks: PairSummary | None
    """The window that drops the first tokens with the one that keeps the fewest of them."""
    short: ShortSummary | None
    """None where starting anew was not measured at this size, or no policy was."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexitySummary:
    """What a perplexity run says."""

    passes: Passes
    """Of the segments of all policies."""
    text: str
    span: str
    ranking_obstacle: Obstacle | None
    window_tokens: int
    windows: int
    """How many all policies have read, in part at least."""
    tokens: int
    """Scored under each policy."""
    blocks: int
    """Of the text, that all have read; 0 where rows do not have their losses."""
    losses_from: LossSource | None
    """What the losses of these blocks are: sums of stored losses of tokens, or, of some rows at
    least, sums that stand in the rows of an older run; None where no row has either."""
    left_out: int
    """Segments that not all policies and sizes have read."""
    cells: list[CellSummary]
    """In the order of the run."""
    sizes: list[SizeSummary]
    """Ascending; not that of the full state."""
    num_pairs: int
    """Pairs of policies of one size, over all sizes."""

    def __contains__(self, cell: tuple[str, int]) -> bool:
        return any(each.cell == cell for each in self.cells)

    def of(self, policy: str, slots: int) -> CellSummary:
        """The numbers of one policy and size.

        Args:
          policy: Its name.
          slots: The size.

        Returns:
          Its summary.
        """
        return next(each for each in self.cells if each.cell == (policy, slots))

    @property
    def full(self) -> CellSummary | None:
        """Where nothing was evicted, if that was measured."""
        return next((each for each in self.cells if each.cell.policy == FULL), None)

    @property
    def slots(self) -> list[int]:
        """Sizes of the state, ascending; not that of a full one."""
        return [size.slots for size in self.sizes]

    @property
    def policies(self) -> list[str]:
        """All but full, in the order of the run."""
        return list(dict.fromkeys(e.cell.policy for e in self.cells if e.cell.policy != FULL))


def summarize(run: Run[PerplexityRow, PerplexityConstants]) -> PerplexitySummary:
    """The numbers of a run.

    Args:
      run: Of the perplexity study.

    Returns:
      By policy and size, and over all of them.

    Raises:
      BadInput: There is no segment of the text that all policies have read.
    """
    totals, shared = Totals(run), run.constants
    sizes = [_size(totals, slots) for slots in totals.slots]
    return PerplexitySummary(
        passes=passes(row.finite for row in run.rows),
        text=shared.text,
        span=shared.span,
        ranking_obstacle=shared.ranking_obstacle,
        window_tokens=shared.window_tokens,
        windows=totals.windows,
        tokens=totals.tokens,
        blocks=totals.blocks,
        losses_from=totals.losses_from,
        left_out=totals.left_out,
        cells=[_cell(totals, cell) for cell in totals.cells],
        sizes=sizes,
        num_pairs=sum(len(size.pairs) for size in sizes),
    )


def _cell(totals: Totals, cell: CellName) -> CellSummary:
    total = totals(cell)
    base = totals(totals.full).perplexity if totals.full else None
    return CellSummary(
        cell=cell,
        tokens=total.tokens,
        nll=total.nll,
        perplexity=total.perplexity,
        over_full=None if base is None else total.perplexity / base,
        bytes=total.bytes,
        tokens_per_second=total.speed,
        by_position=[AtPosition(at, part.perplexity) for at, part in totals.by_position(cell)],
    )


def _size(totals: Totals, slots: int) -> SizeSummary:
    here, full = [CellName(name, slots) for name in totals.here(slots)], totals.full
    return SizeSummary(
        slots=slots,
        policies=[cell.policy for cell in here],
        pairs=[_pair(totals, *pair) for pair in itertools.combinations(here, 2)],
        over_full=[_pair(totals, cell, full) for cell in here] if full else [],
        over_sinks=_over_sinks(totals, slots),
        short=_short(totals, slots),
    )


def _pair(totals: Totals, first: CellName, second: CellName) -> PairSummary:
    gap = totals.difference(first, second)
    return PairSummary(
        first=first,
        second=second,
        difference=gap,
        ratio=Interval(*map(_exponential, gap)),
        distinct=gap.excludes(0.0),
    )


def _exponential(log: float) -> float:
    return math.inf if log >= LARGEST else math.exp(log)


def _over_sinks(totals: Totals, slots: int) -> PairSummary | None:
    """What the first tokens are worth to a window, by the window that keeps the fewest of them."""
    kept = {cell.policy: re.fullmatch(r"window\+(\d+)", cell.policy) for cell in totals.cells}
    sinks = {name: int(match[1]) for name, match in kept.items() if match}
    fewest = CellName(min(sinks, key=lambda name: sinks[name], default=""), slots)
    window = CellName("window", slots)
    return _pair(totals, window, fewest) if window in totals and fewest in totals else None


def _short(totals: Totals, slots: int) -> ShortSummary | None:
    short = CellName(SHORT, slots)
    if short not in totals or not totals.here(slots):
        return None
    gaps = [totals.difference(CellName(name, slots), short) for name in totals.here(slots)]
    lower = sum(gap.excludes(0.0) and gap.value < 0 for gap in gaps)
    higher = sum(gap.excludes(0.0) and gap.value > 0 for gap in gaps)
    return ShortSummary(len(gaps), lower, higher, len(gaps) - lower - higher)
