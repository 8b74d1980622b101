"""The three vector norms of the statements, their duals, and radii of point sets."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import border
from glassesjax.precision import euclidean_norm, safe_abs
from glassesjax.precision.bits import scale_exponent, times_power

Norm = Literal[1, 2, "inf"]

DUAL: dict[Norm, Norm] = {1: "inf", 2: 2, "inf": 1}
r"""The norm q with :math:`|\langle x, y \rangle| \le \lVert x \rVert \lVert y \rVert_q`, sharp."""


@border()
def vector_norm(x: Float[Array, "*batch d"], norm: Norm) -> Float[Array, "*batch"]:
    """Norm of each vector along the last axis.

    Args:
      x: The vectors, of every size, subnormal numbers included: a norm is zero just where the
        vector is. What a backend flushed in a difference before it came here is not restored.
      norm: Which norm; a static value.

    Returns:
      One number per vector, infinite where it is too large. Derivatives at zero are zero.

    Raises:
      ValueError: The norm is none of the three.
    """
    if norm == 2:
        return euclidean_norm(x)
    if norm not in DUAL:
        raise ValueError(f"Expected norm to be 1, 2 or 'inf', got {norm!r}.")
    wide = x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
    # In units of the largest entry, so that sums of huge numbers stay in range.
    exponent = scale_exponent(wide, -1, keepdims=True)
    sizes = safe_abs(times_power(wide, -exponent))
    size = jnp.sum(sizes, axis=-1) if norm == 1 else jnp.max(sizes, axis=-1)
    return times_power(size, exponent[..., 0]).astype(x.dtype)


@border()
def chebyshev_radius_bound(
    points: Float[Array, "*batch n d"], norm: Norm
) -> Float[Array, "*batch"]:
    r"""Radius of a ball, in a given norm, that holds all points; near the least one.

    .. math:: R = \min_{c \in \{\text{midrange}, \text{mean}, 0\}} \max_i \lVert x_i - c \rVert

    The midrange is an optimal center for the maximum norm, and for two points in every norm. In
    any norm the result is at most the largest norm of a point and at most the diameter.

    Source: arXiv 2406.04267v2, proof of Theorem B.3, which takes values of unit norm.
    Differs: measured, and from a center other than zero where that is nearer.

    Args:
      points: The points x_i.
      norm: Which norm; a static value.

    Returns:
      An upper bound on the Chebyshev radius, in the unit of the points.
    """
    highest, lowest = jnp.max(points, axis=-2), jnp.min(points, axis=-2)
    midrange = lowest + (highest - lowest) / 2
    radius = jnp.asarray(jnp.inf, points.dtype)
    for center in (midrange, jnp.mean(points, axis=-2), jnp.zeros_like(midrange)):
        # (*batch, n, d) and (*batch, 1, d)
        distance = vector_norm(points - center[..., None, :], norm)
        radius = jnp.minimum(radius, jnp.max(distance, axis=-1))
    return radius
