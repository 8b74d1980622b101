"""Rows of a perplexity run, added up over what all policies read."""

import functools
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from glassesjax.cache.policies import SHORT
from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.statistics.intervals import Interval, paired_difference
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.rows import block_sums, block_tokens

LossSource = Literal["tokens", "blocks"]
LARGEST = 700.0  # of a logarithm whose exponential float64 has
FULL = "full"  # it evicts nothing, and has a size of its own


class CellName(NamedTuple):
    """A policy with one size of the state."""

    policy: str
    slots: int


class Total(NamedTuple):
    """Some rows of one policy and size, added up."""

    tokens: int
    nll: float
    bytes: int
    seconds: float

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss; infinite where float64 ends, or where there is none."""
        mean = self.nll / self.tokens
        return math.exp(mean) if mean < LARGEST else math.inf

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def formats_of(run: Run[PerplexityRow, PerplexityConstants]) -> list[str | None]:
    """Formats of the rows, in their order; None of a run with one."""
    return list(dict.fromkeys(row.format for row in run.rows)) or [None]


def ratio_of(difference: float) -> float:
    """The ratio of perplexities with that difference of mean losses.

    Returns:
      Its exponential; infinite where float64 ends.
    """
    return math.inf if difference >= LARGEST else math.exp(difference)


class Totals:
    """A run in one format, by policy and size.

    Args:
      run: Of the perplexity study; only segments that all formats, policies and sizes have read
        count, so that a run that was cut off compares the same tokens.
      format: One of the rows' formats; the first if absent.

    Raises:
      BadInput: There is no segment that all have read.
    """

    def __init__(
        self, run: Run[PerplexityRow, PerplexityConstants], format: str | None = None
    ) -> None:
        chosen = formats_of(run)[0] if format is None else format
        # By policy and size, then by window and start of the segment.
        cells: dict[CellName, dict[tuple[int, int], PerplexityRow]] = {}
        segments: dict[tuple[str | None, CellName], set[tuple[int, int]]] = {}
        for row in run.rows:
            name = CellName(row.policy, row.slots)
            segments.setdefault((row.format, name), set()).add((row.window, row.start))
            if row.format == chosen:
                cells.setdefault(name, {})[row.window, row.start] = row
        read = list(segments.values())
        # A run may be cut off: policies are compared on the same tokens.
        common = set.intersection(*read) if read else set()
        if not common:
            expected = "Expected rows of the perplexity study with a segment common to all policies"
            raise BadInput(f"{expected}, got none: let the run measure more.")
        self.segments = sorted(common)
        self._sums: dict[CellName, np.ndarray | None] = {}
        self.left_out = len(set.union(*read)) - len(common)
        self.windows = len({window for window, _ in self.segments})
        self._cells, self._arrays = cells, run.arrays
        self._obstacle = run.constants.ranking_obstacle

    def __contains__(self, cell: CellName) -> bool:
        return cell in self._cells

    def __call__(self, cell: CellName) -> Total:
        """All that this policy read with so many slots."""
        return self._add(cell, self.segments)

    @property
    def cells(self) -> list[CellName]:
        """In the order of the rows."""
        return list(self._cells)

    @property
    def full(self) -> CellName | None:
        """The cell where nothing was evicted, if it was measured."""
        return next((cell for cell in self._cells if cell.policy == FULL), None)

    @property
    def slots(self) -> list[int]:
        """Sizes of the state, ascending; not that of a full one."""
        return sorted({cell.slots for cell in self._cells if cell.policy != FULL})

    @property
    def tokens(self) -> int:
        """How many tokens each policy was scored on."""
        return self(self.cells[0]).tokens

    def here(self, slots: int) -> list[str]:
        """Policies that were measured at that size and evict, in the order of the rows."""
        names = dict.fromkeys(c.policy for c in self._cells if c.policy not in (FULL, SHORT))
        return [name for name in names if CellName(name, slots) in self]

    @property
    def blocks(self) -> int:
        """How many blocks of the text all have read; 0 where rows do not have their losses."""
        losses = self._blocks(self.cells[0])
        return 0 if losses is None else len(losses)

    @property
    def losses_from(self) -> LossSource | None:
        """What losses by block are, as far as there are any."""
        # One row with sums of blocks makes the whole one of blocks.
        rows = [cell[segment] for cell in self._cells.values() for segment in self.segments]
        if any(row.block_losses is not None and not row.token_losses for row in rows):
            return "blocks"
        return "tokens" if any(row.token_losses for row in rows) else None

    def difference(self, first: CellName, second: CellName) -> Interval:
        """Mean loss of one less that of another, in nats a token, over the blocks of the text.

        The interval's ends are NaN where the rows have no losses by block, where there are too few,
        or where nothing can be ranked.
        """
        if first > second:  # one draw for both orders
            return self.difference(second, first).turned
        return self._paired(first, self, second)

    def perplexity(self, cell: CellName) -> Interval:
        """The perplexity of a policy and size with its interval, over the blocks of the text.

        The interval's ends are NaN where ``difference`` has none.
        """
        own = self._blocks(cell)
        total = self(cell)
        if own is None or self._obstacle:
            return Interval(total.perplexity, math.nan, math.nan)
        mean = paired_difference(own, np.zeros_like(own), self._tokens)
        return Interval(total.perplexity, *map(ratio_of, mean[1:]))

    def against(self, cell: CellName, other: "Totals") -> Interval:
        """Mean loss of a policy and size less the same in another format, in nats a token."""
        return self._paired(cell, other, cell)

    def _paired(self, first: CellName, other: "Totals", second: CellName) -> Interval:
        own, others = self._blocks(first), other._blocks(second)
        # Without blocks, or where nothing can be ranked, a value without an interval.
        if own is None or others is None or self._obstacle:
            each = self(first), other(second)
            gap = each[0].nll / each[0].tokens - each[1].nll / each[1].tokens
            return Interval(gap, math.nan, math.nan)
        return paired_difference(own, others, self._tokens)

    def _blocks(self, cell: CellName) -> np.ndarray | None:
        """Losses of each block of the text, in order; None where a row does not have them."""
        if cell not in self._sums:  # each array is read once
            known = []
            for segment in self.segments:
                row = self._cells[cell][segment]
                if row.token_losses:
                    known.append(block_sums(row.start, self._arrays[row.token_losses]))
                elif row.block_losses is not None:  # of an older run
                    known.append(np.array(row.block_losses))
            whole = len(known) == len(self.segments)
            self._sums[cell] = np.concatenate(known) if whole else None
        return self._sums[cell]

    @functools.cached_property
    def _tokens(self) -> np.ndarray:
        """How many there are in each block."""
        rows = [self._cells[self.cells[0]][segment] for segment in self.segments]
        return np.concatenate([block_tokens(row.start, row.tokens) for row in rows]).astype(float)

    def last(self, start: int) -> int:
        """The last scored position, over all windows, of the segment that begins there."""
        rows = [self._cells[self.cells[0]][each] for each in self.segments if each[1] == start]
        return max(start, 1) + max(row.tokens for row in rows) - 1

    def by_position(self, cell: CellName) -> list[tuple[int, Total]]:
        """Totals by where in its window a segment begins."""
        # Windows are added up: what counts is the position in the window.
        starts = sorted({start for _, start in self.segments})
        of = lambda start: [segment for segment in self.segments if segment[1] == start]
        return [(start, self._add(cell, of(start))) for start in starts]

    def _add(self, cell: CellName, segments: Iterable[tuple[int, int]]) -> Total:
        rows = [self._cells[cell][segment] for segment in segments]
        tokens = sum(row.tokens for row in rows)
        seconds = sum(row.tokens / row.tokens_per_second for row in rows)
        # In a row of a file infinity is null; the stored losses still have it.
        nll = math.fsum(
            row.nll
            if row.finite or not row.token_losses
            else float(np.sum(self._arrays[row.token_losses].astype(np.float64)))
            for row in rows
        )
        return Total(tokens, nll, rows[0].bytes, seconds)
