"""The study collapse as one value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassesjax.runs.study import CONTINUES, WRITES, ModelStudy
from glassesjax.studies.collapse.records import ROWS
from glassesjax.studies.collapse.settings import CollapseSettings

if TYPE_CHECKING:
    from glassesjax.studies.collapse.run import CollapseResult
    from glassesjax.studies.collapse.summary import CollapseSummary


def _violations(summary: "CollapseSummary") -> Sequence[str]:
    from glassesjax.report.render import failure_lines

    lines = failure_lines("glassesjax.studies.collapse", summary.violations)
    return [*summary.passes.failures, *lines]


STUDY: "ModelStudy[CollapseSettings, CollapseResult]" = ModelStudy(
    name="collapse",
    settings=CollapseSettings,
    module="glassesjax.studies.collapse.run",
    steps=lambda settings, options: (
        len(settings.encodings) * len(settings.formats) * len(settings.families)
    ),
    notes=f"{WRITES} {CONTINUES}"
    " Exit status 1 says that an inequality of Theorem 4.2 is exceeded in a layer, or that a pass"
    " is not finite.",
    rows=ROWS,
    violations=_violations,
)
