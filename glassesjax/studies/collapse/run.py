"""The collapse study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from glassesjax.model.opening import open_headers
from glassesjax.report.render import plot
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.fill import Done, fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.collapse.charts import Look, figures_of, first_chart
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.measure import constants, lay_out, measure
from glassesjax.studies.collapse.page import collapse_page, headline, values
from glassesjax.studies.collapse.records import ROWS, CollapseRow
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.collapse.summary import CollapseSummary, summarize

CollapseResult = Result[CollapseRow, ModelConstants, CollapseSummary]


def run_collapse(
    settings: CollapseSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> CollapseResult:
    """Measures how far apart runs of n and n + 1 tokens are, into a folder with figures and page.

    Args:
      settings: What to measure.
      out: The run folder; one that holds the same run is continued.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.

    Raises:
      BadInput: Something is wrong with the settings, the model, what it reads or the folder. What
        the settings and the model can tell is known before anything is written.
    """
    headers = list(open_headers(settings))
    lay_out(settings, headers[0][1])  # prompts that do not fit are found before a weight is read
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Iterator[tuple[str, list[CollapseRow]]]:
        for positions, model in models:
            for cell, rows in measure(settings, positions, model, done):
                yield " ".join(cell), rows

    source = models[0][1].source
    return fill(
        out,
        fixed=fixed_fields("collapse", settings, source),
        source=source,
        schema=ROWS,
        constants=constants(settings, models[0][1]),
        measure=steps,
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[CollapseRow, ModelConstants]) -> CollapseResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``distance``, and by encoding those of the page's folds.
    """
    summary = summarize(run)
    look = Look(Curves(run), summary)
    figures = figures_of(look)

    def files() -> dict[str, str]:
        narrow = functools.partial(first_chart, look, narrow=True)
        drawn = {name: plot(name, draw) for name, draw in figures.items() if name != "distance"}
        first = plot("distance", figures["distance"], narrow=narrow, rows=values(look))
        drawn = {"distance": first, **drawn}
        page = collapse_page(run, summary, look, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
