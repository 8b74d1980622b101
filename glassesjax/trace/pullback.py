"""The derivative of one layer, transposed, for a batch of cotangents at once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.model.attention import (
    Attention,
    Pairs,
    group,
    last_rows,
    scaled_products,
    softmax,
)
from glassesjax.model.config import AdaptiveTemperature
from glassesjax.model.decoder import Block
from glassesjax.model.layers import exact, softcap
from glassesjax.model.positions import Layout
from glassesjax.model.temperature import length_factors
from glassesjax.model.tiling import TILING
from glassesjax.precision import Site

Cotangents = Float[Array, "batch rows model_dim"]
Heads = tuple[Array, Array, Array]
Finish = Callable[[Float[Array, "rows model_dim"]], Float[Array, "rows model_dim"]]


def layer_pullback(
    block: Block,
    resid: Float[Array, "seq model_dim"],
    layout: Layout,
    *,
    freeze: bool,
    last: int | None = None,
    finish: Finish = lambda resid: resid,
) -> Callable[[Cotangents], Float[Array, "batch seq model_dim"]]:
    """Takes cotangents of a layer's last rows, or of all, to its input: a linear function.

    It is the mapped ``jax.vjp`` of the layer, with the work that no cotangent enters done once.

    Args:
      block: The layer's weights.
      resid: The layer's input.
      layout: Where each row stands.
      freeze: Takes attention weights as constants.
      last: How many rows of the output have cotangents; all if absent.
      finish: A function of the layer's output, differentiated with it.

    Returns:
      The function.
    """
    heads, pull_heads = jax.vjp(lambda x: block.heads(x, layout, last=last), resid)
    rows = len(heads[0])
    mixed = block.attention.mix(*heads, layout, freeze)
    rest = lambda x, joined: finish(block.rest(x, joined))
    pull_rest = jax.vjp(rest, resid[-rows:], mixed)[1]
    pull_mix = _mix_pullback(block, heads, layout, freeze)

    def pull(cotangents: Array) -> Array:
        past, joined = jax.vmap(pull_rest)(cotangents)
        (through,) = jax.vmap(pull_heads)(pull_mix(joined))
        return through.at[:, -rows:].add(past)

    return pull


def _mix_pullback(
    block: Block, heads: Heads, layout: Layout, freeze: bool
) -> Callable[[Float[Array, "batch query joined"]], Heads]:
    plan = block.attention.plan_of(heads[0])
    # An adaptive factor depends on its whole row, and with it every derivative.
    adaptive = isinstance(block.config.temperature, AdaptiveTemperature)
    if freeze or adaptive or {Site.ATTN_LOGITS, Site.ATTN_WEIGHTS} & plan.formats.keys():
        mix = lambda q, k, v: block.attention.mix(q, k, v, layout, freeze)
        pull = jax.vjp(mix, *heads)[1]
        # Frozen, it is one product with shared weights; else, pairs of tokens per cotangent.
        return jax.vmap(pull) if freeze else lambda joined: jax.lax.map(pull, joined)
    parts = _parts(block.attention, heads, layout)
    kv_heads, width = block.config.kv_heads, block.config.value_dim

    def pull_mix(joined: Array) -> Heads:
        joined = joined.astype(plan.carrier_dtype)
        joined = joined.reshape(*joined.shape[:2], -1, width)
        grouped = [jax.vmap(lambda x: group(x, kv_heads))(joined[:, part.rows]) for part in parts]
        pairs = lambda these: _pull_pairs(parts, these, heads)
        query, key = jax.lax.map(pairs, grouped)
        value = _pull_values(parts, grouped, heads)
        return query, key, value

    return pull_mix


class _Part(NamedTuple):
    """Some rows of queries and the keys they see; queries that share a head stand together."""

    rows: slice
    query: Float[Array, "kv_heads n key_dim"]
    key: Float[Array, "kv_heads key key_dim"]
    value: Float[Array, "kv_heads key value_dim"]
    weights: Float[Array, "kv_heads n key"]
    steep: Float[Array, "kv_heads n key"]  # weights times the slope of the logits
    mean: Float[Array, "kv_heads n value_dim"]


def _parts(attention: Attention, heads: Heads, layout: Layout) -> list[_Part]:
    query, key, _ = heads
    first, ordered = len(key) - len(query), attention.config.mask.causal
    starts = range(0, len(query), TILING.pullback_rows)
    bounds = [(start, min(start + TILING.pullback_rows, len(query))) for start in starts]
    seen = [slice(0, first + stop if ordered else None) for _, stop in bounds]
    cut = [(slice(*rows), keys) for rows, keys in zip(bounds, seen, strict=True)]
    return [_part(attention, heads, layout, rows, keys) for rows, keys in cut]


def _part(attention: Attention, heads: Heads, layout: Layout, rows: slice, keys: slice) -> _Part:
    config, carrier = attention.config, attention.plan_of(heads[0]).carrier_dtype
    asking = last_rows(layout, len(heads[0]))
    asking = jax.tree.map(lambda field: field[rows], asking)
    layout = jax.tree.map(lambda field: field[keys], layout)
    query, key, value = heads[0][rows], heads[1][keys], heads[2][keys]
    products = scaled_products(config, query, key.transpose(1, 0, 2), carrier)
    pairs = Pairs.of(asking, layout, attention.seen(asking, layout))
    slope = jnp.full_like(products, config.scale)
    if (cap := config.attn_softcap) is not None:
        slope = slope * (1 - jnp.square(softcap(products, cap) / jnp.asarray(cap, carrier)))
    if (sharpness := attention.sharpness_of_heads) is not None:  # adaptive ones never come here
        slope = length_factors(sharpness, pairs.seen, carrier) * slope
    weights = softmax(jnp.where(pairs.seen, attention.logits(products, pairs), -jnp.inf))
    together = lambda x: x.reshape(config.kv_heads, -1, len(key))
    wide = lambda x: x.astype(carrier).transpose(1, 0, 2)
    weights, steep = together(weights), together(weights * slope)
    mean = exact("kns,kse->kne", weights, wide(value), carrier)
    query = group(query.astype(carrier), config.kv_heads)
    return _Part(rows, query, wide(key), wide(value), weights, steep, mean)


def _pull_pairs(parts: list[_Part], joined: list[Array], heads: Heads) -> tuple[Array, Array]:
    r"""Cotangents of queries and keys for one cotangent g of the averages u.

    .. math:: T_{jk} = S_{jk} \, g_j \cdot (v_k - u_j), \quad
       \bar q_j = \sum_k T_{jk} k_k, \quad \bar k_k = \sum_j T_{jk} q_j
    """
    query, key, _ = heads
    asked, answered = [], jnp.zeros(key.transpose(1, 2, 0).shape, parts[0].key.dtype)
    for part, g in zip(parts, joined, strict=True):
        carrier = g.dtype
        apart = exact("kne,kse->kns", g, part.value, carrier)
        moved = part.steep * (apart - jnp.sum(g * part.mean, axis=-1, keepdims=True))
        asks = exact("kns,ksh->knh", moved, part.key, carrier)
        asks = asks.reshape(query.shape[1], -1, query.shape[2])
        asked.append(asks.transpose(1, 0, 2))
        # The long axis last: products with the short one last ran three times as long.
        answers = exact("kns,knh->khs", moved, part.query, carrier)
        answered = answered + _fill(answers, len(key))
    return jnp.concatenate(asked).astype(query.dtype), answered.transpose(2, 0, 1).astype(key.dtype)


def _pull_values(
    parts: list[_Part], joined: list[Array], heads: Heads
) -> Float[Array, "batch seq kv_heads value_dim"]:
    """Cotangents of values: one product with the weights for the whole batch."""
    length, dtype = len(heads[2]), heads[2].dtype
    product = lambda part, g: exact("kns,bkne->kbes", part.weights, g, g.dtype)
    filled = [_fill(product(part, g), length) for part, g in zip(parts, joined, strict=True)]
    return sum(filled[1:], filled[0]).transpose(1, 3, 0, 2).astype(dtype)


def _fill(x: Float[Array, "*axes key"], length: int) -> Float[Array, "*axes seq"]:
    """Zeros for the keys that were not seen."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])
