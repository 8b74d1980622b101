"""The bit patterns of float32 and float64 arrays: rounding to a coarser grid in integer arithmetic.

Only integers are added and compared here. Float arithmetic would not do: compiled code flushes
subnormal numbers to zero on some backends (bfloat16's are float32's), fuses a product with a sum,
and may keep a narrow intermediate in wider form. Integer instructions are exact by definition and
no compiler option touches them, so what is rounded here is rounded, under ``jit`` too.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt


class Layout(NamedTuple):
    """Where a carrier keeps sign, exponent and fraction: the two IEEE 754 formats that we use."""

    dtype: str
    uint: str
    mantissa_bits: int
    bias: int

    @property
    def infinity(self) -> int:
        """Bit pattern of infinity; larger magnitudes are NaN."""
        return (2 * self.bias + 1) << self.mantissa_bits

    def pattern(self, value: float) -> int:
        """Bit pattern of a non-negative number."""
        return int(np.asarray(value, self.dtype).view(self.uint))


LAYOUTS = {
    np.dtype(layout.dtype): layout
    for layout in (Layout("float32", "uint32", 23, 127), Layout("float64", "uint64", 52, 1023))
}


class Grid(NamedTuple):
    """The numbers that one may round to, as a subset of a carrier."""

    mantissa_bits: int
    min_exponent: int
    """Exponent of the smallest normal number; the spacing does not shrink below it."""
    largest: float
    """Largest finite number."""
    beyond: float
    """What stands for numbers that round to more than ``largest``: infinity, NaN or ``largest``.
    A NaN is ``math.nan`` itself: one object equals itself in a tuple, so ``jit`` finds its work."""

    @property
    def steps(self) -> int:
        """How many positive finite numbers there are."""
        fraction, exponent = math.frexp(self.largest)  # the fraction lies in [1/2, 1)
        binades = exponent - 1 - self.min_exponent
        return (binades << self.mantissa_bits) + int(math.ldexp(fraction, self.mantissa_bits + 1))


class Split(NamedTuple):
    """A number as ``significand 2^(exponent - bias - mantissa_bits)``, with the sign apart."""

    sign: UInt[Array, "*shape"]  # the sign bit, in its place
    exponent: UInt[Array, "*shape"]  # the biased exponent, 1 for subnormal numbers
    significand: UInt[Array, "*shape"]  # with the leading bit that normal numbers do not store


def magnitude_bits(x: Float[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """The bit pattern without its sign; it grows with the number, and NaNs come last."""
    return (jax.lax.bitcast_convert_type(x, LAYOUTS[x.dtype].uint) << 1) >> 1


def split(x: Float[Array, "*shape"]) -> Split:
    """The three parts of each number's bit pattern."""
    layout, magnitude = LAYOUTS[x.dtype], magnitude_bits(x)
    sign = jax.lax.bitcast_convert_type(x, layout.uint) ^ magnitude
    exponent = jnp.maximum(magnitude >> layout.mantissa_bits, 1)
    # One less than the exponent is taken off, so the leading bit stays behind by itself.
    significand = magnitude - ((exponent - 1) << layout.mantissa_bits)
    return Split(sign, exponent, significand)


def _shift(parts: Split, layout: Layout, grid: Grid) -> UInt[Array, "*shape"]:
    """Number of low bits of each significand that are finer than the grid."""
    lowest = grid.min_exponent + layout.bias
    below = jnp.maximum(parts.exponent, lowest) - parts.exponent
    # A significand is below 2^(mantissa_bits + 1): two bits more are less than half a step.
    return jnp.minimum(layout.mantissa_bits - grid.mantissa_bits + below, layout.mantissa_bits + 2)


def _nearest_multiple(
    significand: UInt[Array, "*shape"], shift: UInt[Array, "*shape"]
) -> UInt[Array, "*shape"]:
    """The integer nearest to ``significand / 2^shift``, ties to even."""
    quotient = significand >> shift
    remainder = significand - (quotient << shift)
    # The remainder beats half of 2^shift, or ties with it and an odd quotient tips the scale.
    up = 2 * remainder + (quotient & 1) > jnp.ones_like(shift) << shift
    return quotient + up.astype(quotient.dtype)


@functools.partial(jax.jit, static_argnames="grid")
def round_to(x: Float[Array, "*shape"], grid: Grid) -> Float[Array, "*shape"]:
    """The nearest number of a grid, ties to even; signs of zeros and NaNs are kept.

    Args:
      x: float32 or float64, every value allowed.
      grid: A subset of the numbers of that dtype.

    Returns:
      Rounded numbers, in the same dtype.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    shift = _shift(parts, layout, grid)
    steps = _nearest_multiple(parts.significand, shift)
    # A carry out of the significand runs into the exponent, as it should.
    magnitude = ((parts.exponent - 1) << layout.mantissa_bits) + (steps << shift)
    magnitude = jnp.where(steps == 0, 0, magnitude)
    too_large = magnitude > layout.pattern(grid.largest)
    magnitude = jnp.where(too_large, layout.pattern(grid.beyond), magnitude)
    rounded = jax.lax.bitcast_convert_type(parts.sign | magnitude, x.dtype)
    return jnp.where(magnitude_bits(x) > layout.infinity, x, rounded)


@functools.partial(jax.jit, static_argnames="grid")
def steps_from_zero(x: Float[Array, "*shape"], grid: Grid) -> UInt[Array, "*shape"]:
    """How many numbers of the grid lie in (0, |x|], for x on the grid.

    All that lies beyond the largest number counts as one step more than it.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    lowest = grid.min_exponent + layout.bias
    binades = jnp.maximum(parts.exponent, lowest) - lowest
    steps = (binades << grid.mantissa_bits) + (parts.significand >> _shift(parts, layout, grid))
    return jnp.minimum(steps, grid.steps + 1)


@functools.partial(jax.jit, static_argnames="grid")
def spacing(x: Float[Array, "*shape"], grid: Grid) -> Float[Array, "*shape"]:
    """Distance between neighbors of the grid in the binade of each number.

    A power of two belongs to the binade above it. Beyond the largest number, its own spacing;
    NaN for infinity and NaN.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    lowest = grid.min_exponent + layout.bias
    highest = layout.pattern(grid.largest) >> layout.mantissa_bits
    exponent = jnp.clip(parts.exponent, lowest, highest).astype(jnp.int32) - grid.mantissa_bits
    # Where the power of two is subnormal in the carrier, it is one bit of the fraction.
    one = jnp.ones_like(parts.exponent)
    normal = jnp.maximum(exponent, 0).astype(one.dtype) << layout.mantissa_bits
    subnormal = one << (layout.mantissa_bits - 1 + jnp.minimum(exponent, 0)).astype(one.dtype)
    power = jax.lax.bitcast_convert_type(jnp.where(exponent > 0, normal, subnormal), x.dtype)
    return jnp.where(magnitude_bits(x) < layout.infinity, power, jnp.nan)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def straight_through(function: Callable[[Array], Array], x: Array) -> Array:
    """A step function whose derivative is declared to be the identity."""
    return function(x)


@straight_through.defjvp
def _straight_through_jvp(
    function: Callable[[Array], Array], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return straight_through(function, *primals), *tangents
