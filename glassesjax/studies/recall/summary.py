"""The numbers that a recall run comes down to."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import Interval, paired_difference
from glassesjax.studies.recall.cells import (
    UNBOUNDED,
    Cell,
    cell_name,
    panels,
    read_cells,
    unbounded,
    wilson,
)
from glassesjax.studies.recall.records import RecallConstants, RecallRow


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSummary:
    """All answers of one task and passage length under one policy and size."""

    policy: str
    slots: int
    questions: int
    """How many were asked."""
    not_finite: int
    """Questions whose expected answer has no finite loss."""
    hits: int
    """Answers that are exact."""
    low: float
    """Lower end of Wilson's 95 % interval of the share of exact answers."""
    high: float
    """Its upper end."""
    f1: float
    """Mean overlap of words."""
    nats: float
    """Mean loss of the expected answers, in nats a token; NaN where one is not finite."""
    retained: float
    """Mean share of the line with the answer that is cached when the question is asked."""
    more_than_full: float | None
    """Nats a token above the full state's, over the questions that both have; NaN where a loss is
    not finite or they share no question, None of the full state itself and where there is none."""
    depths: list[tuple[float, float]]
    """Each depth, ascending, with the mean loss there in nats a token."""

    @property
    def bounded(self) -> bool:
        """Whether it may evict, or leave out."""
        return self.policy != UNBOUNDED

    @property
    def name(self) -> str:
        """As sentences and tables name it."""
        return cell_name(self.policy, self.slots)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """How much more one policy loses than another, on the same questions."""

    first: str
    second: str
    nats: Interval
    """Of the first less the second, in nats a token, over the passages."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderSummary:
    """The policies of one size that answered the same questions, each with finite losses."""

    slots: int
    questions: int
    passages: int
    nats: dict[str, float]
    """Mean loss in nats a token, by policy."""
    gaps: list[Gap]
    """Of all pairs."""

    def gap(self, first: str, second: str) -> Interval:
        """The difference of two policies, in the order of ``nats``."""
        return next(g.nats for g in self.gaps if (g.first, g.second) == (first, second))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanelSummary:
    """One task with passages of one length."""

    task: str
    length: int
    cells: list[CellSummary]
    """In the order of the run."""
    orders: list[OrderSummary]
    """By slots, ascending; only where two policies can be compared."""

    @property
    def name(self) -> str:
        """As sentences and tables name it."""
        return f"{self.task}, passages of {self.length} tokens"

    @property
    def full(self) -> CellSummary | None:
        """The cell that kept everything; None where it was not measured."""
        return next((cell for cell in self.cells if not cell.bounded), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecallSummary:
    """What a recall run says."""

    passes: Passes
    """Of the expected answers' losses."""
    answers: int
    """How many there are."""
    panels: list[PanelSummary]
    """In the order of the run."""


def summarize(run: Run[RecallRow, RecallConstants]) -> RecallSummary:
    """The numbers of a run.

    Args:
      run: Of the recall study, with at least one row.

    Returns:
      Task by task and length by length, and over all of them.
    """
    grouped = panels(read_cells(run.rows)).items()
    return RecallSummary(
        passes=passes(row.finite for row in run.rows),
        answers=len(run.rows),
        panels=[_panel(task, length, cells) for (task, length), cells in grouped],
    )


def _panel(task: str, length: int, cells: Sequence[Cell]) -> PanelSummary:
    full = unbounded(cells)
    return PanelSummary(
        task=task,
        length=length,
        cells=[_cell(cell, full) for cell in cells],
        orders=_orders([cell for cell in cells if cell is not full]),
    )


def _cell(cell: Cell, full: Cell | None) -> CellSummary:
    low, high = wilson(cell.hits, len(cell.rows))
    return CellSummary(
        policy=cell.policy,
        slots=cell.slots,
        questions=len(cell.rows),
        not_finite=sum(not row.finite for row in cell.rows),
        hits=cell.hits,
        low=low,
        high=high,
        f1=cell.f1,
        nats=cell.nats,
        retained=cell.retained,
        more_than_full=None if full is None or cell is full else _more(cell, full),
        depths=[(depth, cell.at(depth).nats) for depth in cell.depths],
    )


def _more(cell: Cell, full: Cell) -> float:
    """Against the full state on the same questions only: a run may be cut off."""
    mine = {_question(row): row.gold_nll for row in cell.rows}
    gaps = [mine[_question(r)] - r.gold_nll for r in full.rows if _question(r) in mine]
    return sum(gaps) / len(gaps) if gaps else math.nan


def _question(row: RecallRow) -> tuple[int, float]:
    return row.item, row.depth


def _orders(cells: Sequence[Cell]) -> list[OrderSummary]:
    """By slots, the policies that answered the same questions, compared in pairs."""
    orders = []
    for slots in sorted({cell.slots for cell in cells}):
        finite = [cell for cell in cells if cell.slots == slots and not math.isnan(cell.nats)]
        if len(finite) < 2 or len({frozenset(map(_question, c.rows)) for c in finite}) > 1:
            continue
        pairs = itertools.combinations(finite, 2)
        gaps = [Gap(first=a.policy, second=b.policy, nats=_gap(a, b)) for a, b in pairs]
        orders.append(
            OrderSummary(
                slots=slots,
                questions=len(finite[0].rows),
                passages=len({row.item for row in finite[0].rows}),
                nats={cell.policy: cell.nats for cell in finite},
                gaps=gaps,
            )
        )
    return orders


def _gap(first: Cell, second: Cell) -> Interval:
    """Over the passages, each with all its questions, which are not independent."""
    items = sorted({row.item for row in first.rows})
    losses = lambda cell, item: [row.gold_nll for row in cell.rows if row.item == item]
    sums = lambda cell: np.array([math.fsum(losses(cell, item)) for item in items])
    count = [len(losses(first, item)) for item in items]
    return paired_difference(sums(first), sums(second), np.array(count, np.float64))
