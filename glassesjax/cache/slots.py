"""The state of one layer: k + 1 places for keys and values, of which k are filled between steps.

A new token is written into a place that is empty. Then the policy names whom to forget, and that
place is empty again. A token that is forgotten at once is no special case, no shape ever changes,
and nothing is moved, token by token; a cut after many (``one_shot``, ``chunked``) gathers what it
keeps. Where a token is stored means nothing, for its position is stored with it.
"""

import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from glassesjax.cache.policies import Candidates, Policy
from glassesjax.errors import BadInput
from glassesjax.model.config import Causal, DecoderConfig, Window
from glassesjax.precision import RoundingPlan

EMPTY = -1  # position of a place that holds nothing


class KVCache(NamedTuple):
    """Keys and values that one layer remembers of one sequence.

    ``groups`` is the number of decisions: one for the layer, or one for each key-value head.
    """

    key: Float[Array, "kv_heads places key_dim"]
    value: Float[Array, "kv_heads places value_dim"]
    position: Int[Array, "groups places"]
    """Absolute position of the token in each place; -1 in an empty one."""
    mass: Float[Array, "groups places"]
    """Attention received so far, the mean over the group's query heads; at least float32."""

    @property
    def slots(self) -> int:
        """How many tokens it holds between two steps."""
        return self.position.shape[-1] - 1


class State(NamedTuple):
    """The multi-state of one sequence: what an RNN would carry from token to token."""

    layers: tuple[KVCache, ...]
    seen: Int[Array, ""]
    """Tokens read so far, which is the next one's position; not how many are stored."""


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
        wanted = f"Wanted one number of slots, or {count}, one a layer"
        raise BadInput(f"{wanted}; found {len(budgets)}.")
    return tuple(map(operator.index, budgets))


def empty_state(
    config: DecoderConfig,
    policy: Policy,
    slots: int | np.integer | Sequence[int | np.integer],
    dtype: DTypeLike = jnp.float32,
) -> State:
    """A state that has seen nothing.

    Source: arXiv 2401.06104v2, equations 5 to 9; a state of k slots shows a query k + 1 tokens.

    Args:
      config: The decoder's settings.
      policy: Who decides; a head-wise one needs a map of positions for each key-value head.
      slots: Capacity of every layer, or of each.
      dtype: Of keys and values: that of the decoder's weights.

    Returns:
      The state.

    Raises:
      BadInput: A capacity that the policy cannot work with, another number of capacities than
        layers, or a mask that lets tokens see later ones.
    """
    budgets = budgets_of(config, slots)
    if not isinstance(config.mask, Causal | Window):
        found = type(config.mask).__name__
        raise BadInput(f"Wanted a causal or a window mask, to read token by token; found {found}.")
    for budget in budgets:
        policy.check(budget)
    groups = config.kv_heads if policy.head_wise else 1
    wide = RoundingPlan.of_dtype(dtype).carrier_dtype

    def layer(places: int) -> KVCache:
        return KVCache(
            key=jnp.zeros((config.kv_heads, places, config.key_dim), dtype),
            value=jnp.zeros((config.kv_heads, places, config.value_dim), dtype),
            position=jnp.full((groups, places), EMPTY, jnp.int32),
            mass=jnp.zeros((groups, places), wide),
        )

    return State(tuple(layer(budget + 1) for budget in budgets), jnp.asarray(0, jnp.int32))


def write(
    cache: KVCache,
    key: Float[Array, "kv_heads key_dim"],
    value: Float[Array, "kv_heads value_dim"],
    now: Int[Array, ""],
) -> KVCache:
    """The cache with one more token, in the first empty place of each group.

    Args:
      cache: With an empty place, as it is between two steps.
      key: Of the new token.
      value: Of the new token.
      now: Its position.

    Returns:
      The cache; the token has received no attention yet.
    """
    hole = jnp.argmin(cache.position, axis=-1)  # an empty place has the smallest number
    here = jnp.arange(cache.position.shape[-1], dtype=hole.dtype)[None] == hole[:, None]
    if len(hole) == 1:
        put = lambda buffer, new: jax.lax.dynamic_update_index_in_dim(
            buffer, new[:, None], hole[0], 1
        )
    else:
        heads = jnp.arange(len(hole), dtype=hole.dtype)
        put = lambda buffer, new: buffer.at[heads, hole].set(new)
    position = jnp.where(here, now, cache.position)
    return KVCache(put(cache.key, key), put(cache.value, value), position, cache.mass)


def forget(
    cache: KVCache,
    weight: Float[Array, "groups places"],
    now: Int[Array, ""],
    policy: Policy,
    valid: Bool[Array, ""],
) -> tuple[KVCache, Int[Array, " groups"]]:
    """The cache after the policy's decision, and the position that each group dropped.

    Args:
      cache: With the current token written.
      weight: Attention of the current query, the mean over each group's heads; 0 in empty places.
      now: Position of the current token.
      policy: Who decides.
      valid: False for a token that only fills an array: it is dropped, and nothing else changes.

    Returns:
      A cache with an empty place in each group, and positions, -1 where nothing was dropped.
    """
    mass = jnp.asarray(policy.decay, cache.mass.dtype) * cache.mass + weight
    every = jnp.broadcast_to(now, len(mass))
    places = Candidates(cache.position, weight, mass, every)
    victim = jax.vmap(lambda one: _victim(one, policy, cache.slots))(places)
    dropped = jnp.where(valid, victim, now)[:, None]
    position = jnp.where(cache.position == dropped, EMPTY, cache.position)
    mass = jnp.where(position == EMPTY, 0, jnp.where(valid, mass, cache.mass))
    gone = jnp.where(valid, victim, EMPTY)
    return KVCache(cache.key, cache.value, position, mass), gone


def _victim(places: Candidates, policy: Policy, slots: int) -> Int[Array, ""]:
    """The position to drop; -1 while there is room. Positions are unique, so they name places."""
    allowed, score = rank(places, policy, slots)
    score = jnp.where(allowed, score, jnp.inf)
    lowest = allowed & (score == jnp.min(score))
    last = jnp.iinfo(places.position.dtype).max
    victim = jnp.min(jnp.where(lowest, places.position, last))
    full = jnp.sum(places.position != EMPTY, dtype=jnp.int32) > slots
    return jnp.where(full, victim, EMPTY)


def rank(
    places: Candidates, policy: Policy, slots: int
) -> tuple[Bool[Array, " places"], Float[Array, " places"]]:
    """Which places may be dropped, and the score of each.

    Args:
      places: What is in the places.
      policy: Who decides.
      slots: Capacity.

    Returns:
      Held and not protected, and the score. What is not a number counts as the lowest. It came
      from a pass that is not a number, and shows there.
    """
    position = places.position
    old = position <= places.now - policy.protected(slots)
    allowed = (position != EMPTY) & (position >= policy.sinks) & old
    score = policy.score(places)
    return allowed, jnp.where(jnp.isnan(score), -jnp.inf, score)
