"""The influence study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Files, Opened, Study, run_study
from glassesjax.studies.influence.figures import layers_figure, profile_figure
from glassesjax.studies.influence.measure import KEY, InfluenceSettings, measure, open_subject
from glassesjax.studies.influence.page import influence_page


def _open(settings: InfluenceSettings) -> Opened:
    subject = open_subject(settings)
    return Opened(subject, subject.model.source, repr(subject.passages).encode())


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"profile": profile_figure(rows), "layers": layers_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": influence_page(rows, settings, record)}


STUDY = Study(
    name="influence",
    settings=InfluenceSettings,
    key=KEY,
    open=_open,
    measure=measure,
    draw=_draw,
)
run_influence = functools.partial(run_study, STUDY)
