"""A pass under an eviction policy as one dense, masked and differentiable pass.

Given the step at which each layer evicted each token, the representations of a bounded cache are
those of one ordinary pass whose query t sees key j for j <= t <= ``until[j]``, since a token is
visible in the step that evicts it. The choice of evicted tokens is piecewise constant in the
input, so its derivative is zero wherever it exists; the derivative is that of the pass with fixed
masks. ``until`` is an argument of ``Decoder.represent``, ``trace.exact_influence`` and
``trace.block_stack``, which so measure and bound a bounded cache.
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
    """Result of a pass over a text under a policy: a ``Replay`` without logits."""

    y: Float[Array, "seq model_dim"]
    """Last representation at each step."""
    evicted_at: tuple[Int[np.ndarray, "groups seq"], ...]
    """For each layer, the step at which each token was evicted; as in ``Replay``."""


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
    """Reads a text into a bounded cache; returns representations and eviction steps.

    Source: arXiv 2401.06104v2, equations 5 to 9.

    Args:
      model: Any decoder; pass it unrolled to reuse it.
      tokens: The text.
      policy: The eviction policy.
      slots: Capacity of every layer, or of each; as many as tokens if absent.
      mode: Mode of ``prefill``.
      chunk: Tokens per chunk.

    Returns:
      Representations, and the step at which each layer evicted each token.

    Raises:
      BadInput: As ``prefill``.
    """
    model = model if isinstance(model, Unrolled) else unroll(model)
    parts = prefill(model, tokens, policy, slots=slots, mode=mode, chunk=chunk)
    y, evicted_at, _ = read_through(parts, len(tokens), lambda y: y)
    return Reading(y, evicted_at)


@border()
def last_seen(
    evicted_at: Sequence[Int[np.ndarray, "groups seq"]],
) -> Int[Array, "layers seq groups"]:
    """The last query that sees each token: the argument ``until`` of ``Decoder.represent``.

    Args:
      evicted_at: Eviction steps, of a ``Replay`` or a ``Reading``.

    Returns:
      Positions for each layer, token and group of heads; the text's length for a token that was
      retained to the end.
    """
    # (layers, groups, seq) -> (layers, seq, groups)
    return jnp.asarray(np.stack(evicted_at).transpose(0, 2, 1), jnp.int32)


@border()
def pruned_pass(
    decoder: Decoder,
    resid: Float[Array, "seq model_dim"],
    evicted_at: Sequence[Int[np.ndarray, "groups seq"]],
    *,
    policy: Policy | None = None,
    keep: Keep = "attention",
) -> tuple[Float[Array, "seq model_dim"], Trace]:
    """The dense pass whose representations equal those of a replay, in every layer.

    Source: arXiv 2401.06104v2, equations 5 to 9, as its evaluation masks them.

    Args:
      decoder: The decoder of the replay.
      resid: Input of the first layer, from ``Decoder.enter``.
      evicted_at: Eviction steps of the replay, in any of its modes.
      policy: That of the replay, if its position ids may change.
      keep: Fields of the trace; attention takes layers x heads x seq^2 numbers.

    Returns:
      One representation per token, and the trace.

    Raises:
      BadInput: Position ids depend on the retained tokens, which one pass cannot compute.
    """
    if policy is not None and policy.position_ids != "original":
        expected = "Expected a policy with original position ids"
        raise BadInput(f"{expected}, got {policy.position_ids}: use another policy.")
    # A replay's positions are those of one ordinary line.
    line = Layout.line(len(resid))
    return _represent(decoder, resid, line, last_seen(evicted_at), keep=keep)


@border()
def probe(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    tried: Int[Array, " tries"],
    after: Int[Array, " tries"],
    evicted_at: Sequence[Int[np.ndarray, "groups seq"]],
) -> tuple[Float[Array, "seq model_dim"], Float[Array, "tries model_dim"]]:
    """Representations of one further token after each of several prefixes of a text.

    Each such token attends to the tokens that every layer retained then, and is the last token of
    its prompt: a suffix of one token beside the text (``Layout``), which no other token sees.
    Longer suffixes could evict their tokens, and need a replay of their own.

    Args:
      decoder: The decoder of the replay.
      tokens: The text.
      tried: The token that ends each prompt.
      after: Number of tokens of the text before it; at least 1.
      evicted_at: Eviction steps of the text's replay with per-token eviction.

    Returns:
      Representations of the text's tokens, and of those tried.

    Raises:
      ValueError: A token is not in the vocabulary.
      BadInput: A prefix is empty or longer than the text.
    """
    if len(after) and not 1 <= int(jnp.min(after)) <= int(jnp.max(after)) <= len(tokens):
        given = f"got {int(jnp.min(after))} to {int(jnp.max(after))}"
        raise BadInput(f"Expected prefixes of 1 to {len(tokens)} tokens, {given}: change after.")
    tokens, tried = (checked_tokens(part, decoder.config.vocab_size) for part in (tokens, tried))
    # (layers, seq, groups) -> (layers, seq + tries, groups)
    until = jnp.pad(
        last_seen(evicted_at),
        [(0, 0), (0, len(tried)), (0, 0)],
        constant_values=np.iinfo(np.int32).max,  # a tried token sees itself
    )
    both = jnp.concatenate([tokens, tried])
    resid, layout = _enter(decoder, both, after)
    y, _ = _represent(decoder, resid, layout, until)
    return y[: len(tokens)], y[len(tokens) :]  # (seq + tries, model_dim)


@jax.jit
def _enter(decoder: Decoder, both: Array, after: Array) -> tuple[Array, Layout]:
    # The text is branch 0; each tried token is a branch of its own, at position ``after``.
    line = Layout.line(len(both) - len(after))
    suffixes = Layout(after, 1 + jnp.arange(len(after), dtype=jnp.int32), after)
    layout = jax.tree.map(lambda shared, own: jnp.concatenate([shared, own]), line, suffixes)
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
