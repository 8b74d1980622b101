"""The study longform as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import ModelStudy
from glassesjax.studies.longform.records import ROWS
from glassesjax.studies.longform.settings import LongformSettings

if TYPE_CHECKING:
    from glassesjax.studies.longform.run import LongformResult

STUDY: "ModelStudy[LongformSettings, LongformResult]" = ModelStudy(
    name="longform",
    settings=LongformSettings,
    module="glassesjax.studies.longform.run",
    steps=lambda settings, options: settings.steps,
    rows=ROWS,
)
