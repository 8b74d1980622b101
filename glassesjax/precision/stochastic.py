"""Stochastic rounding to a grid, in integer arithmetic on bit patterns."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt

from glassesjax import draws
from glassesjax.precision.bits import LAYOUTS, split, with_magnitude
from glassesjax.precision.grid import Grid


def noise_for(key: Array, x: Float[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """Uniform integers, as wide as the numbers, for ``round_randomly``.

    Args:
      key: Of these draws alone.
      x: float32 or float64.

    Returns:
      One integer for each number.
    """
    return draws.bits(key, x.shape, LAYOUTS[x.dtype].uint)


@functools.partial(jax.jit, static_argnames="grid")
def round_randomly(
    x: Float[Array, "*shape"], noise: UInt[Array, "*shape"], grid: Grid
) -> Float[Array, "*shape"]:
    """One of the two neighbors on a grid, the one farther from zero with the right probability.

    That is the distance from the nearer neighbor over the spacing, in units of 2^-31 or 2^-63 and
    rounded down. Beyond the largest number the spacing goes on, up to the overflow.

    Args:
      x: float32 or float64, every value allowed.
      noise: Uniform integers as wide as the numbers.
      grid: A subset of the numbers of that dtype.

    Returns:
      Rounded numbers, in the same dtype.
    """
    layout, parts = LAYOUTS[x.dtype], split(x)
    most = jnp.iinfo(noise.dtype).bits - 1
    lowest = grid.min_exponent + layout.bias
    # Bits of the significand that are finer than the grid, and those beyond what a shift can do.
    below = jnp.maximum(parts.exponent, lowest) - parts.exponent
    finer = layout.mantissa_bits - grid.mantissa_bits + below
    shift = jnp.minimum(finer, most)
    significand = parts.significand >> jnp.minimum(finer - shift, most)
    quotient = significand >> shift
    remainder = significand - (quotient << shift)
    # As many random bits as the remainder has; a remainder of zero is above none.
    up = (noise >> 1) >> (most - shift) < remainder
    steps = quotient + up.astype(quotient.dtype)
    magnitude = ((parts.exponent - 1) << layout.mantissa_bits) + (steps << shift)
    # A carry over more than one binade is no carry: the step is then the smallest number itself.
    smallest = layout.pattern(math.ldexp(1, grid.min_exponent - grid.mantissa_bits))
    magnitude = jnp.where(finer > layout.mantissa_bits + 1, smallest, magnitude)
    return with_magnitude(x, parts.sign, jnp.where(steps == 0, 0, magnitude), grid)
