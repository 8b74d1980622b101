"""What all rows of a run of a model have in common, out of settings and model."""

import dataclasses
from typing import Any, TypeVar

from glassesjax.model.language import LanguageModel
from glassesjax.model.opening import encoding_name
from glassesjax.runs.constants import ModelConstants, with_settings

ConstantsT = TypeVar("ConstantsT", bound=ModelConstants)

DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16"}


def model_constants(
    kind: type[ConstantsT],
    study: str,
    settings: Any,  # noqa: ANN401  (a dataclass)
    model: LanguageModel,
    **others: object,
) -> ConstantsT:
    """What all rows of a process have in common.

    Args:
      kind: ``ModelConstants`` or a class that adds to it. Of its fields ``positions``, ``dtype``,
        ``num_layers`` and ``rounding`` are known of model and settings; what has the name of a
        setting is that setting.
      study: The verb.
      settings: Of the study.
      model: Which is measured; of several that differ in their encoding, any.
      **others: The other fields, and those that do not have the setting's value.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    known = {
        "study": study,
        "model": model.name,
        "weights": model.source.get("weights"),
        "weights_sha256": model.source.get("weights_sha256"),
        "model_seed": model.seed,
        "model_dim": model.config.model_dim,
        "num_layers": model.config.num_layers,
        "rounding": "none",
    }
    if "dtype" in names:
        known["dtype"] = DTYPES[settings.format]
    if "positions" in names:
        known["positions"] = encoding_name(model, getattr(settings, "positions", "none"))
    mine = {name: value for name, value in known.items() if name in names}
    return with_settings(kind, settings, **mine, **others)
