"""A run of the longform study: opening of its inputs, and the result of its rows."""

import functools

from glassesjax.report.render import answer, page_files, plots
from glassesjax.runs.fill import Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.longform.charts import texts_chart
from glassesjax.studies.longform.measure import measure, open_subject
from glassesjax.studies.longform.page import longform_page, values
from glassesjax.studies.longform.records import LongformConstants, LongformRow
from glassesjax.studies.longform.settings import LongformSettings
from glassesjax.studies.longform.summary import LongformSummary, summarize

LongformResult = Result[LongformRow, LongformConstants, LongformSummary]


def open_run(settings: LongformSettings) -> Opened[LongformRow, LongformConstants]:
    """A model and a prompt, which is continued from bounded states."""
    subject = open_subject(settings)
    constants = model_constants(
        LongformConstants,
        "longform",
        settings,
        subject.model,
        # As resolved: the setting may be absent, and the prefill has another name in rows.
        top_p=settings.sampling.top_p,
        prefill=settings.mode,
        prompt_tokens=len(subject.prompt),
    )
    return Opened(
        source=subject.model.source,
        constants=constants,
        measure=lambda done: measure(settings, subject, done),
    )


def result(run: Run[LongformRow, LongformConstants]) -> LongformResult:
    """A run with its summary and figures.

    Returns:
      Its figure is ``texts``.
    """
    summary = summarize(run)
    figures = {"texts": functools.partial(texts_chart, run.rows, summary)}
    return Result(
        run=run,
        summary=summary,
        headline=answer("glassesjax.studies.longform", summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="texts", rows=values(run.rows)),
            lambda drawn: longform_page(run, summary, drawn["texts"]),
        ),
    )
