"""Positional terms of a logit: rotary kernels, their frequencies, and steps between distances.

A kernel is the logit of one query and one key as a function of their distance r, the query's
position less the key's, and before the scale of the logits. Pairs of coordinates turn together:
``half`` pairs i with i + d / 2, ``interleaved`` pairs 2 i with 2 i + 1.
"""

import functools
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.errors import check_choice
from glassesjax.precision import euclidean_norm

Style = Literal["half", "interleaved"]


def _pairs(vectors: Array, style: Style) -> tuple[Array, Array]:
    """First and second coordinate of each pair."""
    size = vectors.shape[-1]
    if size % 2:
        raise ValueError(f"Expected an even head size, got {size}: pass rotated coordinates only.")
    check_choice("style", style, get_args(Style))
    if style == "half":
        return vectors[..., : size // 2], vectors[..., size // 2 :]
    return vectors[..., 0::2], vectors[..., 1::2]


def _check(vectors: Array, frequencies: Array) -> None:
    if vectors.shape[-1] != 2 * frequencies.shape[-1]:
        sizes = f"{vectors.shape[-1]} coordinates and {frequencies.shape[-1]} frequencies"
        raise ValueError(f"Expected one frequency per pair of coordinates, got {sizes}.")


@border()
def frequency_norms(
    vectors: Float[Array, "*batch head_dim"], style: Style = "half"
) -> Float[Array, "*batch pairs"]:
    r"""Norm of the part of a query or key that turns with each frequency.

    .. math:: \lVert q_f \rVert_2

    Source: arXiv 2410.06205, Section on the use of frequencies.

    Args:
      vectors: Queries or keys, rotated or not: a rotation keeps these norms.
      style: Which coordinates form a pair.

    Returns:
      One norm per pair.

    Raises:
      ValueError: The number of coordinates is odd.
    """
    return euclidean_norm(jnp.stack(_pairs(vectors, style), axis=-1))  # (*batch, pairs, 2)


@border()
def rotary_kernel(
    query: Float[Array, " head_dim"],
    key: Float[Array, " head_dim"],
    frequencies: Float[Array, " pairs"],
    distances: Float[Array, " distances"],
    style: Style = "half",
) -> Float[Array, " distances"]:
    r"""Logit of a query and a key at each distance, under rotary positions.

    .. math:: k(r) = \sum_f \lVert q_f \rVert \lVert k_f \rVert \cos(\theta_f r + \phi_f)

    with phi_f the angle from the key's pair to the query's.

    Source: arXiv 2410.06205, Section 2.

    Args:
      query: The query before its rotation.
      key: The key before its rotation.
      frequencies: Angle theta_f per step; zero where a pair does not turn.
      distances: Query's position less key's.
      style: Which coordinates form a pair.

    Returns:
      The kernel, before the scale of the logits.

    Raises:
      ValueError: The vectors do not have two coordinates per frequency.
    """
    _check(query, frequencies)
    (q1, q2), (k1, k2) = _pairs(query, style), _pairs(key, style)
    angle = distances[:, None] * frequencies[None, :]  # (distances, pairs)
    # Product of q and the conjugate of k as complex numbers; no angle has to be recovered.
    product = functools.partial(jnp.matmul, precision="highest")
    even = product(jnp.cos(angle), q1 * k1 + q2 * k2)
    return even - product(jnp.sin(angle), q2 * k1 - q1 * k2)


@border()
def key_with_peak(
    query: Float[Array, " head_dim"],
    frequencies: Float[Array, " pairs"],
    distance: float,
    style: Style = "half",
) -> Float[Array, " head_dim"]:
    r"""The key whose rotary kernel is greatest at a chosen distance.

    .. math:: k = R^{r} q, \qquad k(r') = \sum_f \lVert q_f \rVert^2 \cos(\theta_f (r' - r))

    So rotary positions need not favor near tokens.

    Source: arXiv 2410.06205, Proposition 3.1.

    Args:
      query: The query before its rotation.
      frequencies: Angle theta_f per step.
      distance: Where the maximum is to be; there the kernel is the query's squared norm.
      style: Which coordinates form a pair.

    Returns:
      The key before its rotation.

    Raises:
      ValueError: The query does not have two coordinates per frequency.
    """
    _check(query, frequencies)
    first, second = _pairs(query, style)
    cos, sin = jnp.cos(distance * frequencies), jnp.sin(distance * frequencies)
    # Back into the order of coordinates of the style: twice (pairs,) -> (head_dim,).
    turned = (first * cos - second * sin, first * sin + second * cos)
    if style == "half":
        return jnp.concatenate(turned)
    return jnp.stack(turned, axis=-1).reshape(-1)


@border(slope=NON_NEGATIVE)
def alibi_kernel(
    slope: Float[Array, ""], distances: Float[Array, " distances"]
) -> Float[Array, " distances"]:
    r"""Positional part of a logit under ALiBi.

    .. math:: k(r) = - m r

    Each of its steps is m, so that their mean is m at every length.

    Source: a definition after arXiv 2108.12409; its steps in docs/statements/rotary.md.

    Args:
      slope: The slope m.
      distances: Query's position less key's.

    Returns:
      The kernel; it is not bounded.
    """
    return -slope * distances


@border()
def sinusoidal_kernel(
    frequencies: Float[Array, " pairs"], distances: Float[Array, " distances"]
) -> Float[Array, " distances"]:
    r"""Product of two sinusoidal position vectors, which depends on their distance alone.

    .. math:: p_{i} \cdot p_{i-r} = \sum_f \cos(\theta_f r)

    Added to queries and keys the vectors also make products with the content. Those depend on
    positions and not on the distance, and are not part of this kernel.

    Source: after arXiv 1706.03762, Section 3.5, proved in docs/statements/rotary.md.

    Args:
      frequencies: Angle theta_f per step, of each pair of sine and cosine.
      distances: The distances r.

    Returns:
      The kernel.
    """
    # (distances, pairs) -> (distances,)
    return jnp.sum(jnp.cos(distances[:, None] * frequencies[None, :]), axis=-1)


@border()
def position_increments(
    kernels: Float[Array, "kernels distances"],
) -> Float[Array, " steps"]:
    r"""Mean step of the positional term, for each length, which vanishes under Theorem 4.2.

    .. math:: \bar\pi_n = \frac1n \sum_{r=0}^{n-1} \pi_r, \qquad
       \pi_r = \max |k(r + 1) - k(r)|

    the maximum being over the kernels given. It is the increment of inequality (R4), see
    ``collapse.row_change_bound_by_increments``, if these are the kernels of all queries and keys
    that occur, times the scale of the logits. Without positions it is zero, under ALiBi the slope;
    rotary kernels of generic queries and keys keep it of order one.

    Source: arXiv 2406.04267v2, proof of Theorem B.3.
    Differs: the mean, in place of a vanishing pi_r; derived by us.

    Args:
      kernels: One row per query and key, at the distances 0, 1, ..., n.

    Returns:
      The means over the first 1, 2, ..., n steps.
    """
    # The greatest over kernels, then the mean up to each: (kernels, distances) -> (steps,)
    steps = jnp.max(jnp.abs(jnp.diff(kernels, axis=-1)), axis=0)
    return jnp.cumsum(steps) / jnp.arange(1, len(steps) + 1, dtype=steps.dtype)
