"""What slots of a cache have: arrays of a dtype, or codes and scales of a plan's format."""

import dataclasses
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from glassesjax.borders import border
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import (
    FloatFormat,
    NumberFormat,
    Packed,
    RoundingPlan,
    can_pack,
    pack,
    packed_shapes,
    unpack,
)


@dataclasses.dataclass(frozen=True)
class Storage:
    """How keys and values are stored."""

    dtype: np.dtype
    """Of keys and values as attention reads them."""
    wide: np.dtype
    """Of the accumulated attention."""
    fmt: NumberFormat | None = None
    """The format in which slots have them, with a scale for each token and head, or for blocks of
    it; None where they have arrays of ``dtype``."""

    @classmethod
    def of(cls, how: "DTypeLike | RoundingPlan", config: DecoderConfig) -> "Storage":
        """The storage of a dtype, or of a plan.

        A plan's format at ``state`` is packed where all layers have the same, its rows are rounded
        by themselves and it takes fewer bytes. Values that are slices of the residual stream
        (``values='identity'``) are packed in formats without scales only, for there a row of
        several heads shares its scales.

        Args:
          how: The dtype of keys and values, or the plan that says what is stored.
          config: The decoder's settings.

        Returns:
          The storage.
        """
        if not isinstance(how, RoundingPlan):
            return cls(np.dtype(how), np.dtype(RoundingPlan.of_dtype(how).carrier_dtype))
        layers = how.layers or (how,)
        fmt = layers[0].state
        alike = len({plan.state for plan in layers}) == 1
        whole = config.values == "identity" and not isinstance(fmt, FloatFormat)
        packed = how.mode != "native" and fmt is not None and alike and not whole
        packed = packed and can_pack(fmt, how.carrier)
        plain = cls(np.dtype(how.dtype), np.dtype(how.carrier_dtype))
        return dataclasses.replace(plain, fmt=fmt) if packed else plain

    @property
    def name(self) -> str:
        """The format's name, or that of the dtype."""
        return self.dtype.name if self.fmt is None else self.fmt.name

    def row_bytes(self, width: int) -> int:
        """Bytes of one token's key or value of one head, scales included."""
        if self.fmt is None:
            return width * self.dtype.itemsize
        shapes = packed_shapes(self.fmt, width, self.dtype)
        return sum(count * kind.itemsize for count, kind in filter(None, shapes))

    def empty(self, heads: int, slots: int, width: int) -> "Float[Array, 'heads slots _'] | Packed":
        """Slots of zeros."""
        if self.fmt is None:
            return jnp.zeros((heads, slots, width), self.dtype)
        shapes = packed_shapes(self.fmt, width, self.dtype)
        zeros = lambda shape: jnp.zeros((heads, slots, shape[0]), shape[1])
        return Packed(zeros(shapes[0]), None if shapes[1] is None else zeros(shapes[1]))


@border()
def packed_row(
    x: Float[Array, "*rows width"], fmt: NumberFormat | None
) -> "Float[Array, '*rows width'] | Packed":
    """Keys or values as slots have them."""
    return x if fmt is None else pack(x, fmt)


@border()
def read(
    stored: "Float[Array, '*rows width'] | Packed",
    fmt: NumberFormat | None,
    width: int,
    dtype: DTypeLike,
) -> Float[Array, "*rows width"]:
    """Keys or values of slots, as attention reads them; packed ones have a format."""
    if not isinstance(stored, Packed):
        return stored
    return unpack(stored, cast("NumberFormat", fmt), width, dtype)
