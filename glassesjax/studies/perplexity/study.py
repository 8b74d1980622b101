"""The study perplexity as one value."""

from typing import TYPE_CHECKING

from glassesjax.runs.study import ModelStudy
from glassesjax.studies.perplexity.records import ROWS
from glassesjax.studies.perplexity.settings import PerplexitySettings

if TYPE_CHECKING:
    from glassesjax.studies.perplexity.run import PerplexityResult

STUDY: "ModelStudy[PerplexitySettings, PerplexityResult]" = ModelStudy(
    name="perplexity",
    settings=PerplexitySettings,
    module="glassesjax.studies.perplexity.run",
    steps=lambda settings, options: settings.steps,
    rows=ROWS,
)
