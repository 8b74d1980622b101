"""From a study's settings to the model that they name: the one door of all studies.

A study opens the model's header, looks at all that settings, disk and header can refuse, and only
then reads the weights.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from glassesjax.errors import BadInput
from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.pretrained import open_header
from glassesjax.model.stored_config import kind_name
from glassesjax.model.toy import encodings, is_toy
from glassesjax.model.weights import decoder_bytes


@runtime_checkable
class ModelSettings(Protocol):
    """The part of a study's settings that names a model."""

    @property
    def model(self) -> str:
        """A name or a path, as for ``open_model``."""
        ...

    @property
    def seed(self) -> int:
        """Which decoder, where the name has several."""
        ...


@runtime_checkable
class ModelsSettings(ModelSettings, Protocol):
    """The part that names a model with any number of positional encodings."""

    @property
    def positions(self) -> tuple[str, ...]:
        """Of the toy, each a model; none where the model has its own."""
        ...


def open_one(settings: ModelSettings, positions: str) -> ModelHeader:
    """The model that settings name, for a study of one positional encoding, unread.

    Args:
      settings: A model's name and a seed.
      positions: Positional encoding of the toy; ``none`` for a study that does not have the choice.

    Returns:
      Its header; of the toy and of a run folder that of the decoder of ``settings.seed``.

    Raises:
      BadInput: The model cannot be opened, or has no decoder of that seed.
    """
    header = open_header(settings.model, positions=positions, seed=settings.seed)
    weights = f"the float32 weights of {header.name}"
    check_memory(decoder_bytes(header.config), weights, "choose a smaller model")
    return header


def open_headers(settings: ModelsSettings) -> Iterator[tuple[str, ModelHeader]]:
    """Each positional encoding with the model that has it, unread, for a study of several.

    Args:
      settings: A model's name, a seed and positional encodings.

    Yields:
      The name of the encoding, for the rows, and the model's header.

    Raises:
      BadInput: As ``open_one``.
    """
    for name in encodings(settings.model, settings.positions):
        toy = is_toy(settings.model)
        header = open_one(settings, name if toy else "none")
        yield name if toy else encoding_name(header), header


def reading_limit(most: int, config: DecoderConfig) -> int:
    """How many tokens of a text are made where more than the context are refused.

    Args:
      most: As the settings say.
      config: Of the model.

    Returns:
      One over the context tells that there are too many; no more need be made.
    """
    context = config.max_length
    return most if context is None else min(most, context + 1)


def check_unread(text: object, model: str) -> None:
    """Refuses a text that would be passed over: a model of symbols gets random digits.

    Args:
      text: Of the settings; nothing where none was named.
      model: Its name, for the message.

    Raises:
      BadInput: One was named.
    """
    if text:
        expected = f"Expected --text with a model that reads text, got {model}"
        raise BadInput(f"{expected}, which takes random digits: leave --text out.")


def encoding_name(model: ModelHeader | LanguageModel, positions: str = "none") -> str:
    """What rows call a model's positional encoding.

    Args:
      model: Any.
      positions: What the settings say of the toy's.

    Returns:
      The toy's name for it, which also tells its window from having no positions; else the kind.
    """
    if is_toy(model.name):
        return positions
    return kind_name(model.config.positions).lower()
