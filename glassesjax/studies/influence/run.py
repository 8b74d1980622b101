"""A run of the influence study: opening of its inputs, and the result of its rows."""

import functools

from glassesjax.report.render import page_files, plots
from glassesjax.runs.fill import Opened
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.run import Result, Run
from glassesjax.studies.influence.charts import figures_of
from glassesjax.studies.influence.measure import measure, open_subject
from glassesjax.studies.influence.page import headline, influence_page, values
from glassesjax.studies.influence.profiles import profiles_of
from glassesjax.studies.influence.records import InfluenceConstants, InfluenceRow
from glassesjax.studies.influence.rows import passages_text
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.studies.influence.summary import InfluenceSummary, summarize

InfluenceResult = Result[InfluenceRow, InfluenceConstants, InfluenceSummary]


def open_run(settings: InfluenceSettings) -> Opened[InfluenceRow, InfluenceConstants]:
    """A model and passages, in which the influence of each token is measured."""
    subject = open_subject(settings)
    constants = model_constants(
        InfluenceConstants,
        "influence",
        settings,
        subject.model,
        probes=settings.probes if settings.method == "estimated" else None,
        norm="operator_l2",
    )
    return Opened(
        source=subject.model.source,
        read={"read": passages_text(subject.passages).encode()},
        constants=constants,
        measure=lambda done: measure(settings, subject, done),
    )


def result(run: Run[InfluenceRow, InfluenceConstants]) -> InfluenceResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``influence`` and those of the page's folds, all of the first passage.

    Raises:
      BadInput: There is no whole kind of attention.
    """
    # Figures are of the first passage; the summary is over all.
    profiles, summary = profiles_of(run)[0], summarize(run)
    figures = figures_of(profiles)
    return Result(
        run=run,
        summary=summary,
        headline=headline(summary),
        figures=figures,
        files=lambda: page_files(
            plots(figures, hero="influence", linear=True, rows=values(profiles)),
            functools.partial(influence_page, run, summary, profiles),
        ),
    )
