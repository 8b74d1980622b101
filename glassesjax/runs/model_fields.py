"""What all rows of a run of a model have in common, out of settings and model."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from glassesjax.cache.obstacles import RANDOM_DIGITS
from glassesjax.cache.readable import ranking_obstacle
from glassesjax.model.language import LanguageModel
from glassesjax.model.opening import encoding_name
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.runs.constants import DTYPES, ModelConstants, with_settings
from glassesjax.tasks.text import DEFAULT_TEXT

ConstantsT = TypeVar("ConstantsT", bound=ModelConstants)


def model_constants(
    kind: type[ConstantsT],
    study: str,
    settings: Any,  # noqa: ANN401  (a dataclass)
    model: LanguageModel,
    **others: object,
) -> ConstantsT:
    """What all rows of a process have in common.

    Args:
      kind: ``ModelConstants`` or a class that adds to it. What model and settings tell of it is
        filled in by name; what has the name of a setting is that setting.
      study: The verb.
      settings: Of the study.
      model: Which is measured; of several that differ in their encoding, any.
      **others: The other fields, and those that do not have the setting's value.
    """
    symbols = isinstance(model.tokenizer, SymbolTokenizer)
    known: dict[str, Callable[[], object]] = {
        "study": lambda: study,
        "model": lambda: model.name,
        "weights": lambda: model.source.get("weights"),
        "weights_sha256": lambda: model.source.get("weights_sha256"),
        "model_seed": lambda: model.seed,
        "model_dim": lambda: model.config.model_dim,
        "num_layers": lambda: model.config.num_layers,
        "positions": lambda: encoding_name(model, getattr(settings, "positions", "none")),
        "dtype": lambda: DTYPES[settings.format],
        "rounding": lambda: "none",
        "text": lambda: RANDOM_DIGITS if symbols else settings.text or DEFAULT_TEXT,
        "ranking_obstacle": lambda: ranking_obstacle(model),
    }
    names = {field.name for field in dataclasses.fields(kind)} & known.keys() - others.keys()
    return with_settings(kind, settings, **{name: known[name]() for name in names}, **others)
