"""The study influence as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.study import CONTINUES, WRITES, ModelStudy
from glassesjax.studies.influence.records import ROWS
from glassesjax.studies.influence.settings import InfluenceSettings

if TYPE_CHECKING:
    from glassesjax.studies.influence.run import InfluenceResult
    from glassesjax.studies.influence.summary import InfluenceSummary


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
    # The bounds, and each kind of attention for each passage, of which a short text has fewer.
    steps=lambda settings, options: (
        1
        + len(settings.attention)
        * (1 if settings.prompt else settings.passages * max(len(settings.text), 1))
    ),
    rows=ROWS,
    violations=_violations,
)
