"""The retention study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Files, Opened, Study, run_study
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.figures import (
    classes_figure,
    layers_figure,
    maps_figure,
    overview_figure,
    position_figure,
)
from glassesjax.studies.retention.measure import KEY, RetentionSettings, measure, open_subject
from glassesjax.studies.retention.page import retention_page


def _open(settings: RetentionSettings) -> Opened:
    subject = open_subject(settings)
    return Opened(subject, subject.model.source, repr(subject.tokens).encode())


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    cells = read_cells(rows)
    shared = {"positions": position_figure, "classes": classes_figure, "layers": layers_figure}
    figures = {stem: draw(cells) for stem, draw in shared.items()}
    for cell in cells:
        stem = f"{cell.policy.replace('+', '-plus-').replace('@', '-at-')}-{cell.slots}"
        figures |= {f"map-{stem}": overview_figure(cell), f"maps-{stem}": maps_figure(cell)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": retention_page(rows, settings, record)}


STUDY = Study(
    name="retention",
    settings=RetentionSettings,
    key=KEY,
    open=_open,
    measure=measure,
    draw=_draw,
)
run_retention = functools.partial(run_study, STUDY)
