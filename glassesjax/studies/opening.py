"""From a study's settings to the model that they name: the one door of all studies."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from glassesjax.model.pretrained import TOY_POSITIONS, LanguageModel, is_toy, open_model


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


def open_one(settings: ModelSettings) -> LanguageModel:
    """The model that settings name, for a study of one positional encoding.

    Args:
      settings: A model's name and a seed; ``positions``, one name, where the study has the choice.

    Returns:
      The model; of the toy and of a run folder the decoder of ``settings.seed``.

    Raises:
      BadInput: The model cannot be opened, or has no decoder of that seed.
    """
    positions = getattr(settings, "positions", "none")
    return open_model(settings.model, positions=positions, seed=settings.seed)


def encodings(settings: ModelSettings) -> tuple[str, ...]:
    """The positional encodings that a study of several goes through.

    Args:
      settings: A model's name; ``positions``, any number of names.

    Returns:
      Those named, or all that the toy has, or ``own`` for a model with one encoding.
    """
    named = tuple(getattr(settings, "positions", ()))
    return named or (tuple(TOY_POSITIONS) if is_toy(settings.model) else ("own",))


def open_models(settings: ModelSettings) -> Iterator[tuple[str, LanguageModel]]:
    """Each positional encoding with the model that has it, for a study of several.

    Args:
      settings: As for ``encodings``.

    Yields:
      The name of the encoding, for the rows, and the model.

    Raises:
      BadInput: As ``open_one``.
    """
    for name in encodings(settings):
        toy = is_toy(settings.model)
        positions = name if toy else "none"
        model = open_model(settings.model, positions=positions, seed=settings.seed)
        yield name if toy else encoding_name(model), model


def encoding_name(model: LanguageModel, positions: str = "none") -> str:
    """What rows call a model's positional encoding.

    Args:
      model: Any.
      positions: What the settings say of the toy's.

    Returns:
      The toy's name for it, which also tells its window from having no positions; else the kind.
    """
    if is_toy(model.name):
        return positions
    return type(model.decoder.config.positions).__name__.lower()
