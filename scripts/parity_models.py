"""Small random models of every family, made by transformers with options that show a wrong switch.

Needs transformers and torch: ``make parity`` installs them into an environment of their own.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig

TOKENS, CONTEXT = 97, 64
LLAMA = {
    "vocab_size": TOKENS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
NEOX = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"}
GPT2 = {"vocab_size": TOKENS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT}
FALCON = {
    "vocab_size": TOKENS,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
OPT = {**NEOX, "word_embed_proj_dim": 32}
OPT["ffn_dim"] = OPT.pop("intermediate_size")
SHORT = 16  # original context of stretched rotations
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": SHORT,
}
SMOLLM3 = {
    **{**LLAMA, "num_hidden_layers": 5},
    **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
}
YARN = {
    **{"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0},
    "original_max_position_embeddings": SHORT,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
LONG = {
    **{"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    **{"short_factor": [1.1, 2.0], "long_factor": [3.0, 4.0]},
}
SLIDING, FULL = "sliding_attention", "full_attention"

# A family's class of settings without ``Config``, and its options.
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("Llama", LLAMA),
    "llama, biases, tied": (
        "Llama",
        {**LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "llama, wide heads": ("Llama", {**LLAMA, "head_dim": 12, "attention_bias": True}),
    "llama 3": ("Llama", {**LLAMA, "rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", {**LLAMA, "rope_parameters": LINEAR, "num_key_value_heads": 1}),
    "mistral, window": ("Mistral", {**LLAMA, "sliding_window": 5}),
    "mistral": ("Mistral", {**LLAMA, "sliding_window": None, "head_dim": 6}),
    "gemma": ("Gemma", {**LLAMA, "head_dim": 16}),
    "gemma 2": (
        "Gemma2",
        {**LLAMA, "head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 9},
    ),
    "gemma 3": (
        "Gemma3Text",
        {
            **{**LLAMA, "head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 9},
            "layer_types": [SLIDING, FULL, SLIDING],
        },
    ),
    "qwen 2, windows": (
        "Qwen2",
        {**LLAMA, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen 2, yarn": ("Qwen2", {**LLAMA, "rope_parameters": YARN}),
    "qwen 3": ("Qwen3", {**LLAMA, "head_dim": 12}),
    "phi 3, window": ("Phi3", {**LLAMA, "sliding_window": 7, "pad_token_id": 0}),
    "phi 4 mini, longrope": (
        "Phi3",
        {
            **{**LLAMA, "max_position_embeddings": 2 * CONTEXT, "pad_token_id": 0},
            **{"original_max_position_embeddings": 32, "rope_parameters": LONG},
        },
    ),
    "olmo 2": ("Olmo2", {**LLAMA, "pad_token_id": 0, "eos_token_id": 1}),
    "smollm 3": ("SmolLM3", SMOLLM3),
    "smollm 3, yarn": ("SmolLM3", {**SMOLLM3, "rope_parameters": YARN}),
    "gpt 2": ("GPT2", GPT2),
    "gpt 2, relu, scaled by layer": (
        "GPT2",
        {
            **{**GPT2, "scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
            "tie_word_embeddings": False,
        },
    ),
    "pythia": ("GPTNeoX", NEOX),
    "gpt neox, sequential": (
        "GPTNeoX",
        {**NEOX, "use_parallel_residual": False, "attention_bias": False},
    ),
    "falcon 7b": ("Falcon", FALCON),
    "falcon 40b": ("Falcon", {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon 11b": (
        "Falcon",
        {
            **{**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True},
            "num_ln_in_parallel_attn": 1,
        },
    ),
    "falcon rw": (
        "Falcon",
        {**FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "bloom": ("Bloom", {"vocab_size": TOKENS, "hidden_size": 48, "n_layer": 3, "n_head": 6}),
    "opt": ("OPT", OPT),
    "starcoder 2": ("Starcoder2", {**LLAMA, "sliding_window": None, "head_dim": 6}),
    "starcoder 2, window": ("Starcoder2", {**LLAMA, "sliding_window": 5, "norm_epsilon": 0.1}),
    "starcoder 2, no biases": (
        "Starcoder2",
        {
            **{**LLAMA, "use_bias": False, "tie_word_embeddings": False},
            **{"head_dim": 6, "hidden_act": "gelu"},
        },
    ),
}


def made(name: str, seed: int) -> torch.nn.Module:
    """A random model of a case: matrices of sharp attention, gains and biases away from defaults.

    Args:
      name: A key of ``CASES``.
      seed: Of the weights.

    Returns:
      The model in float32, for evaluation.
    """
    family, options = CASES[name]
    config: PretrainedConfig = getattr(transformers, f"{family}Config")(**options)
    # The eager path adds Falcon's ALiBi twice.
    how = "sdpa" if options.get("alibi") else "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation=how).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            matrix, center = weight.ndim > 1, weight.ndim == 1 and "bias" not in path
            draw = torch.randn(weight.shape, generator=generator)
            weight.copy_(draw * (0.25 if matrix else 0.3) + center)
    model.tie_weights()
    return model


def saved(model: torch.nn.Module, folder: Path, *, older: bool, parts: bool) -> None:
    """Writes a model as users have it.

    Args:
      model: Of ``made``.
      folder: Where to; new.
      older: Whether its configuration is in the dialect of transformers 4.
      parts: Whether its weights are in several files with an index.
    """
    size = "60KB" if parts else "5GB"
    model.save_pretrained(folder, max_shard_size=size)
    if older:
        path = folder / "config.json"
        path.write_text(json.dumps(older_dialect(json.loads(path.read_text())), indent=2))


def older_dialect(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of transformers 5 as version 4 wrote it."""
    old = {
        name: value for name, value in config.items() if name not in ("rope_parameters", "dtype")
    }
    old["torch_dtype"] = config.get("dtype", "float32")
    old["transformers_version"] = "4.46.0"
    rope = config.get("rope_parameters") or {}
    if FULL in rope or SLIDING in rope:  # Gemma 3: a base for each kind of layer
        old["rope_local_base_freq"] = rope[SLIDING]["rope_theta"]
        rope = rope[FULL]
    kind = config["model_type"]
    neox = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
    outside = neox if kind == "gpt_neox" else {name: name for name in neox}
    old |= {outside[name]: value for name, value in rope.items() if name in outside}
    scaling = {name: value for name, value in rope.items() if name not in outside}
    if scaling.get("rope_type", "default") == "default":
        return old | ({"rope_scaling": None} if rope else {})
    if kind == "phi3":  # its older files say "su", and keep the original length outside
        original = scaling.pop("original_max_position_embeddings", None)
        old |= {} if original is None else {"original_max_position_embeddings": original}
        scaling = {
            "type": "su",
            **{name: scaling[name] for name in ("short_factor", "long_factor")},
        }
    return old | {"rope_scaling": scaling}
