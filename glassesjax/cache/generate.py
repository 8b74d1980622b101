"""Generation: prompts of different lengths are prefilled, then each step adds a token.

One compiled step serves all rows and lengths. A row that has ended is masked: its state does not
change while the others continue.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.cache.advance import Unrolled, advance, logits
from glassesjax.cache.choosing import choose, row_keys, wide
from glassesjax.cache.policies import Policy
from glassesjax.cache.prefill import PrefillMode
from glassesjax.cache.prompts import Forgotten, read_prompts
from glassesjax.cache.sampling import GREEDY, Sampling
from glassesjax.cache.slots import State, empty_state
from glassesjax.errors import BadInput
from glassesjax.model.tiling import TILING
from glassesjax.model.vocabulary import check_prompts

Ended = Callable[[int, int], bool]


class Batch(NamedTuple):
    """A batch of sequences between two steps: the carry of the decoding loop."""

    state: State
    """With a leading axis of rows."""
    token: Int[Array, " rows"]
    """The last token, not yet in the cache."""
    alive: Bool[np.ndarray, " rows"]
    """False for rows that have ended."""
    step: int
    """Number of tokens generated so far by each row that has not ended."""


class Chosen(NamedTuple):
    """Output of one decoding step."""

    token: Int[np.ndarray, " rows"]
    logprob: Float[np.ndarray, " rows"]
    """Log-probability of the token before temperature, top-k and top-p."""
    fresh: Bool[np.ndarray, " rows"]
    """False for rows that had ended before: their token repeats the last one."""
    dropped: tuple[Forgotten, ...]
    """Tokens that each layer evicted in prefill, or at the previous token."""
    batch: Batch
    """The batch after the step. The next step donates its buffers; the last one keeps them."""


@border()
def generate(
    model: Unrolled,
    prompts: Sequence[Sequence[int]],
    policy: Policy,
    *,
    slots: int | Sequence[int],
    max_tokens: int,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    mode: PrefillMode = "exact",
    stop: Collection[int] = (),
    ended: Ended = lambda row, token: False,
    chunk: int = TILING.prefill_chunk,
) -> Iterator[Chosen]:
    """Generates continuations token by token, all rows in parallel.

    A row does not depend on the others: its keys depend on the seed, its number and the step.
    Rounding may still differ with the number of rows.

    Source: arXiv 2401.06104v2, equations 5 to 9.

    Args:
      model: The decoder, unrolled.
      prompts: Token numbers of each row, none empty.
      policy: The eviction policy.
      slots: Capacity of every layer, or of each.
      max_tokens: Maximum number of new tokens of a row, at least 1.
      sampling: Settings of the sampling.
      seed: Seed of the sampling.
      rows: Row numbers, for the keys; from 0 if absent.
      mode: Mode of ``prefill``.
      stop: Tokens that end a row; they are its last token.
      ended: Function of the row's index in the batch and its new token; True ends the row as well.
      chunk: Tokens of the prompts per chunk.

    Yields:
      One record a step, until all rows have ended or have their tokens. The first step prefills
      the prompts; the last token is not added to the cache.

    Raises:
      BadInput: No prompts, one that is empty or not one-dimensional, no new tokens, a chunk below
        one, a full state without room, or errors of ``empty_state`` and ``advance``.
    """
    rows = range(len(prompts)) if rows is None else rows
    _check(prompts, rows, max_tokens, chunk)
    one = empty_state(model.outer.config, policy, slots, model.outer.plan.dtype)
    _check_room(one, policy, max(map(len, prompts)) + max_tokens - 1)
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(prompts), *leaf.shape)), one)
    state, y, dropped = read_prompts(model, state, prompts, policy, mode=mode, chunk=chunk)
    weights, tree = jax.tree.flatten(model)
    keys = row_keys(seed, np.asarray(rows, np.int32))
    token, logprob = _chooser(tree, sampling)(weights, jnp.asarray(y), keys, np.int32(0))
    batch = Batch(state, token, np.ones(len(prompts), bool), 0)
    made = _chosen(batch, logprob, dropped, stop, ended)
    yield made
    yield from proceed(
        model,
        made.batch,
        policy,
        max_tokens=max_tokens - 1,
        sampling=sampling,
        seed=seed,
        rows=rows,
        stop=stop,
        ended=ended,
    )


@border(max_tokens=NON_NEGATIVE)
def proceed(
    model: Unrolled,
    batch: Batch,
    policy: Policy,
    *,
    max_tokens: int,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    stop: Collection[int] = (),
    ended: Ended = lambda row, token: False,
) -> Iterator[Chosen]:
    """Continues a batch of ``generate``; the tokens are those of one longer call.

    Args:
      model: The decoder, unrolled.
      batch: That of the last step; its buffers are donated.
      policy: As before.
      max_tokens: Maximum number of further tokens of a row.
      sampling: As before.
      seed: As before.
      rows: As before.
      stop: Tokens that end a row.
      ended: Function of the row's index in the batch and its new token; True ends the row as well.

    Yields:
      One record a step, until all rows have ended or have their tokens.

    Raises:
      BadInput: A full state without room, or errors of ``advance``.
    """
    rows = range(len(batch.alive)) if rows is None else rows
    _check_room(batch.state, policy, int(np.max(np.asarray(batch.state.seen))) + max_tokens)
    # Flattened once: a decoder has many weights, and each call would flatten the tree again.
    weights, tree = jax.tree.flatten(model)
    step, keys = _stepper(tree, policy, sampling), row_keys(seed, np.asarray(rows, np.int32))
    for _ in range(max_tokens):
        if not batch.alive.any():
            return
        number = np.int32(batch.step)
        state, token, logprob, evicted = step(
            weights, batch.state, batch.token, batch.alive, keys, number
        )
        dropped = _by_layer(np.asarray(evicted), np.asarray(state.seen) - 1)
        made = _chosen(batch._replace(state=state, token=token), logprob, dropped, stop, ended)
        batch = made.batch
        yield made


# One compilation per decoder structure, policy and sampling; everything else is an argument.
@functools.lru_cache(maxsize=8)
def _stepper(
    tree: jax.tree_util.PyTreeDef, policy: Policy, sampling: Sampling
) -> Callable[..., tuple[State, Array, Array, Array]]:
    def step(
        weights: list[Array], state: State, token: Array, alive: Array, keys: Array, number: Array
    ) -> tuple[State, Array, Array, Array]:
        model = jax.tree.unflatten(tree, weights)

        def one(state: State, token: Array, alive: Array) -> tuple[State, Array, Array]:
            length = alive.astype(jnp.int32)
            state, y, dropped = advance(model, state, token[None], policy, length=length)
            return state, y[0], jnp.stack([layer.position[:, 0] for layer in dropped])

        state, y, evicted = jax.vmap(one)(state, token, alive)
        new, logprob = _next(model, y, keys, number, sampling)
        return state, jnp.where(alive, new, token), logprob, evicted

    return jax.jit(step, donate_argnames="state")


@functools.lru_cache(maxsize=8)
def _chooser(
    tree: jax.tree_util.PyTreeDef, sampling: Sampling
) -> Callable[..., tuple[Array, Array]]:
    def first(weights: list[Array], y: Array, keys: Array, number: Array) -> tuple[Array, Array]:
        return _next(jax.tree.unflatten(tree, weights), y, keys, number, sampling)

    return jax.jit(first)


def _next(
    model: Unrolled, y: Array, keys: Array, number: Array, sampling: Sampling
) -> tuple[Array, Array]:
    """The next token of each row and its log-probability."""
    scores = logits(model, y)
    keys = jax.vmap(draws.fold_in, (0, None))(keys, number)
    token = jax.vmap(functools.partial(choose, sampling=sampling))(scores, keys)
    every = jax.nn.log_softmax(scores.astype(wide(scores)))
    logprob = jnp.take_along_axis(every, token[:, None], axis=1)[:, 0]
    return token, logprob


def _by_layer(
    evicted: Int[np.ndarray, "rows layers groups"], now: Int[np.ndarray, " rows"]
) -> tuple[Forgotten, ...]:
    return tuple(Forgotten(evicted[:, i, :, None], now[:, None]) for i in range(evicted.shape[1]))


def _chosen(
    batch: Batch,
    logprob: Array,
    dropped: tuple[Forgotten, ...],
    stop: Collection[int],
    ended: Ended,
) -> Chosen:
    """The record of a step with the batch's tokens; marks the rows that end with them."""
    token, fresh = np.asarray(batch.token), batch.alive
    ends = [
        bool(lives) and (int(new) in stop or ended(row, int(new)))
        for row, (new, lives) in enumerate(zip(token, fresh, strict=True))
    ]
    batch = batch._replace(alive=fresh & ~np.asarray(ends, bool), step=batch.step + 1)
    return Chosen(token, np.asarray(logprob), fresh, dropped, batch)


def _check(
    prompts: Sequence[Sequence[int]], rows: Sequence[int], max_tokens: int, chunk: int
) -> None:
    check_prompts(prompts)
    if len(rows) != len(prompts):
        expected = f"Expected a row number for each of {len(prompts)} prompts"
        raise BadInput(f"{expected}, got {len(rows)}: pass one for each.")
    if max_tokens < 1 or chunk < 1:
        expected = "Expected max_tokens and chunk of at least 1"
        raise BadInput(f"{expected}, got {max_tokens} and {chunk}: increase them.")


def _check_room(state: State, policy: Policy, length: int) -> None:
    """Validates that a full state of one sequence or of a batch has slots for ``length`` tokens."""
    room = min((cache.position.shape[-1] - 1 for cache in state.layers), default=0)
    if not policy.bounded and length > room:
        expected = f"Expected a full state with slots for {length} tokens, got {room} slots"
        raise BadInput(f"{expected}: use more slots, or a policy that evicts.")
