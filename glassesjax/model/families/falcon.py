"""Falcon and BLOOM: fused heads, ALiBi."""

from typing import Any

import ml_dtypes
import numpy as np

from glassesjax.model.config import Alibi, DenseMlp, LayerNorm
from glassesjax.model.families.family import Reading, Source, sources
from glassesjax.model.families.gpt import ACTIVATIONS, dense, divided, grouped_heads, layer_norms
from glassesjax.model.families.keys import MOST_HEADS, MOST_LAYERS, Keys
from glassesjax.model.families.layouts import normed_rows
from glassesjax.model.families.llama import turned
from glassesjax.model.families.rotary import Turning, rotary_of

LAYER = "transformer.h.{}."
TABLE, FINAL = "transformer.word_embeddings.weight", "transformer.ln_f"
MLP = {"mlp.up": "mlp.dense_h_to_4h", "mlp.down": "mlp.dense_4h_to_h"}


def read_falcon(keys: Keys) -> Reading:
    """Falcon: many queries share a key; attention and MLP in parallel; rotation or ALiBi."""
    heads = keys.count("num_attention_heads", "n_head", most=MOST_HEADS)
    model_dim = keys.count("hidden_size", "n_embed")
    head_dim, new = (
        divided(keys, model_dim, heads),
        keys.flag("new_decoder_architecture", default=False),
    )
    keys.neutral("apply_residual_connection_post_layernorm", False)
    keys.neutral("ff_factor", 4, None)
    parallel = keys.flag("parallel_attn", default=True)
    biased, tied = keys.flag("bias", default=False), keys.flag("tie_word_embeddings", default=True)
    activation = keys.choice("activation", of=ACTIVATIONS, default="gelu")
    given = keys.count("num_kv_heads", "n_head_kv", default=heads, most=MOST_HEADS)
    shared = keys.flag("multi_query", default=True)
    kv_heads = given if new else 1 if shared else heads
    if not new and not shared and given != heads:
        raise keys.refusal("num_kv_heads that multi_query false has", f"{given}")
    norm_count = keys.count("num_ln_in_parallel_attn", default=2 if new else 1, most=2)
    if new and not parallel:
        raise keys.refusal("parallel_attn with new_decoder_architecture", "false")
    if norm_count == 2 and not new:
        raise keys.refusal("num_ln_in_parallel_attn 1 without new_decoder_architecture", "2")
    settings: dict[str, Any] = {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("num_hidden_layers", "n_layer", most=MOST_LAYERS),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "model_dim": model_dim,
        "head_dim": head_dim,
        "max_length": keys.count("max_position_embeddings", default=2048),
        "norm": LayerNorm(eps=keys.number("layer_norm_epsilon", default=1e-5)),
        "mlp": DenseMlp(
            activation=ACTIVATIONS[activation],
            dim=keys.count("ffn_hidden_size", default=4 * model_dim),
        ),
        "block": "parallel" if parallel else "sequential",
        "qkv_bias": biased,
        "bias": biased,
        "tied": tied,
    }
    turning = rotary_of(keys, head_dim)
    if keys.flag("alibi", default=False):
        settings["positions"], turning = _falcon_slopes(heads, head_dim), Turning(turning.rotary)
    else:
        settings = turned(settings, turning)
    first = "ln_attn" if norm_count == 2 else "input_layernorm"
    second = "ln_mlp" if norm_count == 2 else first  # one norm is read for both
    second = second if parallel else "post_attention_layernorm"
    weights = sources(
        {"embed.table": TABLE, **layer_norms(LAYER, {"norm1": first, "norm2": second}, FINAL)}
    )
    weights |= dense(LAYER, {**MLP, "attention.output": "self_attention.dense"}, bias=biased)
    weights |= grouped_heads(f"{LAYER}self_attention.query_key_value", bias=biased)
    weights |= {} if tied else sources({"unembed": "lm_head.weight"})
    return Reading(settings, weights, notes=turning.notes)


def _falcon_slopes(heads: int, head_dim: int) -> Alibi:
    """Slopes in bfloat16, and under the scale of the products, unlike in other models."""
    slopes = np.asarray(two_ladders(heads), np.float32).astype(ml_dtypes.bfloat16)
    return Alibi(slopes=tuple(float(slope) / head_dim**0.5 for slope in slopes))


def two_ladders(heads: int) -> list[float]:
    """ALiBi's slopes: of the power of two below, then every other slope of the one above."""
    power = 1 << (heads.bit_length() - 1)
    ladder = lambda count: [2.0 ** (-8 * (head + 1) / count) for head in range(count)]
    return ladder(power) + ladder(2 * power)[::2][: heads - power]


def read_bloom(keys: Keys) -> Reading:
    """BLOOM: ALiBi, and a norm of the embedding, which makes another table of it."""
    heads = keys.count("n_head", "num_attention_heads", most=MOST_HEADS)
    model_dim, eps = (
        keys.count("hidden_size", "n_embed", "n_embd"),
        keys.number("layer_norm_epsilon", default=1e-5),
    )
    keys.neutral("apply_residual_connection_post_layernorm", False)
    keys.neutral("n_inner", 4 * model_dim, None)
    keys.neutral("offset_alibi", 100)
    tied = keys.flag("tie_word_embeddings", default=True)
    settings = {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("n_layer", "num_hidden_layers", most=MOST_LAYERS),
        "num_heads": heads,
        "model_dim": model_dim,
        "head_dim": divided(keys, model_dim, heads),
        "positions": Alibi(slopes=tuple(two_ladders(heads))),
        "norm": LayerNorm(eps=eps),
        "mlp": DenseMlp(dim=4 * model_dim),
        "qkv_bias": True,
        "bias": True,
        "tied": False,  # the unembedding is the table without its norm
    }
    norm_names = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    weights = sources(layer_norms(LAYER, norm_names, FINAL))
    normed = "transformer.word_embeddings_layernorm"
    files = (TABLE, f"{normed}.weight", f"{normed}.bias")
    weights["embed.table"] = Source(files, normed_rows(eps))
    weights |= sources({"unembed": TABLE if tied else "lm_head.weight"})
    weights |= dense(LAYER, {**MLP, "attention.output": "self_attention.dense"}, bias=True)
    weights |= grouped_heads(f"{LAYER}self_attention.query_key_value", bias=True)
    return Reading(settings, weights)
