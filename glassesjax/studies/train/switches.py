"""Parts of a decoder that a training names: positions, masks and temperatures."""

import re
from collections.abc import Mapping

from glassesjax.model import (
    Alibi,
    Bidirectional,
    Causal,
    Learned,
    NoPositions,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.model.config import (
    AdaptiveTemperature,
    ConstantTemperature,
    Mask,
    Positions,
    ScalableSoftmax,
    Temperature,
)

KEPT = 0.75  # share of the frequencies of rotary positions that p-rope keeps
POSITIONS: Mapping[str, Positions] = {
    "none": NoPositions(),
    "sinusoidal": Sinusoidal(),
    "sinusoidal_query_key": Sinusoidal(where="query_key"),
    "learned": Learned(max_length=1),
    "rotary": Rotary(),
    "p-rope": Rotary(fraction=KEPT, partial="spectrum"),
    "alibi": Alibi(),
}
TEMPERATURES: Mapping[str, Temperature] = {
    "constant": ConstantTemperature(),
    "scalable": ScalableSoftmax(),
    "adaptive": AdaptiveTemperature(),
}
MASKS = "causal, none, window-N"


def named_positions(name: str, room: int) -> Positions:
    """The positional encoding of that name.

    Args:
      name: A key of ``POSITIONS``.
      room: Tokens of the longest row; learned positions have a vector for each.
    """
    return Learned(max_length=room) if name == "learned" else POSITIONS[name]


def named_mask(name: str) -> Mask | None:
    """The mask of that name.

    Args:
      name: ``causal``, ``none``, or ``window-N``.
    """
    if match := re.fullmatch(r"window-([1-9][0-9]{0,8})", name):
        return Window(width=int(match[1]))
    return {"causal": Causal(), "none": Bidirectional()}.get(name)
