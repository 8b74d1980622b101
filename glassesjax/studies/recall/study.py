"""The study recall as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import CONTINUES, WRITES, ModelStudy
from glassesjax.studies.recall.records import ROWS
from glassesjax.studies.recall.settings import RecallSettings

if TYPE_CHECKING:
    from glassesjax.studies.recall.run import RecallResult

STUDY: "ModelStudy[RecallSettings, RecallResult]" = ModelStudy(
    name="recall",
    settings=RecallSettings,
    module="glassesjax.studies.recall.run",
    notes=f"{WRITES} {CONTINUES} Needs the King James Bible.",
    steps=lambda settings, options: settings.steps,
    rows=ROWS,
)
