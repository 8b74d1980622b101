"""Writing on: prompts of different lengths are read into states, then each step adds a token.

One compiled step serves all rows and lengths. A row that has ended is frozen: its state stays as it
is while the others go on.
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
    """Some sequences between two steps: all that the next step needs."""

    state: State
    """With a leading axis of rows."""
    token: Int[Array, " rows"]
    """Chosen last, and not yet read."""
    alive: Bool[np.ndarray, " rows"]
    """False for rows that have ended."""
    step: int
    """Tokens chosen so far by each row that is alive."""


class Chosen(NamedTuple):
    """What one step gave."""

    token: Int[np.ndarray, " rows"]
    logprob: Float[np.ndarray, " rows"]
    """Of the token in the model's own distribution: before temperature, top-k and top-p."""
    fresh: Bool[np.ndarray, " rows"]
    """False for rows that had ended before: their token is their last one once more."""
    dropped: tuple[Forgotten, ...]
    """What each layer dropped as it read the prompts, or the tokens before."""
    batch: Batch
    """The sequences now. The next step takes its buffers; after the last step they stay."""


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
    """Continues prompts token by token, all rows in step.

    A row of a batch is what it is alone: its state is its own, and its keys depend on the seed, its
    number and the step. Rounding may still differ with the number of rows.

    Source: arXiv 2401.06104v2, equations 5 to 9.

    Args:
      model: The decoder, unrolled.
      prompts: Token numbers of each row, none empty.
      policy: Whom to forget.
      slots: Capacity of every layer, or of each.
      max_tokens: How many tokens a row gets at most, at least 1.
      sampling: How a token is chosen.
      seed: Of what is drawn.
      rows: Numbers of the rows, for their keys; from 0 if absent.
      mode: How the prompts are read: see ``prefill``.
      stop: Token numbers that end a row; they are its last token.
      ended: Told the row's place in the batch and its new token; True ends the row as well.
      chunk: Tokens of the prompts at a time.

    Yields:
      One record a step, until all rows have ended or have their tokens. The first step reads the
      prompts; the last token is chosen and not read.

    Raises:
      BadInput: No prompts, one that is empty or no line of tokens, no tokens wanted, a chunk below
        one, a full state without room, or what ``empty_state`` and ``advance`` refuse.
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
    """Continues where ``generate`` left off, as if it had not.

    Args:
      model: The decoder, unrolled.
      batch: Of the last step; its buffers are used up.
      policy: As before.
      max_tokens: How many more tokens a row gets at most.
      sampling: As before.
      seed: As before.
      rows: As before.
      stop: Token numbers that end a row.
      ended: Told the row's place in the batch and its new token; True ends the row as well.

    Yields:
      One record a step, until all rows have ended or have their tokens.

    Raises:
      BadInput: A full state without room, or what ``advance`` refuses.
    """
    rows = range(len(batch.alive)) if rows is None else rows
    _check_room(batch.state, policy, int(np.max(np.asarray(batch.state.seen))) + max_tokens)
    # Flat, for a decoder's weights are many and their tree would be walked anew at each token.
    weights, tree = jax.tree.flatten(model)
    step, keys = _stepper(tree, policy, sampling), row_keys(seed, np.asarray(rows, np.int32))
    for _ in range(max_tokens):
        if not batch.alive.any():
            return
        number = np.int32(batch.step)
        state, token, logprob, gone = step(
            weights, batch.state, batch.token, batch.alive, keys, number
        )
        dropped = _by_layer(np.asarray(gone), np.asarray(state.seen) - 1)
        made = _chosen(batch._replace(state=state, token=token), logprob, dropped, stop, ended)
        batch = made.batch
        yield made


# A trace a decoder's shape, policy and sampling: what changes from call to call is data.
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

        state, y, gone = jax.vmap(one)(state, token, alive)
        new, logprob = _next(model, y, keys, number, sampling)
        return state, jnp.where(alive, new, token), logprob, gone

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
    gone: Int[np.ndarray, "rows layers groups"], now: Int[np.ndarray, " rows"]
) -> tuple[Forgotten, ...]:
    return tuple(Forgotten(gone[:, layer, :, None], now[:, None]) for layer in range(gone.shape[1]))


def _chosen(
    batch: Batch,
    logprob: Array,
    dropped: tuple[Forgotten, ...],
    stop: Collection[int],
    ended: Ended,
) -> Chosen:
    """The record of a step whose tokens the batch holds, and who goes on."""
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
        raise BadInput(f"Wanted a number for each of {len(prompts)} prompts; found {len(rows)}.")
    if max_tokens < 1 or chunk < 1:
        found = f"found {max_tokens} and {chunk}"
        raise BadInput(f"Wanted 1 new token or more, and a chunk of 1 or more; {found}.")


def _check_room(state: State, policy: Policy, length: int) -> None:
    """Of one sequence or of a batch: the tokens that will have been read."""
    room = min((cache.position.shape[-1] - 1 for cache in state.layers), default=0)
    if not policy.bounded and length > room:
        wanted = f"Wanted a full state with room for {length} tokens; it has room for {room}"
        raise BadInput(f"{wanted}: use more slots, or a policy that forgets.")
