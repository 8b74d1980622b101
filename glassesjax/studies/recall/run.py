"""The recall study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Files, Opened, Study, run_study
from glassesjax.studies.recall.figures import depth_figure, slots_figure
from glassesjax.studies.recall.measure import KEY, RecallSettings, measure, open_subject
from glassesjax.studies.recall.page import recall_page


def _open(settings: RecallSettings) -> Opened:
    subject = open_subject(settings)
    read = [(one.tokens, one.asked) for one in subject.readings]
    return Opened(subject, subject.model.source, repr(read).encode())


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"slots": slots_figure(rows), "depth": depth_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": recall_page(rows, settings, record)}


STUDY = Study(
    name="recall",
    settings=RecallSettings,
    key=KEY,
    open=_open,
    measure=measure,
    draw=_draw,
)
run_recall = functools.partial(run_study, STUDY)
