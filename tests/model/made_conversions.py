"""Folders as GGUF files: what a converter does to keys, names and weights; needs ``gguf``.

Names of tensors are those of the package's own table. Nothing of the reader is used.
"""

import math

import gguf
import numpy as np

ARCHITECTURES = {
    **{name: name for name in ("llama", "smollm3", "qwen2", "qwen3", "phi3", "olmo2")},
    **{name: name for name in ("gemma", "gemma2", "gpt2", "falcon", "bloom", "starcoder2")},
    **{"mistral": "llama", "gemma3_text": "gemma3", "gpt_neox": "gptneox"},
}
OLDER = (
    "gpt2",
    "gpt_neox",
    "falcon",
    "bloom",
    "starcoder2",
)  # of LayerNorm, without keys for a head's width
# Keys of a configuration under several names, and what the families have where none is given.
KEYS = {
    "block_count": ("num_hidden_layers", "n_layer"),
    "embedding_length": ("hidden_size", "n_embd"),
    "attention.head_count": ("num_attention_heads", "n_head"),
}
THETA = {"smollm3": 2e6, "gemma3_text": 1e6}
EPS = ("norm_epsilon", "rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps")
TANH = "gelu_pytorch_tanh"
FULL, SLIDING = "full_attention", "sliding_attention"


class NotInGguf(Exception):
    """The format has no place for a part of this model."""


def architecture(config):
    """The architecture of a configuration, where the format can say all of it."""
    kind = config["model_type"]
    windows = config.get("sliding_window") is not None and not kind.startswith(("gemma", "phi3"))
    slides = kind in ("mistral", "starcoder2") or config.get("use_sliding_window")
    lost = {
        "OPT": kind == "opt",
        "windows": windows and slides,
        "a scale by layer": config.get("scale_attn_by_inverse_layer_idx"),
        "an activation": "relu" in (config.get("activation_function"), config.get("hidden_act")),
        "exact GELU": kind == "starcoder2" and config.get("hidden_act", TANH) != TANH,
        "Falcon's ALiBi": kind == "falcon" and config.get("alibi"),
    }
    if parts := [part for part, there in lost.items() if there]:
        raise NotInGguf(parts[0])
    return ARCHITECTURES[kind]


def converted(config, tensors, name=None):
    """Pairs of keys and values, and tensors [out, in] by their names in the file.

    Args:
      config: A ``config.json``, in either dialect.
      tensors: Float32 arrays by their names in the folder.
      name: Of an architecture that files of the family may say as well; the usual one if absent.
    """
    name = name or architecture(config)
    given = {key: next(config[n] for n in names if n in config) for key, names in KEYS.items()}
    pairs = {"general.architecture": name}
    pairs |= {f"{name}.{key}": value for key, value in (given | sizes(config, given)).items()}
    layers = given["block_count"]
    named = gguf.get_tensor_name_map(
        next(arch for arch, text in gguf.MODEL_ARCH_NAMES.items() if text == name), layers
    )
    arrays = {}
    for file, array in tensors.items():
        if file == "lm_head.weight" and config.get(
            "tie_word_embeddings", config["model_type"] in TIED
        ):
            continue
        known = file.removeprefix("transformer.") if name == "bloom" else file
        new = named.get_name(known, try_suffixes=(".weight", ".bias"))
        assert new is not None, file
        arrays[new] = weights(config, given, file, array)
    return pairs, arrays | rope_tensors(config, given)


TIED = ("starcoder2", "gemma", "gemma2", "gemma3_text", "smollm3", "gpt2", "falcon", "bloom")


def head_dim(config, given):
    width = given["embedding_length"] // given["attention.head_count"]
    default = {"gemma": 256, "gemma2": 256, "gemma3_text": 256, "qwen3": 128}
    return config.get("head_dim") or default.get(config["model_type"], width)


def sizes(config, given):
    """Keys under the architecture."""
    kind, width, heads = (
        config["model_type"],
        given["embedding_length"],
        given["attention.head_count"],
    )
    eps = "attention.layer_norm_epsilon" if kind in OLDER else "attention.layer_norm_rms_epsilon"
    usual = 1e-5 if kind in (*OLDER, "olmo2", "phi3") else 1e-6
    dim = head_dim(config, given)
    middle = config.get("intermediate_size") or config.get("n_inner")
    middle = middle or config.get("ffn_hidden_size") or 4 * width
    lengths = ("max_position_embeddings", "n_positions", "seq_length")
    keys = {
        eps: next((config[n] for n in EPS if config.get(n) is not None), usual),
        "context_length": next((config[n] for n in lengths if n in config), 2048),
        "feed_forward_length": middle,
        "vocab_size": config["vocab_size"],
    }
    if kind not in ("gpt2", "gpt_neox", "bloom"):
        keys["attention.head_count_kv"] = shared_heads(config, heads)
    if kind not in OLDER or config.get("head_dim"):
        keys |= {"attention.key_length": dim, "attention.value_length": dim}
    if kind == "gpt_neox":
        keys["use_parallel_residual"] = config.get("use_parallel_residual", True)
    if kind == "falcon":
        keys["tensor_data_layout"] = "jploski"
    if kind in ("gemma2", "gemma3_text"):
        keys |= gemma(config, dim)
    if kind == "phi3" and config.get("sliding_window"):
        keys["attention.sliding_window"] = config["sliding_window"]
    return keys | (rope(config, dim, keys) if kind not in ("gpt2", "bloom") else {})


def shared_heads(config, heads):
    if config["model_type"] != "falcon":
        usual = 2 if config["model_type"] == "starcoder2" else heads
        return config.get("num_key_value_heads", usual)
    return config.get("num_kv_heads", heads) if config.get("new_decoder_architecture") else 1


def gemma(config, dim):
    keys = {"attention.sliding_window": config.get("sliding_window", 4096)}
    scalar = config.get("query_pre_attn_scalar", 256)
    keys |= {} if scalar == dim else {"attention.scale": scalar**-0.5}
    second = config["model_type"] == "gemma2"
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0} if second else {}
    keys |= {cap: value for cap, value in caps.items() if config.get(cap, value) is not None}
    keys |= {cap: config[cap] for cap in ("attn_logit_softcapping",) if config.get(cap)}
    if not second and "layer_types" in config:
        keys["attention.sliding_window_pattern"] = [k == SLIDING for k in config["layer_types"]]
    return keys


def rope_of(config):
    """The parameters of the rotation, of either dialect; of Gemma 3 those of full attention."""
    given = {**(config.get("rope_parameters") or config.get("rope_scaling") or {})}
    given = given.get(FULL, given)
    kind = config["model_type"]
    old = {"rope_theta": ("rope_theta", "rotary_emb_base")}
    old["partial_rotary_factor"] = ("partial_rotary_factor", "rotary_pct")
    usual = {"rope_theta": THETA.get(kind, 1e4)}
    usual["partial_rotary_factor"] = 0.25 if kind == "gpt_neox" else 1.0
    for key, names in old.items():
        values = [config[n] for n in names if config.get(n) is not None]
        given.setdefault(key, values[0] if values else usual[key])
    given["kind"] = given.get("rope_type", given.get("type", "default"))
    return given


def rope(config, dim, keys):
    given = rope_of(config)
    pairs = {"rope.freq_base": float(given["rope_theta"])}
    pairs["rope.dimension_count"] = int(dim * given["partial_rotary_factor"])
    original = given.get("original_max_position_embeddings")
    original = original or config.get("original_max_position_embeddings")
    match given["kind"]:
        case "linear":
            pairs |= {"rope.scaling.type": "linear", "rope.scaling.factor": given["factor"]}
        case "yarn" if config["model_type"] != "phi3":
            pairs |= {"rope.scaling.type": "yarn", "rope.scaling.factor": given["factor"]}
            pairs["rope.scaling.original_context_length"] = original
        case "longrope" | "su" | "yarn":
            scale = keys["context_length"] / original
            factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
            pairs["rope.scaling.original_context_length"] = original
            pairs["rope.scaling.attn_factor"] = factor
    return pairs


def rope_tensors(config, given):
    """Numbers by which frequencies are divided."""
    if config["model_type"] in ("gpt2", "bloom"):
        return {}
    turns, dim = rope_of(config), head_dim(config, given)
    made = lambda values: np.asarray(values, np.float32)
    if turns["kind"] == "llama3":
        low, high = turns["low_freq_factor"], turns["high_freq_factor"]
        original, divisors = turns["original_max_position_embeddings"], []
        for exponent in range(0, dim, 2):
            wavelength = 2 * math.pi * turns["rope_theta"] ** (exponent / dim)
            smooth = (original / wavelength - low) / (high - low)
            smooth = min(max(smooth, 0.0), 1.0)
            divisors.append(1 / ((1 - smooth) / turns["factor"] + smooth))
        return {"rope_freqs.weight": made(divisors)}
    if "short_factor" in turns:
        return {f"rope_factors_{n}.weight": made(turns[f"{n}_factor"]) for n in ("long", "short")}
    return {}


def weights(config, given, file, array):
    """One tensor as a converter leaves it."""
    kind, heads = config["model_type"], given["attention.head_count"]
    if ARCHITECTURES[kind] in ("llama", "smollm3") and (".q_proj." in file or ".k_proj." in file):
        count = heads if ".q_proj." in file else shared_heads(config, heads)
        half = len(array) // count // 2
        array = array.reshape(count, 2, half, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    if kind.startswith("gemma") and file.endswith("norm.weight"):
        array = array + np.float32(1)
    if kind == "gpt2" and array.ndim == 2 and ".h." in file:
        array = array.T
    if "query_key_value" in file:
        shared = heads if kind in ("bloom", "gpt_neox") else shared_heads(config, heads)
        # By groups of heads that share a key, each with its key and value, to all of each.
        groups = array.reshape(shared, heads // shared + 2, -1, *array.shape[1:])
        parts = (groups[:, :-2], groups[:, -2], groups[:, -1])
        array = np.concatenate([part.reshape(-1, *array.shape[1:]) for part in parts])
    return np.ascontiguousarray(array)
