"""Summary of a longform run."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import LEAST_BLOCKS, Interval, paired_difference
from glassesjax.studies.longform.records import LongformConstants, LongformRow

UNBOUNDED = "full"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """All texts of one policy and size; a mean is over the texts that have a finite value."""

    policy: str
    slots: int
    bytes: int
    """Of the cache of one text."""
    texts: int
    """How many there are."""
    evicting: int
    """Texts that are longer with their prompt than the cache."""
    differing: int
    """Those of them that are not the full cache's of the same number."""
    not_finite: int
    """Texts whose loss under the full model is not finite."""
    ended: int
    """Texts that the model ended."""
    length: float
    """Mean tokens of a text."""
    distinct: tuple[float, ...]
    """Mean shares of different n-grams, for n from 1 to 4; NaN where no text is so long."""
    repetition: float
    """Mean share of 4-grams that stood in the text before; NaN likewise."""
    perplexity: float
    """Under the full model, of the mean loss, each text as one: infinite beyond float64, NaN where
    no loss is finite."""
    common_prefix: float
    """Mean tokens that are the full cache's, before the first that differs."""
    repetition_gap: Interval | None
    """Mean ``repetition`` less that of the full cache's texts of the same numbers; None for these
    themselves, and where there is no such pair."""
    loss_gap: Interval | None
    """The same of the loss under the full model, in nats a token."""

    @property
    def settled(self) -> bool:
        """Whether repetition or loss differs from the full cache's by its interval."""
        return any(gap.excludes(0.0) for gap in (self.repetition_gap, self.loss_gap) if gap)

    @property
    def bounded(self) -> bool:
        """Whether the policy evicts."""
        return self.policy != UNBOUNDED

    @property
    def name(self) -> str:
        """Policy and size, as findings and figures name it."""
        return f"{self.policy} with {self.slots} slots" if self.bounded else self.policy


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongformSummary:
    """Summary of a longform run."""

    passes: Passes
    """Of the texts' losses under the full model."""
    texts: int
    """How many there are."""
    cells: list[CellSummary]
    """In the order of the run."""
    num_cells: int
    """How many there are."""
    num_bounded: int
    """Those whose policy evicts."""
    num_settled: int
    """Those of them whose repetition or loss differs from the full cache's by an interval."""
    evicting: int
    """Texts of these policies that are longer with their prompt than the cache."""
    differing: int
    """Those of them that are not the full cache's."""
    pairs: int
    """Most texts of one of these policies and sizes that have one of the full cache beside them."""

    @property
    def full(self) -> CellSummary | None:
        """The texts of the full cache, if they were written."""
        return next((cell for cell in self.cells if not cell.bounded), None)

    @property
    def has_intervals(self) -> bool:
        """Whether there are texts enough for one."""
        return self.pairs >= LEAST_BLOCKS

    def most(self, field: str) -> CellSummary | None:
        """The policy and size with the largest value, of those with a text longer than the cache.

        Returns:
          Its summary; None where no value is finite.
        """
        known = [c for c in self.cells if c.evicting and math.isfinite(getattr(c, field))]
        return max(known, key=lambda cell: getattr(cell, field), default=None)


def summarize(run: Run[LongformRow, LongformConstants]) -> LongformSummary:
    """Computes the summary of a run.

    Args:
      run: Of the longform study, with at least one row.
    """
    cells = by_cell(run.rows)
    full = {row.sample: row for row in run.rows if row.policy == UNBOUNDED}
    every = [_cell(*key, rows, full, run.constants.prompt_tokens) for key, rows in cells.items()]
    bounded = [cell for cell in every if cell.bounded]
    beside = lambda rows: sum(row.sample in full for row in rows)
    # A difference has an interval where enough texts of both are there.
    pairs = [beside(rows) for (policy, _), rows in cells.items() if policy != UNBOUNDED]
    return LongformSummary(
        passes=passes(
            (row.loss.finite if row.loss else None for row in run.rows),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in run.rows),
        ),
        texts=len(run.rows),
        cells=every,
        num_cells=len(every),
        num_bounded=len(bounded),
        num_settled=sum(cell.settled for cell in bounded),
        evicting=sum(cell.evicting for cell in bounded),
        differing=sum(cell.differing for cell in bounded),
        pairs=max(pairs, default=0),
    )


def by_cell(rows: Iterable[LongformRow]) -> dict[tuple[str, int], list[LongformRow]]:
    """Texts by policy and slots."""
    cells: dict[tuple[str, int], list[LongformRow]] = {}
    for row in rows:
        cells.setdefault((row.policy, row.slots), []).append(row)
    return cells


def full_perplexity(row: LongformRow) -> float:
    """A text's perplexity under the full model; NaN where it has no token or none is finite."""
    return row.loss.full_perplexity if row.loss else math.nan


def _cell(
    policy: str,
    slots: int,
    rows: Sequence[LongformRow],
    full: Mapping[int, LongformRow],
    prompt_tokens: int,
) -> CellSummary:
    # Texts of one number are drawn with the same random keys: their difference is the policy's.
    pairs = [(row, full[row.sample]) for row in rows if row.sample in full]
    # Until the cache is full nothing is evicted, and the text is the full cache's.
    outgrows = lambda row: policy != UNBOUNDED and prompt_tokens + row.length > slots
    beside = [] if policy == UNBOUNDED else pairs
    losses = [row.loss for row in rows if row.loss]
    nll = _mean(loss.full_nll for loss in losses)
    return CellSummary(
        policy=policy,
        slots=slots,
        bytes=rows[0].bytes,
        texts=len(rows),
        evicting=sum(map(outgrows, rows)),
        differing=sum(outgrows(row) and row.text != other.text for row, other in beside),
        not_finite=sum(not loss.finite for loss in losses),
        ended=sum(row.ended for row in rows),
        length=_mean(row.length for row in rows),
        distinct=(
            _mean(row.distinct_1 for row in rows),
            _mean(row.distinct_2 for row in rows),
            _mean(row.distinct_3 for row in rows),
            _mean(row.distinct_4 for row in rows),
        ),
        repetition=_mean(row.repetition for row in rows),
        perplexity=math.inf if nll >= math.log(sys.float_info.max) else math.exp(nll),
        common_prefix=_mean(row.common_prefix for row in rows),
        repetition_gap=_gap(beside, repetition),
        loss_gap=_gap(beside, lambda row: row.loss.full_nll if row.loss else math.nan),
    )


def repetition(row: LongformRow) -> float:
    """A text's share of 4-grams that stood in it before; NaN where it is too short."""
    return math.nan if row.repetition is None else row.repetition


def _gap(
    pairs: Sequence[tuple[LongformRow, LongformRow]], value_of: Callable[[LongformRow], float]
) -> Interval | None:
    # (pairs, 2) -> (2, pairs): texts of the policy, those of the full cache.
    values = [tuple(map(value_of, pair)) for pair in pairs]
    known = [pair for pair in values if all(map(math.isfinite, pair))]
    return paired_difference(*np.array(known).T) if known else None


def _mean(values: Iterable[float | None]) -> float:
    # None where a text is too short, NaN where its loss is not finite.
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
