"""What the sweep page shows, by the names of its template."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.report.render import Plot, page
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import Training, decoders_of
from glassesjax.studies.train.page import common_facts, shown
from glassesjax.studies.train.records import TrainRow
from glassesjax.surveys.sweep.records import SweepConstants, axis_column
from glassesjax.surveys.sweep.summary import SweepSummary, axes_of

FILTERS = 2  # settings that a reader may filter by
MOST_VALUES = 6  # of one of them


def sweep_page(
    run: Run[TrainRow, SweepConstants],
    trainings: Sequence[Training],
    summary: SweepSummary,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a sweep.

    Returns:
      An HTML document that asks for nothing outside it. The same rows give the same text.
    """
    decoders = decoders_of(trainings)
    every = list(dict.fromkeys(each.constants.task for each in trainings))
    cells = f"cells: {summary.cells_done}"
    if summary.cells > 1:
        cells = f"{summary.cells_done} of {summary.cells} cells"
    return page(
        "glassesjax.surveys.sweep",
        parent="glassesjax.studies.train",
        run=run,
        made=_made(run),
        facts=[cells, *(f"task {task}" for task in every), *common_facts(trainings)],
        filters=_filters(axes_of(run.settings), trainings),
        **shown(trainings, decoders, summary, figures),
    )


def _filters(
    axes: Mapping[str, Sequence[Any]], trainings: Sequence[Training]
) -> dict[str, list[tuple[str, str]]]:
    """Values that cells have of the first settings that vary, with labels, by names in rows."""
    known = {field.name for field in dataclasses.fields(SweepConstants)}
    filters: dict[str, list[tuple[str, str]]] = {}
    for name, column in ((name, axis_column(name)) for name in axes if axis_column(name) in known):
        values = dict.fromkeys(str(getattr(each.constants, column)) for each in trainings)
        if 1 < len(values) <= MOST_VALUES:
            filters[column] = [(value, f"{name} {value}") for value in values]
    return dict(list(filters.items())[:FILTERS])


def _made(run: Run[TrainRow, SweepConstants]) -> dict[str, Any]:
    """Where the rows were made, as far as it is the same for all cells."""
    first, *rest = [run.records[number] for number in dict.fromkeys(run.numbers)] or [{}]
    return {
        "command": run.provenance.get("command", ""),
        **{name: value for name, value in first.items() if all(r.get(name) == value for r in rest)},
    }
