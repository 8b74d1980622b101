"""How published model families are written in our settings and under our weight names."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig, Mlp, RMSNorm, Rotary

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


def llama_config(metadata: Mapping[str, Any], *, vocab_size: int, tied: bool) -> DecoderConfig:
    """Settings of a GGUF file of the llama architecture.

    Query and key rows of such files are ordered for rotation of neighboring coordinates, so that
    the rotation is ``interleaved``; the halves form on the same rows raises no error and is wrong.

    Args:
      metadata: The file's key-value pairs.
      vocab_size: Rows of the embedding table.
      tied: Whether the file has no unembedding of its own.

    Returns:
      The settings.

    Raises:
      BadInput: The file is of another architecture, lacks a size or has one that makes no model,
        or scales its rotary positions.
    """
    if (found := metadata.get("general.architecture")) != "llama":
        raise BadInput(f"Wanted a GGUF of the llama architecture; found {found!r:.60}.")
    try:
        return DecoderConfig(vocab_size=vocab_size, tied=tied, **_llama_sizes(metadata))
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"Wanted a GGUF file whose sizes make a model: {error}") from error


def _llama_sizes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    count = partial(_number, metadata, whole=True, least=1)
    num_heads, model_dim = count("attention.head_count"), count("embedding_length")
    epsilon = _number(metadata, "attention.layer_norm_rms_epsilon")
    head_dim = count("attention.key_length", default=model_dim // num_heads or 1)
    if "llama.attention.key_length" not in metadata and head_dim * num_heads != model_dim:
        wanted = "Wanted llama.embedding_length to be a multiple of llama.attention.head_count"
        raise BadInput(f"{wanted}; found {model_dim} and {num_heads}.")
    return {
        "num_layers": count("block_count"),
        "num_heads": num_heads,
        "num_kv_heads": count("attention.head_count_kv", default=num_heads),
        "model_dim": model_dim,
        "head_dim": head_dim,
        "positions": _llama_positions(metadata, head_dim),
        "norm": RMSNorm(eps=round(epsilon, 12)),
        "mlp": Mlp(kind="swiglu", dim=count("feed_forward_length")),
        "max_length": count("context_length"),
    }


def _llama_positions(metadata: Mapping[str, Any], head_dim: int) -> Rotary:
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise BadInput(
            f"Wanted rotary positions unscaled or scaled linearly; found {scaling!r:.60}."
        )
    linear = scaling == "linear"
    factor = _number(metadata, "rope.scaling.factor", default=1.0) if linear else 1.0
    rotated = _number(metadata, "rope.dimension_count", default=head_dim, whole=True)
    if rotated > head_dim or rotated % 2:
        wanted = f"Wanted llama.rope.dimension_count even and at most the head's {head_dim}"
        raise BadInput(f"{wanted}; found {rotated}.")
    return Rotary(
        base=float(_number(metadata, "rope.freq_base", default=10_000.0)),
        fraction=rotated / head_dim,
        scale=float(factor),
        style="interleaved",
    )


def _number(
    metadata: Mapping[str, Any],
    name: str,
    *,
    default: int | float | None = None,
    whole: bool = False,
    least: int = 0,
) -> Any:  # noqa: ANN401  (an int where it must be whole)
    """A finite number of at least ``least`` under a key of the file."""
    kind = "whole number" if whole else "number"
    value = metadata.get(f"llama.{name}", default)
    found = f"found {value!r:.60}"
    if value is None:
        found = "it has none"
    elif isinstance(value, list):
        found = "found one for each layer, which is not supported"
    elif _is_number(value, whole=whole) and value >= least:
        return value
    raise BadInput(f"Wanted a {kind} llama.{name} of at least {least} in the GGUF file; {found}.")


def _is_number(value: object, *, whole: bool) -> bool:
    kind = int if whole else int | float
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def llama_arrays(tensors: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """Weights of a llama file under our names, stacked over layers.

    Args:
      tensors: De-quantized arrays under their GGUF names, matrices [out, in].
      num_layers: Number of blocks.

    Returns:
      What ``build_decoder`` takes.

    Raises:
      BadInput: A tensor is missing, or one is there that this architecture has no place for.
    """
    layer = lambda index, name: f"blk.{index}.{name}"
    if num_layers > len(tensors):  # before names are made of a count that may be anything
        found = f"{len(tensors)} tensors for {num_layers} blocks"
        raise BadInput(f"Wanted the tensors of all blocks in the GGUF file; found {found}.")
    wanted = {layer(i, name) for i in range(num_layers) for name in LLAMA_LAYER}
    wanted |= LLAMA_OUTER.keys() - {"output.weight"}
    if missing := sorted(wanted - tensors.keys()):
        raise BadInput(f"Wanted {len(wanted)} tensors in the GGUF file; {missing[0]} is missing.")
    if unknown := sorted(tensors.keys() - wanted - {"output.weight"}):
        raise BadInput(f"Wanted a plain llama model; the GGUF file also holds {unknown[0]}.")
    stacked = {
        f"blocks.{ours}": np.stack([tensors[layer(i, name)] for i in range(num_layers)])
        for name, ours in LLAMA_LAYER.items()
    }
    outer = {ours: tensors[name] for name, ours in LLAMA_OUTER.items() if name in tensors}
    return stacked | outer
