"""The longform study as a whole run: written into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Files, Opened, Study, run_study
from glassesjax.studies.longform.measure import KEY, LongformSettings, measure, open_subject
from glassesjax.studies.longform.page import longform_figure, longform_page


def _open(settings: LongformSettings) -> Opened:
    subject = open_subject(settings)
    return Opened(subject, subject.model.source)


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figure = to_svg(longform_figure(rows), "texts")
    return {"figures/texts.svg": figure, "index.html": longform_page(rows, settings, record)}


STUDY = Study(
    name="longform",
    settings=LongformSettings,
    key=KEY,
    open=_open,
    measure=measure,
    draw=_draw,
)
run_longform = functools.partial(run_study, STUDY)
