"""Opens the model that a study's settings name, for all studies.

A study opens the model's header, validates settings, disk and header, and then reads the weights.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from jax.sharding import Mesh

from glassesjax.errors import BadInput
from glassesjax.memory import check_memory
from glassesjax.model.by_layer import PositionsByLayer
from glassesjax.model.config import DecoderConfig
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.pretrained import open_header
from glassesjax.model.sharding import check_threads, device_mesh
from glassesjax.model.stored_config import kind_name
from glassesjax.model.toy import encodings, is_toy
from glassesjax.model.weights import decoder_bytes
from glassesjax.precision.wide import check_float64


@runtime_checkable
class ModelSettings(Protocol):
    """The part of a study's settings that names a model."""

    @property
    def model(self) -> str:
        """A name or a path, as for ``open_model``."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the decoder, if the name has several."""
        ...

    @property
    def devices(self) -> int:
        """Number of devices that share the weights."""
        ...


@runtime_checkable
class ModelsSettings(ModelSettings, Protocol):
    """The part that names a model with any number of positional encodings."""

    @property
    def positions(self) -> tuple[str, ...]:
        """Positional encodings of the toy, each a model; empty for another model."""
        ...


@runtime_checkable
class FormatSettings(Protocol):
    """The part that names the format of all arithmetic."""

    @property
    def format(self) -> str:
        """Such as f64."""
        ...


def open_one(settings: ModelSettings, positions: str) -> ModelHeader:
    """Header of the model that settings name, for a study of one positional encoding.

    Args:
      settings: A model's name and a seed.
      positions: Positional encoding of the toy; ``none`` for a study that does not have the choice.

    Returns:
      Its header; of the toy and of a run folder that of the decoder of ``settings.seed``.

    Raises:
      BadInput: The model cannot be opened, or has no decoder of that seed; ``format`` is f64, and
        the backend has no float64; there are fewer devices, or those of a CPU lack threads.
    """
    if isinstance(settings, FormatSettings) and settings.format == "f64":
        check_float64("--format f64", "use --format f32, or set JAX_PLATFORMS=cpu")
    mesh = None if settings.devices == 1 else device_mesh(settings.devices)
    if mesh is not None:
        check_threads(mesh)
    header = open_header(settings.model, mesh=mesh, positions=positions, seed=settings.seed)
    weights = f"the weights of {header.name}"
    needed = decoder_bytes(header.config, header.itemsize)
    check_memory(needed, weights, "choose a smaller model", parts=_memories(mesh))
    return header


def _memories(mesh: Mesh | None) -> int:
    """Number of memories that hold the weights together: all devices of a CPU have the host's."""
    if mesh is None or mesh.devices.flat[0].platform == "cpu":
        return 1
    return mesh.devices.size


def open_headers(settings: ModelsSettings) -> Iterator[tuple[str, ModelHeader]]:
    """Each positional encoding with its model's header, for a study of several.

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
    """Number of tokens of a text to encode, if more than the context are an error.

    Args:
      most: Limit of the settings.
      config: Settings of the model.

    Returns:
      At most one more than the context, which is enough to detect a text that is too long.
    """
    context = config.max_length
    return most if context is None else min(most, context + 1)


def whole_prompt(tokens: Iterable[int], most: int, config: DecoderConfig) -> tuple[int, ...]:
    """The tokens of a prompt, which is read whole or refused.

    Args:
      tokens: Of the prompt; lazily, where it is a text.
      most: ``--max-tokens`` of the settings.
      config: Settings of the model.

    Returns:
      All of them; of a prompt beyond the context the first that do not fit, too.

    Raises:
      BadInput: They are more than ``most``.
    """
    limit = min(reading_limit(most + 1, config), sys.maxsize)
    read = tuple(itertools.islice(tokens, limit))
    if len(read) > most:
        expected = f"Expected a prompt of at most {most} tokens, the --max-tokens, got more"
        raise BadInput(f"{expected}: use a higher --max-tokens or a shorter prompt.")
    return read


def check_unread(text: object, model: str) -> None:
    """Raises an error for a text that would be ignored: a model of symbols gets random digits.

    Args:
      text: The text of the settings; None if absent.
      model: Its name, for the message.

    Raises:
      BadInput: A text was given.
    """
    if text:
        expected = f"Expected --text with a model that reads text, got {model}"
        raise BadInput(f"{expected}, which takes random digits: leave --text out.")


def encoding_name(model: ModelHeader | LanguageModel, positions: str = "none") -> str:
    """Name of a model's positional encoding in rows.

    Args:
      model: Any model.
      positions: The toy's encoding in the settings.

    Returns:
      For the toy its name, which distinguishes the window from no positions; otherwise the kind, or
      the kinds of all layers where they differ, such as ``rotary+nopositions``.
    """
    if is_toy(model.name):
        return positions
    given = model.config.positions
    layers = given.layers if isinstance(given, PositionsByLayer) else (given,)
    return "+".join(dict.fromkeys(kind_name(each).lower() for each in layers))
