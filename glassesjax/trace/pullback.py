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
      layout: Position and branch of each row.
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
        # vmap over the batch: past (batch, rows, model_dim), joined (batch, rows, joined)
        past, joined = jax.vmap(pull_rest)(cotangents)
        (through,) = jax.vmap(pull_heads)(pull_mix(joined))  # (batch, seq, model_dim)
        return through.at[:, -rows:].add(past)

    return pull


def _mix_pullback(
    block: Block, heads: Heads, layout: Layout, freeze: bool
) -> Callable[[Float[Array, "batch query joined"]], Heads]:
    plan = block.attention.plan_of(heads[0])
    # An adaptive factor depends on its whole row, and with it every derivative.
    adaptive = isinstance(block.config.temperature, AdaptiveTemperature)
    if freeze or adaptive or plan.rounds_attention:
        mix = lambda q, k, v: block.attention.mix(q, k, v, layout, freeze)
        pull = jax.vjp(mix, *heads)[1]
        # Frozen, it is one product with shared weights; else, pairs of tokens per cotangent.
        return jax.vmap(pull) if freeze else lambda joined: jax.lax.map(pull, joined)
    parts = _parts(block.attention, heads, layout)
    kv_heads, width = block.config.kv_heads, block.config.value_dim

    def pull_mix(joined: Array) -> Heads:
        # (batch, query, joined) -> (batch, query, heads, value_dim)
        joined = joined.astype(plan.carrier_dtype)
        joined = joined.reshape(*joined.shape[:2], -1, width)
        # a part's rows, by the heads that share keys: (batch, kv_heads, n, value_dim)
        grouped = [jax.vmap(lambda x: group(x, kv_heads))(joined[:, part.rows]) for part in parts]
        # One cotangent at a time: pairs of tokens take the most memory.
        query, key = jax.lax.map(lambda these: _pull_pairs(parts, these, heads), grouped)
        # Values need one product with the weights for the whole batch.
        length, dtype = len(heads[2]), heads[2].dtype
        product = lambda part, g: exact("kns,bkne->kbes", part.weights, g, g.dtype)
        filled = [_fill(product(part, g), length) for part, g in zip(parts, grouped, strict=True)]
        value = sum(filled[1:], filled[0])
        # (kv_heads, batch, value_dim, seq) -> (batch, seq, kv_heads, value_dim)
        return query, key, value.transpose(1, 3, 0, 2).astype(dtype)

    return pull_mix


class _Part(NamedTuple):
    """Some rows of queries and the keys they see; queries that share a head are neighbors."""

    rows: slice
    query: Float[Array, "kv_heads n key_dim"]
    key: Float[Array, "kv_heads key key_dim"]
    value: Float[Array, "kv_heads key value_dim"]
    weights: Float[Array, "kv_heads n key"]
    steep: Float[Array, "kv_heads n key"]  # weights times the slope of the logits
    mean: Float[Array, "kv_heads n value_dim"]


def _parts(attention: Attention, heads: Heads, layout: Layout) -> list[_Part]:
    config, plan = attention.config, attention.plan_of(heads[0])
    carrier = plan.carrier_dtype
    first, count = len(heads[1]) - len(heads[0]), len(heads[0])
    some = lambda fields, index: jax.tree.map(lambda field: field[index], fields)
    # (key, kv_heads, h) -> (kv_heads, key, h)
    wide = lambda x: x.astype(carrier).transpose(1, 0, 2)
    # (heads, rows, key) -> (kv_heads, n, key)
    together = lambda x: x.reshape(config.kv_heads, -1, x.shape[-1])
    parts = []
    for start in range(0, count, TILING.pullback_rows):
        rows = slice(start, min(start + TILING.pullback_rows, count))
        # Causal rows see no key after the last of them.
        keys = slice(0, first + rows.stop if config.mask.causal else None)
        asking, line = some(last_rows(layout, count), rows), some(layout, keys)
        query, key, value = heads[0][rows], heads[1][keys], heads[2][keys]
        products = scaled_products(config, query, key.transpose(1, 0, 2), plan)
        pairs = Pairs.of(asking, line, attention.seen(asking, line))
        # The slope of each logit in the product of query and key, by the chain rule.
        slope = jnp.full_like(products, config.scale)
        if (cap := config.attn_softcap) is not None:
            slope = slope * (1 - jnp.square(softcap(products, cap) / jnp.asarray(cap, carrier)))
        if (sharpness := attention.sharpness_of_heads) is not None:  # adaptive ones never come here
            slope = length_factors(sharpness, pairs.seen, carrier) * slope
        weights = softmax(jnp.where(pairs.seen, attention.logits(products, pairs), -jnp.inf))
        weights, steep = together(weights), together(weights * slope)
        mean = exact("kns,kse->kne", weights, wide(value), carrier)
        query = group(query.astype(carrier), config.kv_heads)
        parts.append(_Part(rows, query, wide(key), wide(value), weights, steep, mean))
    return parts


def _pull_pairs(parts: list[_Part], joined: list[Array], heads: Heads) -> tuple[Array, Array]:
    r"""Cotangents of queries and keys for one cotangent g of the averages u.

    .. math:: T_{jk} = S_{jk} \, g_j \cdot (v_k - u_j), \quad
       \bar q_j = \sum_k T_{jk} k_k, \quad \bar k_k = \sum_j T_{jk} q_j
    """
    query, key, _ = heads
    queries, keys = [], jnp.zeros(key.transpose(1, 2, 0).shape, parts[0].key.dtype)
    for part, g in zip(parts, joined, strict=True):
        carrier = g.dtype
        apart = exact("kne,kse->kns", g, part.value, carrier)
        moved = part.steep * (apart - jnp.sum(g * part.mean, axis=-1, keepdims=True))
        # (kv_heads, n, key_dim) -> (heads, rows, key_dim) -> (rows, heads, key_dim)
        to_query = exact("kns,ksh->knh", moved, part.key, carrier)
        to_query = to_query.reshape(query.shape[1], -1, query.shape[2])
        queries.append(to_query.transpose(1, 0, 2))
        # The long axis last: products with the short one last ran three times as long.
        to_key = exact("kns,knh->khs", moved, part.query, carrier)
        keys = keys + _fill(to_key, len(key))
    # (kv_heads, key_dim, seq) -> (seq, kv_heads, key_dim)
    return jnp.concatenate(queries).astype(query.dtype), keys.transpose(2, 0, 1).astype(key.dtype)


def _fill(x: Float[Array, "*axes key"], length: int) -> Float[Array, "*axes seq"]:
    """Zeros for the keys that were not seen."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])
