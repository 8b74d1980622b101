"""The bounded study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.model.opening import open_headers
from glassesjax.model.pretrained import LanguageModel
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Done, Files, Opened, Steps, Study, run_study
from glassesjax.studies.bounded.figures import collapse_bounded_figure, heard_figure
from glassesjax.studies.bounded.measure import KEY, BoundedSettings, cells, measure
from glassesjax.studies.bounded.page import bounded_page

Models = Sequence[tuple[str, LanguageModel]]  # each with its positional encoding


def _open(settings: BoundedSettings) -> Opened:
    headers = list(open_headers(settings))
    read = [cell.tokens for header in headers for cell in cells(settings, *header)]
    models = [(positions, header.read()) for positions, header in headers]
    return Opened(models, models[0][1].source, repr(read).encode())


def _measure(settings: BoundedSettings, models: Models, done: Done) -> Steps:
    for positions, model in models:
        yield from measure(settings, positions, model, done)


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    made = {"collapse": collapse_bounded_figure, "influence": heard_figure}
    kinds = {str(row["kind"]) for row in rows}
    figures = {kind: figure(rows) for kind, figure in made.items() if kind in kinds}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": bounded_page(rows, settings, record)}


STUDY = Study(
    name="bounded",
    settings=BoundedSettings,
    key=KEY,
    open=_open,
    measure=_measure,
    draw=_draw,
)
run_bounded = functools.partial(run_study, STUDY)
