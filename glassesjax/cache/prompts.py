"""Prefill of prompts of different lengths into one batch of states."""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from glassesjax.borders import COUNT, border
from glassesjax.cache.advance import Unrolled, advance
from glassesjax.cache.policies import Policy
from glassesjax.cache.prefill import PrefillMode
from glassesjax.cache.slots import State
from glassesjax.cache.step import Mode
from glassesjax.errors import check_choice
from glassesjax.model.vocabulary import check_prompts, checked_tokens


class Evictions(NamedTuple):
    """Tokens that one layer evicted, for a batch: positions, -1 for none, and the steps."""

    position: Int[np.ndarray, "rows groups events"]
    step: Int[np.ndarray, "rows events"]


@border(chunk=COUNT)
def read_prompts(
    model: Unrolled,
    state: State,
    prompts: Sequence[Sequence[int]],
    policy: Policy,
    *,
    mode: PrefillMode,
    chunk: int,
) -> tuple[State, Float[np.ndarray, "rows model_dim"], tuple[Evictions, ...]]:
    """Reads a batch of prompts, padded on the right, chunk by chunk: see ``prefill``.

    Args:
      model: The decoder, unrolled.
      state: The state of each row, with a leading axis of rows.
      prompts: Token numbers of each row, none empty.
      policy: The eviction policy.
      mode: Mode of ``prefill``; ``one_shot`` takes all in one chunk.
      chunk: Tokens per chunk; positive.

    Returns:
      The states, the last representation of each prompt, and the tokens that each layer evicted,
      with a leading axis of rows.

    Raises:
      ValueError: A token is not in the vocabulary.
      BadInput: No prompts, one that is empty or not one-dimensional, or errors of ``advance``.
    """
    check_choice("mode", mode, get_args(PrefillMode))
    check_prompts(prompts)
    for prompt in prompts:
        checked_tokens(prompt, model.outer.config.vocab_size)
    lengths = np.asarray([len(prompt) for prompt in prompts], np.int32)
    longest = int(max(lengths))
    # Short prompts take a short chunk, a power of two so that few shapes are compiled.
    size = longest if mode == "one_shot" else min(chunk, 1 << (longest - 1).bit_length())
    step_mode: Mode = "exact" if mode == "exact" else "chunked"
    # vmap over rows, each with its own state and length
    step = jax.vmap(
        lambda state, tokens, length: advance(
            model, state, tokens, policy, length=length, mode=step_mode
        )
    )
    parts, last = [], None
    for start in range(0, longest, size):
        # A chunk of all prompts, padded on the right: (rows, size)
        count, tokens = np.clip(lengths - start, 0, size), np.zeros((len(prompts), size), np.int32)
        for row, prompt in zip(tokens, prompts, strict=True):
            part = np.asarray(prompt[start : start + size], np.int32)
            row[: len(part)] = part
        state, y, dropped = step(state, jnp.asarray(tokens), jnp.asarray(count))
        parts.append(dropped)
        # The last representation so far; a row that has no token in this chunk keeps its own.
        here = np.asarray(y)[np.arange(len(lengths)), np.maximum(count - 1, 0)]  # (rows, model_dim)
        last = here if last is None else np.where(count[:, None] > 0, here, last)
    # Events of all chunks along the last axis, layer by layer.
    joined = lambda chunks: np.concatenate([np.asarray(chunk) for chunk in chunks], axis=-1)
    layers = zip(*parts, strict=True)
    evicted_at = tuple(Evictions(*map(joined, zip(*layer, strict=True))) for layer in layers)
    return state, np.asarray(last), evicted_at
