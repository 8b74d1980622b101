"""What the sweep page shows, by the names of its template."""

import dataclasses
from collections.abc import Mapping, Sequence

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
      An HTML document without references to other files. The same rows give the same text.
    """
    decoders = decoders_of(trainings)
    every = list(dict.fromkeys(each.constants.task for each in trainings))
    cells = f"cells: {summary.cells_done}"
    if summary.cells > 1:
        cells = f"{summary.cells_done} of {summary.cells} cells"
    # Values that cells have of the first settings that vary, with labels, by names in rows.
    known = {field.name for field in dataclasses.fields(SweepConstants)}
    filters: dict[str, list[tuple[str, str]]] = {}
    for name in axes_of(run.settings):
        if (column := axis_column(name)) not in known:
            continue
        values = dict.fromkeys(str(getattr(each.constants, column)) for each in trainings)
        if 1 < len(values) <= MOST_VALUES:
            filters[column] = [(value, f"{name} {value}") for value in values]
    # Where the rows were made, as far as it is the same for all cells.
    first, *rest = [run.records[number] for number in dict.fromkeys(run.numbers)] or [{}]
    same = {name: v for name, v in first.items() if all(r.get(name) == v for r in rest)}
    return page(
        "glassesjax.surveys.sweep",
        parent="glassesjax.studies.train",
        run=run,
        made={"command": run.provenance.get("command", ""), **same},
        facts=[cells, *(f"task {task}" for task in every), *common_facts(trainings)],
        filters=dict(list(filters.items())[:FILTERS]),
        **shown(trainings, decoders, summary, figures),
    )
