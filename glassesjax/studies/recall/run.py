"""A run of the recall study: opening of its inputs, and the result of its rows."""

import functools

from glassesjax.report.render import answer, page_files, plots
from glassesjax.runs.fill import Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.recall.charts import figures_of
from glassesjax.studies.recall.measure import measure, open_subject
from glassesjax.studies.recall.page import recall_page, values
from glassesjax.studies.recall.reading import readings_text
from glassesjax.studies.recall.records import RecallConstants, RecallRow
from glassesjax.studies.recall.settings import RecallSettings
from glassesjax.studies.recall.summary import RecallSummary, summarize

RecallResult = Result[RecallRow, RecallConstants, RecallSummary]


def open_run(settings: RecallSettings) -> Opened[RecallRow, RecallConstants]:
    """Opens a model and passages of the Bible with questions about their lines."""
    subject = open_subject(settings)
    return Opened(
        source=subject.model.source,
        read={"read": readings_text(subject.readings).encode()},
        constants=model_constants(RecallConstants, "recall", settings, subject.model),
        measure=lambda done: measure(settings, subject, done),
    )


def result(run: Run[RecallRow, RecallConstants]) -> RecallResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``depth``, and ``slots-TASK-LENGTH`` of the page's fold.
    """
    summary = summarize(run)
    figures = figures_of(summary)
    return Result(
        run=run,
        summary=summary,
        headline=answer("glassesjax.studies.recall", summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="depth", rows=values(summary)),
            functools.partial(recall_page, run, summary),
        ),
    )
