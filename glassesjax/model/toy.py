"""The toy decoder with random weights: its name, positional encodings and settings."""

from collections.abc import Mapping

from glassesjax.errors import BadInput
from glassesjax.model.config import (
    Alibi,
    Causal,
    DecoderConfig,
    DenseMlp,
    Learned,
    NoPositions,
    Positions,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.names import PACKAGED
from glassesjax.tasks.sequences import SYMBOLS

TOY_LENGTH = 8192  # positions that the toy's learned table has
TOY_WINDOW = 64

# Encodings of ``toy``; ``window`` is a mask, used instead of an encoding.
TOY_POSITIONS: Mapping[str, Positions] = {
    "none": NoPositions(),
    "sinusoidal": Sinusoidal(),
    "sinusoidal_query_key": Sinusoidal(where="query_key"),
    "learned": Learned(max_length=TOY_LENGTH),
    "rotary": Rotary(),
    "alibi": Alibi(slopes=(0.1,)),  # one head
    "window": NoPositions(),
}


def is_toy(name: str) -> bool:
    """Whether a name is that of the toy, the one model with a choice of positions.

    Args:
      name: As for ``open_model``.

    Returns:
      True for ``toy`` and ``packaged:toy``.
    """
    return name.removeprefix(PACKAGED) == "toy"


def encodings(model: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The positional encodings of a study of several.

    Args:
      model: Name of the model.
      named: Encodings of the settings.

    Returns:
      Those named, or all that the toy has, or ``own`` for a model with one encoding.
    """
    return named or (tuple(TOY_POSITIONS) if is_toy(model) else ("own",))


def toy_config(positions: str) -> DecoderConfig:
    """Settings of the toy's decoder.

    Args:
      positions: One of ``TOY_POSITIONS``.

    Returns:
      The settings.

    Raises:
      BadInput: No such positions.
    """
    if positions not in TOY_POSITIONS:
        expected = f"Expected positions out of {', '.join(TOY_POSITIONS)}"
        raise BadInput(f"{expected}, got {positions!r}: choose one.")
    return DecoderConfig(
        vocab_size=len(SYMBOLS),
        num_layers=3,
        num_heads=1,
        model_dim=64,
        positions=TOY_POSITIONS[positions],
        mask=Window(width=TOY_WINDOW) if positions == "window" else Causal(),
        norm=RMSNorm(),
        mlp=DenseMlp(dim=128),
        embed_scale=8.0,  # the root of the width: coordinates of size one
        max_length=TOY_LENGTH,
    )
