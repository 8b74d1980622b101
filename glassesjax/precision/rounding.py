"""Distances in ulps of a format, bitwise equality, and collisions in a sequence of numbers."""

import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, UInt

from glassesjax.borders import Domain, border
from glassesjax.precision.bits import (
    LAYOUTS,
    magnitude_bits,
    split,
    steps_from_zero,
    times_power,
)
from glassesjax.precision.formats import FloatFormat
from glassesjax.precision.norms import scaled_gap
from glassesjax.precision.wide import float64_enabled

_CHUNK = 1 << 18  # integers tried at once: 2 MiB of float64, a few milliseconds


@border()
@functools.partial(jax.jit, static_argnames="fmt")
def ulp_distance(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], fmt: FloatFormat
) -> UInt[Array, "*shape"]:
    """Number of steps between two values along the numbers of a format.

    The values are rounded to the format first. Both zeros are one number; infinity is one step
    beyond the largest number.

    Args:
      a: float32 or float64 values.
      b: Values of the same dtype.
      fmt: The format whose numbers are counted.

    Returns:
      Unsigned integers as wide as the carrier. All distances fit, those between the infinities
      of the carrier itself too; where a value is NaN, the type's largest integer, which is no
      distance between numbers. Take care not to subtract them from one another.

    Raises:
      ValueError: The dtypes differ or do not hold the format.

    Example:
      >>> from glassesjax.precision import BF16
      >>> ulp_distance(jnp.float32([1.0, -0.0]), jnp.float32([1.03, 0.0]), BF16)
      Array([4, 0], dtype=uint32)
    """
    if a.dtype != b.dtype:
        raise ValueError(f"Both values must have the same dtype, got {a.dtype} and {b.dtype}.")
    a, b = fmt.round(a), fmt.round(b)
    sign_a, sign_b = split(a).sign, split(b).sign
    from_zero_a, from_zero_b = steps_from_zero(a, fmt.grid), steps_from_zero(b, fmt.grid)
    larger, smaller = jnp.maximum(from_zero_a, from_zero_b), jnp.minimum(from_zero_a, from_zero_b)
    # Through zero if the signs differ.
    distance = jnp.where(sign_a == sign_b, larger - smaller, larger + smaller)
    top_bits = jnp.maximum(magnitude_bits(a), magnitude_bits(b))
    is_number = top_bits <= LAYOUTS[a.dtype].infinity
    # The largest distance stands for NaN, which has none.
    return jnp.where(is_number, distance, ~jnp.zeros_like(distance))


@border()
def bitwise_equal(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether two arrays store the same bits: zeros of two signs differ, equal NaNs are equal.

    Args:
      a: Values of any floating-point dtype.
      b: Values of the same dtype.

    Returns:
      One truth value for each pair.

    Raises:
      ValueError: The dtypes differ.
    """
    if a.dtype != b.dtype:
        raise ValueError(f"Both values must have the same dtype, got {a.dtype} and {b.dtype}.")
    uint = jnp.dtype(f"uint{jnp.finfo(a.dtype).bits}")
    as_bits = lambda x: jax.lax.bitcast_convert_type(x, uint)
    return as_bits(a) == as_bits(b)


@border()
def same_numbers(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether two values are numerically equal, subnormal ones compared exactly; False for NaN.

    A comparison of floats treats all subnormal numbers as zero on most backends.

    Args:
      a: float32 or float64 values.
      b: Values of the same dtype.

    Returns:
      One truth value for each pair. Zeros of two signs are the same number.

    Raises:
      ValueError: The dtypes differ.
    """
    # Bits, not ==: a backend may take subnormal numbers for zeros.
    size_a, size_b = magnitude_bits(a), magnitude_bits(b)
    number = size_a <= LAYOUTS[a.dtype].infinity
    return number & (bitwise_equal(a, b) | ((size_a == 0) & (size_b == 0)))


@border()
def ulps_apart(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], fmt: FloatFormat
) -> Float[Array, "*shape"]:
    """Difference of two values in units of the format's spacing at the larger of them.

    Unlike a quotient with ``fmt.ulp`` it needs no subnormal spacing: two zeros are 0 apart. The
    result is at most ``2^(mantissa_bits + 2)`` within the format's range, for the spacing grows
    with the larger value. Beyond that range it grows without bound. Its derivative, one over the
    spacing, is infinite where the spacing is so small that its inverse is too large for the dtype,
    as bfloat16's near zero.

    Args:
      a: float32 or float64 values.
      b: Values of the same dtype.
      fmt: The format.

    Returns:
      Non-negative numbers in the dtype of the values; NaN just where a value is infinite or NaN,
      infinity where the number of units is too large for the dtype.

    Raises:
      ValueError: The dtypes differ or do not hold the format.

    Example:
      >>> from glassesjax.precision import BF16
      >>> ulps_apart(jnp.float32([0.0, 2.0]), jnp.float32([0.0, 2.5]), BF16)
      Array([ 0., 32.], dtype=float32)
    """
    if a.dtype != b.dtype:
        raise ValueError(f"Both values must have the same dtype, got {a.dtype} and {b.dtype}.")
    top = jnp.maximum(magnitude_bits(a), magnitude_bits(b))
    larger = jax.lax.bitcast_convert_type(top, a.dtype)
    # Units so small that a value is infinitely many of them must not be subtracted as such.
    gap, exponent = scaled_gap(a, b)
    apart = times_power(gap, exponent - fmt.ulp_exponent(larger))
    return jnp.where(top < LAYOUTS[a.dtype].infinity, apart, jnp.nan)


RealSequence = Callable[[Float64[np.ndarray, " n"]], Float64[np.ndarray, " n"]]


def _collides(f: RealSequence, fmt: FloatFormat, low: int, stop: int) -> Bool[np.ndarray, " pairs"]:
    """Whether f(n) and f(n + 1) round to one number, for a chunk of n from ``low`` on."""
    # One length for all chunks, so one compilation; nothing beyond ``stop`` is evaluated.
    n = np.minimum(np.arange(low, low + _CHUNK + 1), stop).astype(np.float64)
    with float64_enabled():
        rounded = np.asarray(fmt.round(jnp.asarray(f(n))))
    return (rounded[:-1] == rounded[1:])[: stop - low]


def _first(chunks: Iterable[tuple[int, Bool[np.ndarray, " pairs"]]], pick: int) -> int | None:
    """The first (pick 0) or last (pick -1) true index of the first chunk that has one."""
    for low, flags in chunks:
        if flags.any():
            return low + int(np.flatnonzero(flags)[pick])
    return None


@border(start=Domain(high=2**53), stop=Domain(high=2**53))
def first_collision(f: RealSequence, fmt: FloatFormat, start: int, stop: int) -> int | None:
    """The first n in [start, stop) for which f(n) and f(n + 1) round to the same number.

    Values are evaluated in float64 on the host and rounded from there. That is a second rounding,
    so ``f`` should be a single correctly rounded operation: ``(n + 1) / n``, not ``1 + 1 / n``.
    For 1/n and 1 + 1/n it is then harmless: a quotient a/b other than a midpoint m 2^-k differs
    from it by at least 2^-k / b, a relative 1/(b m); the midpoints of a format of p bits have
    p + 1, so float64 separates them for denominators up to 2^(52 - p), 2^28 for float32.

    Args:
      f: Takes and returns a float64 NumPy array. Called on integers in [start, stop] only.
      fmt: The format to which values are rounded.
      start: The first integer tried.
      stop: The first integer not tried, at most 2^53.

    Returns:
      The integer, or None where no two neighbors collide.

    Example:
      >>> from glassesjax.precision import BF16
      >>> first_collision(lambda n: 1 / n, BF16, 1, 1000)
      190
    """
    lows = range(start, stop, _CHUNK)
    return _first(((low, _collides(f, fmt, low, stop)) for low in lows), 0)


@border(start=Domain(high=2**53), stop=Domain(high=2**53))
def last_distinct(f: RealSequence, fmt: FloatFormat, start: int, stop: int) -> int | None:
    """The last n in [start, stop) for which f(n) and f(n + 1) round to different numbers.

    Args:
      f: As for ``first_collision``.
      fmt: The format to which values are rounded.
      start: The first integer tried.
      stop: The first integer not tried, at most 2^53.

    Returns:
      The integer, or None where all neighbors collide.

    Example:
      >>> from glassesjax.precision import BF16
      >>> last_distinct(lambda n: (n + 1) / n, BF16, 1, 1000)
      255
    """
    # Chunks from the last one back; the first that has a pair has the last pair.
    lows = reversed(range(start, stop, _CHUNK))
    return _first(((low, ~_collides(f, fmt, low, stop)) for low in lows), -1)
