"""A run of the collapse study: opening of its inputs, and the result of its rows."""

import functools
from collections.abc import Iterator

from glassesjax.model.opening import open_headers
from glassesjax.report.render import page_files, plots
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.fill import Done, Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.collapse.charts import Look, figures_of
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.measure import lay_out, measure, reference_precision
from glassesjax.studies.collapse.page import collapse_page, headline, values
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.collapse.summary import CollapseSummary, summarize

CollapseResult = Result[CollapseRow, ModelConstants, CollapseSummary]


def open_run(settings: CollapseSettings) -> Opened[CollapseRow, ModelConstants]:
    """Models by positional encoding; runs of n and n + 1 tokens are compared in each."""
    reference_precision(settings.formats)  # refuses what it cannot serve
    headers = list(open_headers(settings))
    lay_out(settings, headers[0][1])  # prompts that do not fit are found before a weight is read
    models = [(positions, header.read()) for positions, header in headers]

    def steps(done: Done) -> Iterator[tuple[str, list[CollapseRow]]]:
        for positions, model in models:
            for cell, rows in measure(settings, positions, model, done):
                yield " ".join(cell), rows

    model = models[0][1]
    return Opened(
        source=model.source,
        constants=model_constants(ModelConstants, "collapse", settings, model),
        measure=steps,
    )


def result(run: Run[CollapseRow, ModelConstants]) -> CollapseResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``distance``, and by encoding those of the page's folds.
    """
    summary = summarize(run)
    look = Look(Curves(run), summary)
    figures = figures_of(look)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="distance", rows=values(look)),
            functools.partial(collapse_page, run, summary, look),
        ),
    )
