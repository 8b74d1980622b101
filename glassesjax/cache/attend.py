"""What some queries of one layer read from its places."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.cache.policies import Spacing
from glassesjax.cache.slots import EMPTY
from glassesjax.cache.spacing import spaced
from glassesjax.model.attention import Attention, softmax
from glassesjax.model.config import Alibi, DecoderConfig, Rotary, Window
from glassesjax.model.layers import exact, softcap
from glassesjax.model.positions import alibi_slopes, rotate
from glassesjax.model.temperature import tempered
from glassesjax.precision import RoundingPlan, Site


def attend(
    attention: Attention,
    query: Float[Array, "rows heads key_dim"],
    key: Float[Array, "kv_heads places key_dim"],
    value: Float[Array, "kv_heads places value_dim"],
    position: Int[Array, "groups places"],
    now: Int[Array, " rows"],
) -> tuple[Float[Array, "rows joined"], Float[Array, "heads rows places"]]:
    """What each head averages over the places that its query sees, and the weights.

    Source: arXiv 2401.06104v2, equation 7, with the decoder's scale, soft cap, positions, mask and
    temperature, whose n is the number of places that the query sees.

    Args:
      attention: Of the layer.
      query: Of the tokens that ask.
      key: Of all places, rotated to where they stand.
      value: Of all places.
      position: Of all places, for each group of key-value heads; -1 where empty.
      now: Positions of the tokens that ask.

    Returns:
      The averages, stored as the plan stores them; and the weights before the plan rounds them, in
      its carrier, for policies to score: exact zeros where nothing is seen.
    """
    config, plan, rows = attention.config, attention.plan_of(query), len(query)
    carrier, sharpness = plan.carrier_dtype, attention.sharpness_of_heads
    grouped = query.transpose(1, 0, 2).reshape(config.kv_heads, -1, query.shape[-1])
    logits = exact("knh,ksh->kns", grouped, key, carrier) * jnp.asarray(config.scale, carrier)
    logits = logits.reshape(config.kv_heads, -1, rows, key.shape[1])
    if config.attn_softcap is not None:
        logits = softcap(logits, config.attn_softcap)
    distance = now[None, :, None] - position[:, None, :]  # groups rows places
    if isinstance(config.positions, Alibi):
        slopes = alibi_slopes(config.positions, config.num_heads, carrier)
        slopes = slopes.reshape(config.kv_heads, -1, 1, 1)
        logits = logits - slopes * distance[:, None].astype(carrier)
    seen = _seen(config, position, distance)
    each = seen if len(seen) == 1 else jnp.repeat(seen, config.num_heads // len(seen), axis=0)
    flat = logits.reshape(config.num_heads, rows, -1)
    logits = tempered(config.temperature, sharpness, flat, each).reshape(logits.shape)
    seen = seen[:, None]
    logits = plan.store(Site.ATTN_LOGITS, jnp.where(seen, logits, 0)).astype(carrier)
    weights = softmax(jnp.where(seen, logits, -jnp.inf))
    shared = plan.store(Site.ATTN_WEIGHTS, weights).reshape(config.kv_heads, -1, key.shape[1])
    joined = exact("kns,ksh->knh", shared, value, carrier)
    joined = joined.reshape(config.num_heads, rows, -1).transpose(1, 0, 2).reshape(rows, -1)
    return plan.store(Site.ACTIVATIONS, joined), weights.reshape(config.num_heads, rows, -1)


def _seen(
    config: DecoderConfig, position: Int[Array, "groups places"], distance: Array
) -> Bool[Array, "groups rows places"]:
    seen = (position != EMPTY)[:, None] & (distance >= 0)
    return seen & (distance < config.mask.width) if isinstance(config.mask, Window) else seen


def turned(
    rotary: Rotary,
    query: Float[Array, "one heads key_dim"],
    key: Float[Array, "kv_heads places key_dim"],
    position: Int[Array, "groups places"],
    now: Int[Array, ""],
    spacing: Spacing,
) -> tuple[Float[Array, "one heads key_dim"], Float[Array, "kv_heads places key_dim"]]:
    """Query and keys that were stored without rotation, turned to where the spacing puts them.

    Args:
      rotary: The decoder's positions.
      query: Of the current token.
      key: Of all places, the current token's included.
      position: Of all places, for each group of key-value heads.
      now: Position of the current token.
      spacing: Where the places stand, if not where they stood.

    Returns:
      The two in their own dtype; angles are computed in float32 or wider.
    """
    wide = RoundingPlan.of_dtype(key.dtype).carrier_dtype
    places = jax.vmap(functools.partial(spaced, spacing=spacing, dtype=wide))(position)
    places = jnp.broadcast_to(places, key.shape[:2])
    here = jnp.max(jnp.where(position == now, places[: len(position)], 0), axis=-1)
    turn = lambda x, at: rotate(x.astype(wide)[:, None], at, rotary)[:, 0].astype(x.dtype)
    here = jnp.repeat(jnp.broadcast_to(here, len(key)), query.shape[1] // len(key))
    return turn(query[0], here)[None], jax.vmap(turn)(key, places)
