"""The study bounded as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.study import CONTINUES, WRITES, ModelStudy
from glassesjax.studies.bounded.records import ROWS
from glassesjax.studies.bounded.settings import BoundedSettings

if TYPE_CHECKING:
    from glassesjax.studies.bounded.run import BoundedResult
    from glassesjax.studies.bounded.summary import BoundedSummary


def _violations(summary: "BoundedSummary") -> Sequence[str]:
    from glassesjax.report.render import failure_lines

    lines = failure_lines("glassesjax.studies.bounded", summary.violations)
    return [*summary.passes.failures, *lines]


STUDY: "ModelStudy[BoundedSettings, BoundedResult]" = ModelStudy(
    name="bounded",
    settings=BoundedSettings,
    module="glassesjax.studies.bounded.run",
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that something is measured that cannot be: see the page.",
    steps=lambda settings, options: settings.steps,
    rows=ROWS,
    violations=_violations,
)
