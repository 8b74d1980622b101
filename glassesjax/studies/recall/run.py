"""The recall study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.recall.charts import depth_chart, figures_of
from glassesjax.studies.recall.measure import RecallSettings, constants, measure, open_subject
from glassesjax.studies.recall.page import headline, recall_page, values
from glassesjax.studies.recall.reading import readings_text
from glassesjax.studies.recall.records import ROWS, RecallConstants, RecallRow
from glassesjax.studies.recall.summary import RecallSummary, summarize

RecallResult = Result[RecallRow, RecallConstants, RecallSummary]


def run_recall(
    settings: RecallSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> RecallResult:
    """Asks for what was read, under bounded states, into a folder with figures and page.

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
        fixed=fixed_fields("recall", settings, source, readings_text(subject.readings).encode()),
        source=source,
        schema=ROWS,
        constants=constants(settings, subject),
        measure=lambda done: measure(settings, subject, done),
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[RecallRow, RecallConstants]) -> RecallResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``depth``, and ``slots-TASK-LENGTH`` of the page's fold.
    """
    summary = summarize(run)
    figures = figures_of(summary)

    def files() -> dict[str, str]:
        narrow = functools.partial(depth_chart, summary, narrow=True)
        first = plot("depth", figures["depth"], narrow=narrow, rows=values(summary))
        rest = {name: plot(name, draw) for name, draw in figures.items() if name != "depth"}
        drawn = {"depth": first, **rest}
        page = recall_page(run, summary, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
