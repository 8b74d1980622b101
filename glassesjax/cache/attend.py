"""Attention of some queries of one layer over its cache slots."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.cache.policies import PositionIds
from glassesjax.cache.position_ids import reindexed
from glassesjax.cache.slots import EMPTY
from glassesjax.model.attention import Attention, Pairs
from glassesjax.model.config import Positions
from glassesjax.precision import RoundingPlan


def attend(
    attention: Attention,
    query: Float[Array, "rows heads key_dim"],
    key: Float[Array, "kv_heads slots key_dim"],
    value: Float[Array, "kv_heads slots value_dim"],
    position: Int[Array, "groups slots"],
    now: Int[Array, " rows"],
) -> tuple[Float[Array, "rows joined"], Float[Array, "heads rows slots"]]:
    """What each head averages over the slots that its query sees, and the weights.

    Source: arXiv 2401.06104v2, equation 7, with the decoder's scale, soft cap, positions, mask and
    temperature, whose n is the number of slots that the query sees.

    Args:
      attention: Of the layer.
      query: Of the current tokens.
      key: Of all slots, rotated by their positions.
      value: Of all slots.
      position: Of all slots, for each group of key-value heads; -1 where empty.
      now: Positions of the current tokens.

    Returns:
      The averages, stored as the plan stores them; and the weights before the plan rounds them, in
      its carrier, for policies to score: exact zeros where nothing is seen.
    """
    config = attention.config
    # A decision is for its layer or for each key-value head, whose query heads are neighbors:
    # (groups, slots) -> (1 or heads, slots).
    each = lambda x: x if len(x) == 1 else jnp.repeat(x, config.num_heads // len(x), axis=0)
    # (1 or heads, 1, slots) and (1, rows, 1) -> (heads, rows, slots)
    stored, asking = each(position)[:, None, :], now[None, :, None]
    pairs = Pairs(asking, stored, (stored != EMPTY) & attention.mask.sees(asking, stored))
    attended = attention.weigh(query, key, pairs)
    return attention.average(attended, value)[0], attended.attn_weights


def turned(
    positions: Positions,
    query: Float[Array, "one heads key_dim"],
    key: Float[Array, "kv_heads slots key_dim"],
    position: Int[Array, "groups slots"],
    now: Int[Array, ""],
    position_ids: PositionIds,
) -> tuple[Float[Array, "one heads key_dim"], Float[Array, "kv_heads slots key_dim"]]:
    """Query and keys that were stored without rotation, rotated to their position ids.

    Args:
      positions: The decoder's.
      query: Of the current token.
      key: Of all slots, the current token's included.
      position: Of all slots, for each group of key-value heads.
      now: Position of the current token.
      position_ids: The rule of position ids, compressed or consecutive.

    Returns:
      The two in their own dtype; angles are computed in float32 or wider.
    """
    wide = RoundingPlan.of_dtype(key.dtype).carrier_dtype
    # vmap over groups, then one row for each key-value head: (groups, slots) -> (kv_heads, slots)
    ids = jax.vmap(functools.partial(reindexed, position_ids=position_ids, dtype=wide))(position)
    ids = jnp.broadcast_to(ids, key.shape[:2])
    # The position id of the current token, which is one of the slots: (groups, slots) -> (groups,)
    now_id = jnp.max(jnp.where(position == now, ids[: len(position)], 0), axis=-1)
    # (rows, key_dim), as rows of one head; 16-bit angles would lose the positions.
    turn = lambda x, at: positions.turn(x.astype(wide)[:, None], at)[:, 0].astype(x.dtype)
    # (groups,) -> (kv_heads,) -> (heads,)
    now_id = jnp.repeat(jnp.broadcast_to(now_id, len(key)), query.shape[1] // len(key))
    return turn(query[0], now_id)[None], jax.vmap(turn)(key, ids)  # vmap over kv_heads
