"""Converts settings and weight names of GGUF files of the llama architecture to ours."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from glassesjax.errors import BadInput, brief, escaped
from glassesjax.model.config import DecoderConfig, GatedMlp, RMSNorm, Rotary
from glassesjax.model.weights import parameter_shapes

# A GGUF name inside a layer, and ours; matrices are [out, in] on both sides.
LLAMA_LAYER = {
    "attn_norm.weight": "norm1.gain",
    "attn_q.weight": "attention.query",
    "attn_k.weight": "attention.key",
    "attn_v.weight": "attention.value",
    "attn_output.weight": "attention.output",
    "ffn_norm.weight": "norm2.gain",
    "ffn_gate.weight": "mlp.gate",
    "ffn_up.weight": "mlp.up",
    "ffn_down.weight": "mlp.down",
}
LLAMA_OUTER = {
    "token_embd.weight": "embed.table",
    "output_norm.weight": "final_norm.gain",
    "output.weight": "unembed",
}


# Keys under ``llama.`` that are converted, validated against the settings, or ignored as notes.
LLAMA_KEYS = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
}
# Keys that change the function of a llama, with the one neutral value. Any key
# in neither table is refused, since its meaning is unknown.
LLAMA_NEUTRAL: Mapping[str, bool | int | float | str] = {
    "attention.causal": True,
    "attention.clamp_kqv": 0,
    "attention.max_alibi_bias": 0,
    "attention.output_scale": 1,
    "attention.shared_kv_layers": 0,
    "attention.sliding_window": 0,
    "attention.temperature_length": 0,
    "attn_logit_softcapping": 0,
    "embedding_scale": 1,
    "expert_count": 0,
    "expert_group_count": 0,
    "expert_group_used_count": 0,
    "expert_shared_count": 0,
    "expert_used_count": 0,
    "final_logit_softcapping": 0,
    "leading_dense_block_count": 0,
    "logit_scale": 1,
    "nextn_predict_layers": 0,
    "pooling_type": 0,
    "residual_scale": 1,
    "rope.scaling.attn_factor": 1,
    "swin_norm": False,
    # The order of query and key rows for rotation of neighbors; ``reference`` is that of halves.
    # Files for llama.cpp leave the key out and have the same order.
    "tensor_data_layout": "Meta AI original pth",
    "use_parallel_residual": False,
}
# First parts of keys of files that are no model by themselves: changes of one, encoders of images
# or sounds, statistics for quantization.
PARTS = ("adapter", "clip", "imatrix")


def llama_config(metadata: Mapping[str, Any], *, vocab_size: int, tied: bool) -> DecoderConfig:
    """Settings of a GGUF file of the llama architecture.

    Query and key rows of such files are ordered for rotation of neighboring coordinates.
    ``llama_arrays`` puts them back into the order of published checkpoints, for rotation of
    halves; the halves form on the rows as they are raises no error and is wrong.

    Args:
      metadata: The file's key-value pairs.
      vocab_size: Rows of the embedding table.
      tied: Whether the file has no unembedding of its own.

    Returns:
      The settings.

    Raises:
      BadInput: The file is of another architecture, lacks a size or has one that makes no model,
        scales its rotary positions in another way than linearly, has a key of its architecture that
        makes another function of it or is not known, or one of a file that is no model by itself.
    """
    if (architecture := metadata.get("general.architecture")) != "llama":
        got = brief(architecture)
        raise BadInput(f"Expected a GGUF of the llama architecture, got {got}: use another file.")
    if (kind := metadata.get("general.type", "model")) != "model":
        raise BadInput(f"Expected a GGUF that is a model, got {brief(kind)}: use another file.")
    # Every key of the architecture is used or has its neutral value.
    for key, value in metadata.items():
        family, _, name = key.partition(".")
        if family in PARTS:
            raise _contradiction("a whole model", f"{escaped(key)} = {brief(value)}")
        if family != "llama" or name in LLAMA_KEYS:
            continue
        if name not in LLAMA_NEUTRAL:
            raise _contradiction("keys of a plain llama model", f"{escaped(key)} = {brief(value)}")
        neutral = LLAMA_NEUTRAL[name]
        # Of its type as well: true is not 1, though Python has them equal; 1.0 is.
        kind = str if isinstance(neutral, str) else int | float
        typed = isinstance(value, kind) and isinstance(value, bool) == isinstance(neutral, bool)
        if not typed or value != neutral:
            raise _contradiction(f"{key} = {neutral} or without it", brief(value))
    try:
        sizes = _llama_sizes(metadata, vocab_size)
        return DecoderConfig(vocab_size=vocab_size, tied=tied, **sizes)
    except BadInput:
        raise
    except ValueError as error:
        raise _contradiction("sizes that make a model", str(error).rstrip(".")) from error


def _contradiction(expected: str, got: str) -> BadInput:
    return BadInput(f"Expected a GGUF file with {expected}, got {got}: use another file.")


def _llama_sizes(metadata: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    # Sizes that would contradict another are refused: readers differ in which one they believe.
    count = partial(_number, metadata, whole=True, least=1)
    num_heads, model_dim = count("attention.head_count"), count("embedding_length")
    head_dim = count("attention.key_length", default=model_dim // num_heads or 1)
    if "llama.attention.key_length" not in metadata and head_dim * num_heads != model_dim:
        expected = "llama.embedding_length that is a multiple of llama.attention.head_count"
        raise _contradiction(expected, f"{model_dim} and {num_heads}")
    if (value_dim := count("attention.value_length", default=head_dim)) != head_dim:
        expected = f"llama.attention.value_length as wide as its keys, {head_dim}"
        raise _contradiction(expected, f"{value_dim}")
    if (size := count("vocab_size", default=vocab_size)) != vocab_size:
        expected = f"llama.vocab_size of {vocab_size}, the rows of its table of embeddings"
        raise _contradiction(expected, f"{size}")
    scale = _number(metadata, "attention.scale", default=1 / math.sqrt(head_dim))
    if not math.isclose(scale, 1 / math.sqrt(head_dim), rel_tol=2.0**-23):  # stored in float32
        expected = f"llama.attention.scale of 1 / sqrt({head_dim}) or without it"
        raise _contradiction(expected, f"{scale}")
    # The shortest decimal that rounds to the stored float32: 1e-05, not 9.999999747e-06.
    eps = float(_number(metadata, "attention.layer_norm_rms_epsilon"))
    eps = float(str(np.float32(eps))) if float(np.float32(eps)) == eps else eps
    return {
        "num_layers": count("block_count"),
        "num_heads": num_heads,
        "num_kv_heads": count("attention.head_count_kv", default=num_heads),
        "model_dim": model_dim,
        "head_dim": head_dim,
        "positions": _llama_positions(metadata, head_dim),
        "norm": RMSNorm(eps=eps),
        "mlp": GatedMlp(dim=count("feed_forward_length")),
        "max_length": count("context_length"),
    }


def _llama_positions(metadata: Mapping[str, Any], head_dim: int) -> Rotary:
    rotated = _number(metadata, "rope.dimension_count", default=head_dim, whole=True)
    if rotated > head_dim or rotated % 2:
        expected = f"llama.rope.dimension_count even and at most the head's {head_dim}"
        raise _contradiction(expected, f"{rotated}")
    base = float(_number(metadata, "rope.freq_base", default=10_000.0))
    # Positions are divided by the linear factor. One without a type is linear, and so is the key
    # that older files have for it; the type ``none`` switches either off, as in llama.cpp.
    kind = metadata.get("llama.rope.scaling.type", "linear")
    if not isinstance(kind, str) or kind not in ("none", "linear"):
        expected = "llama.rope.scaling.type none or linear"
        raise _contradiction(expected, f"{brief(kind)}, which is not supported")
    old = float(_number(metadata, "rope.scale_linear", default=1.0))
    factor = float(_number(metadata, "rope.scaling.factor", default=old))
    if "llama.rope.scale_linear" in metadata and factor != old:
        expected = "one factor in llama.rope.scaling.factor and llama.rope.scale_linear"
        raise _contradiction(expected, f"{factor} and {old}")
    scale = 1.0 if kind == "none" else factor
    return Rotary(base=base, fraction=rotated / head_dim, scale=scale)


def _number(
    metadata: Mapping[str, Any],
    name: str,
    *,
    default: int | float | None = None,
    whole: bool = False,
    least: int = 0,
) -> Any:  # noqa: ANN401  (an int where it must be whole)
    """A finite number of at least ``least`` under a key of the file."""
    kind, python = ("whole number", int) if whole else ("number", int | float)
    value = metadata.get(f"llama.{name}", default)
    got = brief(value)
    if value is None:
        got = "none"
    elif isinstance(value, list | np.ndarray):  # of models whose layers differ
        got = "one for each layer, which is not supported"
    elif isinstance(value, python) and type(value) is not bool and least <= value < math.inf:
        return value
    raise _contradiction(f"a {kind} llama.{name} of at least {least}", got)


def check_llama_tensors(shapes: Mapping[str, tuple[int, ...]], config: DecoderConfig) -> None:
    """Validates the names and shapes of a file's tensors before any is read.

    Args:
      shapes: By GGUF name, outermost axis first.
      config: Of ``llama_config``.

    Raises:
      BadInput: A tensor is missing, has another shape, or is one that this architecture has no
        place for.
    """
    _check_names(shapes, config.num_layers)
    ours = parameter_shapes(config)
    for name, shape in shapes.items():
        if (outer := LLAMA_OUTER.get(name)) is not None:
            expected = ours[outer]
        else:  # of one layer: blk.3.attn_q.weight, ours without its axis of layers
            expected = ours[f"blocks.{LLAMA_LAYER[name.split('.', 2)[2]]}"][1:]
        if shape != expected:
            shapes_differ = f"{list(shape)} for {list(expected)} in {name}"
            raise _contradiction("tensors that fit its sizes", shapes_differ)


def _check_names(names: Mapping[str, Any], num_layers: int) -> None:
    if num_layers > len(names):  # before names are made of a count that may be anything
        counts = f"{len(names)} tensors for {num_layers} blocks"
        raise _contradiction("the tensors of all blocks", counts)
    expected = {_in_layer(i, name) for i in range(num_layers) for name in LLAMA_LAYER}
    expected |= LLAMA_OUTER.keys() - {"output.weight"}
    if missing := sorted(expected - names.keys()):
        raise _contradiction(f"{len(expected)} tensors", f"one in which {missing[0]} is missing")
    if unknown := sorted(names.keys() - expected - {"output.weight"}):
        raise _contradiction("the tensors of a plain llama model", f"also {brief(unknown[0])}")


def _in_layer(index: int, name: str) -> str:
    return f"blk.{index}.{name}"


def llama_arrays(tensors: Mapping[str, np.ndarray], config: DecoderConfig) -> dict[str, Array]:
    """Weights of a llama file under our names, stacked over layers.

    Args:
      tensors: De-quantized arrays under their GGUF names, matrices [out, in]; each is looked up
        once, so that they need not be in memory together.
      config: Of ``llama_config``.

    Returns:
      What ``build_decoder`` takes: rows of queries and keys in the order of published checkpoints.

    Raises:
      BadInput: A tensor is missing, or one is there that this architecture has no place for.
    """
    _check_names(tensors, config.num_layers)
    turned = {"attn_q.weight": config.num_heads, "attn_k.weight": config.kv_heads}

    def stacked(name: str) -> np.ndarray:
        stack = _stacked(tensors, name, config.num_layers)
        if name in turned:
            _order_halves(
                stack.reshape(config.num_layers * turned[name], -1, stack.shape[-1]), config
            )
        return stack

    arrays = {f"blocks.{ours}": jnp.asarray(stacked(name)) for name, ours in LLAMA_LAYER.items()}
    outer = {name: ours for name, ours in LLAMA_OUTER.items() if name in tensors}
    return arrays | {ours: jnp.asarray(tensors[name]) for name, ours in outer.items()}


def _order_halves(heads: np.ndarray, config: DecoderConfig) -> None:
    """Puts pairs of neighboring rows, (heads, width, in), into two halves, in place."""
    rotated = config.rotated_dim
    for head in heads:  # one at a time: a copy of all would be a second stack in memory
        # (rotated, in) -> (half, 2, in) -> (2, half, in)
        pairs = head[:rotated].reshape(-1, 2, head.shape[-1])
        head[:rotated] = pairs.swapaxes(0, 1).reshape(rotated, -1)


def _stacked(tensors: Mapping[str, np.ndarray], name: str, num_layers: int) -> np.ndarray:
    # (out, in) -> (layers, out, in), filled one layer at a time: a list of them would be a second
    # copy in memory. Here, so that no layer outlives the call.
    first = tensors[_in_layer(0, name)]
    stack = np.empty((num_layers, *first.shape), first.dtype)
    stack[0] = first
    for index in range(1, num_layers):
        stack[index] = tensors[_in_layer(index, name)]
    return stack
