"""Summary of a recall run."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.intervals import LEAST_BLOCKS, Interval, paired_difference
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


class DepthSummary(NamedTuple):
    """The answers of one cell at one depth."""

    depth: float
    """As a share of the passage from its beginning."""
    questions: int
    hits: int
    """Answers that are exact."""
    nats: float
    """Mean loss of the expected answers, in nats a token; NaN where one is not finite."""
    retained: float
    """Mean share of the line with the answer that is cached when the question is asked."""


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
    depths: list[DepthSummary]
    """Ascending."""

    @property
    def bounded(self) -> bool:
        """Whether it may evict, or leave out."""
        return self.policy != UNBOUNDED

    @property
    def more(self) -> float | None:
        """``more_than_full`` where it is a number."""
        more = self.more_than_full
        return None if more is None or math.isnan(more) else more

    @property
    def name(self) -> str:
        """Policy and size."""
        return cell_name(self.policy, self.slots)

    def at(self, depth: float) -> DepthSummary | None:
        """The answers of one depth; None where none was measured."""
        return next((each for each in self.depths if each.depth == depth), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """How much more one policy loses than another, on the same questions."""

    first: str
    second: str
    nats: Interval
    """Of the first less the second, in nats a token, over the passages."""

    @property
    def lower(self) -> str | None:
        """The policy that loses less; None where the interval leaves a tie."""
        if not self.nats.excludes(0.0):
            return None
        return self.first if self.nats.value < 0 else self.second

    @property
    def higher(self) -> str | None:
        """The other one; None likewise."""
        names = {self.first: self.second, self.second: self.first}
        return names[self.lower] if self.lower else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderSummary:
    """The policies of one size that answered the same questions, each with finite losses."""

    slots: int
    questions: int
    passages: int
    gaps: list[Gap]
    """Of all pairs of policies, in the order of the run."""


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
        """As headings name it."""
        return f"{self.task}, passages of {self.length} tokens"

    @property
    def full(self) -> CellSummary | None:
        """The cell that kept everything; None where it was not measured."""
        return next((cell for cell in self.cells if not cell.bounded), None)

    @property
    def slots(self) -> list[int]:
        """Of the bounded caches, ascending."""
        return sorted({cell.slots for cell in self.cells if cell.bounded})

    @property
    def unbounded(self) -> list[CellSummary]:
        """That one alone, or none."""
        return [self.full] if self.full else []

    @property
    def smallest(self) -> list[CellSummary]:
        """The bounded caches with the fewest slots, if their losses are finite."""
        fewest = [cell for cell in self.cells if cell.bounded and cell.slots == self.slots[0]]
        return [cell for cell in fewest if math.isfinite(cell.nats)]

    def losses(self, depth: float) -> list[float]:
        """The losses of ``smallest`` at one depth, in nats a token."""
        return [each.nats for cell in self.smallest if (each := cell.at(depth))]

    @property
    def depths(self) -> list[float]:
        """All depths, ascending."""
        return sorted({each.depth for cell in self.cells for each in cell.depths})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecallSummary:
    """Summary of a recall run."""

    passes: Passes
    """Of the expected answers' losses."""
    answers: int
    """How many there are."""
    panels: list[PanelSummary]
    """In the order of the run."""
    full_hits: int
    """Exact answers with everything cached."""
    full_questions: int
    """Out of how many; 0 where that was not measured."""
    num_cells: int
    """Policies and sizes of the cache, over all panels."""
    num_bounded: int
    """Cells that may evict, or leave out."""
    num_whole: int
    """Those of them in which each line with an answer is cached whole when it is asked for."""
    pairs: int
    """Of policies that are compared, over all panels and sizes."""
    settled: int
    """Those whose order an interval leaves no doubt of."""
    passages: int
    """Most passages that a pair is compared on; 0 without a pair."""
    passages_needed: int
    """Fewest that an interval can be given for."""

    @property
    def slots(self) -> list[int]:
        """The fewest of each panel that has a bounded cache, ascending."""
        return sorted({panel.slots[0] for panel in self.panels if panel.slots})

    @property
    def smallest(self) -> list[CellSummary]:
        """Of each panel the bounded caches with the fewest slots, if their losses are finite."""
        return [cell for panel in self.panels for cell in panel.smallest]

    @property
    def best(self) -> CellSummary | None:
        """The one of ``smallest`` with the largest share of exact answers; None where none is."""
        # Of equal shares the one of more questions.
        order = lambda cell: (cell.hits / cell.questions, cell.questions)
        return max(self.smallest, key=order, default=None)

    @property
    def unbounded(self) -> list[CellSummary]:
        """Of each panel the cell that kept everything."""
        return [cell for panel in self.panels for cell in panel.unbounded]

    @property
    def tasks(self) -> list[str]:
        """In the order of the run."""
        return list(dict.fromkeys(panel.task for panel in self.panels))

    @property
    def lengths(self) -> list[int]:
        """Of the passages, in tokens, ascending."""
        return sorted({panel.length for panel in self.panels})

    @property
    def depths(self) -> list[float]:
        """All depths, ascending."""
        return sorted({depth for panel in self.panels for depth in panel.depths})

    @property
    def first_lower(self) -> Gap | None:
        """The first pair whose order is settled."""
        orders = (order for panel in self.panels for order in panel.orders)
        return next((gap for order in orders for gap in order.gaps if gap.lower), None)

    @property
    def policies(self) -> list[str]:
        """The bounded ones, in the order of the run."""
        bounded = (c.policy for panel in self.panels for c in panel.cells if c.bounded)
        return list(dict.fromkeys(bounded))


def summarize(run: Run[RecallRow, RecallConstants]) -> RecallSummary:
    """Computes the summary of a run.

    Args:
      run: Of the recall study, with at least one row.

    Returns:
      Task by task and length by length, and over all of them.
    """
    known = []
    for (task, length), cells in panels(read_cells(run.rows)).items():
        whole = unbounded(cells)
        summaries = [_cell(cell, whole) for cell in cells]
        orders = _orders([cell for cell in cells if cell is not whole])
        known.append(PanelSummary(task=task, length=length, cells=summaries, orders=orders))
    full = [row for row in run.rows if row.policy == UNBOUNDED]
    bounded = [cell for panel in known for cell in panel.cells if cell.bounded]
    orders = [order for panel in known for order in panel.orders]
    gaps = [gap for order in orders for gap in order.gaps]
    return RecallSummary(
        passes=passes(
            (row.finite for row in run.rows),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in run.rows),
        ),
        answers=len(run.rows),
        panels=known,
        full_hits=sum(row.exact for row in full),
        full_questions=len(full),
        num_cells=sum(len(panel.cells) for panel in known),
        num_bounded=len(bounded),
        # Exact: a mean of shares is one only where all are.
        num_whole=sum(cell.retained == 1 for cell in bounded),
        pairs=len(gaps),
        settled=sum(gap.lower is not None for gap in gaps),
        passages=max((order.passages for order in orders), default=0),
        passages_needed=LEAST_BLOCKS,
    )


def _cell(cell: Cell, full: Cell | None) -> CellSummary:
    low, high = wilson(cell.hits, len(cell.rows))
    more = None
    if full is not None and cell is not full:
        # On the questions that both have: a run may be cut off between two policies.
        mine = {_question(row): row.gold_nll for row in cell.rows}
        gaps = [mine[_question(r)] - r.gold_nll for r in full.rows if _question(r) in mine]
        more = sum(gaps) / len(gaps) if gaps else math.nan
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
        more_than_full=more,
        depths=[
            DepthSummary(depth, len(at.rows), at.hits, at.nats, at.retained)
            for depth in cell.depths
            for at in [cell.at(depth)]
        ],
    )


def _question(row: RecallRow) -> tuple[int, float]:
    return row.item, row.depth


def _orders(cells: Sequence[Cell]) -> list[OrderSummary]:
    """By slots, the policies that answered the same questions, compared in pairs."""
    orders = []
    for slots in sorted({cell.slots for cell in cells}):
        finite = [cell for cell in cells if cell.slots == slots and not math.isnan(cell.nats)]
        if len(finite) < 2 or len({frozenset(map(_question, c.rows)) for c in finite}) > 1:
            continue
        # A passage is a block: its questions share one state, and are not independent.
        items = sorted({row.item for row in finite[0].rows})
        losses = lambda cell, item: [row.gold_nll for row in cell.rows if row.item == item]
        sums = [
            np.array([math.fsum(losses(cell, item)) for item in items]) for cell in finite
        ]  # (passages,) each
        count = np.array([len(losses(finite[0], item)) for item in items], np.float64)
        gaps = [
            Gap(first=a.policy, second=b.policy, nats=paired_difference(of_a, of_b, count))
            for (a, of_a), (b, of_b) in itertools.combinations(zip(finite, sums, strict=True), 2)
        ]
        orders.append(
            OrderSummary(slots=slots, questions=len(finite[0].rows), passages=len(items), gaps=gaps)
        )
    return orders
