"""The numbers that a longform run comes down to."""

import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.longform.records import LongformConstants, LongformRow

UNBOUNDED = "full"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """All texts of one policy and size; a mean is over the texts that have a finite value."""

    policy: str
    slots: int
    texts: int
    """How many there are."""
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
    """Mean tokens that are the full state's, before the first that differs."""

    @property
    def bounded(self) -> bool:
        """Whether the policy evicts."""
        return self.policy != UNBOUNDED

    @property
    def name(self) -> str:
        """As sentences and tables name it."""
        return cell_name(self.policy, self.slots)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongformSummary:
    """What a longform run says."""

    passes: Passes
    """Of the texts' losses under the full model."""
    texts: int
    """How many there are."""
    cells: list[CellSummary]
    """In the order of the run."""


def summarize(run: Run[LongformRow, LongformConstants]) -> LongformSummary:
    """The numbers of a run.

    Args:
      run: Of the longform study, with at least one row.

    Returns:
      Cell by cell, and over all of them.
    """
    return LongformSummary(
        passes=passes(row.loss.finite if row.loss else None for row in run.rows),
        texts=len(run.rows),
        cells=[_cell(*key, rows) for key, rows in by_cell(run.rows).items()],
    )


def by_cell(rows: Iterable[LongformRow]) -> dict[tuple[str, int], list[LongformRow]]:
    """Texts by policy and slots.

    Args:
      rows: Of the longform study.

    Returns:
      In the order of their first rows.
    """
    cells: dict[tuple[str, int], list[LongformRow]] = {}
    for row in rows:
        cells.setdefault((row.policy, row.slots), []).append(row)
    return cells


def cell_name(policy: str, slots: int) -> str:
    """A policy and its size in words.

    Args:
      policy: As on the command line, or ``full``.
      slots: Of every layer.

    Returns:
      Plain text.
    """
    return policy if policy == UNBOUNDED else f"{policy} with {slots} slots"


def full_perplexity(row: LongformRow) -> float:
    """A text's perplexity under the full model; NaN where it has no token or none is finite."""
    return row.loss.full_perplexity if row.loss else math.nan


def _cell(policy: str, slots: int, rows: Sequence[LongformRow]) -> CellSummary:
    losses = [row.loss for row in rows if row.loss]
    return CellSummary(
        policy=policy,
        slots=slots,
        texts=len(rows),
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
        perplexity=_perplexity(_mean(loss.full_nll for loss in losses)),
        common_prefix=_mean(row.common_prefix for row in rows),
    )


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _perplexity(loss: float) -> float:
    return math.inf if loss >= math.log(sys.float_info.max) else math.exp(loss)
