"""Position ids of retained tokens under rotary positions: compressed or consecutive."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.cache.policies import PositionIds
from glassesjax.cache.slots import EMPTY

NEAR = 10  # gaps up to this one stay


@border()
def compress_gap(gap: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Compressed gap between the positions of two neighboring retained tokens.

    .. math:: g \mapsto g \text{ if } g \le 10, \text{ else } \ln \ln g

    It is not monotone: 10 stays 10, 11 becomes 0.87, 70,000 becomes 2.41.

    Source: arXiv 2401.06104v2, the extrapolation experiment (Figure 7).

    Args:
      gap: Differences of positions, at least 1.

    Returns:
      The compressed differences.
    """
    far = jnp.maximum(gap, NEAR + 1)  # so that no logarithm of a small gap is taken
    return jnp.where(gap <= NEAR, gap, jnp.log(jnp.log(far)))


@border()
def reindexed(
    position: Int[Array, " slots"], position_ids: PositionIds, dtype: jnp.dtype
) -> Float[Array, " slots"]:
    """Position ids of the cache slots after their gaps were changed, the oldest at zero.

    Source: arXiv 2401.06104v2, the extrapolation experiment (Figure 7).
    Differs: the paper does not define the query's position: here it follows the newest retained
    token by its own gap, as it is in one of the slots.

    Args:
      position: Absolute positions, -1 for empty slots, in any order.
      position_ids: ``compressed``, or ``consecutive`` for gaps of one.
      dtype: Of the result.

    Returns:
      Positions that may be fractions; undefined in empty slots.
    """
    last = jnp.iinfo(position.dtype).max
    key = jnp.where(position == EMPTY, last, position)
    order = jnp.argsort(key)
    if position_ids == "consecutive":
        moved = jnp.arange(len(position), dtype=dtype)
    else:
        gaps = jnp.diff(key[order]).astype(dtype)
        moved = jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(compress_gap(gaps))])
    return jnp.zeros_like(moved).at[order].set(moved, unique_indices=True)
