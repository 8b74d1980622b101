"""The arithmetic of integer formats: codes, scales and dequantized values."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from glassesjax.precision.formats import carrier_format
from glassesjax.precision.integers import IntegerFormat


@functools.partial(jax.jit, static_argnames="fmt")
def quantized(
    fmt: IntegerFormat, x: Float[Array, "*shape"]
) -> tuple[Int8[Array, "*shape"], Float[Array, "*ones"]]:
    """Integer codes and their scale, as in ``IntegerFormat.quantize``.

    Args:
      fmt: The format.
      x: Finite values in any floating-point dtype.

    Returns:
      Codes, and the scale with as many axes as ``x``.
    """
    codes, scale = _codes(fmt, x)
    return codes.astype(jnp.int8), scale


@functools.partial(jax.jit, static_argnames="fmt")
def nearest(fmt: IntegerFormat, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The integer multiples of the scale that are nearest to the values.

    Args:
      fmt: The format.
      x: Finite float32 or float64 values.

    Returns:
      As ``IntegerFormat.round``, without its derivative.
    """
    codes, scale = _codes(fmt, x)
    # A compiler fuses this product with a later sum, and then the stored value is not the one
    # added; an optimization barrier does not stop it. Passing through the bits does.
    return carrier_format(x.dtype).round(codes * scale)


def _codes(
    fmt: IntegerFormat, x: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*ones"]]:
    """Codes, still as floats so that a NaN survives, and the scale."""
    axis = None if fmt.granularity == "tensor" else -1
    # (*shape) -> (1, ..., 1), or (*shape[:-1], 1)
    scale = jnp.max(jnp.abs(x), axis=axis, keepdims=True) / fmt.max
    # Zeros have no scale of their own; one serves, and a NaN is left to spread.
    codes = jnp.round(x / jnp.where(scale == 0, 1, scale))
    return jnp.clip(codes, -fmt.max, fmt.max), scale
