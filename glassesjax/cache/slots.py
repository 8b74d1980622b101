"""The state of one layer: k + 1 cache slots for keys and values, of which k are used between steps.

A new token is written into an empty slot. Then the policy names the token to evict. Its slot is
marked as empty, by position -1; its key and value stay there, masked, until the next write
overwrites them. The newest token is no special case, no shape ever changes, and nothing is moved,
token by token; one-shot and chunked eviction after many tokens gather what they retain. The order
of the slots has no meaning, for each token's position is stored with it.

In the code the number ``slots`` is the capacity k; an axis ``slots`` has all k + 1 of them.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import border
from glassesjax.cache.policies import Candidates, Policy
from glassesjax.cache.stored import Storage
from glassesjax.errors import BadInput
from glassesjax.model.by_layer import first_layer
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import Packed, RoundingPlan

EMPTY = -1  # position that marks an empty slot


class KVCache(NamedTuple):
    """Keys and values that one layer caches of one sequence.

    ``groups`` is the number of decisions: one for the layer, or one for each key-value head.
    """

    key: Float[Array, "kv_heads slots key_dim"] | Packed
    """Packed where the state was made for a plan that stores it so: see ``empty_state``."""
    value: Float[Array, "kv_heads slots value_dim"] | Packed
    position: Int[Array, "groups slots"]
    """Absolute position of the token in each slot; -1 in an empty one."""
    mass: Float[Array, "groups slots"]
    """Attention received so far, the mean over the group's query heads; at least float32. NaN from
    where a policy's scores were: which tokens are retained is then undefined (``is_invalid``)."""

    @property
    def slots(self) -> int:
        """The capacity: as many tokens as it caches between two steps, or fewer."""
        return self.position.shape[-1] - 1  # one slot is for the newest token


class State(NamedTuple):
    """The multi-state of one sequence: what an RNN would carry from token to token."""

    layers: tuple[KVCache, ...]
    seen: Int[Array, ""]
    """Tokens read so far, which is the next one's position; not how many are stored."""


@border()
def by_name(tree: State | KVCache) -> dict[str, Any]:
    """Arrays of a state, or their shapes, by name, such as ``layers.0.key.scale``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def budgets_of(
    config: DecoderConfig, slots: int | np.integer | Sequence[int | np.integer]
) -> tuple[int, ...]:
    """The capacity of each layer.

    Args:
      config: The decoder's settings.
      slots: Capacity of every layer, or of each.

    Returns:
      One number a layer.

    Raises:
      BadInput: Another number of capacities than layers.
    """
    count = config.num_layers
    budgets = (slots,) * count if isinstance(slots, int | np.integer) else tuple(slots)
    if len(budgets) != count:
        wanted = f"Expected one number of slots, or {count}, one a layer"
        raise BadInput(f"{wanted}, got {len(budgets)}.")
    return tuple(map(operator.index, budgets))


def check_causal(config: DecoderConfig) -> None:
    """Refuses a decoder that cannot read token by token.

    Args:
      config: The decoder's settings.

    Raises:
      BadInput: Its mask lets tokens see later ones.
    """
    if not config.mask.causal:
        found = type(config.mask).__name__
        raise BadInput(f"Expected a causal or a window mask, to read token by token, got {found}.")


@border()
def empty_state(
    config: DecoderConfig,
    policy: Policy,
    slots: int | np.integer | Sequence[int | np.integer],
    dtype: DTypeLike | RoundingPlan = jnp.float32,
) -> State:
    """A state of no tokens.

    Source: arXiv 2401.06104v2, equations 5 to 9; a state of k slots shows a query k + 1 tokens.

    Args:
      config: The decoder's settings.
      policy: The eviction policy; head-wise, it has positions for each key-value head.
      slots: Capacity of every layer, or of each.
      dtype: Of keys and values: that of the decoder's weights. Or the decoder's plan: slots then
        have keys and values in its format at ``state``, packed (``precision.pack``) with scales for
        each token and head, wherever that takes fewer bytes, each row is rounded by itself and all
        layers have the same format. What is read is the same, bit for bit.

    Returns:
      The state.

    Raises:
      BadInput: A capacity that the policy cannot work with, another number of capacities than
        layers, or a mask that lets tokens see later ones.
    """
    budgets = budgets_of(config, slots)
    check_causal(config)
    for budget in budgets:
        policy.check(budget)
    groups = config.kv_heads if policy.head_wise else 1
    storage = Storage.of(dtype, config)

    def layer(count: int) -> KVCache:
        return KVCache(
            key=storage.empty(config.kv_heads, count, config.key_dim),
            value=storage.empty(config.kv_heads, count, config.value_dim),
            position=jnp.full((groups, count), EMPTY, jnp.int32),
            mass=jnp.zeros((groups, count), storage.wide),
        )

    return State(tuple(layer(budget + 1) for budget in budgets), jnp.asarray(0, jnp.int32))


def check_state(
    config: DecoderConfig, layers: int, state: State, policy: Policy, plan: RoundingPlan
) -> None:
    """Refuses a state of another model, plan or policy, as far as shapes and types show it.

    Args:
      config: The decoder's settings.
      layers: Number of its layers.
      state: Of one sequence; only shapes and types are compared.
      policy: The eviction policy.
      plan: The decoder's; keys and values may be packed as it says, or arrays of its dtype.

    Raises:
      BadInput: It has other layers, shapes or types, or too few slots for the policy.
    """
    if len(state.layers) != layers:
        wanted = f"Expected a state of {layers} layers, as the model's"
        raise BadInput(f"{wanted}, got {len(state.layers)}: use the model that made it.")
    groups = config.kv_heads if policy.head_wise else 1
    if len(state.layers[0].position) != groups:
        found = f"{len(state.layers[0].position)} decisions a layer, not {groups}"
        raise BadInput(f"Expected a state made for {policy}, got one with {found}.")
    # Only the shapes: a test of values would wait for the device.
    slots = tuple(cache.slots for cache in state.layers)
    how = plan if isinstance(state.layers[0].key, Packed) else plan.dtype
    made = _shapes(config, policy, slots, how, jnp.result_type(float))
    for cache, wanted in zip(state.layers, made, strict=True):
        leaves = by_name(cache)
        if leaves.keys() != by_name(wanted).keys():
            expected, got = ", ".join(by_name(wanted)), ", ".join(leaves)
            expected = f"Expected a state of {expected}"
            raise BadInput(f"{expected}, got {got}: use the model and the plan that made it.")
        for name, own in by_name(wanted).items():
            found = leaves[name]
            if (found.shape, found.dtype) != (own.shape, own.dtype):
                expected = f"Expected a state whose {name} is {own.dtype} of shape {own.shape}"
                got = f"{found.dtype} of shape {found.shape}"
                raise BadInput(f"{expected}, got {got}: use the model and the plan that made it.")


@functools.lru_cache(maxsize=32)
def _shapes(
    config: DecoderConfig,
    policy: Policy,
    slots: tuple[int, ...],
    dtype: DTypeLike | RoundingPlan,
    widest: DTypeLike,
) -> tuple[KVCache, ...]:
    """Shapes and types of an empty state of so many layers."""
    # ``widest`` is part of the key alone: with another widest float, float64 may be float32.
    # Layers may be fewer than the decoder's, and differ in nothing that a cache has.
    config = dataclasses.replace(first_layer(config), num_layers=len(slots))
    return jax.eval_shape(lambda: empty_state(config, policy, slots, dtype)).layers


def write(
    cache: KVCache,
    key: Float[Array, "kv_heads key_dim"] | Packed,
    value: Float[Array, "kv_heads value_dim"] | Packed,
    now: Int[Array, ""],
) -> KVCache:
    """The cache with one more token, in the first empty slot of each group.

    Args:
      cache: With an empty slot, as it is between two steps.
      key: Of the new token; packed as those of the cache are.
      value: Of the new token.
      now: Its position.

    Returns:
      The cache; the token has received no attention yet.
    """
    empty = jnp.argmin(cache.position, axis=-1)  # an empty slot has the smallest position
    # (groups, slots), true in one slot of each group
    in_slot = jnp.arange(cache.position.shape[-1], dtype=empty.dtype)[None] == empty[:, None]
    if len(empty) == 1:  # one decision for all heads: one slice is faster than a scatter
        put = lambda buffer, new: jax.lax.dynamic_update_index_in_dim(
            buffer, new[:, None], empty[0], 1
        )
    else:
        heads = jnp.arange(len(empty), dtype=empty.dtype)
        put = lambda buffer, new: buffer.at[heads, empty].set(new)
    position = jnp.where(in_slot, now, cache.position)
    put_all = functools.partial(jax.tree.map, put)  # scales go with the codes
    return KVCache(put_all(cache.key, key), put_all(cache.value, value), position, cache.mass)


def evict(
    cache: KVCache,
    weight: Float[Array, "groups slots"],
    now: Int[Array, ""],
    policy: Policy,
    valid: Bool[Array, ""],
) -> tuple[KVCache, Int[Array, " groups"]]:
    """The cache after the policy's decision, and the position that each group evicted.

    Args:
      cache: With the current token written.
      weight: Attention of the current query, the mean over each group's heads; 0 in empty slots.
      now: Position of the current token.
      policy: The eviction policy.
      valid: False for a token of padding: it is evicted, and nothing else changes.

    Returns:
      A cache with an empty slot in each group, and positions, -1 where nothing was dropped. Where
      a group was ``undecided``, its attention received is NaN from now on.

    Raises:
      BadInput: The policy's score is not one number for each slot.
    """
    mass = jnp.asarray(policy.decay, cache.mass.dtype) * cache.mass + weight

    def choose(one: Candidates) -> tuple[Array, Array]:
        # Positions are unique, so that they name slots; of equal scores the smallest goes.
        allowed, score = score_candidates(one, policy, cache.slots)
        score = jnp.where(allowed, score, jnp.inf)
        lowest = allowed & (score == jnp.min(score))
        largest = jnp.iinfo(one.position.dtype).max
        evicted = jnp.min(jnp.where(lowest, one.position, largest))
        full = jnp.sum(one.position != EMPTY, dtype=jnp.int32) > cache.slots
        return jnp.where(full, evicted, EMPTY), undecided(one, policy, cache.slots)

    # vmap over groups: (groups, slots) -> (groups,)
    every = jnp.broadcast_to(now, len(mass))
    evicted, lost = jax.vmap(choose)(Candidates(cache.position, weight, mass, every))
    # A token of padding is in a slot now, and leaves it again.
    leaving = jnp.where(valid, evicted, now)[:, None]
    position = jnp.where(cache.position == leaving, EMPTY, cache.position)
    mass = jnp.where(valid, jnp.where(lost[:, None], jnp.nan, mass), cache.mass)
    mass = jnp.where(position == EMPTY, 0, mass)
    evicted = jnp.where(valid, evicted, EMPTY)  # padding counts as no eviction
    return KVCache(cache.key, cache.value, position, mass), evicted


def score_candidates(
    candidates: Candidates, policy: Policy, slots: int
) -> tuple[Bool[Array, " slots"], Float[Array, " slots"]]:
    """Which slots may be evicted, and the score of each.

    Args:
      candidates: The contents of the slots.
      policy: The eviction policy.
      slots: Capacity.

    Returns:
      Whether a slot is used and not protected, and its score. NaN counts as the lowest;
      ``undecided`` is then true.

    Raises:
      BadInput: The score is not one number for each slot.
    """
    position = candidates.position
    # Newest positions are protected, not newest slots: slots are in no order.
    old = position <= candidates.now - policy.protected(slots)
    allowed = (position != EMPTY) & (position >= policy.sinks) & old
    score = _score(candidates, policy)
    return allowed, jnp.where(jnp.isnan(score), -jnp.inf, score)


def undecided(candidates: Candidates, policy: Policy, slots: int) -> Bool[Array, ""]:
    """Whether a token must be evicted and the score of a candidate is NaN.

    A choice by such scores would look like any other, so that the cache is marked as lost.

    Args:
      candidates: The contents of the slots.
      policy: The eviction policy.
      slots: Capacity.

    Returns:
      A truth value.
    """
    allowed, _ = score_candidates(candidates, policy, slots)
    full = jnp.sum(candidates.position != EMPTY, dtype=jnp.int32) > slots
    return full & jnp.any(allowed & jnp.isnan(_score(candidates, policy)))


def is_invalid(cache: KVCache) -> Bool[Array, ""]:
    """Whether the retained tokens depend on scores that were NaN.

    Args:
      cache: Between two steps.

    Returns:
      A truth value; all that is read from a lost cache is NaN.
    """
    return jnp.any(jnp.isnan(cache.mass))


def _score(candidates: Candidates, policy: Policy) -> Float[Array, " slots"]:
    score, wanted = policy.score(candidates), candidates.position.shape
    array = isinstance(score, jax.Array | np.ndarray)
    # Integers and truth values have an order as well, complex numbers have none.
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    real = array and any(jnp.issubdtype(score.dtype, kind) for kind in kinds)
    if not array or not real or score.shape != wanted:
        found = f"{score.dtype} of shape {score.shape}" if array else repr(score)
        expected = (
            f"Expected the score of policy {policy.name} as one number for each of {wanted[0]}"
        )
        raise BadInput(f"{expected} slots, got {found}: see glassesjax.cache.Candidates.")
    # (slots,) of one group
    score = jnp.asarray(score)
    if jnp.issubdtype(score.dtype, jnp.floating):
        return score
    # Floats do not hold all integers, but hold how many of them are smaller.
    smaller = jnp.searchsorted(jnp.sort(score), score)
    return smaller.astype(candidates.mass.dtype)
