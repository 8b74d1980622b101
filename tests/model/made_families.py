"""A small configuration of each family, and random tensors under the names of its files."""

import numpy as np
from model.made_folders import LLAMA, folder

from glassesjax.model.config import DecoderConfig
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.table import FAMILIES
from glassesjax.model.placing import layer_name, layers_of
from glassesjax.model.weights import parameter_shapes

PLAIN = {name: LLAMA[name] for name in LLAMA if name not in ("architectures", "model_type")}
GPT = {"vocab_size": 11, "hidden_size": 8, "num_attention_heads": 4, "num_hidden_layers": 2}
HALF = {"rope_type": "longrope", "short_factor": [2.0], "long_factor": [4.0]}
ROWS = {
    "llama": PLAIN | {"attention_bias": True},
    "mistral": PLAIN | {"sliding_window": 3},
    "smollm3": PLAIN,
    "qwen2": PLAIN | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    "qwen3": PLAIN | {"head_dim": 4},
    "phi3": PLAIN | {"rope_scaling": HALF, "original_max_position_embeddings": 16},
    "olmo2": PLAIN,
    "gemma": PLAIN | {"hidden_act": "gelu", "head_dim": 4, "tie_word_embeddings": True},
    "gemma2": PLAIN | {"hidden_act": "gelu_pytorch_tanh", "head_dim": 4},
    "gemma3_text": PLAIN | {"hidden_act": "gelu_pytorch_tanh", "head_dim": 4},
    "gpt2": {"vocab_size": 11, "n_embd": 8, "n_head": 4, "n_layer": 2, "n_positions": 16},
    "gpt_neox": GPT | {"intermediate_size": 12, "rotary_pct": 1.0, "max_position_embeddings": 16},
    "opt": GPT | {"ffn_dim": 12, "max_position_embeddings": 16},
    "falcon": GPT | {"num_kv_heads": 2, "new_decoder_architecture": True},
    "bloom": GPT,
}


def reading(name, config):
    return FAMILIES[name].read(Keys({**config, "model_type": name}, "here"))


def made(name, config):
    """Random tensors of every name and shape that the family reads."""
    read, tensors = reading(name, config), {}
    decoder, rng = DecoderConfig(**read.settings), np.random.default_rng(0)
    for ours, shape in parameter_shapes(decoder).items():
        if ours in read.zeros:
            continue
        source, one = read.sources[ours], shape[1:] if ours.startswith("blocks.") else shape
        for layer in layers_of(ours, decoder):
            for file, wanted in zip(source.names, source.layout.shapes(one, decoder), strict=True):
                file = layer_name(file.split("|")[0], layer)
                tensors.setdefault(file, rng.normal(size=wanted).astype(np.float32))
    return tensors


def family_folder(path, name, **sizes):
    """A folder of that family, with some of its settings."""
    config = ROWS[name] | {key: size for key, size in sizes.items() if key in ROWS[name]}
    every = config | {"model_type": name, "pad_token_id": 0}
    return folder(path, every, made(name, config))
