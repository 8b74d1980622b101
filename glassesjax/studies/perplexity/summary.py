"""Summary of a perplexity run."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.cache.obstacles import Obstacle
from glassesjax.cache.policies import SHORT
from glassesjax.cache.readable import may_know
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes
from glassesjax.statistics.intervals import LEAST_BLOCKS, Interval
from glassesjax.studies.perplexity.format_summary import FormatSummary, summarize_formats
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.totals import FULL, CellName, LossSource, Totals, ratio_of

WINDOW = "window"  # it keeps the newest tokens alone


class AtPosition(NamedTuple):
    """The perplexity of neighboring positions, over all windows."""

    start: int
    """The first of them."""
    last: int
    perplexity: float
    over_full: float | None
    """Over that of the full cache; None where that was not measured."""


class Cost(NamedTuple):
    """Cost in perplexity of some policies, over all sizes."""

    policies: list[str]
    low: float
    """Least perplexity over that of the full cache."""
    high: float


class Order(NamedTuple):
    """How one policy compares with the others of its size, by intervals of paired differences."""

    lower_than: int
    """Policies whose perplexity is higher."""
    higher_than: int
    tied: int
    """Those that no interval tells from it."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """One policy with one size of the cache, over what all policies and sizes have read."""

    cell: CellName
    tokens: int
    """Scored ones."""
    nll: float
    """Sum of their losses, in nats."""
    perplexity: float
    """Infinite where float64 ends, or where a loss is not finite."""
    over_full: PairSummary | None
    """With the full cache; None for that itself, and where it was not measured."""
    order: Order | None
    """None where no other policy that evicts was measured at this size."""
    bytes: int
    """Of the cache of one sequence."""
    bytes_share: float | None
    """Over those of the full cache; None where that was not measured."""
    tokens_per_second: float
    by_position: list[AtPosition]
    """By where in its window a segment begins."""

    @property
    def evicted(self) -> list[AtPosition]:
        """Segments in which the cache is full from the first position on."""
        return [at for at in self.by_position if at.start >= self.cell.slots]


class ShortSummary(NamedTuple):
    """How the policies of one size compare with starting anew."""

    policies: int
    """That evict."""
    lower: int
    """Those whose perplexity is lower, by the interval of the paired difference."""
    higher: int
    tied: int
    """Those that no interval distinguishes from it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeSummary:
    """One size of the cache."""

    slots: int
    evicts: bool
    """Whether windows are longer, so that something is evicted before it could be attended to."""
    policies: list[str]
    """Those that evict and were measured at it, in the order of the run."""
    lowest: str | None
    """The one of least perplexity; None where there is none."""
    lowest_tied: list[str]
    """Those that no interval tells from it."""
    pairs: list[PairSummary]
    """Each two of them."""
    num_pairs: int
    """How many there are."""
    num_distinct: int
    """Pairs whose order an interval settles."""
    over_sinks: PairSummary | None
    """The window that drops the first tokens with the one that keeps the fewest of them."""
    short: ShortSummary | None
    """None where starting anew was not measured at this size, or no policy was."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexitySummary:
    """Summary of a perplexity run; all but that of formats is of the first."""

    passes: Passes
    """Of the segments of all policies."""
    formats: list[FormatSummary]
    """In the order of the run."""
    num_format_cells: int
    """Policies and sizes in all formats."""
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
    num_cells: int
    """How many there are."""
    sizes: list[SizeSummary]
    """Ascending; not that of the full cache."""
    evicts: bool
    """Whether anything is evicted at any size."""
    num_pairs: int
    """Pairs of policies of one size, over all sizes."""
    num_distinct: int
    """Those whose order an interval settles."""
    cost: Cost | None
    """Of all policies that evict but the plain window, which drops the first tokens; of that where
    it was measured alone. None without a full cache, or where nothing can be ranked."""
    window_cost: Cost | None
    """Of the plain window beside others."""
    may_know_text: bool
    """Whether the full cache's perplexity is so low that the model may know the text by heart."""

    def __contains__(self, cell: tuple[str, int]) -> bool:
        return any(each.cell == cell for each in self.cells)

    def of(self, policy: str, slots: int) -> CellSummary:
        """The numbers of one policy and size."""
        return next(each for each in self.cells if each.cell == (policy, slots))

    @property
    def has_intervals(self) -> bool:
        """Whether there are blocks enough for one, of a text on which policies can be ranked."""
        return self.blocks >= LEAST_BLOCKS and not self.ranking_obstacle

    @property
    def full(self) -> CellSummary | None:
        """Where nothing was evicted, if that was measured."""
        return next((each for each in self.cells if each.cell.policy == FULL), None)

    @property
    def compared(self) -> list[CellName]:
        """Cells of which formats are drawn: the full cache, else those of the smallest size."""
        if self.full is not None:
            return [self.full.cell]
        least = min(each.cell.slots for each in self.cells)
        return [each.cell for each in self.cells if each.cell.slots == least]

    @property
    def slots(self) -> list[int]:
        """Sizes of the cache, ascending; not that of a full one."""
        return [size.slots for size in self.sizes]

    @property
    def policies(self) -> list[str]:
        """All but full, in the order of the run."""
        return list(dict.fromkeys(e.cell.policy for e in self.cells if e.cell.policy != FULL))


def summarize(run: Run[PerplexityRow, PerplexityConstants]) -> PerplexitySummary:
    """Computes the summary of a run.

    Raises:
      BadInput: There is no segment of the text that all policies have read.
    """
    totals, shared = Totals(run), run.constants
    sizes = [_size(totals, slots) for slots in totals.slots]
    cells = [_cell(totals, cell, sizes) for cell in totals.cells]
    ranked = [] if shared.ranking_obstacle else [e for e in cells if e.order or e.over_full]
    # Starting anew is a baseline, no policy. The plain window is apart: it drops the first tokens,
    # and its cost would hide that of all others.
    ranked = [each for each in ranked if each.cell.policy != SHORT]
    others = [each for each in ranked if each.cell.policy != WINDOW]
    full = totals(totals.full).perplexity if totals.full else None
    formats = summarize_formats(run)
    return PerplexitySummary(
        passes=formats[0].passes,
        formats=formats,
        num_format_cells=sum(len(each.cells) for each in formats),
        text=shared.text,
        span=shared.span,
        ranking_obstacle=shared.ranking_obstacle,
        window_tokens=shared.window_tokens,
        windows=totals.windows,
        tokens=totals.tokens,
        blocks=totals.blocks,
        losses_from=totals.losses_from,
        left_out=totals.left_out,
        cells=cells,
        num_cells=len(cells),
        sizes=sizes,
        evicts=any(size.evicts for size in sizes),
        num_pairs=sum(size.num_pairs for size in sizes),
        num_distinct=sum(size.num_distinct for size in sizes),
        cost=_cost(others or ranked),
        window_cost=_cost([e for e in ranked if e.cell.policy == WINDOW]) if others else None,
        may_know_text=not shared.ranking_obstacle and full is not None and may_know(full),
    )


def _cost(cells: Sequence[CellSummary]) -> Cost | None:
    every = [each.over_full.ratio.value for each in cells if each.over_full]
    # An infinite ratio is no cost that can be written.
    ratios = [ratio for ratio in every if math.isfinite(ratio)]
    if not ratios:
        return None
    return Cost(list(dict.fromkeys(each.cell.policy for each in cells)), min(ratios), max(ratios))


def _cell(totals: Totals, cell: CellName, sizes: Sequence[SizeSummary]) -> CellSummary:
    total, full = totals(cell), totals.full
    # Segments by where they begin: those of both are the same.
    at_full = dict(totals.by_position(full)) if full else {}
    over = lambda at, part: part.perplexity / at_full[at].perplexity if full else None
    pairs = [pair for size in sizes for pair in size.pairs if cell in (pair.first, pair.second)]
    # Each difference as of this cell less the other, whichever was first in the pair.
    gaps = [p.difference if p.first == cell else p.difference.turned for p in pairs if p.distinct]
    lower = sum(gap.value < 0 for gap in gaps)
    return CellSummary(
        cell=cell,
        tokens=total.tokens,
        nll=total.nll,
        perplexity=total.perplexity,
        over_full=_pair(totals, cell, full) if full and cell != full else None,
        order=Order(lower, len(gaps) - lower, len(pairs) - len(gaps)) if pairs else None,
        bytes=total.bytes,
        bytes_share=total.bytes / totals(full).bytes if full else None,
        tokens_per_second=total.speed,
        by_position=[
            AtPosition(at, totals.last(at), part.perplexity, over(at, part))
            for at, part in totals.by_position(cell)
        ],
    )


def _size(totals: Totals, slots: int) -> SizeSummary:
    # Policies that evict, at this size: neither the full cache nor starting anew.
    here = [CellName(name, slots) for name in totals.here(slots)]
    pairs = [_pair(totals, *pair) for pair in itertools.combinations(here, 2)]
    lowest = min(here, key=lambda cell: totals(cell).perplexity, default=None)
    # Pairs of the lowest with another that no interval separates, as sets of two.
    tied = [{p.first, p.second} for p in pairs if not p.distinct and lowest in (p.first, p.second)]
    last = max(totals.last(start) for _, start in totals.segments)
    # Gain of a window by sinks: the plain one against the one that keeps the fewest first tokens.
    kept = {cell.policy: re.fullmatch(r"window\+(\d+)", cell.policy) for cell in totals.cells}
    sinks = {name: int(match[1]) for name, match in kept.items() if match}
    fewest = CellName(min(sinks, key=lambda name: sinks[name], default=""), slots)
    window = CellName(WINDOW, slots)
    over_sinks = window in totals and fewest in totals
    compared, start_anew = None, CellName(SHORT, slots)
    if start_anew in totals and here:
        gaps = [totals.difference(cell, start_anew) for cell in here]
        lower = sum(gap.excludes(0.0) and gap.value < 0 for gap in gaps)
        higher = sum(gap.excludes(0.0) and gap.value > 0 for gap in gaps)
        compared = ShortSummary(len(gaps), lower, higher, len(gaps) - lower - higher)
    return SizeSummary(
        slots=slots,
        # The last token is scored by the query before it, which attends to itself as well.
        evicts=last - 1 > slots,
        policies=[cell.policy for cell in here],
        lowest=lowest.policy if lowest else None,
        lowest_tied=[cell.policy for cell in here if {cell, lowest} in tied],
        pairs=pairs,
        num_pairs=len(pairs),
        num_distinct=sum(pair.distinct for pair in pairs),
        over_sinks=_pair(totals, window, fewest) if over_sinks else None,
        short=compared,
    )


def _pair(totals: Totals, first: CellName, second: CellName) -> PairSummary:
    gap = totals.difference(first, second)
    # A ratio of perplexities is the exponential of the difference of mean losses, ends included.
    ratio = Interval(*map(ratio_of, gap))
    return PairSummary(
        first=first,
        second=second,
        difference=gap,
        ratio=ratio,
        distinct=gap.excludes(0.0),
    )
