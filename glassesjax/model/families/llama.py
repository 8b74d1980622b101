"""LLaMA and families that differ from it in a few switches.

Each reads its keys with the family's own values where a key is absent.
"""

import dataclasses

from glassesjax.errors import brief
from glassesjax.model.by_layer import PositionsByLayer
from glassesjax.model.config import Causal, GatedMlp, Mask, NoPositions, RMSNorm, Window
from glassesjax.model.families.family import Reading, Source, sources
from glassesjax.model.families.keys import MOST_HEADS, MOST_LAYERS, Keys
from glassesjax.model.families.layouts import KEY, QUERY, VALUE, stacked_rows
from glassesjax.model.families.masks import FULL, SLIDING, layer_types, mask_of
from glassesjax.model.families.rotary import Turning, rotary_of

LAYER = "model.layers.{}."
OUTER = {"embed.table": "model.embed_tokens.weight", "final_norm.gain": "model.norm.weight"}
UNEMBEDDING = "lm_head.weight"
NORMS = {
    "blocks.norm1.gain": f"{LAYER}input_layernorm.weight",
    "blocks.norm2.gain": f"{LAYER}post_attention_layernorm.weight",
}
QK_NORMS = {
    "blocks.attention.query_norm.gain": f"{LAYER}self_attn.q_norm.weight",
    "blocks.attention.key_norm.gain": f"{LAYER}self_attn.k_norm.weight",
}
_PROJECTED = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
_GATED = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
ATTENTION = {
    f"blocks.attention.{ours}": f"{LAYER}self_attn.{name}.weight"
    for ours, name in _PROJECTED.items()
}
MLP = {f"blocks.mlp.{ours}": f"{LAYER}mlp.{name}.weight" for ours, name in _GATED.items()}
QKV_BIASES = {
    f"blocks.attention.{ours}_bias": f"{LAYER}self_attn.{name}.bias"
    for ours, name in _PROJECTED.items()
    if ours != "output"
}
OUTPUT_BIAS = {"blocks.attention.output_bias": f"{LAYER}self_attn.o_proj.bias"}
MLP_BIASES = {f"blocks.mlp.{ours}_bias": f"{LAYER}mlp.{name}.bias" for ours, name in _GATED.items()}


def sizes(keys: Keys, *, head_dim: int | None = None) -> dict[str, int]:
    """Sizes under the names that most families share.

    Args:
      keys: The configuration.
      head_dim: The family's width of a head where none is given; model's over heads if absent.
    """
    heads, model_dim = keys.count("num_attention_heads", most=MOST_HEADS), keys.count("hidden_size")
    width = head_dim or max(1, model_dim // heads)
    if head_dim is None and keys.value("head_dim") is None and model_dim % heads:
        raise keys.refusal("a hidden_size divisible by its heads", f"{model_dim} and {heads}")
    return {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
        "num_heads": heads,
        "num_kv_heads": keys.count("num_key_value_heads", default=heads, most=MOST_HEADS),
        "model_dim": model_dim,
        "head_dim": keys.count("head_dim", default=width, most=MOST_HEADS),
        "max_length": keys.count("max_position_embeddings"),
    }


def turned(
    settings: dict, turning: Turning, scale: float | None = None, *, folds: bool = True
) -> dict:
    """Settings with rotary positions that are the same in all layers.

    Args:
      settings: Sizes.
      turning: The positions.
      scale: Factor on products of queries and keys; of the head's width if absent.
      folds: Whether a factor of the rotated coordinates may go into the one scale of all layers.
    """
    rotary, factor, longest, _ = turning
    if factor != 1 and rotary.fraction == 1 and folds:
        # Queries and keys both have it, and rotations without it keep lengths.
        scale = (settings["head_dim"] ** -0.5 if scale is None else scale) * factor**2
    elif factor != 1:
        rotary = dataclasses.replace(rotary, attention_factor=factor)
    settings = {**settings, "positions": rotary}
    if longest is not None:
        settings["max_length"] = min(longest, settings["max_length"])
    return settings if scale is None else {**settings, "attn_scale": scale}


def gated(keys: Keys, *, eps: float = 1e-6) -> dict:
    """RMSNorm and SwiGLU."""
    keys.choice("hidden_act", of=("silu", "swish"), default="silu")
    norm = RMSNorm(eps=keys.number("rms_norm_eps", default=eps))
    return {"norm": norm, "mlp": GatedMlp(dim=keys.count("intermediate_size"))}


def tying(keys: Keys, *, default: bool) -> tuple[dict, dict[str, Source]]:
    """Whether the unembedding is the embedding, and where it is if not."""
    tied = keys.flag("tie_word_embeddings", default=default)
    return {"tied": tied}, {} if tied else sources({"unembed": UNEMBEDDING})


def biases(keys: Keys) -> tuple[dict, dict[str, Source], frozenset[str]]:
    """Biases of all four projections, and of the MLP, each by its own key."""
    attention = keys.flag("attention_bias", default=False)
    mlp = keys.flag("mlp_bias", default=False)
    there = {**QKV_BIASES, **OUTPUT_BIAS} if attention else {}
    there |= MLP_BIASES if mlp else {}
    # One switch of ours is for both: zeros where the other has none.
    absent = (OUTPUT_BIAS.keys() | MLP_BIASES.keys()) - there.keys() if attention or mlp else set()
    settings = {"qkv_bias": attention, "bias": attention or mlp}
    return settings, sources(there), frozenset(absent)


def read_llama(keys: Keys) -> Reading:
    """LLaMA 2 and 3, Yi, SmolLM2."""
    return _plain(keys, {})


def read_mistral(keys: Keys) -> Reading:
    """Mistral: one window in all layers, in its first version."""
    if keys.value("sliding_window") is None:
        # The library's value where the key is absent; null is no window.
        width = None if keys.is_null("sliding_window") else 4096
    else:
        width = keys.count("sliding_window")
    kinds = [FULL if width is None else SLIDING] * _layers(keys)
    return _plain(keys, {"mask": mask_of(keys, layer_types(keys, len(kinds), kinds), width)})


def read_qwen2(keys: Keys) -> Reading:
    """Qwen 2 and 2.5: biases of queries, keys and values; later layers may slide."""
    reading = _plain(keys, {"mask": _qwen_mask(keys), "qkv_bias": True})
    return reading._replace(sources={**reading.sources, **sources(QKV_BIASES)})


def read_qwen3(keys: Keys) -> Reading:
    """Qwen 3: norms of each head's queries and keys."""
    reading = _plain(keys, {"mask": _qwen_mask(keys), "qk_norm": "head"}, head_dim=128)
    return reading._replace(sources={**reading.sources, **sources(QK_NORMS)})


def read_smollm3(keys: Keys) -> Reading:
    """SmolLM3: no rotation in every fourth layer."""
    num_layers = _layers(keys)
    interval = keys.count("no_rope_layer_interval", default=4)
    rule = [int((layer + 1) % interval != 0) for layer in range(num_layers)]
    turns = keys.listed("no_rope_layers", num_layers) or rule  # one where the layer rotates
    for each in turns:
        if type(each) not in (int, bool) or each not in (0, 1):
            raise keys.refusal("no_rope_layers of zeros and ones", brief(each))
    slides = keys.flag("use_sliding_window", default=False)
    width = keys.count("sliding_window") if keys.value("sliding_window") is not None else None
    default = [SLIDING if slides and width and not each else FULL for each in turns]
    mask = mask_of(keys, layer_types(keys, num_layers, default), width if slides else None)
    keys.value("max_window_layers")  # the list of layers counts
    # Layers without rotation do not have its factor.
    reading = _plain(keys, {"mask": mask}, theta=2_000_000.0, tied=True, folds=all(turns))
    if all(turns):
        return reading
    rotary = reading.settings["positions"]
    positions = tuple(rotary if each else NoPositions() for each in turns)
    one = positions[0] if len(set(positions)) == 1 else PositionsByLayer(layers=positions)
    return reading._replace(settings={**reading.settings, "positions": one})


def read_olmo2(keys: Keys) -> Reading:
    """OLMo 2: norms of what attention and MLP add, and of whole queries and keys."""
    reading = _plain(keys, {"norm_place": "after", "qk_norm": "whole"}, eps=1e-5)
    norms = {
        "blocks.norm1_after.gain": f"{LAYER}post_attention_layernorm.weight",
        "blocks.norm2_after.gain": f"{LAYER}post_feedforward_layernorm.weight",
    }
    kept = {ours: source for ours, source in reading.sources.items() if ours not in NORMS}
    return reading._replace(sources={**kept, **sources({**norms, **QK_NORMS})})


def read_phi3(keys: Keys) -> Reading:
    """Phi-3 and Phi-4-mini: fused rows, LongRoPE, and one window in all layers."""
    width = keys.count("sliding_window") if keys.value("sliding_window") is not None else None
    mask = Causal() if width is None else Window(width=width)
    for name in ("full_attn_mod", "interpolate_factor"):
        keys.neutral(name, 1, None)
    reading = _plain(
        keys,
        {"mask": mask},
        eps=1e-5,
        longrope_names=("longrope", "su", "yarn"),
        fraction_keys=("partial_rotary_factor",),
    )
    fused = (f"{LAYER}self_attn.qkv_proj.weight",)
    parts = {"query": QUERY, "key": KEY, "value": VALUE}
    rows = {f"blocks.attention.{n}": Source(fused, stacked_rows(p)) for n, p in parts.items()}
    halves = (f"{LAYER}mlp.gate_up_proj.weight",)
    both = {f"blocks.mlp.{n}": Source(halves, stacked_rows(p, 2)) for p, n in enumerate(_HALVES)}
    return reading._replace(sources={**reading.sources, **rows, **both})


_HALVES = ("gate", "up")


def _plain(
    keys: Keys,
    switches: dict,
    *,
    head_dim: int | None = None,
    eps: float = 1e-6,
    theta: float = 10_000.0,
    tied: bool = False,
    folds: bool = True,
    longrope_names: tuple[str, ...] = ("longrope",),
    fraction_keys: tuple[str, ...] = (),
) -> Reading:
    """LLaMA's settings and sources with other switches."""
    settings = sizes(keys, head_dim=head_dim)
    width = settings["head_dim"]
    turning = rotary_of(
        keys, width, theta=theta, longrope_names=longrope_names, fraction_keys=fraction_keys
    )
    unembedding, extra = tying(keys, default=tied)
    biased, bias_sources, zeros = biases(keys)
    settings = turned(settings, turning, folds=folds)
    settings |= gated(keys, eps=eps) | unembedding | biased | switches
    weights = sources({**OUTER, **NORMS, **ATTENTION, **MLP})
    return Reading(settings, {**weights, **extra, **bias_sources}, zeros, turning.notes)


def _qwen_mask(keys: Keys) -> Mask:
    num_layers = _layers(keys)
    slides = keys.flag("use_sliding_window", default=False)
    width = keys.value("sliding_window")
    width = keys.count("sliding_window", default=4096) if slides or width is not None else None
    first = keys.count("max_window_layers", default=28, least=0)
    if slides and keys.is_null("sliding_window"):
        slides = False
    kinds = [SLIDING if slides and layer >= first else FULL for layer in range(num_layers)]
    return mask_of(keys, layer_types(keys, num_layers, kinds), width if slides else None)


def _layers(keys: Keys) -> int:
    return keys.count("num_hidden_layers", most=MOST_LAYERS)
