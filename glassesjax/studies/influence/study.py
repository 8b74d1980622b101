"""The study influence as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import CONTINUES, WRITES, Call, Options, Study, model_part
from glassesjax.studies.influence.records import ROWS, InfluenceConstants, InfluenceRow
from glassesjax.studies.influence.settings import InfluenceSettings

if TYPE_CHECKING:
    from glassesjax.studies.influence.summary import InfluenceSummary


def _run(
    settings: InfluenceSettings, options: Options, call: Call
) -> "Result[InfluenceRow, InfluenceConstants, InfluenceSummary]":
    from glassesjax.studies.influence.run import run_influence

    return run_influence(settings, call.out, command=call.command, advance=call.advance)


def _result(
    run: Run[InfluenceRow, InfluenceConstants],
) -> "Result[InfluenceRow, InfluenceConstants, InfluenceSummary]":
    from glassesjax.studies.influence.run import result

    return result(run)


def _violations(summary: "InfluenceSummary") -> Sequence[str]:
    return summary.failures


def _steps(settings: InfluenceSettings, options: Options) -> int:
    texts = 1 if settings.prompt else settings.passages * max(len(settings.text), 1)
    return 1 + len(settings.attention) * texts  # the bounds; a short text has fewer passages


STUDY = Study(
    name="influence",
    settings=InfluenceSettings,
    options=Options,
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that a bound is exceeded that must hold: the repaired one, or the"
    " printed one with attention held fixed; or that a pass is not finite.",
    folder_part=lambda settings: model_part(settings.model),
    steps=_steps,
    run=_run,
    rows=ROWS,
    result=_result,
    violations=_violations,
)
