"""Reading on: a state and the next tokens give their representations and the state after them.

One function serves the prompt, the whole text and the single step. Called as it is, it runs one
compiled function a layer, the same for all layers of a size; under ``jax.jit`` it is one program
with its layers in a row, which is what decoding wants.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.cache.policies import Policy
from glassesjax.cache.slots import State, check_state
from glassesjax.cache.step import Dropped, Mode, Tokens, layer_step
from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig, Rotary
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.positions import Layout
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.precision import RoundingPlan, Site


class Unrolled(NamedTuple):
    """A decoder with its layers apart: a scan would copy each layer's weights at every token."""

    outer: Decoder
    """Embedding, final norm and unembedding; its stacked blocks hold nothing."""
    blocks: tuple[Block, ...]


@border()
def unroll(decoder: Decoder) -> Unrolled:
    """The decoder as decoding reads it.

    Args:
      decoder: Any decoder; its stacked layers are copied, so drop it where memory is short.

    Returns:
      The same weights.
    """
    layer = lambda index: jax.tree.map(lambda weight: weight[index], decoder.layers)
    blocks = tuple(layer(index) for index in range(decoder.config.num_layers))
    without = lambda path, weight: None if path[0].name == "blocks" else weight
    return Unrolled(jax.tree_util.tree_map_with_path(without, decoder), blocks)


@border()
def advance(
    model: Unrolled,
    state: State,
    tokens: Int[Array, " seq"] | Int[np.ndarray, " seq"],
    policy: Policy,
    *,
    length: Int[Array, ""] | None = None,
    mode: Mode = "exact",
) -> tuple[State, Float[Array, "seq model_dim"], tuple[Dropped, ...]]:
    """Reads the next tokens of a sequence.

    Source: arXiv 2401.06104v2, equations 5 to 9.
    Differs: any number of tokens at once; ``exact`` gives what one by one gives, for projections
    and MLPs read each row by itself and attention runs along the rows.

    Args:
      model: The decoder, unrolled.
      state: What it remembers; a policy's ``slots`` are those of the state. It does not say by
        which score, decay or spacing it was filled: keys are stored turned where spacing is true
        and plain elsewhere, so that to go on with another spacing is wrong, and nobody notices.
      tokens: The next token numbers, at least one.
      policy: Whom to forget, the same as for earlier tokens, its spacing above all.
      length: How many of the tokens count; the others fill the array and leave no mark. All if
        absent; below 0 it is 0, and above the number of tokens it is that.
      mode: ``exact`` or ``cut``: see ``layer_step``.

    Returns:
      The state, last representations of the tokens, and what each layer dropped. ``full`` without
      room for all tokens gives NaN, and so does all that follows a choice by scores that are NaN.

    Raises:
      ValueError: A token is not in the vocabulary. Where tokens are traced they cannot be refused:
        what is read with such a one and after it is NaN.
      BadInput: No tokens, the plan lets later tokens move the rounding of earlier ones, the spacing
        needs rotary positions or the mode exact, the state was made by a model or a plan of other
        shapes or types, it has another number of decisions a layer than the policy makes, or too
        few slots for it, or the policy's score is not one number a place.
    """
    if not len(tokens):
        raise BadInput("Expected one token or more to read, got none.")
    _check_tokens(tokens, length, model.outer.config.vocab_size)
    _check(model.outer.config, policy, model.outer.plan, mode)
    check_state(model.outer.config, len(model.blocks), state, policy, model.outer.plan.dtype)
    count = jnp.asarray(len(tokens) if length is None else length, jnp.int32)
    here, seen = _places(state.seen, count, len(tokens))
    resid = _enter(model.outer, tokens, here.now)
    layers, dropped = [], []
    for block, cache in zip(model.blocks, state.layers, strict=True):
        cache, resid, gone = _layer(block, cache, resid, here, policy, mode)
        layers.append(cache)
        dropped.append(gone)
    room = min(cache.slots for cache in layers)
    y = _finish(model.outer, resid, seen if policy.bounded else seen - room, policy.bounded)
    return State(tuple(layers), seen), y, tuple(dropped)


@border()
def logits(model: Unrolled, y: Float[Array, "seq model_dim"]) -> Float[Array, "seq vocab"]:
    """Scores over the vocabulary: see ``Decoder.logits``.

    Args:
      model: The decoder, unrolled.
      y: Last representations.

    Returns:
      One row of scores per representation.
    """
    return _logits(model.outer, y)


def _check_tokens(tokens: Array | np.ndarray, length: Array | None, vocab_size: int) -> None:
    """Those that count; what fills the array may be anything."""
    try:
        count = len(tokens) if length is None else max(int(length), 0)
    except jax.errors.ConcretizationTypeError:
        return
    checked_tokens(tokens[:count], vocab_size)


_layer = jax.jit(layer_step, static_argnames=("policy", "mode"))


@functools.partial(jax.jit, static_argnames="seq")
def _places(seen: Array, count: Array, seq: int) -> tuple[Tokens, Array]:
    """Where the next tokens stand, and how many were read when they are."""
    index, count = jnp.arange(seq, dtype=jnp.int32), jnp.clip(count, 0, seq)
    return Tokens(seen + index, index < count), seen + count


@jax.jit
def _enter(outer: Decoder, tokens: Array, now: Array) -> Array:
    layout = Layout(now, jnp.zeros_like(now), now + 1)
    return outer.enter(tokens, layout)


@functools.partial(jax.jit, static_argnames="bounded")
def _finish(outer: Decoder, resid: Array, over: Array, bounded: bool) -> Array:
    y = outer.plan.store(Site.OUTPUT, outer.final_norm(resid))
    # A full state that has no room left would turn into a window, and nobody would see it.
    return y if bounded else jnp.where(over > 0, jnp.nan, y)


@jax.jit
def _logits(outer: Decoder, y: Array) -> Array:
    return outer.logits(y)


def _check(config: DecoderConfig, policy: Policy, plan: RoundingPlan, mode: Mode) -> None:
    if not plan.row_wise:
        found = f"got {plan.name}, with one scale for all tokens"
        raise BadInput(f"Expected a plan that rounds each token by itself, {found}.")
    if policy.spacing != "true":
        if not isinstance(config.positions, Rotary):
            found = type(config.positions).__name__
            raise BadInput(f"Expected rotary positions for spacing {policy.spacing}, got {found}.")
        if mode != "exact":
            wanted = (
                f"Expected mode exact for spacing {policy.spacing}, which moves with each token"
            )
            raise BadInput(f"{wanted}, got {mode}.")
