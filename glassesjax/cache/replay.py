"""A whole text under a policy: what the model says at each step, and what each layer forgot when.

``replay`` holds the logits of the whole text. What needs less of it, as perplexity and retention
do, calls ``prefill`` and takes what it needs chunk by chunk; ``glassesjax.cache.pruned`` takes the
representations.
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
    """What a pass over a text under a policy gave."""

    logits: Float[Array, "seq vocab"]
    """For the token after each, in the carrier of the decoder's plan."""
    forgotten: tuple[Int[np.ndarray, "groups seq"], ...]
    """For each layer, the step after which it no longer held a token; the text's length where it
    held it to the end."""
    state: State
    """After the last token."""


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
    """Runs over a text with a bounded state.

    Source: arXiv 2401.06104v2, equations 5 to 9, and its evaluation of perplexity.
    Differs: three modes, named, for they are three functions.

    Args:
      decoder: Any decoder; unrolled if it is used again.
      tokens: The text.
      policy: Whom to forget.
      slots: Capacity of every layer, or of each; as many as tokens if absent.
      mode: ``exact`` decides after each token, as the paper evaluates; ``one_shot`` shows each
        token all before it and cuts once, after the last, as the authors' code reads a prompt;
        ``chunked`` cuts after each chunk.
      chunk: Tokens at a time. In mode exact it changes memory and time, and nothing else.

    Returns:
      Logits at each step, and when each token was forgotten (``retained`` tells who is held).

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
    """Reads a text and keeps one state, the last: each would take as much memory as the cache.

    Args:
      parts: Of ``prefill``, chunk by chunk.
      length: Of the text, in tokens.
      kept: What is kept of a chunk's representations.

    Returns:
      What was kept, step by step; when each layer forgot each token; the state after the last.
    """
    rows, dropped = [], []
    for part in parts:
        rows.append(kept(part.y))
        dropped.append(part.dropped)
    layers = zip(*dropped, strict=True)
    gone = tuple(forgotten(layer, length) for layer in layers)
    return jnp.concatenate(rows), gone, part.state


@border(length=COUNT)
def forgotten(dropped: Sequence[Dropped], length: int) -> Int[np.ndarray, "groups seq"]:
    """The step after which a layer no longer held each token.

    Args:
      dropped: What the layer forgot, chunk by chunk.
      length: Of the text.

    Returns:
      Steps for each decision and token; the length for a token that is held to the end.
    """
    groups = len(dropped[0].position)
    steps = np.full((groups, length), length, np.int32)
    for part in dropped:
        position, step = np.asarray(part.position), np.asarray(part.step)
        group, event = np.nonzero((position != EMPTY) & (position < length))
        steps[group, position[group, event]] = step[event]
    return steps


@border()
def retained(forgotten: Int[np.ndarray, "groups seq"]) -> Bool[np.ndarray, "groups step seq"]:
    """Which tokens a layer holds after each step.

    Args:
      forgotten: One layer's, of a ``Replay``.

    Returns:
      True where the token was read and not yet forgotten.
    """
    step = np.arange(forgotten.shape[1])[None, :, None]
    return (step.transpose(0, 2, 1) <= step) & (step < forgotten[:, None, :])
