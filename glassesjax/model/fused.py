"""Averages of attention in the order of fused kernels: tiles of keys, divided at the end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.model.layers import product
from glassesjax.precision import Accumulator, RoundingPlan, Site, accumulate


class _Running(NamedTuple):
    """What a kernel keeps of the tiles that it has read."""

    most: Float[Array, "kv_heads n"]
    """The largest logit so far; -inf where none was seen."""
    total: Float[Array, "kv_heads n"]
    averaged: Float[Array, "kv_heads n value_dim"]


def fused_average(
    logits: Float[Array, "kv_heads n key"],
    value: Float[Array, "kv_heads key value_dim"],
    plan: RoundingPlan,
) -> tuple[Float[Array, "kv_heads n value_dim"], Float[Array, "kv_heads n key"]]:
    r"""Averages over keys with exponentials stored before they are divided by their sum.

    For each tile T of keys, with the running maximum m, sum l and average o:

    .. math::
        m' &= \max(m, \max_T s), \quad p = fl(e^{s - m'}), \quad a = e^{m - m'}, \\
        l' &= fl\Big(fl(a\, l) + fl\Big(\sum_T e^{s - m'}\Big)\Big), \quad
        o' = fl\Big(fl(a\, o) + fl\Big(\sum_T p\, v\Big)\Big),

    and at the end o / l. Where the plan names no accumulator, sums are those of the carrier.

    Source: arXiv 2307.08691, algorithm 1.
    Differs: any format of p; a tile's sums begin at zero and may be rounded to a format.

    Args:
      logits: Of the queries that share keys, in the carrier; -inf where a pair is masked.
      value: As the products read them.
      plan: With a format for ``attn_exp``.

    Returns:
      The averages in the carrier, not yet stored; and the weights that they stand for: p times all
      later a, over l. Their sum need not be 1.
    """
    length = logits.shape[-1]
    size = min(plan.tile, length) if plan.tile else length
    padding = -length % size
    # Keys that fill the last tile are masked: (kv_heads, n, key) -> (tiles, kv_heads, n, size)
    logits = jnp.pad(logits, ((0, 0), (0, 0), (0, padding)), constant_values=-jnp.inf)
    logits = jnp.moveaxis(logits.reshape(*logits.shape[:2], -1, size), 2, 0)
    # (kv_heads, key, value_dim) -> (tiles, kv_heads, size, value_dim)
    value = jnp.pad(value.astype(plan.carrier_dtype), ((0, 0), (0, padding), (0, 0)))
    value = jnp.moveaxis(value.reshape(len(value), -1, size, value.shape[-1]), 1, 0)
    none = jnp.full(logits.shape[1:3], -jnp.inf, logits.dtype)
    start = _Running(
        none, jnp.zeros_like(none), jnp.zeros((*none.shape, value.shape[-1]), none.dtype)
    )
    read = lambda running, tile: _read(running, tile[0], tile[1], plan)
    reverse = plan.tile_order == "reverse"
    end, (stored, most) = jax.lax.scan(read, start, (logits, value), reverse=reverse)
    # What each tile's weights were multiplied by after it was read: (tiles, kv_heads, n)
    weights = stored * _factor(most, end.most[None])[..., None] / end.total[None, ..., None]
    # (tiles, kv_heads, n, size) -> (kv_heads, n, key)
    weights = jnp.moveaxis(weights, 0, 2).reshape(*none.shape, -1)[..., :length]
    return end.averaged / end.total[..., None], weights


def _read(
    running: _Running,
    logits: Float[Array, "kv_heads n size"],
    value: Float[Array, "kv_heads size value_dim"],
    plan: RoundingPlan,
) -> tuple[_Running, tuple[Float[Array, "kv_heads n size"], Float[Array, "kv_heads n"]]]:
    """One tile: what is kept after it, its stored exponentials and the maximum that they have."""
    # The maximum cancels in value and slope.
    most = jnp.maximum(running.most, jax.lax.stop_gradient(jnp.max(logits, axis=-1)))
    exps = _factor(logits, most[..., None])
    stored = plan.store(Site.ATTN_EXP, exps)
    factor = _factor(running.most, most)
    add = lambda how, old, new: _rounded(how, _rounded(how, old) + new)
    sums = plan.softmax_sum
    new = jnp.sum(exps, axis=-1) if sums is None else accumulate(exps, sums)
    total = add(sums, factor * running.total, new)
    new = product("kns,ksh->knh", stored, value, plan)
    averaged = add(plan.product_sum, factor[..., None] * running.averaged, new)
    return _Running(most, total, averaged), (stored, most)


def _factor(x: Float[Array, "..."], most: Float[Array, "..."]) -> Float[Array, "..."]:
    """``exp(x - most)``; zero where x is -inf, also where nothing was seen."""
    seen = x > -jnp.inf
    # Both branches of a derivative are computed: none may be infinite.
    return jnp.where(seen, jnp.exp(jnp.where(seen, x, 0) - jnp.where(seen, most, 0)), 0)


def _rounded(how: Accumulator | None, x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x if how is None else how.fmt.round(x)
