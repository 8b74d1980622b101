"""The collapse study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.model.opening import open_headers
from glassesjax.model.pretrained import LanguageModel
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Done, Files, Opened, Steps, Study, run_study
from glassesjax.studies.collapse.measure import KEY, CollapseSettings, lay_out, measure
from glassesjax.studies.collapse.overview import collapse_figures
from glassesjax.studies.collapse.page import collapse_page

Models = Sequence[tuple[str, LanguageModel]]  # each with its positional encoding


def _open(settings: CollapseSettings) -> Opened:
    headers = list(open_headers(settings))
    lay_out(settings, headers[0][1])  # prompts that do not fit are found before a weight is read
    models = [(positions, header.read()) for positions, header in headers]
    return Opened(models, models[0][1].source)


def _measure(settings: CollapseSettings, models: Models, done: Done) -> Steps:
    for positions, model in models:
        for cell, rows in measure(settings, positions, model, done):
            yield " ".join(cell), rows


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = collapse_figures(rows)
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures}
    return {**drawn, "index.html": collapse_page(rows, settings, record)}


STUDY = Study(
    name="collapse",
    settings=CollapseSettings,
    key=KEY,
    open=_open,
    measure=_measure,
    draw=_draw,
)
run_collapse = functools.partial(run_study, STUDY)
