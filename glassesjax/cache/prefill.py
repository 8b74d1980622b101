"""Prefill: a prompt or a whole text into a state, with per-token, one-shot or chunked eviction."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.cache.advance import Unrolled, advance
from glassesjax.cache.policies import Policy, PrefillMode
from glassesjax.cache.slots import State, check_state, empty_state
from glassesjax.cache.step import Dropped, Mode
from glassesjax.errors import BadInput, check_choice
from glassesjax.model.tiling import TILING
from glassesjax.model.vocabulary import checked_tokens


class Part(NamedTuple):
    """Result of one chunk."""

    state: State
    y: Float[Array, "chunk model_dim"]
    """Last representations of the chunk's tokens."""
    dropped: tuple[Dropped, ...]
    """Tokens that each layer evicted."""


@border()
def prefill(
    model: Unrolled,
    tokens: Int[Array, " seq"] | Int[np.ndarray, " seq"],
    policy: Policy,
    *,
    state: State | None = None,
    slots: int | Sequence[int] | None = None,
    mode: PrefillMode = "exact",
    chunk: int = TILING.prefill_chunk,
) -> Iterator[Part]:
    """Reads a text into a state, chunk by chunk.

    ``exact`` evicts after each token and equals decoding token by token, whatever the chunk; the
    paper evaluates this way. ``one_shot`` evicts once, by the last token's attention, after all
    tokens have attended to all before them: the authors' code does that to a prompt, and its
    outputs are those of the full model. ``chunked`` evicts after each chunk, so that memory is
    bounded; the retained tokens depend on the chunk. The three agree while nothing is evicted.

    Source: arXiv 2401.06104v2, equations 5 to 9; its published code for ``one_shot``.

    Args:
      model: The decoder, unrolled.
      tokens: The text, not empty.
      policy: The eviction policy.
      state: The state of the text before; empty if absent.
      slots: Capacity of every layer, or of each, of a new state; as many as tokens if absent.
      mode: Mode of eviction.
      chunk: Tokens per chunk; positive. The last chunk is padded, so that there is one shape.

    Yields:
      The state after each chunk, the representations of its tokens, and the evicted tokens.

    Raises:
      ValueError: A token is not in the vocabulary.
      BadInput: No tokens, a chunk below one, both slots and a state, a full state
        without room, or errors of ``empty_state`` and ``advance``.
    """
    check_choice("mode", mode, get_args(PrefillMode))
    count = len(tokens)
    if count < 1 or chunk < 1:
        expected = "Expected one token or more, and a chunk of at least 1"
        raise BadInput(f"{expected}, got {count} and {chunk}: pass both.")
    tokens = checked_tokens(tokens, model.outer.config.vocab_size)
    if state is None:
        capacity = count if slots is None else slots
        state = empty_state(model.outer.config, policy, capacity, model.outer.plan)
    elif slots is not None:
        raise BadInput("Expected slots or a state, got both: leave out slots.")
    check_state(model.outer.config, len(model.blocks), state, policy, model.outer.plan)
    free = min(cache.slots for cache in state.layers) - int(state.seen)
    if not policy.bounded and count > free:
        expected = f"Expected a full state with free slots for {count} tokens, got {free}"
        raise BadInput(f"{expected}: use more slots, or a policy that evicts.")
    # One shot is one chunk, of a whole number of chunks so that few shapes are compiled.
    size = -(-count // chunk) * chunk if mode == "one_shot" else chunk
    # For a layer one-shot and chunked eviction are one mode: they differ in the chunk's size.
    step_mode: Mode = "exact" if mode == "exact" else "chunked"
    for start in range(0, count, size):
        part = np.asarray(tokens[start : start + size], np.int32)
        filled = np.pad(part, (0, size - len(part)))  # (size,), of which ``length`` count
        length = jnp.asarray(len(part), jnp.int32)
        state, y, dropped = advance(model, state, filled, policy, length=length, mode=step_mode)
        yield Part(state, y[: len(part)], dropped)
