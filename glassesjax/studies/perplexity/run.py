"""The perplexity study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.study import Files, Opened, Study, run_study
from glassesjax.studies.perplexity.figures import positions_figure, slots_figure
from glassesjax.studies.perplexity.measure import KEY, measure
from glassesjax.studies.perplexity.page import perplexity_page
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.subject import open_subject


def _open(settings: PerplexitySettings) -> Opened:
    subject = open_subject(settings)
    read = b"".join(window.tobytes() for window in subject.windows)
    return Opened(subject, subject.model.source, read)


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"slots": slots_figure(rows), "positions": positions_figure(rows)}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": perplexity_page(rows, settings, record)}


STUDY = Study(
    name="perplexity",
    settings=PerplexitySettings,
    key=KEY,
    open=_open,
    measure=measure,
    draw=_draw,
)
run_perplexity = functools.partial(run_study, STUDY)
