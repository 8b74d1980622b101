"""Rounding plans by name, as used by commands and rows."""

from collections.abc import Mapping

from glassesjax.errors import BadInput
from glassesjax.precision.formats import F32
from glassesjax.precision.integers import number_format
from glassesjax.precision.plan import PLACES, RoundingPlan

NATIVE = "native-"
GROUPS: Mapping[str, tuple[str, ...]] = {
    **{place: (place,) for place in PLACES},
    "attention": ("attn_logits", "attn_weights"),
    "passes": tuple(place for place in PLACES if place != "weights"),
}


def named_plan(text: str) -> RoundingPlan:
    """A rounding plan by name: ``FORMAT[@PLACE[+PLACE]...]``, or ``native-FORMAT``.

    ``bf16`` rounds everywhere, ``int4@weights`` only the weights, ``e4m3fn@passes`` all but the
    weights, and ``bf16@weights+residual+activations`` leaves attention and output in float32.
    ``f32`` rounds nowhere. ``native-bf16`` stores arrays of that dtype instead of rounding.

    Args:
      text: The name. Places are those of ``RoundingPlan``, ``attention`` for logits and weights of
        the attention, and ``passes`` for all but the weights.

    Returns:
      The plan, its carrier float32.

    Raises:
      BadInput: There is no such format or place, or float32 does not contain the format.
    """
    name, at, places = text.partition("@")
    try:
        if name.startswith(NATIVE) and not at:
            fmt = number_format(name.removeprefix(NATIVE))
            return RoundingPlan.everywhere(fmt, mode="native", carrier=F32)
        chosen = _places(places) if at else PLACES
        if (fmt := number_format(name)) == F32:
            return RoundingPlan.wide()
        return RoundingPlan(**dict.fromkeys(chosen, fmt), mode="simulated", carrier=F32)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"Wanted FORMAT, FORMAT@PLACE or native-FORMAT; {text!r}: {error}") from None


def _places(text: str) -> tuple[str, ...]:
    words = text.split("+")
    for word in words:
        if word not in GROUPS:
            raise BadInput(f"Wanted places out of {', '.join(GROUPS)}; found {word!r}.")
    return tuple(place for word in words for place in GROUPS[word])
