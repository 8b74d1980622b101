"""One layer over some tokens and its cache: per-token eviction, or one eviction after all."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.cache.attend import attend, turned
from glassesjax.cache.policies import Candidates, Policy
from glassesjax.cache.slots import (
    EMPTY,
    KVCache,
    evict,
    is_invalid,
    score_candidates,
    undecided,
    write,
)
from glassesjax.cache.stored import packed_row, read
from glassesjax.errors import check_choice
from glassesjax.model.config import Rotary
from glassesjax.model.decoder import Block
from glassesjax.model.positions import Layout
from glassesjax.model.tiling import TILING
from glassesjax.precision import Packed

Mode = Literal["exact", "chunked"]


class Dropped(NamedTuple):
    """Tokens that one layer evicted: positions, -1 for none, and the step of the eviction."""

    position: Int[Array, "groups events"]
    step: Int[Array, " events"]


class RowPositions(NamedTuple):
    """Positions of the rows of a residual stream."""

    now: Int[Array, " seq"]
    """Absolute positions."""
    valid: Bool[Array, " seq"]
    """False for rows of padding; they come last."""


def layer_step(
    block: Block,
    cache: KVCache,
    resid: Float[Array, "seq model_dim"],
    rows: RowPositions,
    policy: Policy,
    mode: Mode,
) -> tuple[KVCache, Float[Array, "seq model_dim"], Dropped]:
    """One layer over the next tokens of a sequence.

    Source: arXiv 2401.06104v2, equations 6 to 9.

    Args:
      block: The layer's weights.
      cache: Its cache of earlier tokens.
      resid: Residual stream before the layer.
      rows: Positions of its rows.
      policy: The eviction policy.
      mode: ``exact`` evicts after each token, as in decoding token by token; ``chunked`` lets
        each token attend to all that is cached and all tokens before it, and evicts once, by the
        attention of the last of them.

    Returns:
      The cache, the residual stream after the layer, and the evicted tokens. What is read from a
      lost cache (``slots.is_invalid``) is NaN.
    """
    # Keys that are turned anew at each step are stored as position zero turns them: by no angle.
    stands = rows.now if policy.position_ids == "original" else jnp.zeros_like(rows.now)
    # One line: branch 0, each row after those before it.
    layout = Layout(stands, jnp.zeros_like(stands), stands + 1)
    packed = isinstance(cache.key, Packed)
    query, *stored = block.heads(resid, layout, state=not packed)
    # Packed from what the state's rounding reads: to round twice would move scales.
    fmt = block.plan_of(resid).state if packed else None
    key, value = (packed_row(each, fmt) for each in stored)
    heads = query, key, value
    check_choice("mode", mode, get_args(Mode))
    run = _per_token if mode == "exact" else _whole_chunk
    cache, joined, dropped = run(block, cache, heads, rows, policy)
    return cache, block.rest(resid, joined), dropped


Heads = tuple[Array, Array | Packed, Array | Packed]
LayerResult = tuple[KVCache, Float[Array, "seq joined"], Dropped]


def _per_token(
    block: Block, cache: KVCache, heads: Heads, rows: RowPositions, policy: Policy
) -> LayerResult:
    """Only attention runs along the tokens: projections and MLP saw all of them together."""
    rotary = block.config.positions

    def one(cache: KVCache, row: tuple[Any, ...]) -> tuple[KVCache, tuple[Array, Array]]:
        query, key, value, now, valid = row
        cache = write(cache, key, value, now)
        keys, values = _read(block, cache.key, cache.value, query)
        query = query[None]  # (heads, key_dim) -> (1 row, heads, key_dim)
        if policy.position_ids != "original" and isinstance(rotary, Rotary):
            # Position zero has put the attention factor in already.
            plain = dataclasses.replace(rotary, attention_factor=1.0)
            query, keys = turned(plain, query, keys, cache.position, now, policy.position_ids)
        position = cache.position
        joined, weights = attend(block.attention, query, keys, values, position, now[None])
        joined = jnp.where(is_invalid(cache), jnp.nan, joined)
        # (heads, 1 row, slots) -> (groups, slots); evicted by what this very query attends to
        weight = _by_group(weights[:, 0], len(position)).astype(cache.mass.dtype)
        cache, evicted = evict(cache, weight, now, policy, valid)
        return cache, (joined[0], evicted)

    # scan over tokens: joined (seq, joined), evicted (seq, groups) -> (groups, seq)
    cache, (joined, evicted) = jax.lax.scan(one, cache, (*heads, *rows))
    return cache, joined, Dropped(evicted.T, rows.now)


def _read(
    block: Block, key: Array | Packed, value: Array | Packed, query: Array
) -> tuple[Float[Array, "kv_heads slots key_dim"], Float[Array, "kv_heads slots value_dim"]]:
    """Keys and values of slots as attention reads them, in the dtype of the query."""
    fmt, config = block.plan_of(query).state, block.config
    widths = ((key, config.key_dim), (value, config.value_dim))
    keys, values = (read(each, fmt, width, query.dtype) for each, width in widths)
    return keys, values


def _by_group(
    weights: Float[Array, "heads *rest slots"], groups: int
) -> Float[Array, "groups *rest slots"]:
    """Mean over the query heads of each group."""
    # (heads, *rest, slots) -> (groups, heads of one, *rest, slots) -> (groups, *rest, slots)
    return jnp.mean(weights.reshape(groups, -1, *weights.shape[1:]), axis=1)


def _whole_chunk(
    block: Block, cache: KVCache, heads: Heads, rows: RowPositions, policy: Policy
) -> LayerResult:
    query, key, value = heads
    groups = len(cache.position)
    # (kv_heads, slots, width) and (seq, kv_heads, width) -> (kv_heads, slots + seq, width)
    join = lambda old, new: jnp.concatenate([old, new.transpose(1, 0, 2)], axis=1)
    both = functools.partial(jax.tree.map, join)
    key, value = both(cache.key, key), both(cache.value, value)
    fresh = jnp.broadcast_to(rows.now, (groups, len(rows.now)))
    fills = jnp.broadcast_to(~rows.valid, fresh.shape)
    # A row of padding may be NaN, and zero times it would be, too.
    unused = jnp.concatenate([cache.position == EMPTY, fills], axis=1)
    value = jax.tree.map(lambda x: jnp.where(unused[:, :, None], jnp.zeros_like(x), x), value)
    keys, values = _read(block, key, value, query)
    position = jnp.concatenate([cache.position, fresh], axis=1)
    read = jnp.sum(rows.valid, dtype=jnp.int32)
    last = rows.now[0] + read - 1

    def block_of_rows(part: tuple[Array, RowPositions]) -> tuple[Array, Array, Array]:
        query, (now, valid) = part
        joined, weights = attend(block.attention, query, keys, values, position, now)
        shared = _by_group(weights, groups)
        # The attention of each query fades once for each step after it.
        steps = jnp.maximum(last - now, 0).astype(shared.dtype)
        fades = jnp.where(valid, jnp.asarray(policy.decay, shared.dtype) ** steps, 0)
        # over rows: (groups, rows, slots) -> (groups, slots)
        mass = jnp.sum(jnp.where(valid[None, :, None], shared * fades[None, :, None], 0), axis=1)
        return joined, mass, jnp.sum(jnp.where((now == last)[None, :, None], shared, 0), axis=1)

    # Some rows at a time, for memory: (seq, ...) -> (blocks, size, ...). What fills the last block
    # is at position 0, not valid, and its averages are cut off.
    count, size = len(query), min(len(query), TILING.attention_rows)
    blocks = -(-count // size)
    fill = lambda x: jnp.pad(x, [(0, blocks * size - count)] + [(0, 0)] * (x.ndim - 1))
    split = lambda x: fill(x).reshape(blocks, size, *x.shape[1:])
    joined, mass, weight = jax.lax.map(block_of_rows, jax.tree.map(split, (query, rows)))
    joined = joined.reshape(-1, joined.shape[-1])[:count]  # (blocks, size, joined) -> (seq, joined)
    mass, weight = jnp.sum(mass, 0), jnp.sum(weight, 0)  # over blocks
    joined = jnp.where(is_invalid(cache), jnp.nan, joined)
    fade = jnp.asarray(policy.decay, mass.dtype) ** read.astype(mass.dtype)
    mass = mass.at[:, : cache.position.shape[1]].add(fade * cache.mass)
    position = jnp.where(unused, EMPTY, position)
    cache, gone = _evict_to_capacity(
        KVCache(key, value, position, mass), weight, last, policy, cache.slots
    )
    return cache, joined, Dropped(gone, jnp.broadcast_to(last, gone.shape[1:]))


def _evict_to_capacity(
    cache: KVCache, weight: Array, now: Array, policy: Policy, slots: int
) -> tuple[KVCache, Int[Array, "groups slots"]]:
    """The best ``slots`` of all tokens, in a cache of one slot more; and the evicted positions."""

    def choose(position: Array, weight: Array, mass: Array) -> tuple[Array, Array, Array]:
        candidates = Candidates(position, weight, mass, now)
        allowed, score = score_candidates(candidates, policy, slots)
        lost = undecided(candidates, policy, slots)
        # The last key counts first: what is cached, what is protected, the score, the newer one.
        order = jnp.lexsort((position, score, ~allowed, position != EMPTY))
        return order[-slots:], position[order[:-slots]], lost

    # vmap over groups: kept (groups, k), gone (groups, slots - k), lost (groups,)
    kept, gone, lost = jax.vmap(choose)(cache.position, weight, cache.mass)
    mass = jnp.where(lost[:, None] & (cache.position != EMPTY), jnp.nan, cache.mass)
    # (groups, k) -> (kv_heads, k), for keys and values
    every = lambda x: jnp.broadcast_to(kept, (len(x), slots))
    # Along axis 1: slots -> k + 1, the last one empty for the next token.
    take = lambda x, index: jnp.pad(
        jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1),
        [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2),
        constant_values=EMPTY if x.dtype == jnp.int32 else 0,
    )
    key, value = jax.tree.map(lambda x: take(x, every(x)), (cache.key, cache.value))
    return KVCache(key, value, take(cache.position, kept), take(mass, kept)), gone
