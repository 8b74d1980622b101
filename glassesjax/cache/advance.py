"""Reading on: a state and the next tokens give their representations and the state after them.

One function serves the prompt, the whole text and the single step. Called as it is, it runs one
compiled function a layer, the same for all layers of a size; under ``jax.jit`` it is one program
with its layers in a row, which is what decoding wants.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.cache.policies import Policy
from glassesjax.cache.slots import KVCache, State, check_state
from glassesjax.cache.step import Dropped, Mode, RowPositions, layer_step
from glassesjax.errors import BadInput
from glassesjax.model.config import Rotary
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import layer_of_plan, run_layer
from glassesjax.model.positions import Layout
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.precision import Site


class Unrolled(NamedTuple):
    """A decoder with its layers apart: a scan would copy each layer's weights at every token."""

    outer: Decoder
    """Embedding, final norm and unembedding; its stacked blocks hold nothing."""
    blocks: tuple[Block, ...]


@border()
def unroll(decoder: Decoder) -> Unrolled:
    """The decoder as decoding reads it.

    Args:
      decoder: Any decoder. On an accelerator its stacked layers are copied, so drop it where
        memory is short; on a CPU both share them.

    Returns:
      The same weights.
    """
    # (layers, ...) -> a tree for each layer
    layer = lambda index: jax.tree.map(lambda weight: _layer_weight(weight, index), decoder.layers)
    blocks = tuple(layer_of_plan(layer(i), i) for i in range(decoder.config.num_layers))
    # Without the stack, a jitted function of ``outer`` takes no weights that it does not use.
    without = lambda path, weight: None if path[0].name == "blocks" else weight
    return Unrolled(jax.tree_util.tree_map_with_path(without, decoder), blocks)


def _layer_weight(weight: Array, index: int) -> Array:
    """A layer of stacked weights, without a copy where the host can address them."""
    shared = isinstance(weight, jax.Array) and not isinstance(weight, jax.core.Tracer)
    devices = weight.devices() if shared else set()
    if len(devices) != 1 or (device := devices.pop()).platform != "cpu":
        return weight[index]
    # A view of the buffer, which stays alive with it. JAX copies it if its address is not aligned,
    # and never takes a donation of it.
    return jax.device_put(np.asarray(weight)[index], device, may_alias=True)


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
      state: Its capacity is that of the policy. It has no record of the score, decay or position
        ids that filled it: keys are stored rotated where these are original and plain elsewhere, so
        that another rule gives wrong results without an error.
      tokens: The next token numbers, at least one.
      policy: The eviction policy, the same as for earlier tokens, its position ids above all.
      length: How many of the tokens count; the others fill the array and leave no mark. All if
        absent; below 0 it is 0, and above the number of tokens it is that.
      mode: ``exact`` or ``chunked``: see ``layer_step``.

    Returns:
      The state, last representations of the tokens, and what each layer dropped. ``full`` without
      room for all tokens gives NaN, and so does all that follows a choice by scores that are NaN.

    Raises:
      ValueError: A token is not in the vocabulary. Where tokens are traced they cannot be refused:
        what is read with such a one and after it is NaN.
      BadInput: No tokens, the plan lets later tokens move the rounding of earlier ones, position
        ids need rotary positions or the mode exact, the state was made by a model or a plan of
        other shapes or types, it has another number of decisions a layer than the policy makes, or
        too few slots for it, or the policy's score is not one number for each slot.
    """
    if not len(tokens):
        raise BadInput("Expected one token or more to read, got none.")
    config, plan = model.outer.config, model.outer.plan
    try:  # what fills the array may be anything; a traced length cannot be read
        valid = len(tokens) if length is None else max(int(length), 0)
    except jax.errors.ConcretizationTypeError:
        pass
    else:
        checked_tokens(tokens[:valid], config.vocab_size)
    if not plan.row_wise:
        found = f"got {plan.name}, with one scale for all tokens"
        raise BadInput(f"Expected a plan that rounds each token by itself, {found}.")
    if policy.position_ids != "original":
        if not isinstance(config.positions, Rotary):
            found = type(config.positions).__name__
            raise BadInput(
                f"Expected rotary positions for position ids {policy.position_ids}, got {found}."
            )
        if mode != "exact":
            moving = f"position ids {policy.position_ids}, which moves with each token"
            raise BadInput(f"Expected mode exact for {moving}, got {mode}.")
    check_state(config, len(model.blocks), state, policy, plan)
    count = jnp.asarray(len(tokens) if length is None else length, jnp.int32)
    rows, seen, resid = _enter(model.outer, tokens, state.seen, count)
    layers, dropped = [], []
    # A Python loop: each layer has weights and a cache of its own shape, and one compiled function.
    for block, cache in zip(model.blocks, state.layers, strict=True):
        cache, resid, gone = _layer(block, cache, resid, rows, policy, mode)
        layers.append(cache)
        dropped.append(gone)
    # Only a full state can overflow; a bounded one evicts.
    capacity = min(cache.slots for cache in layers)
    y = _finish(model.outer, resid, seen if policy.bounded else seen - capacity, policy.bounded)
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


# Jitted once, here: a jit inside the functions above would compile at each call.
@functools.partial(jax.jit, static_argnames=("policy", "mode"))
def _layer(
    block: Block, cache: KVCache, resid: Array, rows: RowPositions, policy: Policy, mode: Mode
) -> tuple[KVCache, Array, Dropped]:
    def step(carry: tuple[KVCache, Array, RowPositions], block: Block) -> tuple[Any, Dropped]:
        cache, resid, dropped = layer_step(block, *carry, policy, mode)
        return (cache, resid, carry[2]), dropped

    # Under jit all layers are one program, which is not to widen the weights of all at once.
    (cache, resid, _), dropped = run_layer(step, (cache, resid, rows), block)
    return cache, resid, dropped


_logits = jax.jit(Decoder.logits)


@jax.jit
def _enter(
    outer: Decoder, tokens: Array, seen: Array, count: Array
) -> tuple[RowPositions, Array, Array]:
    """The next tokens' positions, how many are read after them, and their embeddings."""
    index, count = jnp.arange(len(tokens), dtype=jnp.int32), jnp.clip(count, 0, len(tokens))
    rows = RowPositions(seen + index, index < count)
    resid = outer.enter(tokens, Layout(rows.now, jnp.zeros_like(rows.now), rows.now + 1))
    return rows, seen + count, resid


@functools.partial(jax.jit, static_argnames="bounded")
def _finish(outer: Decoder, resid: Array, excess: Array, bounded: bool) -> Array:
    y = outer.plan.store(Site.OUTPUT, outer.final_norm(resid))
    # Without free slots a full state would become a window, and the result would look right.
    return y if bounded else jnp.where(excess > 0, jnp.nan, y)
