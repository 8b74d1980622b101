"""A text under a policy as one dense pass, which can be differentiated.

Once a replay has told when each layer forgot each token, the same representations come out of one
ordinary pass whose query t sees key j while that is not forgotten: j <= t <= ``until[j]``, for a
token takes part in the step that drops it. The choice of victims is piecewise constant in the
input, so its derivative is zero wherever there is one; what is left is that of the pass with its
masks held. ``until`` is what ``Decoder.represent``, ``trace.exact_influence``,
``trace.block_stack`` and their kin take: they measure and bound a bounded state through it.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.cache.advance import Unrolled, unroll
from glassesjax.cache.policies import Policy
from glassesjax.cache.prefill import PrefillMode, prefill
from glassesjax.cache.replay import read_through
from glassesjax.errors import BadInput
from glassesjax.model.decoder import Decoder, Keep, Trace
from glassesjax.model.positions import Layout
from glassesjax.model.tiling import TILING
from glassesjax.model.vocabulary import checked_tokens


class Reading(NamedTuple):
    """What reading a text under a policy gave: a ``Replay`` without logits."""

    y: Float[Array, "seq model_dim"]
    """Last representations, step by step."""
    forgotten: tuple[Int[np.ndarray, "groups seq"], ...]
    """For each layer, the step after which it no longer held a token; as in ``Replay``."""


@border()
def read(
    model: Decoder | Unrolled,
    tokens: Int[Array, " seq"],
    policy: Policy,
    *,
    slots: int | Sequence[int] | None = None,
    mode: PrefillMode = "exact",
    chunk: int = TILING.prefill_chunk,
) -> Reading:
    """Reads a text into a bounded state, and remembers what it said and when it forgot.

    Source: arXiv 2401.06104v2, equations 5 to 9.

    Args:
      model: Any decoder; unrolled if it is used again.
      tokens: The text.
      policy: Whom to forget.
      slots: Capacity of every layer, or of each; as many as tokens if absent.
      mode: As for ``prefill``.
      chunk: Tokens at a time.

    Returns:
      Representations, and when each layer forgot each token.

    Raises:
      BadInput: As ``prefill``.
    """
    model = model if isinstance(model, Unrolled) else unroll(model)
    parts = prefill(model, tokens, policy, slots=slots, mode=mode, chunk=chunk)
    y, forgotten, _ = read_through(parts, len(tokens), lambda y: y)
    return Reading(y, forgotten)


@border()
def last_seen(
    forgotten: Sequence[Int[np.ndarray, "groups seq"]],
) -> Int[Array, "layers seq groups"]:
    """The last query that sees each token: what ``Decoder.represent`` takes as ``until``.

    Args:
      forgotten: Of a ``Replay`` or a ``Reading``.

    Returns:
      Positions for each layer, token and group of heads; the text's length where a token was held
      to the end.
    """
    return jnp.asarray(np.stack(forgotten).transpose(0, 2, 1), jnp.int32)


@border()
def pruned_pass(
    decoder: Decoder,
    resid: Float[Array, "seq model_dim"],
    forgotten: Sequence[Int[np.ndarray, "groups seq"]],
    *,
    policy: Policy | None = None,
    keep: Keep = "attention",
) -> tuple[Float[Array, "seq model_dim"], Trace]:
    """The dense pass that equals a replay: the representations, layer by layer.

    Source: arXiv 2401.06104v2, equations 5 to 9, as its evaluation masks them.

    Args:
      decoder: The decoder of the replay.
      resid: What enters its first layer, from ``Decoder.enter``.
      forgotten: Of the replay, in any of its modes.
      policy: That of the replay, if its spacing may move positions.
      keep: What the trace holds; attention takes layers x heads x seq^2 numbers.

    Returns:
      One representation per token, and the trace.

    Raises:
      BadInput: Positions moved with what was kept, which no single pass can do.
    """
    if policy is not None and policy.spacing != "true":
        wanted = "Wanted a policy with spacing true, which leaves positions where they are"
        raise BadInput(f"{wanted}; found {policy.spacing}.")
    line = Layout.line(len(resid))
    return _represent(decoder, resid, line, last_seen(forgotten), keep=keep)


@border()
def probe(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    tried: Int[Array, " tries"],
    after: Int[Array, " tries"],
    forgotten: Sequence[Int[np.ndarray, "groups seq"]],
) -> tuple[Float[Array, "seq model_dim"], Float[Array, "tries model_dim"]]:
    """Tries one more token after some of a text's prefixes, and throws away what that left.

    Each is written, attends to what every layer held then, and is the last token of its own
    prompt: a tail of one token beside the text (``Layout``), which nobody else sees. Longer tails
    would let their own tokens be forgotten, and need a replay of their own.

    Args:
      decoder: The decoder of the replay.
      tokens: The text.
      tried: The token that ends each prompt.
      after: How many tokens of the text stand before it; at least 1.
      forgotten: Of the text's replay, token by token.

    Returns:
      Representations of the text's own tokens, and of those tried.

    Raises:
      ValueError: A token is not in the vocabulary.
      BadInput: More tokens before a try than the text has, or none.
    """
    if len(after) and not 1 <= int(jnp.min(after)) <= int(jnp.max(after)) <= len(tokens):
        found = f"found {int(jnp.min(after))} to {int(jnp.max(after))}"
        raise BadInput(f"Wanted tries after 1 to {len(tokens)} tokens; {found}.")
    tokens, tried = (checked_tokens(part, decoder.config.vocab_size) for part in (tokens, tried))
    until = jnp.pad(
        last_seen(forgotten),
        [(0, 0), (0, len(tried)), (0, 0)],
        constant_values=np.iinfo(np.int32).max,  # a try is there for itself
    )
    both = jnp.concatenate([tokens, tried])
    resid, layout = _enter(decoder, both, after)
    y, _ = _represent(decoder, resid, layout, until)
    return y[: len(tokens)], y[len(tokens) :]


@jax.jit
def _enter(decoder: Decoder, both: Array, after: Array) -> tuple[Array, Layout]:
    line = Layout.line(len(both) - len(after))
    tails = Layout(after, 1 + jnp.arange(len(after), dtype=jnp.int32), after)
    layout = jax.tree.map(lambda trunk, tail: jnp.concatenate([trunk, tail]), line, tails)
    return decoder.enter(both, layout), layout


@functools.partial(jax.jit, static_argnames="keep")
def _represent(
    decoder: Decoder,
    resid: Array,
    layout: Layout,
    until: Array,
    *,
    keep: Keep = "nothing",
) -> tuple[Array, Trace]:
    return decoder.represent(resid, layout, keep=keep, until=until)
