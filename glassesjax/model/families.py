"""How published model families are written in our settings and under our weight names."""

from collections.abc import Mapping
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
      BadInput: The file is of another architecture, lacks a size, or scales its rotary positions.
    """
    if (found := metadata.get("general.architecture")) != "llama":
        raise BadInput(f"Wanted a GGUF of the llama architecture; found {found!r}.")
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise BadInput(f"Wanted rotary positions unscaled or scaled linearly; found {scaling!r}.")

    def get(name: str) -> Any:  # noqa: ANN401  (a GGUF value has any type)
        if (value := metadata.get(f"llama.{name}")) is None:
            raise BadInput(f"Wanted the key llama.{name} in the GGUF file; it has none.")
        return value

    num_heads, model_dim = get("attention.head_count"), get("embedding_length")
    head_dim = metadata.get("llama.attention.key_length", model_dim // num_heads)
    rotated = metadata.get("llama.rope.dimension_count", head_dim)
    return DecoderConfig(
        vocab_size=vocab_size,
        num_layers=get("block_count"),
        num_heads=num_heads,
        num_kv_heads=metadata.get("llama.attention.head_count_kv", num_heads),
        model_dim=model_dim,
        head_dim=head_dim,
        positions=Rotary(
            base=metadata.get("llama.rope.freq_base", 10_000.0),
            fraction=rotated / head_dim,
            scale=metadata.get("llama.rope.scaling.factor", 1.0) if scaling == "linear" else 1.0,
            style="interleaved",
        ),
        norm=RMSNorm(eps=round(get("attention.layer_norm_rms_epsilon"), 12)),
        mlp=Mlp(kind="swiglu", dim=get("feed_forward_length")),
        tied=tied,
        max_length=get("context_length"),
    )


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
