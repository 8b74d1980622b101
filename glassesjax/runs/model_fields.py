"""Constants of a run of a model, from its settings and the model."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from glassesjax.cache.obstacles import RANDOM_DIGITS
from glassesjax.cache.readable import ranking_obstacle
from glassesjax.model.language import LanguageModel
from glassesjax.model.opening import encoding_name
from glassesjax.model.prompts import FamilyPrompt
from glassesjax.model.tiling import TILING
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.runs.constants import DTYPES, ModelConstants, with_settings
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.tasks.text import DEFAULT_TEXT

ConstantsT = TypeVar("ConstantsT", bound=ModelConstants)


def model_constants(
    kind: type[ConstantsT],
    study: str,
    settings: Any,  # noqa: ANN401  (a dataclass)
    model: LanguageModel,
    **others: object,
) -> ConstantsT:
    """Fields shared by all rows of a process.

    Args:
      kind: ``ModelConstants`` or a subclass. Fields known from the model are filled in by name;
        fields with the name of a setting have its value.
      study: The verb.
      settings: Settings of the study.
      model: The measured model; of several that differ in their encoding, any.
      **others: The other fields, and those whose value differs from the setting's.
    """
    symbols = isinstance(model.tokenizer, SymbolTokenizer)
    known: dict[str, Callable[[], object]] = {
        "study": lambda: study,
        "model": lambda: model.name,
        "weights": lambda: model.source.get("weights"),
        "weights_sha256": lambda: model.source.get("weights_sha256"),
        "model_seed": lambda: model.seed,
        "model_dim": lambda: model.config.model_dim,
        "start_token": lambda: model.tokenizer.start_name,
        "tiling": lambda: str(TILING),
        "num_layers": lambda: model.config.num_layers,
        "positions": lambda: encoding_name(model, getattr(settings, "positions", "none")),
        "dtype": lambda: DTYPES[settings.format],
        "rounding": lambda: "none",
        "text": lambda: RANDOM_DIGITS if symbols else settings.text or DEFAULT_TEXT,
        "ranking_obstacle": lambda: ranking_obstacle(model),
    }
    names = {field.name for field in dataclasses.fields(kind)} & known.keys() - others.keys()
    return with_settings(kind, settings, **{name: known[name]() for name in names}, **others)


def prompt_text(shorter: FamilyPrompt, longer: FamilyPrompt) -> PromptText:
    """What a row records of its two prompts as text.

    Args:
      shorter: One prompt.
      longer: The other.
    """
    return PromptText(
        text_round_trips=shorter.text_round_trips and longer.text_round_trips,
        token_characters=longer.characters / longer.text_tokens,
    )
