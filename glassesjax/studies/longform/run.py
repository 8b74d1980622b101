"""The longform study as a whole run: written into a folder, with its page, resumable."""

import functools
from collections.abc import Callable
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.longform.charts import texts_chart
from glassesjax.studies.longform.measure import (
    LongformSettings,
    constants,
    measure,
    open_subject,
)
from glassesjax.studies.longform.page import headline, longform_page, values
from glassesjax.studies.longform.records import ROWS, LongformConstants, LongformRow
from glassesjax.studies.longform.summary import LongformSummary, summarize

LongformResult = Result[LongformRow, LongformConstants, LongformSummary]


def run_longform(
    settings: LongformSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> LongformResult:
    """Writes long texts from bounded states, into a folder with figures and page.

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
        fixed=fixed_fields("longform", settings, source),
        source=source,
        schema=ROWS,
        constants=constants(settings, subject),
        measure=lambda done: measure(settings, subject, done),
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[LongformRow, LongformConstants]) -> LongformResult:
    """A run with its summary and figures.

    Returns:
      Its figure is ``texts``.
    """
    summary = summarize(run)
    draw = functools.partial(texts_chart, run.rows, summary)

    def files() -> dict[str, str]:
        narrow = functools.partial(draw, narrow=True)
        figure = plot("texts", draw, narrow=narrow, rows=values(run.rows))
        page = longform_page(run, summary, figure)
        return {"figures/texts.svg": figure.file, "index.html": page}

    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures={"texts": draw},
        files=files,
    )
