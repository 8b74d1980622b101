"""Gemma 1, 2 and 3: gains stored without their one, scaled embeddings, GeGLU."""

import dataclasses
import math
from typing import Any

from glassesjax.errors import brief
from glassesjax.model.by_layer import PositionsByLayer
from glassesjax.model.config import GatedMlp, RMSNorm
from glassesjax.model.families.family import Reading, sources
from glassesjax.model.families.keys import Keys
from glassesjax.model.families.llama import (
    ATTENTION,
    LAYER,
    MLP,
    NORMS,
    OUTER,
    QK_NORMS,
    biases,
    sizes,
    turned,
    tying,
)
from glassesjax.model.families.masks import FULL, SLIDING, layer_types, mask_of
from glassesjax.model.families.rotary import LAYER_TYPES, WHOLE, Turning, rotary_of, turning

BOTH_NORMS = {
    "blocks.norm1.gain": f"{LAYER}input_layernorm.weight",
    "blocks.norm1_after.gain": f"{LAYER}post_attention_layernorm.weight",
    "blocks.norm2.gain": f"{LAYER}pre_feedforward_layernorm.weight",
    "blocks.norm2_after.gain": f"{LAYER}post_feedforward_layernorm.weight",
}
TANH = ("gelu_pytorch_tanh", "gelu_new")


def read_gemma(keys: Keys) -> Reading:
    """Gemma 1."""
    # The first files say ``gelu`` under the old key, and mean the tanh form.
    for name in ("hidden_act", "hidden_activation"):
        keys.choice(name, of=(*TANH, "gelu"), default=TANH[0])
    settings = sizes(keys, head_dim=256)
    turns = rotary_of(keys, settings["head_dim"])
    return _reading(keys, turned(settings, turns), NORMS, turns)


def read_gemma2(keys: Keys) -> Reading:
    """Gemma 2: norms on both sides, caps, and a window in every other layer."""
    keys.choice("hidden_activation", "hidden_act", of=TANH, default=TANH[0])
    settings = sizes(keys, head_dim=256)
    turns = rotary_of(keys, settings["head_dim"])
    settings = turned(settings, turns, _scale(keys))
    kinds = [FULL if layer % 2 else SLIDING for layer in range(settings["num_layers"])]
    kinds = layer_types(keys, len(kinds), kinds)
    caps = _caps(keys, attention=50.0, output=30.0)
    more = {"mask": mask_of(keys, kinds, _window(keys)), "norm_place": "both", **caps}
    return _reading(keys, {**settings, **more}, BOTH_NORMS, turns)


def read_gemma3(keys: Keys) -> Reading:
    """Gemma 3: norms of queries and keys, and two kinds of layers with their own rotations."""
    keys.choice("hidden_activation", "hidden_act", of=TANH, default=TANH[0])
    settings: dict[str, Any] = {**sizes(keys, head_dim=256)}
    pattern = keys.count("sliding_window_pattern", default=6)
    # Written beside the list of kinds, and without effect: alone it would be another model here.
    other = keys.value("_sliding_window_pattern")
    if keys.value("layer_types") is None and other not in (None, pattern):
        raise keys.refusal("layer_types with _sliding_window_pattern", "none")
    num_layers = settings["num_layers"]
    kinds = [SLIDING if (layer + 1) % pattern else FULL for layer in range(num_layers)]
    kinds = layer_types(keys, num_layers, kinds)
    turns = _two_turnings(keys, settings["head_dim"])
    # Layers differ, so that no factor can be folded into the one scale.
    rotary = {
        kind: dataclasses.replace(each.rotary, attention_factor=each.factor)
        for kind, each in turns.items()
    }
    positions = tuple(rotary[kind] for kind in kinds)
    one = positions[0] if len(set(positions)) == 1 else PositionsByLayer(layers=positions)
    settings |= {
        "positions": one,
        "attn_scale": _scale(keys),
        "mask": mask_of(keys, kinds, _window(keys)),
        "norm_place": "both",
        "qk_norm": "head",
        **_caps(keys, attention=None, output=None),
    }
    keys.neutral("attn_logit_softcapping", None)  # no part of its attention
    for each in turns.values():
        if each.max_length is not None:
            settings["max_length"] = min(each.max_length, settings["max_length"])
    return _reading(keys, settings, {**BOTH_NORMS, **QK_NORMS}, turns[FULL])


def _reading(keys: Keys, settings: dict, norms: dict[str, str], turns: Turning) -> Reading:
    unembedding, extra = tying(keys, default=True)
    biased, bias_sources, zeros = biases(keys)
    norm = RMSNorm(eps=keys.number("rms_norm_eps", default=1e-6), offset=1.0)
    mlp = GatedMlp(activation="gelu", dim=keys.count("intermediate_size"))
    settings = settings | unembedding | biased | {"norm": norm, "mlp": mlp}
    settings["embed_scale"] = math.sqrt(settings["model_dim"])
    weights = {**sources({**OUTER, **norms, **ATTENTION, **MLP}), **extra, **bias_sources}
    return Reading(settings, weights, zeros, turns.notes)


def _scale(keys: Keys) -> float:
    scalar = keys.number("query_pre_attn_scalar", default=256.0)
    if scalar <= 0:
        raise keys.refusal("a positive query_pre_attn_scalar", brief(scalar))
    return scalar**-0.5


def _caps(keys: Keys, *, attention: float | None, output: float | None) -> dict:
    """Soft caps; null is none, and an absent key has the family's value."""

    def cap(name: str, default: float | None) -> float | None:
        given = keys.optional_number(name)
        return default if given is None and not keys.is_null(name) else given

    return {
        "attn_softcap": cap("attn_logit_softcapping", attention),
        "output_softcap": cap("final_logit_softcapping", output),
    }


def _window(keys: Keys) -> int | None:
    null = keys.is_null("sliding_window")
    width = None if null else keys.count("sliding_window", default=4096)
    keys.neutral("sliding_window_size", width, None)
    return width


def _two_turnings(keys: Keys, head_dim: int) -> dict[str, Turning]:
    """Rotary positions by kind of layer, in either dialect."""
    parameters, scaling = keys.mapping("rope_parameters"), keys.mapping("rope_scaling")
    keys.neutral("partial_rotary_factor", *WHOLE)
    thetas = {
        FULL: keys.number("rope_theta", default=1e6),
        SLIDING: keys.number("rope_local_base_freq", default=1e4),
    }
    nested: dict[str, dict] = {}
    if parameters is not None:
        if parameters.keys() - set(LAYER_TYPES):
            raise keys.refusal(f"rope_parameters by {' and '.join(LAYER_TYPES)}", brief(parameters))
        for kind, each in parameters.items():
            if each is not None and not isinstance(each, dict):
                raise keys.refusal(f"an object for {kind}", brief(each))
            nested[kind] = dict(each or {})
    if scaling is not None:  # of layers that see all tokens
        nested[FULL] = {**nested.get(FULL, {}), **scaling}
    for kind, theta in thetas.items():
        nested.setdefault(kind, {}).setdefault("rope_theta", theta)
    return {kind: turning(keys, each, head_dim) for kind, each in nested.items()}
