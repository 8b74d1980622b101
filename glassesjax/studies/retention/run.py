"""A run of the retention study: opening of its inputs, and the result of its rows."""

import functools

from glassesjax.report.render import page_files, plots
from glassesjax.runs.fill import Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.charts import figures_of
from glassesjax.studies.retention.measure import measure, open_subject
from glassesjax.studies.retention.page import headline, retention_page, values
from glassesjax.studies.retention.records import RetentionConstants, RetentionRow
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.studies.retention.summary import RetentionSummary, summarize

RetentionResult = Result[RetentionRow, RetentionConstants, RetentionSummary]


def open_run(settings: RetentionSettings) -> Opened[RetentionRow, RetentionConstants]:
    """A model and a text, of which a bounded cache keeps a part."""
    subject = open_subject(settings)
    constants = model_constants(
        RetentionConstants,
        "retention",
        settings,
        subject.model,
        prefill="exact",
        prompt_tokens=len(subject.tokens),
    )
    return Opened(
        source=subject.model.source,
        # What was read identifies a run: a file of the same name may have changed.
        read={"read": repr(subject.tokens).encode()},
        constants=constants,
        measure=lambda done: measure(settings, subject, done),
    )


def result(run: Run[RetentionRow, RetentionConstants]) -> RetentionResult:
    """A run with its summary and figures.

    Returns:
      Its figures are those of ``figures_of``.

    Raises:
      BadInput: There is no whole cell.
    """
    summary, cells = summarize(run), read_cells(run)
    figures = figures_of(cells, summary)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="positions", rows=values(cells)),
            functools.partial(retention_page, run, summary, cells),
        ),
    )
