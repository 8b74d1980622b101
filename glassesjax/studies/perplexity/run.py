"""A run of the perplexity study: opening of its inputs, and the result of its rows."""

import dataclasses
import functools

from glassesjax.model.tiling import TILING
from glassesjax.report.render import answer, page_files
from glassesjax.runs.fill import Opened
from glassesjax.runs.formats import rounding_name
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.perplexity.charts import figures_of
from glassesjax.studies.perplexity.measure import measure
from glassesjax.studies.perplexity.page import TEXTS, drawn, perplexity_page
from glassesjax.studies.perplexity.records import PerplexityConstants, PerplexityRow
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.subject import open_subject
from glassesjax.studies.perplexity.summary import PerplexitySummary, summarize

PerplexityResult = Result[PerplexityRow, PerplexityConstants, PerplexitySummary]


def open_run(settings: PerplexitySettings) -> Opened[PerplexityRow, PerplexityConstants]:
    """A model and a text, which is read under bounded states."""
    subject = open_subject(settings)
    # Of several formats each row says its own.
    plan, *others = settings.plans.values()
    arithmetic = {"dtype": plan.dtype.name, "rounding": rounding_name(plan)}
    constants = model_constants(
        PerplexityConstants,
        "perplexity",
        settings,
        subject.model,
        # The first window is the longest. The tiling has the chunk of the setting.
        window_tokens=len(subject.windows[0]),
        tiling=str(dataclasses.replace(TILING, prefill_chunk=settings.chunk)),
        position_ids=settings.position_ids,
        **(dict.fromkeys(arithmetic) if others else arithmetic),
    )
    return Opened(
        source=subject.model.source,
        read={"read": b"".join(window.tobytes() for window in subject.windows)},
        constants=constants,
        measure=lambda done: measure(settings, subject, done),
    )


def result(run: Run[PerplexityRow, PerplexityConstants]) -> PerplexityResult:
    """A run with its summary and figures.

    Returns:
      Its figures are those of ``figures_of``.

    Raises:
      BadInput: There is no segment of the text that all policies have read.
    """
    summary = summarize(run)
    figures = figures_of(summary)
    return Result(
        run=run,
        summary=summary,
        headline=answer("glassesjax.studies.perplexity", summary, **TEXTS),
        figures=figures,
        files=lambda: page_files(
            drawn(summary, figures),
            functools.partial(perplexity_page, run, summary),
        ),
    )
