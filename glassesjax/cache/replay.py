"""A whole text under an eviction policy: logits at each step, and when each token was evicted.

``replay`` returns the logits of the whole text. Perplexity and retention need less memory: they
call ``prefill`` and reduce each chunk; ``glassesjax.cache.pruned`` returns representations.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import COUNT, border
from glassesjax.cache.advance import Unrolled, logits, unroll
from glassesjax.cache.policies import Policy
from glassesjax.cache.prefill import Part, PrefillMode, prefill
from glassesjax.cache.slots import EMPTY, State
from glassesjax.cache.step import Dropped
from glassesjax.model.decoder import Decoder
from glassesjax.model.tiling import TILING


class Replay(NamedTuple):
    """Result of a pass over a text under a policy."""

    logits: Float[Array, "seq vocab"]
    """Logits of the next token, in the accumulation dtype of the decoder's plan."""
    evicted_at: tuple[Int[np.ndarray, "groups seq"], ...]
    """For each layer, the step after which a token was no longer cached; the text's length for a
    token that was retained to the end."""
    state: State
    """The state after the last token."""


@border()
def replay(
    decoder: Decoder | Unrolled,
    tokens: Int[Array, " seq"] | Int[np.ndarray, " seq"],
    policy: Policy,
    *,
    slots: int | Sequence[int] | None = None,
    mode: PrefillMode = "exact",
    chunk: int = TILING.prefill_chunk,
) -> Replay:
    """Reads a text with a bounded cache.

    Source: arXiv 2401.06104v2, equations 5 to 9, and its evaluation of perplexity.
    Differs: three modes.

    Args:
      decoder: Any decoder; pass it unrolled to reuse it.
      tokens: The text.
      policy: The eviction policy.
      slots: Capacity of every layer, or of each; as many as tokens if absent.
      mode: ``exact`` evicts after each token, as the paper evaluates; ``one_shot`` evicts once,
        after the last token, as the authors' code reads a prompt; ``chunked`` evicts after each
        chunk.
      chunk: Tokens per chunk. In mode exact it changes memory and time only.

    Returns:
      Logits at each step, and eviction steps (``retained`` gives the cached tokens).

    Raises:
      BadInput: As ``prefill``.
    """
    model = decoder if isinstance(decoder, Unrolled) else unroll(decoder)
    parts = prefill(model, tokens, policy, slots=slots, mode=mode, chunk=chunk)
    return Replay(*read_through(parts, len(tokens), lambda y: logits(model, y)))


def read_through(
    parts: Iterable[Part],
    length: int,
    kept: Callable[[Float[Array, "chunk model_dim"]], Float[Array, "chunk width"]],
) -> tuple[Float[Array, "seq width"], tuple[Int[np.ndarray, "groups seq"], ...], State]:
    """Runs a prefill and keeps the last state only: each takes as much memory as the cache.

    Args:
      parts: The chunks of ``prefill``.
      length: Length of the text in tokens.
      kept: Function of a chunk's representations whose rows are kept.

    Returns:
      The kept rows; the step at which each layer evicted each token; the last state.
    """
    rows, dropped = [], []
    for part in parts:
        rows.append(kept(part.y))
        dropped.append(part.dropped)
    # chunks of layers -> layers of chunks
    layers = zip(*dropped, strict=True)
    evicted_at = tuple(eviction_steps(layer, length) for layer in layers)
    return jnp.concatenate(rows), evicted_at, part.state  # (seq, width)


@border(length=COUNT)
def eviction_steps(dropped: Sequence[Dropped], length: int) -> Int[np.ndarray, "groups seq"]:
    """The step after which each token is no longer cached in a layer.

    Args:
      dropped: Tokens that the layer evicted, chunk by chunk.
      length: Length of the text.

    Returns:
      Steps for each decision and token; the length for a token that is retained to the end.
    """
    groups = len(dropped[0].position)
    steps = np.full((groups, length), length, np.int32)
    for part in dropped:
        position, step = np.asarray(part.position), np.asarray(part.step)
        # Position -1 is no eviction, as for padding; a caller's length may cut the text.
        group, event = np.nonzero((position != EMPTY) & (position < length))
        steps[group, position[group, event]] = step[event]
    return steps


@border()
def retained(evicted_at: Int[np.ndarray, "groups seq"]) -> Bool[np.ndarray, "groups step seq"]:
    """Mask of the tokens that are cached in a layer after each step.

    Args:
      evicted_at: One layer's steps, from a ``Replay``.

    Returns:
      True where the token was read and not yet evicted.
    """
    step = np.arange(evicted_at.shape[1])[None, :, None]  # queries on axis 1, keys on axis 2
    return (step.transpose(0, 2, 1) <= step) & (step < evicted_at[:, None, :])
