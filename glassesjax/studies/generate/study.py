"""The study generate as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import ModelStudy
from glassesjax.studies.generate.records import ROWS
from glassesjax.studies.generate.settings import FIX_NOTHING, GenerateSettings

if TYPE_CHECKING:
    from glassesjax.studies.generate.run import GenerateResult

STUDY: "ModelStudy[GenerateSettings, GenerateResult]" = ModelStudy(
    name="generate",
    settings=GenerateSettings,
    module="glassesjax.studies.generate.run",
    notes="Prints the text as it comes, and writes a run folder with settings.json,"
    " provenance.json, rows.jsonl, summary.json and index.html. A run that was stopped starts again"
    " with the same command.",
    fix_nothing=FIX_NOTHING,
    rows=ROWS,
)
