"""The study retention as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import ModelStudy
from glassesjax.studies.retention.records import ROWS
from glassesjax.studies.retention.settings import RetentionSettings

if TYPE_CHECKING:
    from glassesjax.studies.retention.run import RetentionResult

STUDY: "ModelStudy[RetentionSettings, RetentionResult]" = ModelStudy(
    name="retention",
    settings=RetentionSettings,
    module="glassesjax.studies.retention.run",
    steps=lambda settings, options: len(settings.policies) * len(settings.slots),
    rows=ROWS,
)
