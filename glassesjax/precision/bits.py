"""The bit patterns of float32 and float64 arrays: rounding to a coarser grid in integer arithmetic.

Only integers are added and compared here. Float arithmetic would not do: compiled code flushes
subnormal numbers to zero on some backends (bfloat16's are float32's), fuses a product with a sum,
and may keep a narrow intermediate in wider form. Integer instructions are exact by definition and
no compiler option touches them, so what is rounded here is rounded, under ``jit`` too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

from glassesjax.precision.grid import Grid


class Layout(NamedTuple):
    """Bit layout (sign, exponent, fraction) of float32 or float64, the two carrier dtypes."""

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


class Split(NamedTuple):
    """A number as ``significand 2^(exponent - bias - mantissa_bits)``, with the sign apart."""

    sign: UInt[Array, "*shape"]  # the sign bit, at its bit position
    exponent: UInt[Array, "*shape"]  # the biased exponent, 1 for subnormal numbers
    significand: UInt[Array, "*shape"]  # with the leading bit that normal numbers do not store


def magnitude_bits(x: Float[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """The bit pattern without its sign; it grows with the number, and NaNs come last."""
    # The shift drops the sign.
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
    # Below the smallest normal number of the grid its spacing stays, so that more bits go.
    below = jnp.maximum(parts.exponent, lowest) - parts.exponent
    # A significand is below 2^(mantissa_bits + 1): two bits more are less than half a step.
    return jnp.minimum(layout.mantissa_bits - grid.mantissa_bits + below, layout.mantissa_bits + 2)


def leading_bit(parts: Split, layout: Layout) -> Int[Array, "*shape"]:
    """How far the leading bit of each significand is above that of normal numbers: 0 or less.

    Args:
      parts: Of the numbers.
      layout: That of their dtype.

    Returns:
      int32; below that of all numbers for zero.
    """
    # A significand is an integer: as a float it is normal, and its exponent has the position.
    bits = jax.lax.bitcast_convert_type(parts.significand.astype(layout.dtype), layout.uint)
    return (bits >> layout.mantissa_bits).astype(jnp.int32) - layout.bias - layout.mantissa_bits


def nearest_multiple(
    significand: UInt[Array, "*shape"], shift: UInt[Array, "*shape"]
) -> UInt[Array, "*shape"]:
    """The integer nearest to ``significand / 2^shift``, ties to even."""
    quotient = significand >> shift
    remainder = significand - (quotient << shift)
    # Up if the remainder exceeds half of 2^shift, or equals it and the quotient is odd.
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
    steps = nearest_multiple(parts.significand, shift)
    # A carry out of the significand runs into the exponent, as it should.
    magnitude = ((parts.exponent - 1) << layout.mantissa_bits) + (steps << shift)
    return with_magnitude(x, parts.sign, jnp.where(steps == 0, 0, magnitude), grid)


def with_magnitude(
    x: Float[Array, "*shape"],
    sign: UInt[Array, "*shape"],
    magnitude: UInt[Array, "*shape"],
    grid: Grid,
) -> Float[Array, "*shape"]:
    """The rounded numbers of a sign and a magnitude, whose overflow and NaN are still to come.

    Args:
      x: The numbers that were rounded.
      sign: Their sign bits.
      magnitude: Bit patterns of the rounded magnitudes, as if the grid had no largest number.
      grid: The grid.

    Returns:
      Rounded numbers; a NaN as it was.
    """
    layout = LAYOUTS[x.dtype]
    too_large = magnitude > layout.pattern(grid.largest)
    magnitude = jnp.where(too_large, layout.pattern(grid.beyond), magnitude)
    rounded = jax.lax.bitcast_convert_type(sign | magnitude, x.dtype)
    return jnp.where(magnitude_bits(x) > layout.infinity, x, rounded)


@functools.partial(jax.jit, static_argnames="grid")
def steps_from_zero(x: Float[Array, "*shape"], grid: Grid) -> UInt[Array, "*shape"]:
    """Number of grid points in (0, |x|], for x on the grid.

    All that lies beyond the largest number counts as one step more than it.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    lowest = grid.min_exponent + layout.bias
    # 2^mantissa_bits steps for each binade passed, and those of the significand.
    binades = jnp.maximum(parts.exponent, lowest) - lowest
    steps = (binades << grid.mantissa_bits) + (parts.significand >> _shift(parts, layout, grid))
    return jnp.minimum(steps, grid.steps + 1)


@functools.partial(jax.jit, static_argnames="grid")
def spacing_exponent(x: Float[Array, "*shape"], grid: Grid) -> Int[Array, "*shape"]:
    """The k for which neighbors of the grid are 2^k apart in the binade of each number.

    A power of two belongs to the binade above it. Beyond the largest number, infinity and NaN
    included, that of the largest.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    lowest = grid.min_exponent + layout.bias
    highest = layout.pattern(grid.largest) >> layout.mantissa_bits
    # Zero and subnormal numbers are spaced as the smallest normal ones, an overflow as the largest.
    binade = jnp.clip(parts.exponent, lowest, highest).astype(jnp.int32)
    return binade - layout.bias - grid.mantissa_bits


def spacing(x: Float[Array, "*shape"], grid: Grid) -> Float[Array, "*shape"]:
    """Distance between neighbors of the grid in the binade of each number.

    A power of two belongs to the binade above it. Beyond the largest number, its own spacing;
    NaN for infinity and NaN.
    """
    power = times_power(jnp.ones_like(x), spacing_exponent(x, grid))
    return jnp.where(magnitude_bits(x) < LAYOUTS[x.dtype].infinity, power, jnp.nan)


@jax.custom_jvp
def times_power(x: Float[Array, "*shape"], exponent: Int[Array, "..."]) -> Float[Array, "..."]:
    """The numbers times 2^exponent, rounded where the result is subnormal, never flushed.

    A product of floats would do, were not subnormal operands and results zero on most backends.

    Args:
      x: float32 or float64, every value allowed.
      exponent: int32, of a shape that broadcasts with the numbers'.

    Returns:
      The products; infinity where they are too large, infinities and NaNs as they are.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    # A significand is an integer: as a float it is exact and normal.
    bits = jax.lax.bitcast_convert_type(parts.significand.astype(x.dtype), layout.uint)
    one = jnp.ones_like(bits)
    unit = one << layout.mantissa_bits
    biased = (bits >> layout.mantissa_bits).astype(jnp.int32) + parts.exponent.astype(jnp.int32)
    biased = biased - layout.bias - layout.mantissa_bits + exponent  # the biased exponent
    fraction = bits & (unit - 1)
    normal = (jnp.clip(biased, 1, 2 * layout.bias).astype(bits.dtype) * unit) | fraction
    # Subnormal results lose bits, rounded like all others.
    below = jnp.clip(1 - biased, 0, layout.mantissa_bits + 2).astype(bits.dtype)
    magnitude = jnp.where(biased < 1, nearest_multiple(unit | fraction, below), normal)
    magnitude = jnp.where(biased > 2 * layout.bias, layout.infinity, magnitude)
    magnitude = jnp.where(parts.significand == 0, 0, magnitude).astype(bits.dtype)
    product = jax.lax.bitcast_convert_type(parts.sign | magnitude, x.dtype)
    return jnp.where(magnitude_bits(x) >= layout.infinity, x, product)


@times_power.defjvp
def _times_power_jvp(
    primals: tuple[Array, Array],
    tangents: tuple[Array, Any],  # an integer has no tangent
) -> tuple[Array, Array]:
    x, exponent = primals
    # In two steps, each a normal number: zero times a power that overflows would be NaN.
    half = exponent >> 1
    moved = tangents[0] * power_of_two(half, x.dtype) * power_of_two(exponent - half, x.dtype)
    return times_power(x, exponent), moved


def power_of_two(exponent: Int[Array, "..."], dtype: jnp.dtype) -> Float[Array, "..."]:
    """2^exponent, at least the smallest normal number and at most the largest power."""
    layout = LAYOUTS[dtype]
    # Clipped to biased exponents of normal numbers: 0 would be a subnormal pattern.
    biased = jnp.clip(exponent + layout.bias, 1, 2 * layout.bias).astype(layout.uint)
    return jax.lax.bitcast_convert_type(biased << layout.mantissa_bits, dtype)


def peak_exponent(
    x: Float[Array, "..."], axis: int | tuple[int, ...], keepdims: bool = False
) -> Int[Array, "..."]:
    """The k for which the largest magnitude along some axes is in [2^k, 2^(k + 1)).

    Args:
      x: float32 or float64.
      axis: Over which the largest is taken.
      keepdims: Whether they stay, with length one.

    Returns:
      int32; zero where all numbers are zero, or one is infinite or NaN.
    """
    layout = LAYOUTS[x.dtype]
    top = jnp.max(magnitude_bits(x), axis=axis, keepdims=keepdims)
    parts = split(jax.lax.bitcast_convert_type(top, x.dtype))
    exponent = leading_bit(parts, layout) + parts.exponent.astype(jnp.int32) - layout.bias
    return jnp.where((top == 0) | (top >= layout.infinity), 0, exponent)


def scale_exponent(
    x: Float[Array, "..."], axis: int | tuple[int, ...], keepdims: bool = False
) -> Int[Array, "..."]:
    """The ``peak_exponent`` for scaling, clipped so that all scaled numbers stay normal.

    Numbers divided by 2^k, and 2^k and its inverse, which are the derivatives, are then normal
    numbers with room to add them up: the smallest subnormal number becomes 2^-49 in float32, and
    the largest number 2^28.

    Args:
      x: float32 or float64.
      axis: Over which the largest is taken.
      keepdims: Whether they stay, with length one.

    Returns:
      int32, at most 100 in size for float32 and 967 for float64.
    """
    layout = LAYOUTS[x.dtype]
    most = layout.bias - layout.mantissa_bits - 4
    return jnp.clip(peak_exponent(x, axis, keepdims), -most, most)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def straight_through(function: Callable[..., Array], x: Array, *others: Array) -> Array:
    """A step function with the identity in x as its derivative (straight-through estimator)."""
    return function(x, *others)


@straight_through.defjvp
def _straight_through_jvp(
    function: Callable[..., Array], primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    return straight_through(function, *primals), tangents[0]
