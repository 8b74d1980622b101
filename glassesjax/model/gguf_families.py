"""Architectures of GGUF as other files of the same families.

A row turns the keys of a file into those of the family's ``config.json``, and names the file's
tensor for each weight. What a converter did to the weights is undone by a layout. Sources: the
constants and tensor names of the ``gguf`` package 0.19, and llama.cpp's converter and loader.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from glassesjax.errors import brief
from glassesjax.model.config import RMSNorm, Rotary
from glassesjax.model.families.family import PLAIN, Layout, Reading, Source
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.layouts import KEY, QUERY, VALUE, neighbors, stacked_rows
from glassesjax.model.families.masks import FULL, SLIDING
from glassesjax.model.families.table import FAMILIES
from glassesjax.model.gguf_keys import GgufKeys, Neutral, contradiction

TABLE, OUTPUT, LAYER = "token_embd.weight", "output.weight", "blk.{}."
OUTER = {
    "embed.table": "token_embd",
    "embed.positions": "position_embd",
    "final_norm": "output_norm",
    "unembed": "output",
}
IN_LAYER = {
    "norm1": "attn_norm",
    "norm1_after": "post_attention_norm",
    "norm2": "ffn_norm",
    "norm2_after": "post_ffw_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}
TURNED = ("attention.query", "attention.key")
FUSED = {"attention.query": QUERY, "attention.key": KEY, "attention.value": VALUE}
HALVES = {"mlp.gate": 0, "mlp.up": 1}
PARTIAL = ("phi3", "gpt_neox")  # families whose configurations have a share of coordinates
Config = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A row of the table: one value of ``general.architecture``."""

    family: str
    """A key of ``FAMILIES``."""
    config: Callable[[GgufKeys], Config]
    """The keys of the family's ``config.json``."""
    neighbors: bool = False
    """Whether rows of queries and keys are ordered for rotation of neighboring coordinates."""
    fused: bool = False
    """Whether queries, keys and values are below one another in one tensor."""
    halves: bool = False
    """Whether gate and up are halves of one tensor."""
    gains_with_one: bool = False
    """Whether gains are stored with the one that the family adds to them."""
    divisors: bool = False
    """Whether a tensor may divide the frequencies of the rotation (Llama 3)."""
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Tensors of weights for which the architecture has other names, by our name."""
    neutral: Mapping[str, Neutral] = dataclasses.field(default_factory=dict)
    """Values without effect where those of other architectures differ."""
    notes: Callable[[GgufKeys], tuple[str, ...]] | tuple[str, ...] = ()
    """Constants of the family that are not in the file, for rows."""


def read_architecture(keys: GgufKeys, row: Architecture, where: str) -> Reading:
    """Settings and sources of a file.

    Args:
      keys: Of the file.
      row: Of its architecture.
      where: The file, for messages.

    Raises:
      BadInput: A key is missing, contradicts another, or has an effect that is not supported.
    """
    _check_table(keys)
    given = row.config(keys)
    share = None if row.family in PARTIAL else _taken_share(given)
    config = Keys({**given, "model_type": row.family}, where)
    keys.check_all_read(row.neutral)
    reading = FAMILIES[row.family].read(config)
    config.check_all_read()
    settings = {**reading.settings}
    if row.gains_with_one and isinstance(norm := settings["norm"], RMSNorm):
        settings["norm"] = dataclasses.replace(norm, offset=0.0)
    if share is not None and share != 1:
        settings["positions"] = _partial(settings["positions"], share, keys)
    if row.divisors and isinstance(rotary := settings["positions"], Rotary):
        rotated = rotary.rotated_dim(settings["head_dim"])
        divisors = tuple(keys.constant("rope_freqs.weight", rotated // 2) or ())
        if divisors and rotary.divisors:
            raise contradiction("one scaling of its rotation", "yarn, and rope_freqs.weight")
        settings["positions"] = dataclasses.replace(rotary, divisors=divisors or rotary.divisors)
    sources = {ours: _source(ours, source, row) for ours, source in reading.sources.items()}
    notes = row.notes(keys) if callable(row.notes) else row.notes
    return reading._replace(settings=settings, sources=sources, notes=(*notes, *reading.notes))


def _taken_share(config: Config) -> float | None:
    """The share of rotated coordinates, which these families have in no configuration."""
    return config.get("rope_parameters", {}).pop("partial_rotary_factor", None)


def _partial(positions: object, share: float, keys: GgufKeys) -> Rotary:
    """Rotary positions of a part of the coordinates, as llama.cpp computes them of any file."""
    if not isinstance(positions, Rotary) or positions.divisors:
        expected = f"{keys.name('rope.dimension_count')} of the head's width with this rotation"
        raise contradiction(expected, f"{keys.value('rope.dimension_count')}")
    return dataclasses.replace(positions, fraction=share)


def _check_table(keys: GgufKeys) -> None:
    """Validates the numbers of tokens and layers, from which much is made."""
    table = keys.shapes.get(TABLE, ())
    if len(table) != 2:
        raise contradiction("a language model", "one that has no table of token embeddings")
    keys.same("vocab_size", table[0], f"of {table[0]}, the rows of its table of embeddings")
    if (layers := keys.count("block_count")) > len(keys.shapes):
        counts = f"{len(keys.shapes)} tensors for {layers} blocks"
        raise contradiction("the tensors of all blocks", counts)


def _source(ours: str, given: Source, row: Architecture) -> Source:
    """Where a weight is in the file."""
    if ours in row.names:
        names = row.names[ours]
        return Source(names, given.layout if len(names) > 1 else PLAIN)
    stem = ours.removesuffix(".gain").removesuffix(".bias").removesuffix("_bias")
    end = "bias" if ours.endswith("bias") else "weight"
    if stem in OUTER:
        return Source((f"{OUTER[stem]}.{end}",))
    part = stem.removeprefix("blocks.")
    name, layout = IN_LAYER[part], PLAIN
    if row.fused and part in FUSED:
        name, layout = "attn_qkv", stacked_rows(FUSED[part])
    elif row.halves and part in HALVES:
        name, layout = "ffn_up", stacked_rows(HALVES[part], 2)
    elif row.neighbors and part in TURNED:
        layout = _NEIGHBORS
    return Source((f"{LAYER}{name}.{end}",), layout)


_NEIGHBORS: Layout = neighbors()


def _sizes(keys: GgufKeys) -> Config:
    """Sizes of all architectures, under the names that most families share."""
    heads, model_dim = keys.count("attention.head_count"), keys.count("embedding_length")
    head_dim = keys.count("attention.key_length", model_dim // heads or 1)
    if "attention.key_length" not in keys and head_dim * heads != model_dim:
        expected = f"{keys.name('embedding_length')} that is a multiple of "
        expected += keys.name("attention.head_count")
        raise contradiction(expected, f"{model_dim} and {heads}")
    for name in ("attention.value_length", "attention.head_dim"):  # the last is Ollama's
        keys.same(name, head_dim, f"as wide as its keys, {head_dim}")
    return {
        "vocab_size": keys.shapes[TABLE][0],
        "num_hidden_layers": keys.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.count("attention.head_count_kv", heads),
        "hidden_size": model_dim,
        "head_dim": head_dim,
        "intermediate_size": keys.count("feed_forward_length"),
        "max_position_embeddings": keys.count("context_length"),
        "tie_word_embeddings": OUTPUT not in keys.shapes,
    }


def _scale(keys: GgufKeys, head_dim: int) -> None:
    """Refuses another scale of the logits than that of the heads' width."""
    usual = 1 / math.sqrt(head_dim)
    scale = keys.number("attention.scale", usual)
    if not math.isclose(scale, usual, rel_tol=2.0**-23):  # stored in float32
        expected = f"{keys.name('attention.scale')} of 1 / sqrt({head_dim}) or without it"
        raise contradiction(expected, f"{scale}")


def _rotation(keys: GgufKeys, head_dim: int, *, yarn: bool = True) -> Config:
    """Rotary positions, as ``rope_parameters``."""
    rotated = keys.count("rope.dimension_count", head_dim, least=0)
    if rotated > head_dim or rotated % 2:
        expected = f"{keys.name('rope.dimension_count')} even and at most the head's {head_dim}"
        raise contradiction(expected, f"{rotated}")
    share = rotated / head_dim
    # Families round the product down.
    share = share if int(head_dim * share) == rotated else math.nextafter(share, 1.0)
    base = keys.number("rope.freq_base", 10_000.0, positive=True)
    keys.value("rope.scaling.finetuned")  # a note
    # A factor without a type is linear, and so is the key that older files have for it; the type
    # ``none`` switches either off, as in llama.cpp.
    kinds = ("none", "linear", *(("yarn",) if yarn else ()))
    kind = keys.value("rope.scaling.type", "linear")
    if not isinstance(kind, str) or kind not in kinds:
        expected = f"{keys.name('rope.scaling.type')} {' or '.join(kinds)}"
        raise contradiction(expected, f"{brief(kind)}, which is not supported")
    old = keys.number("rope.scale_linear", 1.0, positive=True)
    factor = keys.number("rope.scaling.factor", old, positive=True)
    if "rope.scale_linear" in keys and factor != old:
        names = " and ".join(map(keys.name, ("rope.scaling.factor", "rope.scale_linear")))
        raise contradiction(f"one factor in {names}", f"{factor} and {old}")
    given = {"rope_theta": base, "partial_rotary_factor": share}
    original = "rope.scaling.original_context_length"
    if kind == "yarn":
        return given | {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": keys.count(original),
            "beta_fast": keys.number("rope.scaling.yarn_beta_fast", 32.0, positive=True),
            "beta_slow": keys.number("rope.scaling.yarn_beta_slow", 1.0, positive=True),
        }
    keys.value(original)  # a note, where nothing depends on it
    return given | ({} if kind == "none" else {"rope_type": "linear", "factor": factor})


def _rms(keys: GgufKeys, *, scale: bool = True) -> Config:
    """LLaMA's keys, which families of RMSNorm and gated MLPs share."""
    sizes = _sizes(keys)
    if scale:
        _scale(keys, sizes["head_dim"])
    eps = keys.number("attention.layer_norm_rms_epsilon")
    return {
        **sizes,
        "rms_norm_eps": eps,
        "rope_parameters": _rotation(keys, sizes["head_dim"]),
    }


def _llama(keys: GgufKeys) -> Config:
    there = lambda *names: all(f"blk.0.{name}.bias" in keys.shapes for name in names)
    return {
        **_rms(keys),
        "attention_bias": there("attn_q", "attn_k", "attn_v", "attn_output"),
        "mlp_bias": there("ffn_gate", "ffn_up", "ffn_down"),
    }


def _check_unembedding(keys: GgufKeys) -> None:
    """Refuses a file without an unembedding, of a family in which llama.cpp requires one."""
    if OUTPUT not in keys.shapes:
        raise contradiction(f"a tensor {OUTPUT}, as all of {keys.architecture} have it", "none")


def _olmo2(keys: GgufKeys) -> Config:
    _check_unembedding(keys)
    return _rms(keys)


def _mistral3(keys: GgufKeys) -> Config:
    return {**_rms(keys), "sliding_window": None}


def _smollm3(keys: GgufKeys) -> Config:
    return {**_rms(keys), "no_rope_layer_interval": 4}


def _phi3(keys: GgufKeys) -> Config:
    sizes = _sizes(keys)
    _scale(keys, sizes["head_dim"])
    eps = keys.number("attention.layer_norm_rms_epsilon")
    # The converter writes these beside the factors, and no type.
    original = keys.count(
        "rope.scaling.original_context_length", sizes["max_position_embeddings"], least=2
    )
    config = {**sizes, "rms_norm_eps": eps, "original_max_position_embeddings": original}
    config["sliding_window"] = keys.count("attention.sliding_window", 0, least=0) or None
    given = _rotation(keys, sizes["head_dim"])
    pairs = int(sizes["head_dim"] * given["partial_rotary_factor"]) // 2
    factors = {f"{n}_factor": f"rope_factors_{n}.weight" for n in ("short", "long")}
    lists = {key: keys.constant(name, pairs) for key, name in factors.items()}
    if all(numbers is None for numbers in lists.values()):
        return {**config, "rope_parameters": given}
    if missing := [factors[key] for key, numbers in lists.items() if numbers is None]:
        raise contradiction("factors of short and of long texts", f"no {missing[0]}")
    if given.get("factor", 1.0) != 1.0:
        raise contradiction("one scaling of its rotation", "factors, and one of all frequencies")
    attention = keys.number("rope.scaling.attn_factor", 1.0, positive=True)
    given = {"rope_theta": given["rope_theta"], "rope_type": "longrope", **lists} | {
        "partial_rotary_factor": given["partial_rotary_factor"],
        "attention_factor": attention,
    }
    return {**config, "rope_parameters": given}


def _query_scalar(keys: GgufKeys, sizes: Config, largest: int) -> float:
    """What is under the root of the logits' scale: the width of a head, but in the 27B models.

    Files have no key for it. In a model of 27B, known by its number of layers, it is the model's
    width over its heads (llama.cpp's loader).
    """
    width = sizes["head_dim"]
    if sizes["num_hidden_layers"] == largest:
        width = sizes["hidden_size"] / sizes["num_attention_heads"]
    if "attention.scale" in keys:
        return keys.number("attention.scale", positive=True) ** -2
    return width


def _gemma2(keys: GgufKeys) -> Config:
    config = _rms(keys, scale=False)
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return {
        **config,
        **{name: keys.number(name, default) or None for name, default in caps.items()},
        "query_pre_attn_scalar": _query_scalar(keys, config, largest=46),
        "sliding_window": keys.count("attention.sliding_window", 4096),
    }


def _gemma3(keys: GgufKeys) -> Config:
    config = _sizes(keys)
    if "rope.freq_base" not in keys:
        raise contradiction(
            f"a floating-point number {keys.name('rope.freq_base')} of at least 0", "none"
        )
    rope = _rotation(keys, config["head_dim"], yarn=False)
    if rope["partial_rotary_factor"] != 1:
        expected = f"{keys.name('rope.dimension_count')} of {config['head_dim']}, the head's width"
        raise contradiction(expected, f"{keys.value('rope.dimension_count')}")
    factor = rope.get("factor", 1.0)  # of layers that see all tokens
    config |= {"rope_scaling": {"rope_type": "linear", "factor": factor}} if factor != 1 else {}
    return {
        **config,
        **_pattern(keys, config["num_hidden_layers"]),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": rope["rope_theta"],
        "rope_local_base_freq": keys.number("rope.freq_base_swa", 10_000.0, positive=True),
        "sliding_window": keys.count("attention.sliding_window"),
        "query_pre_attn_scalar": _query_scalar(keys, config, largest=62),
        "attn_logit_softcapping": keys.number("attn_logit_softcapping", 0.0) or None,
        "final_logit_softcapping": keys.number("final_logit_softcapping", 0.0) or None,
    }


def _pattern(keys: GgufKeys, layers: int) -> Config:
    """Which layers have a window: every one but each sixth, or as newer files have it."""
    key = "attention.sliding_window_pattern"
    given = keys.value(key)
    if isinstance(given, np.ndarray) and given.dtype == bool and len(given) == layers:
        return {"layer_types": [SLIDING if slides else FULL for slides in given.tolist()]}
    return {"sliding_window_pattern": keys.count(key, 6)}


def _gemma3_notes(keys: GgufKeys) -> tuple[str, ...]:
    """What of windows and of their rotation the file does not say."""
    windows = "attention.sliding_window_pattern" not in keys
    base = "rope.freq_base_swa" not in keys
    if windows:
        more = ", and the base of their rotation" if base else ""
        return (f"windows by layer{more}, as the family has them",)
    return ("the base of layers with a window, as the family has it",) if base else ()


def _dense(keys: GgufKeys) -> Config:
    """Keys of families of LayerNorm, each of whose heads has its share of the width."""
    sizes = _sizes(keys)
    if sizes["head_dim"] * sizes["num_attention_heads"] != sizes["hidden_size"]:
        width = sizes["hidden_size"] // sizes["num_attention_heads"]
        keys.same("attention.key_length", width, f"of {width}")
    _scale(keys, sizes["head_dim"])
    return sizes | {"eps": keys.number("attention.layer_norm_epsilon")}


def _equal_heads(keys: GgufKeys, sizes: Config) -> None:
    heads = sizes["num_attention_heads"]
    keys.same("attention.head_count_kv", heads, f"of {heads}, that of its queries")


def _gpt2(keys: GgufKeys) -> Config:
    sizes = _dense(keys)
    _equal_heads(keys, sizes)
    return {
        "vocab_size": sizes["vocab_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "n_embd": sizes["hidden_size"],
        "n_inner": sizes["intermediate_size"],
        "n_positions": sizes["max_position_embeddings"],
        "layer_norm_epsilon": sizes["eps"],
        "tie_word_embeddings": sizes["tie_word_embeddings"],
    }


def _kept(sizes: Config, *names: str) -> Config:
    return {name: sizes[name] for name in names}


_SHARED = ("vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size")
_LENGTH, _TIE = "max_position_embeddings", "tie_word_embeddings"


def _gptneox(keys: GgufKeys) -> Config:
    _check_unembedding(keys)
    sizes = _dense(keys)
    _equal_heads(keys, sizes)
    return {
        **_kept(sizes, *_SHARED, _LENGTH, _TIE, "intermediate_size"),
        "layer_norm_eps": sizes["eps"],
        "use_parallel_residual": keys.flag("use_parallel_residual", default=True),
        "attention_bias": "blk.0.attn_qkv.bias" in keys.shapes,
        "rope_parameters": _rotation(keys, sizes["head_dim"]),
    }


def _starcoder2(keys: GgufKeys) -> Config:
    sizes = _sizes(keys)
    _scale(keys, sizes["head_dim"])
    return {
        **sizes,
        "norm_epsilon": keys.number("attention.layer_norm_epsilon"),
        "use_bias": "blk.0.attn_q.bias" in keys.shapes,
        "rope_parameters": _rotation(keys, sizes["head_dim"]),
    }


def _falcon(keys: GgufKeys) -> Config:
    sizes = _dense(keys)
    shared = sizes["num_key_value_heads"]
    two_norms = "blk.0.attn_norm_2.weight" in keys.shapes
    newer = two_norms or shared > 1
    return {
        **_kept(sizes, *_SHARED, _LENGTH, _TIE),
        "ffn_hidden_size": sizes["intermediate_size"],
        "layer_norm_epsilon": sizes["eps"],
        "new_decoder_architecture": newer,
        **({"num_kv_heads": shared} if newer else {}),
        **({"num_ln_in_parallel_attn": 2 if two_norms else 1} if newer else {}),
        "rope_parameters": _rotation(keys, sizes["head_dim"]),
    }


def _bloom(keys: GgufKeys) -> Config:
    sizes = _dense(keys)
    _equal_heads(keys, sizes)
    width = 4 * sizes["hidden_size"]
    keys.same("feed_forward_length", width, f"of {width}, four times its width")
    return {
        **_kept(sizes, *_SHARED, _TIE),
        "layer_norm_epsilon": sizes["eps"],
    }


_NEIGHBOR_LAYOUT = {"tensor_data_layout": "Meta AI original pth"}
_GELU = ("exact GELU, as published checkpoints of the family have it",)
_ATTENTION_NORM = (f"{LAYER}attn_norm_2.{{end}}|{LAYER}attn_norm.{{end}}",)

ARCHITECTURES: Mapping[str, Architecture] = {
    # Mistral's and Yi's files say llama as well. Rows of ``reference`` are in the order of halves;
    # files for llama.cpp leave the key out and have that of neighbors.
    "llama": Architecture(
        family="llama", config=_llama, neighbors=True, divisors=True, neutral=_NEIGHBOR_LAYOUT
    ),
    "mistral3": Architecture(
        family="mistral", config=_mistral3, neighbors=True, divisors=True, neutral=_NEIGHBOR_LAYOUT
    ),
    "smollm3": Architecture(
        family="smollm3",
        config=_smollm3,
        neighbors=True,
        neutral=_NEIGHBOR_LAYOUT,
        notes=("no rotation in every fourth layer, as the family has it",),
    ),
    "qwen2": Architecture(family="qwen2", config=_rms),
    "qwen3": Architecture(family="qwen3", config=_rms),
    "olmo2": Architecture(family="olmo2", config=_olmo2),
    "phi3": Architecture(family="phi3", config=_phi3, fused=True, halves=True),
    "gemma": Architecture(family="gemma", config=_rms, gains_with_one=True),
    # No file of Gemma 2 has the pattern of windows, and few files of Gemma 3.
    "gemma2": Architecture(
        family="gemma2",
        config=_gemma2,
        gains_with_one=True,
        notes=("a window in every other layer, as the family has it",),
    ),
    "gemma3": Architecture(
        family="gemma3_text",
        config=_gemma3,
        gains_with_one=True,
        notes=_gemma3_notes,
    ),
    "gpt2": Architecture(family="gpt2", config=_gpt2, fused=True),
    # No file has the activation. llama.cpp computes the tanh form; the family's is exact.
    "gptneox": Architecture(family="gpt_neox", config=_gptneox, fused=True, notes=_GELU),
    # No file has the window, and llama.cpp computes none.
    "starcoder2": Architecture(
        family="starcoder2",
        config=_starcoder2,
        notes=("tanh GELU and no window, as llama.cpp has the family",),
    ),
    "falcon": Architecture(
        family="falcon",
        config=_falcon,
        fused=True,
        notes=_GELU,
        names={
            f"blocks.{ours}.{our_end}": (name.replace("{end}", end),)
            for ours, (name,) in (
                ("norm1", _ATTENTION_NORM),
                ("norm2", (f"{LAYER}attn_norm.{{end}}",)),
            )
            for our_end, end in (("gain", "weight"), ("bias", "bias"))
        },
        neutral={"tensor_data_layout": "jploski", "use_parallel_residual": True},
    ),
    "bloom": Architecture(
        family="bloom",
        config=_bloom,
        fused=True,
        names={
            "embed.table": (TABLE, "token_embd_norm.weight", "token_embd_norm.bias"),
            "unembed": (f"{OUTPUT}|{TABLE}",),
        },
        neutral={"attention.max_alibi_bias": 8},  # of the slopes that all BLOOM models have
    ),
}
