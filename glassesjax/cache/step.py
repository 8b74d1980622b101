"""One layer over some tokens and its cache: token by token, or all at once and then one cut."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.cache.attend import attend, turned
from glassesjax.cache.policies import Candidates, Policy
from glassesjax.cache.slots import EMPTY, KVCache, evict, is_invalid, rank, undecided, write
from glassesjax.errors import check_choice
from glassesjax.model.config import Rotary
from glassesjax.model.decoder import Block
from glassesjax.model.positions import Layout
from glassesjax.model.tiling import TILING

Mode = Literal["exact", "cut"]


class Dropped(NamedTuple):
    """What one layer forgot: positions, -1 for none, and the step after which they were gone."""

    position: Int[Array, "groups events"]
    step: Int[Array, " events"]


class Tokens(NamedTuple):
    """Where the rows of a residual stream stand."""

    now: Int[Array, " seq"]
    """Absolute positions."""
    valid: Bool[Array, " seq"]
    """False for rows that only fill the array; they come last."""


def layer_step(
    block: Block,
    cache: KVCache,
    resid: Float[Array, "seq model_dim"],
    tokens: Tokens,
    policy: Policy,
    mode: Mode,
) -> tuple[KVCache, Float[Array, "seq model_dim"], Dropped]:
    """One layer over the next tokens of a sequence.

    Source: arXiv 2401.06104v2, equations 6 to 9.

    Args:
      block: The layer's weights.
      cache: What it remembers of earlier tokens.
      resid: Residual stream before the layer.
      tokens: Where its rows stand.
      policy: Whom to forget.
      mode: ``exact`` decides after each token, as if these came one by one; ``cut`` shows each
        token all that is stored and all tokens before it, and decides once, by the last of them.

    Returns:
      The cache, the residual stream after the layer, and what was forgotten. What is read from a
      lost cache (``slots.is_invalid``) is NaN.
    """
    # Keys that are turned anew at each step are stored as position zero rotates them: not at all.
    stands = tokens.now if policy.spacing == "true" else jnp.zeros_like(tokens.now)
    layout = Layout(stands, jnp.zeros_like(stands), stands + 1)
    heads = block.heads(resid, layout)
    check_choice("mode", mode, get_args(Mode))
    over = _one_by_one if mode == "exact" else _all_at_once
    cache, joined, dropped = over(block, cache, heads, tokens, policy)
    return cache, block.rest(resid, joined), dropped


Heads = tuple[Array, Array, Array]
Over = tuple[KVCache, Float[Array, "seq joined"], Dropped]


def _one_by_one(block: Block, cache: KVCache, heads: Heads, tokens: Tokens, policy: Policy) -> Over:
    """Only attention runs along the tokens: projections and MLP saw all of them together."""
    rotary = block.config.positions

    def one(cache: KVCache, row: tuple[Array, ...]) -> tuple[KVCache, tuple[Array, Array]]:
        query, key, value, now, valid = row
        cache = write(cache, key, value, now)
        asks, keys = query[None], cache.key
        if policy.spacing != "true" and isinstance(rotary, Rotary):
            asks, keys = turned(rotary, asks, keys, cache.position, now, policy.spacing)
        held = cache.position
        read = (asks, keys, cache.value, held, now[None])
        joined, weights = attend(block.attention, *read)
        joined = jnp.where(is_invalid(cache), jnp.nan, joined)
        shared = _by_group(weights[:, 0], len(held)).astype(cache.mass.dtype)
        cache, victim = evict(cache, shared, now, policy, valid)
        return cache, (joined[0], victim)

    cache, (joined, victims) = jax.lax.scan(one, cache, (*heads, *tokens))
    return cache, joined, Dropped(victims.T, tokens.now)


def _by_group(
    weights: Float[Array, "heads *rest places"], groups: int
) -> Float[Array, "groups *rest places"]:
    """Mean over the query heads of each group."""
    return jnp.mean(weights.reshape(groups, -1, *weights.shape[1:]), axis=1)


def _all_at_once(
    block: Block, cache: KVCache, heads: Heads, tokens: Tokens, policy: Policy
) -> Over:
    query, key, value = heads
    groups = len(cache.position)
    both = lambda old, new: jnp.concatenate([old, new.transpose(1, 0, 2)], axis=1)
    keys, values = both(cache.key, key), both(cache.value, value)
    fresh = jnp.broadcast_to(tokens.now, (groups, len(tokens.now)))
    fills = jnp.broadcast_to(~tokens.valid, fresh.shape)
    # A row that only fills may be NaN, and zero times it would be, too.
    nobody = jnp.concatenate([cache.position == EMPTY, fills], axis=1)
    values = jnp.where(nobody[:, :, None], 0, values)
    position = jnp.concatenate([cache.position, fresh], axis=1)
    count = jnp.sum(tokens.valid, dtype=jnp.int32)
    last = tokens.now[0] + count - 1

    def rows(part: tuple[Array, Tokens]) -> tuple[Array, Array, Array]:
        asks, (now, valid) = part
        joined, weights = attend(block.attention, asks, keys, values, position, now)
        shared = _by_group(weights, groups)
        steps = jnp.maximum(last - now, 0).astype(shared.dtype)
        fades = jnp.where(valid, jnp.asarray(policy.decay, shared.dtype) ** steps, 0)
        mass = jnp.sum(jnp.where(valid[None, :, None], shared * fades[None, :, None], 0), axis=1)
        return joined, mass, jnp.sum(jnp.where((now == last)[None, :, None], shared, 0), axis=1)

    joined, mass, weight = _in_blocks(rows, (query, tokens))
    joined = jnp.where(is_invalid(cache), jnp.nan, joined)
    fade = jnp.asarray(policy.decay, mass.dtype) ** count.astype(mass.dtype)
    mass = mass.at[:, : cache.position.shape[1]].add(fade * cache.mass)
    position = jnp.where(nobody, EMPTY, position)
    cache, gone = _cut(KVCache(keys, values, position, mass), weight, last, policy, cache.slots)
    return cache, joined, Dropped(gone, jnp.broadcast_to(last, gone.shape[1:]))


def _in_blocks(
    make: Callable[[tuple[Array, Tokens]], tuple[Array, Array, Array]],
    rows: tuple[Array, Tokens],
) -> tuple[Array, Array, Array]:
    """A function of rows, some rows at a time: their averages, and the sums of the other two."""
    count = len(rows[0])
    size = min(count, TILING.attention_rows)
    blocks = -(-count // size)
    fill = lambda x: jnp.pad(x, [(0, blocks * size - count)] + [(0, 0)] * (x.ndim - 1))
    split = lambda x: fill(x).reshape(blocks, size, *x.shape[1:])
    # What fills the last block stands at position 0: it asks nothing that counts.
    joined, mass, weight = jax.lax.map(make, jax.tree.map(split, rows))
    return joined.reshape(-1, joined.shape[-1])[:count], jnp.sum(mass, 0), jnp.sum(weight, 0)


def _cut(
    cache: KVCache, weight: Array, now: Array, policy: Policy, slots: int
) -> tuple[KVCache, Int[Array, "groups places"]]:
    """The best ``slots`` of all places, in a cache of one more; and the positions that went."""

    def choose(position: Array, weight: Array, mass: Array) -> tuple[Array, Array, Array]:
        places = Candidates(position, weight, mass, now)
        allowed, score = rank(places, policy, slots)
        lost = undecided(places, policy, slots)
        # The last key counts first: what is held, what is protected, the score, the newer one.
        order = jnp.lexsort((position, score, ~allowed, position != EMPTY))
        return order[-slots:], position[order[:-slots]], lost

    kept, gone, lost = jax.vmap(choose)(cache.position, weight, cache.mass)
    mass = jnp.where(lost[:, None] & (cache.position != EMPTY), jnp.nan, cache.mass)
    every = jnp.broadcast_to(kept, (len(cache.key), slots))
    take = lambda x, index: jnp.pad(
        jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1),
        [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2),
        constant_values=EMPTY if x.dtype == jnp.int32 else 0,
    )
    key, value = take(cache.key, every), take(cache.value, every)
    return KVCache(key, value, take(cache.position, kept), take(mass, kept)), gone
