"""The influence study as a whole run: measured into a folder, with its page, resumable."""

import functools
from collections.abc import Callable
from pathlib import Path

from glassesjax.report.render import plot
from glassesjax.runs.fill import fill, fixed_fields
from glassesjax.runs.run import Result, Run
from glassesjax.studies.influence.charts import figures_of, influence_chart
from glassesjax.studies.influence.measure import constants, measure, open_subject
from glassesjax.studies.influence.page import headline, influence_page, values
from glassesjax.studies.influence.profiles import profiles_of
from glassesjax.studies.influence.records import ROWS, InfluenceConstants, InfluenceRow
from glassesjax.studies.influence.rows import passages_text
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.studies.influence.summary import InfluenceSummary, summarize

InfluenceResult = Result[InfluenceRow, InfluenceConstants, InfluenceSummary]


def run_influence(
    settings: InfluenceSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> InfluenceResult:
    """Measures the influence of each token, and its bounds, into a folder with figures and page.

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
        fixed=fixed_fields("influence", settings, source, passages_text(subject.passages).encode()),
        source=source,
        schema=ROWS,
        constants=constants(settings, subject.model),
        measure=lambda done: measure(settings, subject, done),
        result=result,
        command=command,
        advance=advance,
    )


def result(run: Run[InfluenceRow, InfluenceConstants]) -> InfluenceResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``influence`` and those of the page's folds, all of the first passage.

    Raises:
      BadInput: There is no whole kind of attention.
    """
    profiles, summary = profiles_of(run)[0], summarize(run)
    figures = figures_of(profiles)

    def files() -> dict[str, str]:
        narrow = functools.partial(influence_chart, profiles, narrow=True)
        wide = figures["influence"]
        drawn = {name: plot(name, draw) for name, draw in figures.items() if draw is not wide}
        drawn["influence"] = plot("influence", wide, narrow=narrow, rows=values(profiles))
        page = influence_page(run, summary, profiles, drawn)
        return {**{f"figures/{n}.svg": each.file for n, each in drawn.items()}, "index.html": page}

    return Result(
        run=run, summary=summary, headline=headline(summary), figures=figures, files=files
    )
