"""Every settings class with what makes one of it."""

import dataclasses

from glassesjax.studies.bounded.measure import BoundedSettings
from glassesjax.studies.collapse.measure import CollapseSettings
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.influence.measure import InfluenceSettings
from glassesjax.studies.longform.measure import LongformSettings
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.recall.measure import RecallSettings
from glassesjax.studies.retention.measure import RetentionSettings
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.settings import SweepSettings
from glassesjax.surveys.sweep.study import SweepOptions
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.tasks.task import LengthMix
from proofs_numeric.verify.settings import VerifySettings

MADE = {
    BoundedSettings: {"model": "toy"},
    CollapseSettings: {"model": "toy"},
    GenerateSettings: {"model": "toy", "prompt": ("1",)},
    InfluenceSettings: {"model": "toy"},
    LongformSettings: {"model": "toy"},
    PerplexitySettings: {"model": "toy"},
    RecallSettings: {"model": "smollm2"},
    RetentionSettings: {"model": "toy"},
    SweepSettings: {"grid": ("steps=2",)},
    TrainSettings: {"task": "count_ones"},
    VerifySettings: {},
    SweepOptions: {},
    PromptFormat: {},
    LengthMix: {"low": 1, "high": 2},
}


def made(kind, /, **fields):
    """Settings past the checks of types that only tests have, as a user would make them."""
    settings = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(settings, field.name, fields.get(field.name, field.default))
    settings.__post_init__()
    return settings
