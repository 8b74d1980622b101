"""Masks of a configuration: one for all layers, or one for each."""

from collections.abc import Sequence

from glassesjax.errors import brief
from glassesjax.model.by_layer import MaskByLayer
from glassesjax.model.config import Causal, Mask, Window
from glassesjax.model.families.keys import Keys

FULL, SLIDING = "full_attention", "sliding_attention"


def layer_types(keys: Keys, num_layers: int, default: Sequence[str]) -> Sequence[str]:
    """The kind of each layer.

    Args:
      keys: The configuration.
      num_layers: Number of layers.
      default: The family's rule, where the configuration has no list.

    Raises:
      BadInput: Not one kind for each layer, or another kind than of full and sliding attention.
    """
    kinds = keys.listed("layer_types", num_layers) or list(default)
    for kind in kinds:
        if kind not in (FULL, SLIDING):
            raise keys.refusal(f"layer_types of {FULL} and {SLIDING}", brief(kind))
    return kinds


def mask_of(keys: Keys, kinds: Sequence[str], width: int | None) -> Mask:
    """The mask of layers of these kinds.

    Args:
      keys: The configuration, for the message.
      kinds: Of ``layer_types``.
      width: Tokens that a sliding layer sees, itself included; None where none is given.

    Raises:
      BadInput: A layer slides and there is no width.
    """
    if SLIDING not in kinds:
        return Causal()
    if width is None:
        raise keys.refusal("sliding_window with layers that slide", "none")
    masks = tuple(Window(width=width) if kind == SLIDING else Causal() for kind in kinds)
    return masks[0] if len(set(masks)) == 1 else MaskByLayer(layers=masks)
