"""A small random decoder of each family of models, and what both theorems say of it.

Its settings come from a ``config.json`` through the family's own reader. So a change of a reader is
a change of these models, and a family without a model here is refused by name.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig, RMSNorm
from glassesjax.model.families.family import Reading
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.table import FAMILIES, family_of
from glassesjax.model.weights import build_decoder, parameter_shapes
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.theory.collapse import certificate_roundoff, collapse_certificate
from glassesjax.theory.collapse_records import CollapseCertificate
from glassesjax.trace.certificate import LayerRows, certificate_rows
from glassesjax.trace.rollout import BlockStack, block_stack

TOKENS = (0, 1, 2, 3, 4, 4)  # n and n + 1 tokens; each has a row of its own in the table
BATCH = 4
U = 2.0**-53
WIDTH = 16  # of the widest model, and of no MLP more than four times that
Arrays = Mapping[str, np.ndarray]

# Values that are no family's own, and differ where a switch could take one for another.
_SIZES = {"vocab_size": 5, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = _SIZES | {
    "num_key_value_heads": 2,
    "head_dim": 4,  # twice the width over the heads
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "rms_norm_eps": 0.01,
    "rope_theta": 7.0,
}
_DENSE = _SIZES | {"hidden_size": 16, "intermediate_size": 12, "max_position_embeddings": 16}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4}
_LONG = {"rope_type": "longrope", "short_factor": [1.5], "long_factor": [4.0]}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama": _GROUPED | {"attention_bias": True, "rope_scaling": _LLAMA3},
    "mistral": _GROUPED | {"sliding_window": 3},
    "smollm3": _GROUPED
    | {"no_rope_layer_interval": 2, "rope_scaling": _YARN | {"attention_factor": 2.0}}
    | {"use_sliding_window": True, "sliding_window": 3},
    "qwen2": _GROUPED | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    "qwen3": _GROUPED,
    "phi3": _GROUPED
    | {"partial_rotary_factor": 0.5, "rope_scaling": _LONG | {"attention_factor": 3.0}}
    | {"original_max_position_embeddings": 8, "sliding_window": 3},
    "olmo2": _GROUPED,
    "gemma": _GROUPED | {"num_key_value_heads": 1, "hidden_activation": "gelu_pytorch_tanh"},
    "gemma2": _GROUPED
    | {"query_pre_attn_scalar": 3.0, "attn_logit_softcapping": 2.0, "sliding_window": 3},
    "gemma3_text": _GROUPED
    | {"query_pre_attn_scalar": 3.0, "sliding_window_pattern": 2, "sliding_window": 3}
    | {"rope_scaling": {"rope_type": "linear", "factor": 3.0}, "rope_local_base_freq": 5.0},
    "gpt2": {"vocab_size": 5, "n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 16}
    | {"n_inner": 12, "scale_attn_weights": False},
    "gpt_neox": _DENSE | {"rotary_pct": 0.5, "rotary_emb_base": 7, "hidden_act": "gelu"},
    "opt": _SIZES | {"hidden_size": 16, "ffn_dim": 12, "max_position_embeddings": 16},
    "starcoder2": _DENSE | {"rope_theta": 7.0, "sliding_window": 3},
    "falcon": _SIZES
    | {"hidden_size": 16, "num_kv_heads": 2, "new_decoder_architecture": True, "bias": True},
    "bloom": _SIZES | {"hidden_size": 16},
}


class Pass(NamedTuple):
    """What one program measures of some decoders, stacked on a leading axis."""

    jacobian: Float[Array, "batch out seq d"]  #: of the last representation by each token's row
    stack: BlockStack
    rows: LayerRows


@functools.cache
def reading(name: str) -> Reading:
    """Settings and sources of a family's model.

    Args:
      name: A ``model_type`` of ``FAMILIES``.

    Raises:
      BadInput: It has no model here, or its reader refuses the model's configuration.
    """
    if name not in MODELS:
        title = FAMILIES[name].title
        expected = f"Expected a model of every family, got none of {title}"
        raise BadInput(f"{expected}: give {name} a configuration in support/families.py.")
    keys = Keys({**MODELS[name], "model_type": name}, f"the model of {name}")
    read = family_of(keys).read(keys)
    keys.check_all_read()
    return read


@functools.cache
def config_of(name: str) -> DecoderConfig:
    """Settings of a family's model, by its reader."""
    return DecoderConfig(**reading(name).settings)


def draw(name: str, seed: int, scale: float = 1.0) -> Arrays:
    """Weights of a family's model: normal matrices and biases, gains far from one.

    Args:
      name: A family.
      seed: Of the weights.
      scale: Factor on queries and values; where queries have a norm, on its gains.

    Returns:
      Arrays by the names of ``parameter_shapes``.
    """
    config, random = config_of(name), np.random.default_rng(seed)
    offset = config.norm.offset if isinstance(config.norm, RMSNorm) else 0.0
    arrays = {}
    for weight, shape in parameter_shapes(config).items():
        drawn = random.normal(size=shape)
        if weight.endswith(".gain"):
            # Of either sign, their logarithms normal.
            drawn = np.sign(random.normal(size=shape)) * np.exp(drawn) - offset
        elif weight.startswith("blocks.") and not weight.endswith("bias"):
            drawn *= shape[-1] ** -0.5  # matrices are [out, in]
        arrays[weight] = np.zeros(shape) if weight in reading(name).zeros else drawn
    queries = "query" if config.qk_norm == "none" else "query_norm.gain"
    attention = "blocks.attention."
    return scaled(name, arrays, {attention + queries: scale, f"{attention}value": scale})


def scaled(name: str, arrays: Arrays, factors: Mapping[str, float]) -> Arrays:
    """The same weights, some of them times a factor: of gains all, their offset included."""
    norm = config_of(name).norm
    offset = norm.offset if isinstance(norm, RMSNorm) else 0.0
    shift = lambda weight: offset if weight.endswith(".gain") else 0.0
    return {
        weight: (array + shift(weight)) * factors.get(weight, 1.0) - shift(weight)
        for weight, array in arrays.items()
    }


def together(draws: Sequence[Arrays]) -> Arrays:
    """Draws of one family with a leading axis, filled up with the last to ``BATCH``."""
    filled = [*draws, *[draws[-1]] * (BATCH - len(draws))]
    return {weight: np.stack([drawn[weight] for drawn in filled]) for weight in filled[0]}


@functools.partial(jax.jit, static_argnames="config")
def _passes(config: DecoderConfig, arrays: Mapping[str, Array]) -> Pass:
    tokens = jnp.asarray(TOKENS, jnp.int32)

    def run(arrays: Mapping[str, Array]) -> Pass:
        decoder = build_decoder(config, arrays)
        last = lambda resid: decoder.represent(resid)[0][-1]
        jacobian = jax.jacfwd(last)(decoder.enter(tokens))  # (seq, d) -> (out, seq, d)
        return Pass(jacobian, block_stack(decoder, tokens), certificate_rows(decoder, tokens, 1))

    return jax.lax.map(run, arrays)  # less to compile than a pass of all


@jax.jit
def _bounds(stack: BlockStack) -> Float[Array, "batch seq"]:
    def one(stack: BlockStack) -> Array:
        rolled = repaired_rollout(stack)
        return jnp.exp(rolled.log_gain) * rolled.profile[0]

    return jax.lax.map(one, stack)


@jax.jit
def _certificates(rows: LayerRows) -> tuple[CollapseCertificate, dict[str, Array]]:
    one = lambda rows: (collapse_certificate(rows, 1), certificate_roundoff(rows))
    return jax.lax.map(one, rows)


def passes(name: str, arrays: Arrays) -> Pass:
    """The derivative of the last representation, and all that both bounds are made of.

    Args:
      name: A family.
      arrays: Of ``together``: one program for each family, which is the cost.

    Returns:
      NumPy arrays.
    """
    return jax.device_get(_passes(config_of(name), arrays))


def sensitivities(jacobian: Float[np.ndarray, "batch out seq d"]) -> Float[np.ndarray, "batch seq"]:
    """Operator norms of the derivative by each token; NaN where it is not finite."""
    blocks = jacobian.transpose(0, 2, 1, 3)  # (batch, seq, out, d)
    finite = np.all(np.isfinite(blocks), axis=(-2, -1))  # LAPACK raises for others
    norms = np.linalg.norm(np.where(finite[..., None, None], blocks, 0), 2, (-2, -1))
    return np.where(finite, norms, np.nan)


def bounds(stack: BlockStack) -> Float[np.ndarray, "batch seq"]:
    """Bounds of Theorem 5.1, repaired, as the studies compute them."""
    return np.asarray(_bounds(stack))


def certificates(
    rows: LayerRows,
) -> tuple[CollapseCertificate, Mapping[str, Float[np.ndarray, "batch layers"]]]:
    """Certificates of Theorem 4.2 in L1, and what rounding may do to each inequality."""
    return jax.device_get(_certificates(rows))


def bound_roundoff(stack: BlockStack) -> Float[np.ndarray, " batch"]:
    """Relative to a bound, what rounding may do to it and to the derivative beside it.

    In each layer sums over tokens and head_dim, products over the width and the MLP. An error of a
    logit is one of its weight. Terms of the query's part cancel, which are as large as all their
    factors, beside the residual's 1; a small query or key has a steep norm.
    """
    # Largest entries: (batch, layers, ...) -> (batch,)
    size = lambda array: np.max(np.abs(array.reshape(len(array), -1)), axis=1)
    heads, constants = stack.heads, stack.constants
    layers, head_dim, rank = stack.shares.shape[1], heads.queries.shape[-1], heads.values.shape[-1]
    steep = size(heads.queries) * size(heads.keys) * head_dim
    moved = size(heads.values) * size(constants.output_factor) * rank
    cancelled = moved * size(heads.keys) * size(constants.query_factor) * head_dim**2
    cancelled = cancelled * size(constants.norm1_slope) * size(constants.share)
    for norm in (constants.query_norm, constants.key_norm):
        if norm is not None:
            cancelled = cancelled * np.maximum(1.0, size(norm.gain) * size(norm.inverse_root))
    terms = 2 * len(TOKENS) * WIDTH + 16 * WIDTH
    return 4 * layers * terms * U * (1 + steep + cancelled)
