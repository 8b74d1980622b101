"""Constants of a run of a model, from its settings and the model."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from glassesjax.cache.obstacles import RANDOM_DIGITS
from glassesjax.cache.readable import ranking_obstacle
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import LanguageModel
from glassesjax.model.opening import encoding_name
from glassesjax.model.prompts import FamilyPrompt
from glassesjax.model.tiling import TILING
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import RoundingPlan
from glassesjax.runs.constants import ModelConstants, with_settings
from glassesjax.runs.formats import rounding_name
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.tasks.text import DEFAULT_TEXT
from glassesjax.trace.overflow import first_overflow

LOOKED = 256  # first tokens of a text in which an overflow is looked for, by a dense pass

ConstantsT = TypeVar("ConstantsT", bound=ModelConstants)
RowT = TypeVar("RowT")


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
        "dtype": lambda: settings.plan.dtype.name,
        "rounding": lambda: rounding_name(settings.plan),
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


def with_overflow(
    rows: Iterable[RowT], is_lost: Callable[[RowT], bool], find: Callable[[], OverflowFields | None]
) -> list[RowT]:
    """Rows with where the pass overflows first, in those that are not finite.

    Args:
      rows: Dataclasses with a field ``overflow``.
      is_lost: Whether a row is not finite.
      find: Gives what these rows record; called where there is one.
    """
    every: list[Any] = list(rows)
    if not any(map(is_lost, every)):
        return every
    first = find()
    return [dataclasses.replace(r, overflow=first) if is_lost(r) else r for r in every]


def overflow_fields(
    decoder: Decoder, plan: RoundingPlan, tokens: Sequence[int] | np.ndarray
) -> OverflowFields | None:
    """What a row records of a pass that is not finite.

    Args:
      decoder: The model as it was read.
      plan: The rounding plan of the pass.
      tokens: The text.

    Returns:
      Where it overflows first; None where the pass over the first tokens is finite, or no site can
      be named.
    """
    first = first_overflow(decoder, plan, jnp.asarray(tokens[:LOOKED], jnp.int32))
    if first is None:
        return None
    return OverflowFields(overflow_site=str(first.site), overflow_layer=first.layer)
