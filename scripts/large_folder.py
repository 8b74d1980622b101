"""Random LLaMA-shaped folders in bf16, written tensor by tensor so that memory stays small."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Shape(NamedTuple):
    """Sizes of a llama whose embedding table is also its unembedding."""

    vocab: int
    layers: int
    dim: int
    kv_dim: int
    hidden: int
    others: Mapping[str, Any]  # more of its config.json

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names in the file and shapes, in the file's order."""
        yield "model.embed_tokens", (self.vocab, self.dim)
        yield "model.norm", (self.dim,)
        outputs = {"q": self.dim, "k": self.kv_dim, "v": self.kv_dim, "o": self.dim}
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            for name, size in outputs.items():
                yield f"{at}self_attn.{name}_proj", (size, self.dim)
            for name in ("gate", "up"):
                yield f"{at}mlp.{name}_proj", (self.hidden, self.dim)
            yield f"{at}mlp.down_proj", (self.dim, self.hidden)
            for name in ("input_layernorm", "post_attention_layernorm"):
                yield f"{at}{name}", (self.dim,)


def gigabyte(layers: int) -> Shape:
    """Of width 2048; 10 layers make a gigabyte."""
    heads = {"num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 2048}
    return Shape(32000, layers, 2048, 256, 5632, heads)


# The sizes of Llama 3.2 1B: 1.24e9 parameters, a fifth of them in the table.
LLAMA3 = Shape(
    vocab=128256,
    layers=16,
    dim=2048,
    kv_dim=512,
    hidden=8192,
    others={
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
)


def write_folder(folder: Path, shape: Shape) -> Path:
    """Writes ``config.json`` and ``model.safetensors``; normal weights of size 0.02."""
    config = {
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "tie_word_embeddings": True,
        **shape.others,
    }
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, sizes in shape.tensors():
        end = at + 2 * int(np.prod(sizes))
        entry = {"dtype": "BF16", "shape": list(sizes), "data_offsets": [at, end]}
        header[f"{name}.weight"], at = entry, end
    text, rng = json.dumps(header).encode(), np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, sizes in shape.tensors():
            # The upper halves of small float32 numbers are bfloat16 numbers.
            numbers = rng.standard_normal(int(np.prod(sizes)), np.float32) * np.float32(0.02)
            file.write((numbers.view(np.uint32) >> 16).astype("<u2").tobytes())
    return folder
