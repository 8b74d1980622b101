"""Small decoders decoded under a cache policy, by functions that compile once for all claims."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.cache import advance, empty_state, policy, unroll
from glassesjax.cache.slots import KVCache, State
from glassesjax.cache.step import Dropped, Mode
from glassesjax.model import Alibi, Decoder, DecoderConfig, GatedMlp, Rotary, Sinusoidal
from glassesjax.model.config import Positions
from proofs_numeric.support.decoders import U, draw

LENGTH, SLOTS, LAYERS = 14, 4, 2
TURNED = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    num_heads=4,
    num_kv_heads=2,
    model_dim=8,
    head_dim=4,
    positions=Rotary(),
    mlp=GatedMlp(dim=12),
    embed_scale=8**0.5,
)
# A token passes, in each layer, a norm, three products over the width, a row of attention and an
# MLP; each number of a sum is rounded twice, and a function of it once more.
STEPS = 2 * LAYERS * (LENGTH + 8 * TURNED.model_dim)
LOGIT_SCALE = 3.0  # of the queries: attention far from uniform, so that policies differ


class Cases(NamedTuple):
    """Decoders and texts, one of each on each leading index."""

    decoders: Decoder
    tokens: Int[np.ndarray, "cases seq"]


def with_positions(positions: Positions) -> DecoderConfig:
    """The same decoder with another positional encoding."""
    return dataclasses.replace(TURNED, positions=positions)


# Encodings that see differences of positions only, and one that does not.
RELATIVE = {"rotary": TURNED, "ALiBi": with_positions(Alibi(slopes=(0.0, 0.1, 0.5, 1.0)))}
ABSOLUTE = with_positions(Sinusoidal())


@functools.cache
def cases(config: DecoderConfig = TURNED, count: int = 4) -> Cases:
    """Seeded decoders with a random text each.

    Args:
      config: Any configuration.
      count: How many.

    Returns:
      NumPy arrays, the same ones at each call: not to be written to.
    """
    decoders = [draw(config, seed, logit_scale=LOGIT_SCALE) for seed in range(count)]
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *decoders)  # (cases, ...)
    random = np.random.default_rng(7)
    tokens = random.integers(0, config.vocab_size, (count, LENGTH))
    return Cases(stacked, tokens.astype(np.int32))


@jax.jit
def parallel(
    decoders: Decoder, tokens: Int[Array, "cases seq"]
) -> Float[Array, "cases seq model_dim"]:
    """The Transformer itself: all tokens in parallel, no eviction."""
    return jax.vmap(lambda decoder, text: decoder(text)[0])(decoders, tokens)


class Read(NamedTuple):
    """Results of a text processed in one call."""

    y: Float[Array, "cases seq model_dim"]
    dropped: tuple[Dropped, ...]
    """By each layer; a leading axis of cases."""

    @property
    def together(self) -> int:
        """Number of tokens evicted in the same decision as another one."""
        # (cases, groups, events) by layer; -1 where no token was evicted
        steps = [np.where(gone.position >= 0, gone.step[:, None], -1) for gone in self.dropped]
        # A row for each group that decides: (cases x groups x layers, events)
        rows = np.concatenate([each.reshape(-1, each.shape[-1]) for each in steps])
        return sum(len(row[row >= 0]) - len(np.unique(row[row >= 0])) for row in rows)


@functools.partial(jax.jit, static_argnames=("name", "slots", "mode"))
def read(
    decoders: Decoder,
    tokens: Int[Array, "cases seq"],
    name: str,
    slots: int = SLOTS,
    mode: Mode = "exact",
) -> Read:
    """Processes a whole text in one call."""

    def one(decoder: Decoder, text: Array) -> Read:
        model, chosen = unroll(decoder), policy(name)
        start = empty_state(decoder.config, chosen, slots, decoder.dtype)
        return Read(*advance(model, start, text, chosen, mode=mode)[1:])

    return jax.vmap(one)(decoders, tokens)


class Walked(NamedTuple):
    """Results of a text processed token by token."""

    y: Float[Array, "cases seq model_dim"]
    position: Int[Array, "cases seq layers groups slots"]
    """Tokens that each layer caches after each token."""
    state: State

    @property
    def missed(self) -> int:
        """Largest number of evicted tokens after the last one, over layers and texts."""
        cached = np.sum(np.asarray(self.position[:, -1]) >= 0, axis=-1)
        return self.y.shape[1] - int(np.min(cached))


def walk(
    decoders: Decoder,
    tokens: Int[np.ndarray, "cases seq"],
    name: str,
    slots: int = SLOTS,
    orders: Int[np.ndarray, "two slots"] | None = None,
    seen: int = 0,
) -> Walked:
    """Processes a text with one call for each token; cache slots may be permuted before each.

    Args:
      decoders: One for each text.
      tokens: The texts.
      name: Name of the policy.
      slots: Capacity of the state.
      orders: Permutation of keys and values, and of positions and accumulated attention, between
        any two steps; the identity if absent.
      seen: Position of the first token.

    Returns:
      Representations, and the cached tokens at each step.
    """
    # One slot more than the capacity: the newest token is written before one is evicted.
    orders = np.stack([np.arange(slots + 1)] * 2) if orders is None else orders
    moved, first = jnp.asarray(orders, jnp.int32), jnp.asarray(seen, jnp.int32)
    return _walk(decoders, jnp.asarray(tokens), moved, first, name, slots)


@functools.partial(jax.jit, static_argnames=("name", "slots"))
def _walk(
    decoders: Decoder, tokens: Array, orders: Array, seen: Array, name: str, slots: int
) -> Walked:
    chosen = policy(name)
    stored, named = orders

    def one(decoder: Decoder, text: Array) -> tuple[State, tuple[Array, Array]]:
        model = unroll(decoder)
        start = empty_state(decoder.config, chosen, slots, decoder.dtype)._replace(seen=seen)

        def reordered(cache: KVCache) -> KVCache:
            take = lambda x, order: jnp.take(x, order, axis=1)  # (groups, slots, ...)
            key, value = take(cache.key, stored), take(cache.value, stored)
            return KVCache(key, value, take(cache.position, named), take(cache.mass, named))

        def step(state: State, token: Array) -> tuple[State, tuple[Array, Array]]:
            moved = tuple(reordered(cache) for cache in state.layers)
            state, y, _ = advance(model, State(moved, state.seen), token[None], chosen)
            # Position after each token: (layers, groups, slots)
            return state, (y[0], jnp.stack([cache.position for cache in state.layers]))

        return jax.lax.scan(step, start, text)  # over the tokens

    state, (y, position) = jax.vmap(one)(decoders, tokens)  # over the texts
    return Walked(y, position, state)


def apart(first: Array, second: Array, rows: slice = slice(None)) -> float:
    """Largest difference of two passes, over texts, some rows and coordinates."""
    return float(np.max(np.abs(np.asarray(first)[:, rows] - np.asarray(second)[:, rows])))


def roundoff(y: Array) -> float:
    """Bound on the rounding error between two passes, relative to the largest coordinate."""
    return 2 * STEPS * U * float(np.max(np.abs(np.asarray(y))))
