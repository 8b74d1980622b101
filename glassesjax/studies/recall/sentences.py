"""What the rows of a recall run say in plain sentences, and never more than they show."""

import math
from collections.abc import Sequence

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured, not_finite
from glassesjax.report.numbers import percent
from glassesjax.report.orders import basis, told_apart
from glassesjax.statistics.intervals import Interval, paired_difference
from glassesjax.studies.recall.cells import Cell, panels, read_cells, unbounded, wilson


def recall_headlines(rows: Sequence[Row]) -> list[str]:
    """A sentence on each cell, and one on which policies are told apart.

    Args:
      rows: Rows of the recall study.

    Returns:
      Plain text, task by task.

    Raises:
      ValueError: There are no rows.
    """
    said = not_finite(rows, "questions")
    for (task, length), cells in panels(read_cells(rows)).items():
        full = unbounded(cells)
        lines = [_cell(cell, full) for cell in cells]
        about = f"{task}, passages of {length} tokens"
        said += [f"{about}: {line}" for line in [*lines, *_nearest(cells, full)]]
    return said


def share(cell: Cell) -> str:
    """How many answers are exact, with its interval.

    Args:
      cell: Some answers.

    Returns:
      Counts and percents.
    """
    low, high = wilson(cell.hits, len(cell.rows))
    return f"{cell.hits} of {len(cell.rows)} ({percent(low)} to {percent(high)})"


def _cell(cell: Cell, full: Cell | None) -> str:
    if bad := sum(row.get("finite") is False for row in cell.rows):
        return f"{cell.name}: not finite, in {bad} of {len(cell.rows)} questions."
    text = f"{cell.name}: {share(cell)} answers exact, F1 {cell.mean('f1'):.2f},"
    text += f" {_nats(cell.mean('gold_nll'))} nats a token of the expected answer"
    if full is None or cell is full:
        return f"{text}."
    return f"{text}, {_more(cell, full)} full; {percent(cell.mean('held'))} of the line is held."


def _more(cell: Cell, full: Cell) -> str:
    """Against the full state on the same questions only: a run may be cut off."""
    key = lambda row: (row["item"], row["depth"])
    mine = {key(row): row["gold_nll"] for row in cell.rows}
    both = [(mine[key(row)], row["gold_nll"]) for row in full.rows if key(row) in mine]
    known = [float(a) - float(b) for a, b in both if a is not None and b is not None]
    if not known or len(known) < len(both):
        return "not comparable with"
    gap = sum(known) / len(known)
    return f"{_nats(abs(gap))} {'more' if gap >= 0 else 'less'} than"


def _nats(value: float) -> str:
    return "no number of" if math.isnan(value) else f"{value:.2f}"


def _nearest(cells: Sequence[Cell], full: Cell | None) -> list[str]:
    """By slots, the policies that answered the same questions, and which are told apart.

    Questions of one passage are not independent: passages are what is drawn again.
    """
    said = []
    for slots in sorted({cell.slots for cell in cells if cell is not full}):
        mine = [cell for cell in cells if cell.slots == slots and cell is not full]
        known = [cell for cell in mine if not math.isnan(cell.mean("gold_nll"))]
        named = {cell.policy: cell for cell in known}
        if len(known) < 2 or len({frozenset(map(_question, cell.rows)) for cell in known}) > 1:
            continue
        listed = ", ".join(f"{cell.policy} {cell.mean('gold_nll'):.2f}" for cell in known)
        passages = len({row["item"] for row in known[0].rows})
        text = f"with {slots} slots, nats a token ({len(known[0].rows)} questions): {listed}"
        gap = lambda one, other, named=named: _gap(named[one], named[other])
        apart = told_apart(list(named), gap)
        said.append(f"{text}; of these, {apart} ({basis(passages, 'passages')}).")
    return said


def _question(row: Row) -> tuple[object, object]:
    return row["item"], row["depth"]


def _gap(first: Cell, second: Cell) -> Interval:
    """Over the passages, each with all its questions."""
    items = sorted({integer(row, "item") for row in first.rows})
    sums = lambda cell: np.array(
        [
            math.fsum(measured(row, "gold_nll") for row in cell.rows if row["item"] == item)
            for item in items
        ]
    )
    count = [sum(row["item"] == item for row in first.rows) for item in items]
    return paired_difference(sums(first), sums(second), np.array(count, np.float64))
