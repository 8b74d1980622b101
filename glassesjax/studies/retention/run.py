"""The retention study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.retention.cells import read_cells
from glassesjax.studies.retention.charts import figures_of, positions_chart
from glassesjax.studies.retention.measure import constants, measure, open_subject
from glassesjax.studies.retention.page import headline, retention_page, values
from glassesjax.studies.retention.records import ROWS, RetentionConstants, RetentionRow
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

    Returns:
      Its figures are those of ``figures_of``.

    Raises:
      BadInput: There is no whole cell.
    """
    summary, cells = summarize(run), read_cells(run)
    figures = figures_of(cells, summary)

    def files() -> dict[str, str]:
        narrow = functools.partial(positions_chart, cells, narrow=True)
        first = plot("positions", figures["positions"], narrow=narrow, rows=values(cells))
        rest = {name: plot(name, draw) for name, draw in figures.items() if name != "positions"}
        drawn = {"positions": first, **rest}
        page = retention_page(run, summary, cells, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
