"""The study collapse as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import ModelStudy
from glassesjax.studies.collapse.records import ROWS
from glassesjax.studies.collapse.settings import CollapseSettings

if TYPE_CHECKING:
    from glassesjax.studies.collapse.run import CollapseResult

STUDY: "ModelStudy[CollapseSettings, CollapseResult]" = ModelStudy(
    name="collapse",
    settings=CollapseSettings,
    module="glassesjax.studies.collapse.run",
    steps=lambda settings, options: (
        len(settings.encodings) * len(settings.formats) * len(settings.families)
    ),
    rows=ROWS,
)
