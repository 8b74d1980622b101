"""The three vector norms in which the statements are read, their duals, and radii of point sets."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Norm = Literal[1, 2, "inf"]

DUAL: dict[Norm, Norm] = {1: "inf", 2: 2, "inf": 1}
r"""The norm q with :math:`|\langle x, y \rangle| \le \lVert x \rVert \lVert y \rVert_q`, sharp."""


def vector_norm(x: Float[Array, "*batch d"], norm: Norm) -> Float[Array, "*batch"]:
    """Norm of each vector along the last axis.

    Args:
      x: The vectors. In norm 2, float32 loses accuracy below 1e-19, where squares underflow.
      norm: Which norm; a static value.

    Returns:
      One number per vector.

    Raises:
      ValueError: The norm is none of the three.
    """
    match norm:
        case 1:
            return jnp.sum(jnp.abs(x), axis=-1)
        case 2:
            # In float16 the squares of differences near 1e-4 would already underflow.
            wide = x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
            return jnp.sqrt(jnp.sum(jnp.square(wide), axis=-1)).astype(x.dtype)
        case "inf":
            return jnp.max(jnp.abs(x), axis=-1)
    raise ValueError(f"norm must be 1, 2 or 'inf', got {norm!r}.")


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
        distance = vector_norm(points - center[..., None, :], norm)
        radius = jnp.minimum(radius, jnp.max(distance, axis=-1))
    return radius
