"""Generation: prompts of different lengths are prefilled, then each step adds a token.

One compiled step serves all rows and lengths. A row that has ended is masked: its state does not
change while the others continue.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, NON_NEGATIVE, border
from glassesjax.cache.advance import Unrolled, advance, logits
from glassesjax.cache.choosing import choose, row_keys, wide
from glassesjax.cache.policies import Policy
from glassesjax.cache.prefill import PrefillMode
from glassesjax.cache.prompts import Evictions, read_prompts
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
    keys: Array
    """PRNG key of each row, of ``row_keys``; folded with the step."""


class Chosen(NamedTuple):
    """Output of one decoding step."""

    token: Int[np.ndarray, " rows"]
    logprob: Float[np.ndarray, " rows"]
    """Log-probability of the token before temperature, top-k and top-p."""
    fresh: Bool[np.ndarray, " rows"]
    """False for rows that had ended before: their token repeats the last one."""
    dropped: tuple[Evictions, ...]
    """Tokens that each layer evicted in prefill, or at the previous token."""
    batch: Batch
    """The batch after the step. The next step donates its buffers; the last one keeps them."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Generator:
    """What stays the same from step to step; ``start`` and ``step`` are pure but for donation.

    Source: arXiv 2401.06104v2, equations 5 to 9.
    """

    model: Unrolled
    policy: Policy
    sampling: Sampling = GREEDY
    stop: Collection[int] = ()
    """Tokens that end a row; they are its last token."""
    ended: Ended = lambda row, token: False
    """Function of the row's index in the batch and its new token; True ends the row as well."""

    def __post_init__(self) -> None:
        for name, kind in (("model", Unrolled), ("policy", Policy), ("sampling", Sampling)):
            if not isinstance(value := getattr(self, name), kind):
                expected = f"Expected Generator.{name} to be a {kind.__name__}"
                raise BadInput(f"{expected}, got {type(value).__name__}: give one.")

    @border(chunk=COUNT, room=NON_NEGATIVE)
    def start(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        slots: int | Sequence[int],
        seed: int = 0,
        rows: Sequence[int] | None = None,
        mode: PrefillMode = "exact",
        chunk: int = TILING.prefill_chunk,
        room: int = 0,
    ) -> Chosen:
        """Prefills the prompts and chooses the first token of each row.

        Args:
          prompts: Token numbers of each row, none empty.
          slots: Capacity of every layer, or of each.
          seed: Seed of the sampling.
          rows: Row numbers, for the keys; from 0 if absent.
          mode: Mode of ``prefill``.
          chunk: Tokens of the prompts per chunk.
          room: Further tokens for which a full state must have slots; refused before the prefill.

        Returns:
          The first tokens, and the batch for ``step``.

        Raises:
          BadInput: No prompts, one that is empty or not one-dimensional, not one row number for
            each, a chunk below one, a full state without room for a prompt, or errors of
            ``empty_state`` and ``advance``.
        """
        check_prompts(prompts)
        rows = range(len(prompts)) if rows is None else rows
        if len(rows) != len(prompts):
            expected = f"Expected a row number for each of {len(prompts)} prompts"
            raise BadInput(f"{expected}, got {len(rows)}: pass one for each.")
        outer = self.model.outer
        one = empty_state(outer.config, self.policy, slots, outer.plan)
        _check_room(one, self.policy, max(map(len, prompts)) + room)
        # of one sequence -> of rows
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(prompts), *leaf.shape)), one)
        state, y, dropped = read_prompts(
            self.model, state, prompts, self.policy, mode=mode, chunk=chunk
        )
        weights, tree = jax.tree.flatten(self.model)
        keys = row_keys(seed, np.asarray(rows, np.int32))
        first = _chooser(tree, self.sampling)
        token, logprob = first(weights, jnp.asarray(y), keys, np.int32(0))
        batch = Batch(state, token, np.ones(len(prompts), bool), 0, keys)
        return self._record(batch, logprob, dropped)

    def step(self, batch: Batch) -> Chosen:
        """Reads the last tokens and chooses the next ones.

        Args:
          batch: That of the last step; its buffers are donated.

        Returns:
          The new tokens; a row that has ended repeats its last one, and its state is unchanged.

        Raises:
          BadInput: A full state without room, or errors of ``advance``.
        """
        _check_room(batch.state, self.policy, _longest(batch) + 1)
        weights, tree = self._flat
        state, token, logprob, evicted = _stepper(tree, self.policy, self.sampling)(
            weights, batch.state, batch.token, batch.alive, batch.keys, np.int32(batch.step)
        )
        evicted, now = np.asarray(evicted), np.asarray(state.seen) - 1
        # rows, layers, groups -> for each layer rows, groups and one event
        dropped = tuple(
            Evictions(evicted[:, layer, :, None], now[:, None]) for layer in range(evicted.shape[1])
        )
        return self._record(batch._replace(state=state, token=token), logprob, dropped)

    @border(max_tokens=NON_NEGATIVE)
    def steps(self, batch: Batch, max_tokens: int) -> Iterator[Chosen]:
        """Continues a batch; the tokens are those of one longer run.

        Args:
          batch: That of the last step; its buffers are donated.
          max_tokens: Maximum number of further tokens of a row.

        Yields:
          One record a step, until all rows have ended or have their tokens.

        Raises:
          BadInput: A full state without room for all of them, or errors of ``advance``.
        """
        # Before the first step: a long run is not to end half-way.
        _check_room(batch.state, self.policy, _longest(batch) + max_tokens)
        for _ in range(max_tokens):
            if not batch.alive.any():
                return
            chosen = self.step(batch)
            batch = chosen.batch
            yield chosen

    @functools.cached_property
    def _flat(self) -> tuple[list[Array], jax.tree_util.PyTreeDef]:
        """Once for all steps: a decoder has many weights, and each flattening takes time."""
        return jax.tree.flatten(self.model)

    def _record(self, batch: Batch, logprob: Array, dropped: tuple[Evictions, ...]) -> Chosen:
        """The record of a step with the batch's tokens; marks the rows that end with them."""
        token, fresh = np.asarray(batch.token), batch.alive
        ends = [
            bool(lives) and (int(new) in self.stop or self.ended(row, int(new)))
            for row, (new, lives) in enumerate(zip(token, fresh, strict=True))
        ]
        batch = batch._replace(alive=fresh & ~np.asarray(ends, bool), step=batch.step + 1)
        return Chosen(token, np.asarray(logprob), fresh, dropped, batch)


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
    """Generates continuations token by token, all rows in parallel: a whole run of ``Generator``.

    A row does not depend on the others: its keys depend on the seed, its number and the step.
    Rounding may still differ with the number of rows.

    Args:
      model: The decoder, unrolled.
      prompts: Token numbers of each row, none empty.
      policy: The eviction policy.
      slots: Capacity of every layer, or of each.
      max_tokens: Maximum number of new tokens of a row, at least 1.
      sampling: Settings of the sampling.
      seed: As of ``Generator.start``; so are ``rows``, ``mode`` and ``chunk``.
      rows: Row numbers, for the keys; from 0 if absent.
      mode: Mode of ``prefill``.
      stop: As of ``Generator``; so is ``ended``.
      ended: True for a row's index and new token ends the row.
      chunk: Tokens of the prompts per chunk.

    Yields:
      One record a step, until all rows have ended or have their tokens. The first step prefills
      the prompts; the last token is not added to the cache.

    Raises:
      BadInput: No new tokens, a full state without room, or errors of ``Generator.start``.
    """
    if max_tokens < 1 or chunk < 1:
        expected = "Expected max_tokens and chunk of at least 1"
        raise BadInput(f"{expected}, got {max_tokens} and {chunk}: increase them.")
    more = max_tokens - 1  # the last token is returned and never read
    generator = Generator(model=model, policy=policy, sampling=sampling, stop=stop, ended=ended)
    first = generator.start(
        prompts, slots=slots, seed=seed, rows=rows, mode=mode, chunk=chunk, room=more
    )
    yield first
    yield from generator.steps(first.batch, more)


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
            # A row that has ended reads no token, so that its state does not change.
            length = alive.astype(jnp.int32)
            state, y, dropped = advance(model, state, token[None], policy, length=length)
            # y (1, model_dim); one event a layer: (layers, groups)
            return state, y[0], jnp.stack([layer.position[:, 0] for layer in dropped])

        state, y, evicted = jax.vmap(one)(state, token, alive)  # over rows
        new, logprob = _next(model, y, keys, number, sampling)
        return state, jnp.where(alive, new, token), logprob, evicted

    return jax.jit(step, donate_argnames="state")


# The first tokens come from the prompts' representations, without a step.
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
    scores = logits(model, y)  # (rows, vocab)
    # A key for each row and step: no row's draws depend on the others.
    keys = jax.vmap(draws.fold_in, (0, None))(keys, number)
    token = jax.vmap(functools.partial(choose, sampling=sampling))(scores, keys)
    every = jax.nn.log_softmax(scores.astype(wide(scores)))
    logprob = jnp.take_along_axis(every, token[:, None], axis=1)[:, 0]  # (rows, 1) -> (rows,)
    return token, logprob


def _longest(batch: Batch) -> int:
    """Tokens in the longest cache that reads on; a row that has ended needs no room."""
    return int(np.max(np.asarray(batch.state.seen), where=batch.alive, initial=0))


def _check_room(state: State, policy: Policy, length: int) -> None:
    """Validates that a full state of one sequence or of a batch has slots for ``length`` tokens."""
    # One slot of each layer is for the newest token.
    room = min((cache.position.shape[-1] - 1 for cache in state.layers), default=0)
    if not policy.bounded and length > room:
        expected = f"Expected a full state with slots for {length} tokens, got {room} slots"
        raise BadInput(f"{expected}: use more slots, or a policy that evicts.")
