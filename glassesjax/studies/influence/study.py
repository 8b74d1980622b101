"""The study influence as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.study import CONTINUES, WRITES, ModelStudy, Options
from glassesjax.studies.influence.records import ROWS
from glassesjax.studies.influence.settings import InfluenceSettings

if TYPE_CHECKING:
    from glassesjax.studies.influence.run import InfluenceResult
    from glassesjax.studies.influence.summary import InfluenceSummary


def _steps(settings: InfluenceSettings, options: Options) -> int:
    texts = 1 if settings.prompt else settings.passages * max(len(settings.text), 1)
    return 1 + len(settings.attention) * texts  # the bounds; a short text has fewer passages


def _violations(summary: "InfluenceSummary") -> Sequence[str]:
    from glassesjax.report.render import failure_lines

    exceeded = [summary.violations] if summary.violations else []
    lines = failure_lines("glassesjax.studies.influence", exceeded)
    return [*summary.passes.failures, *lines]


STUDY: "ModelStudy[InfluenceSettings, InfluenceResult]" = ModelStudy(
    name="influence",
    settings=InfluenceSettings,
    module="glassesjax.studies.influence.run",
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that a bound is exceeded that must hold: the repaired one, or the"
    " printed one with attention held fixed; or that a pass is not finite.",
    steps=_steps,
    rows=ROWS,
    violations=_violations,
)
