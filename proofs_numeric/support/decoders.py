"""Small float64 decoders with NumPy weights, and one compiled pass shared by claims.

``jax.random`` would compile its own numbers for every shape; a configuration that several claims
pass in the same shape is compiled once.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from glassesjax import draws
from glassesjax.model import (
    Alibi,
    Bidirectional,
    Decoder,
    DecoderConfig,
    GatedMlp,
    LayerNorm,
    Layout,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.model.config import Mask
from glassesjax.model.positions import PADDING, visible
from proofs_numeric.claim import Hypothesis

U = 2.0**-53
SLOTS = 17
BATCH = 8

CAUSAL = DecoderConfig(vocab_size=6, num_layers=4, num_heads=2, model_dim=8, embed_scale=8**0.5)
UNMASKED = dataclasses.replace(CAUSAL, mask=Bidirectional())
WINDOWED = dataclasses.replace(CAUSAL, mask=Window(width=4), positions=Alibi(slopes=(0.0, 0.5)))


def further() -> dict[str, DecoderConfig]:
    """More causal configurations, each with a separately compiled pass: for the full suite."""
    switch = lambda **switches: dataclasses.replace(CAUSAL, **switches)
    return {
        "rotary": switch(positions=Rotary()),
        "rotary and window 4": switch(positions=Rotary(), mask=Window(width=4)),
        "sinusoidal, queries and keys": switch(positions=Sinusoidal(where="query_key")),
        "sinusoidal, embedding": switch(positions=Sinusoidal()),
        "LayerNorm and gates": switch(norm=LayerNorm(), mlp=GatedMlp()),
    }


# Roundings that a number passes through in one layer, one after another: a norm, three products
# over the width, a row of attention and an MLP of four widths, twice as many for the functions.
STEPS = 2 * (SLOTS + 8 * CAUSAL.model_dim)


class Pass(NamedTuple):
    """Results of several passes, stacked on a leading axis."""

    y: Float[np.ndarray, "batch slots d"]
    resid: Float[np.ndarray, "batch layers slots d"]


def draw(config: DecoderConfig, seed: int, logit_scale: float = 1.0) -> Decoder:
    """A decoder with normal matrices of variance one over their input's width, gains one.

    Args:
      config: Any configuration.
      seed: Of the weights.
      logit_scale: Factor on the queries, hence on the logits' part that depends on content.

    Returns:
      The decoder, with NumPy arrays for weights.
    """
    # Only its shapes are used: no number is drawn by JAX.
    make = lambda: Decoder(config, key=draws.root_key(0), dtype=jnp.float64)
    random = np.random.default_rng(seed)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [str(entry) for entry in path]
        if ".gain" in names:
            return np.ones(leaf.shape)
        scale = logit_scale if ".query" in names else 1.0
        # Matrices are [out, in].
        return random.normal(size=leaf.shape) * scale * leaf.shape[-1] ** -0.5

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(make))


@jax.jit
def _passes(decoders: Decoder, tokens: Array, layouts: Layout) -> tuple[Array, Any]:
    def run(decoder: Decoder, tokens: Array, layout: Layout) -> tuple[Array, Any]:
        y, trace = decoder(tokens, layout, keep="residual")
        return y, trace.resid

    return jax.vmap(run)(decoders, tokens, layouts)


def passes(decoders: Sequence[Decoder], prompts: Sequence[Sequence[int]]) -> Pass:
    """One pass for each decoder and prompt, padded to a common shape.

    Args:
      decoders: All of one configuration; one of them serves all prompts.
      prompts: At most ``SLOTS`` tokens each, at most ``BATCH`` of them.

    Returns:
      Rows of NumPy arrays; those after a prompt's end are padding.
    """
    members = list(decoders) * (len(prompts) if len(decoders) == 1 else 1)
    missing = BATCH - len(members)
    members, filled = members + members[-1:] * missing, [*prompts, *[prompts[-1]] * missing]
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *members)
    lines = [_line(len(prompt)) for prompt in filled]  # (BATCH, SLOTS) once stacked
    layouts = jax.tree.map(lambda *fields: np.stack(fields), *lines)
    pad = lambda prompt: np.pad(np.asarray(prompt, np.int32), (0, SLOTS - len(prompt)))
    measured = _passes(stacked, np.stack([pad(prompt) for prompt in filled]), layouts)
    return Pass(*(np.asarray(field)[: len(prompts)] for field in measured))


@functools.partial(jax.jit, static_argnames="mask")
def _visible(mask: Mask, line: Layout) -> Array:
    return visible(mask, line, line)


def seen(config: DecoderConfig) -> Bool[np.ndarray, "query key"]:
    """The library's attention mask for a sequence that fills the slots; True where it sees."""
    return np.asarray(_visible(config.mask, _line(SLOTS)))


def later_seen(config: DecoderConfig) -> Hypothesis:
    """The hypothesis of a causal mask: how many pairs have a token that sees a later one."""
    pairs = float(np.sum(np.triu(seen(config), 1)))
    return Hypothesis(name="pairs in which a token sees a later one", distance=pairs)


def _line(length: int) -> Layout:
    """A layout of so many tokens and, after them, rows that no token sees."""
    position = np.arange(SLOTS, dtype=np.int32)
    there = position < length
    branch = np.where(there, 0, PADDING)
    fields: Any = np.where(there, position, 0), branch, np.where(there, position + 1, 0)
    return Layout(*(field.astype(np.int32) for field in fields))


def logit_bound(decoder: Decoder) -> float:
    """Bound on the content's part of a logit, by the weights: norms make rows of norm root d.

    Args:
      decoder: With a true norm whose gains are one, and stacked layers.

    Returns:
      The number.
    """
    attention, config = decoder.blocks.attention, decoder.config
    # The product of the largest norms covers that of each layer.
    largest = lambda weight: np.max(np.linalg.norm(np.asarray(weight[...]), 2, axis=(-2, -1)))
    return (
        float(largest(attention.query) * largest(attention.key)) * config.model_dim * config.scale
    )


def roundoff(states: np.ndarray, decoder: Decoder) -> float:
    """Bound on the rounding error between entries of two residual streams.

    Each layer adds its roundings, of numbers within an L1 norm, and passes on those before it;
    an exponential turns a logit's error, relative to its size, into a weight's.

    Args:
      states: Residual rows that occur.
      decoder: That made them.

    Returns:
      An absolute number.
    """
    size = float(np.max(np.sum(np.abs(states), axis=-1)))
    layers = decoder.config.num_layers
    return 2 * layers * STEPS * U * max(size, 1.0) * (1 + logit_bound(decoder))
