"""The numbers that a sweep comes down to."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.runs.record import from_row
from glassesjax.runs.record_file import FILE
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.records import TrainRow
from glassesjax.studies.train.summary import TrainSummary, summary_of
from glassesjax.surveys.sweep.records import SweepConstants, axis_column


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSummary(TrainSummary):
    """Numbers of a sweep: its trainings, cell by cell, and how many there are."""

    cells_done: int
    cells: int
    """Of the grid."""


def trainings_of(run: Run[TrainRow, SweepConstants]) -> list[Training]:
    """The trainings of a sweep.

    Raises:
      BadInput: A record is none of a cell.
    """
    known = {
        number: from_row(SweepConstants, run.records[number], f"record {number} of {FILE}")
        for number in dict.fromkeys(run.numbers)
    }
    rows: dict[str, list[TrainRow]] = {}
    first: dict[str, SweepConstants] = {}
    for row, number in zip(run.rows, run.numbers, strict=True):
        cell = known[number].cell
        first.setdefault(cell, known[number])
        rows.setdefault(cell, []).append(row)
    varied = [name for name, values in axes_of(run.settings).items() if len(values) > 1]
    own = {known[number].cell: run.records[number] for number in known}
    trainings = []
    for cell, mine in rows.items():
        # A cell in the words of the field: its values of the settings that vary.
        texts = []
        for name in varied:
            value = own[cell].get(axis_column(name))
            word = _NONE.get(name) if value == "none" else None
            texts.append(word or _WORDS.get(name, f"{name} {{}}").format(value))
        trainings.append(Training(cell, first[cell], mine, ", ".join(texts) or cell))
    return trainings


# What a setting of the grid is called where its value alone would not say it.
_WORDS: Mapping[str, str] = {
    "positions": "{} positions", "remedy": "{}", "task": "{}", "mask": "{} mask",
}  # fmt: skip
_NONE: Mapping[str, str] = {"positions": "no positions", "remedy": "plain prompt"}


def axes_of(settings: Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    """The values of each setting of the grid.

    Args:
      settings: As ``settings.json`` of a sweep has them.

    Raises:
      BadInput: There are none.
    """
    axes = settings.get("axes")
    if isinstance(axes, dict) and all(isinstance(values, list) for values in axes.values()):
        return axes
    expected = "Expected a list of values for each setting as axes in settings.json"
    raise BadInput(f"{expected}, got {axes!r:.40}: restore it, or choose another --out.")


def summarize(run: Run[TrainRow, SweepConstants], trainings: Sequence[Training]) -> SweepSummary:
    """The numbers of a sweep."""
    summary = summary_of(trainings)
    return SweepSummary(
        **{each.name: getattr(summary, each.name) for each in dataclasses.fields(summary)},
        cells_done=len(trainings),
        cells=math.prod(len(values) for values in axes_of(run.settings).values()),
    )
