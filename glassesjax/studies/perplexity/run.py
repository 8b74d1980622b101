"""The perplexity study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.perplexity.charts import figures_of, ratios_chart
from glassesjax.studies.perplexity.measure import constants, measure
from glassesjax.studies.perplexity.page import headline, perplexity_page, segments
from glassesjax.studies.perplexity.records import ROWS, PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.subject import open_subject
from glassesjax.studies.perplexity.summary import PerplexitySummary, summarize

PerplexityResult = Result[PerplexityRow, PerplexityConstants, PerplexitySummary]


def run_perplexity(
    settings: PerplexitySettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> PerplexityResult:
    """Measures the perplexity of a text under bounded states, into a folder with figures and page.

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
    source, read = subject.model.source, b"".join(window.tobytes() for window in subject.windows)
    return fill(
        out,
        fixed=fixed_fields("perplexity", settings, source, read),
        source=source,
        schema=ROWS,
        constants=constants(settings, subject),
        measure=lambda done: measure(settings, subject, done),
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[PerplexityRow, PerplexityConstants]) -> PerplexityResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``ratios``, and by size ``positions-SLOTS``.

    Raises:
      BadInput: There is no segment of the text that all policies have read.
    """
    summary = summarize(run)
    figures = figures_of(summary)

    def files() -> dict[str, str]:
        narrow = functools.partial(ratios_chart, summary, narrow=True)
        drawn = {name: plot(name, draw) for name, draw in figures.items() if name != "ratios"}
        first = plot("ratios", figures["ratios"], narrow=narrow, rows=segments(summary))
        drawn = {"ratios": first, **drawn}
        page = perplexity_page(run, summary, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
