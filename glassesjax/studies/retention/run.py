"""The retention study as a whole run: measured into a folder, with its page, resumable."""

from collections.abc import Callable
from pathlib import Path

from glassesjax.report.canvas import svg_files
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.figures import retention_figures
from glassesjax.studies.retention.measure import constants, measure, open_subject
from glassesjax.studies.retention.page import retention_page
from glassesjax.studies.retention.records import ROWS, RetentionConstants, RetentionRow
from glassesjax.studies.retention.sentences import headline
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.studies.retention.summary import RetentionSummary, summarize

RetentionResult = Result[RetentionRow, RetentionConstants, RetentionSummary]


def run_retention(
    settings: RetentionSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> RetentionResult:
    """Measures which tokens a bounded cache keeps, into a folder with figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.

    Returns:
      The run with its summary and figures.

    Raises:
      BadInput: Something is wrong with the settings, the model, what it reads or the folder. What
        the settings and the model can tell is known before anything is written.
    """
    subject = open_subject(settings)
    source = subject.model.source
    return fill(
        out,
        fixed=fixed_fields("retention", settings, source, repr(subject.tokens).encode()),
        source=source,
        schema=ROWS,
        constants=constants(settings, subject),
        measure=lambda done: measure(settings, subject, done),
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[RetentionRow, RetentionConstants]) -> RetentionResult:
    """A run with its summary and figures.

    Args:
      run: Of the retention study.

    Returns:
      Its figures are ``positions``, ``classes`` and ``layers``, and two maps for each cell.

    Raises:
      BadInput: There is no whole cell.
    """
    summary, figures = summarize(run), retention_figures(read_cells(run))
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: {**svg_files(figures), "index.html": retention_page(run, summary)},
    )
