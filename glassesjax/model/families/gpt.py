"""GPT-2, GPT-NeoX (Pythia), OPT and StarCoder2: LayerNorm and dense MLPs with biases."""

from typing import Any, Literal

from glassesjax.model.config import Causal, DenseMlp, LayerNorm, Learned, Window
from glassesjax.model.families.family import PLAIN, Layout, Reading, Source, sources
from glassesjax.model.families.keys import MOST_HEADS, MOST_LAYERS, Keys
from glassesjax.model.families.layouts import (
    KEY,
    QUERY,
    VALUE,
    divided_by_layer,
    grouped,
    stacked_rows,
    transposed,
    without_rows,
)
from glassesjax.model.families.llama import sizes, turned, tying
from glassesjax.model.families.rotary import rotary_of

ACTIVATIONS: dict[str, Literal["gelu", "gelu_exact", "relu"]] = {
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "relu": "relu",
}
PARTS = {"query": QUERY, "key": KEY, "value": VALUE}


def layer_norms(layer: str, names: dict[str, str], last: str) -> dict[str, str]:
    """Gains and biases of LayerNorms.

    Args:
      layer: Begin of a layer's names.
      names: The file's name of each of a layer's norms, by ours.
      last: The file's name of the final norm.
    """
    whole = {f"blocks.{ours}": layer + name for ours, name in names.items()}
    whole["final_norm"] = last
    ends = {"gain": "weight", "bias": "bias"}
    return {
        f"{ours}.{our_end}": f"{name}.{end}"
        for ours, name in whole.items()
        for our_end, end in ends.items()
    }


def dense(layer: str, names: dict[str, str], *, bias: bool, layout: Layout = PLAIN) -> dict:
    """Sources of matrices, and of their biases where there are.

    Args:
      layer: Begin of a layer's names.
      names: The file's name of each matrix, by ours.
      bias: Whether each has a bias.
      layout: Of the matrices.
    """
    ours = {f"blocks.{our}": f"{layer}{name}.weight" for our, name in names.items()}
    vectors = {f"blocks.{our}_bias": f"{layer}{name}.bias" for our, name in names.items()}
    return sources(ours, layout) | (sources(vectors) if bias else {})


def read_gpt2(keys: Keys) -> Reading:
    """GPT-2: matrices [in, out], learned positions."""
    layer, heads = "transformer.h.{}.", keys.count("n_head", "num_attention_heads", most=MOST_HEADS)
    length = keys.count("n_positions", "max_position_embeddings")
    model_dim = keys.count("n_embd", "hidden_size")
    activation = keys.choice("activation_function", of=ACTIVATIONS, default="gelu_new")
    width = keys.count("n_inner", default=4 * model_dim)
    scaled = keys.flag("scale_attn_weights", default=True)
    by_layer = keys.flag("scale_attn_by_inverse_layer_idx", default=False)
    tied = keys.flag("tie_word_embeddings", default=True)
    settings = {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("n_layer", "num_hidden_layers", most=MOST_LAYERS),
        "num_heads": heads,
        "model_dim": model_dim,
        "max_length": length,
        "positions": Learned(max_length=length),
        "norm": LayerNorm(eps=keys.number("layer_norm_epsilon", default=1e-5)),
        "mlp": DenseMlp(activation=ACTIVATIONS[activation], dim=width),
        "qkv_bias": True,
        "bias": True,
        "tied": tied,
        "attn_scale": None if scaled else 1.0,
    }
    outer = {"embed.table": "transformer.wte.weight", "embed.positions": "transformer.wpe.weight"}
    norms = layer_norms(layer, {"norm1": "ln_1", "norm2": "ln_2"}, "transformer.ln_f")
    matrices = {"attention.output": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    weights = sources({**outer, **norms})
    weights |= dense(layer, matrices, bias=True, layout=transposed())
    for name, part in PARTS.items():
        for ours, end in (("", "weight"), ("_bias", "bias")):
            layout = stacked_rows(part, conv=end == "weight")
            layout = divided_by_layer(layout) if by_layer and part == QUERY else layout
            file = (f"{layer}attn.c_attn.{end}",)
            weights[f"blocks.attention.{name}{ours}"] = Source(file, layout)
    return Reading(settings, weights if tied else {**weights, **sources(_LM_HEAD)})


_LM_HEAD = {"unembed": "lm_head.weight|embed_out.weight"}


def read_gpt_neox(keys: Keys) -> Reading:
    """GPT-NeoX and Pythia: a fraction of each head rotates; two norms, often in parallel."""
    layer, heads = "gpt_neox.layers.{}.", keys.count("num_attention_heads", most=MOST_HEADS)
    model_dim, biased = keys.count("hidden_size"), keys.flag("attention_bias", default=True)
    activation = keys.choice("hidden_act", of=ACTIVATIONS, default="gelu")
    parallel = keys.flag("use_parallel_residual", default=True)
    tied = keys.flag("tie_word_embeddings", default=False)
    head_dim = divided(keys, model_dim, heads)
    turning = rotary_of(
        keys,
        head_dim,
        theta_keys=("rotary_emb_base", "rope_theta"),
        fraction=0.25,
        fraction_keys=("rotary_pct", "partial_rotary_factor"),
    )
    settings = {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
        "num_heads": heads,
        "model_dim": model_dim,
        "head_dim": head_dim,
        "max_length": keys.count("max_position_embeddings"),
        "norm": LayerNorm(eps=keys.number("layer_norm_eps", "layer_norm_epsilon", default=1e-5)),
        "mlp": DenseMlp(activation=ACTIVATIONS[activation], dim=keys.count("intermediate_size")),
        "block": "parallel" if parallel else "sequential",
        "qkv_bias": biased,
        "bias": True,
        "tied": tied,
    }
    norm_names = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    norms = layer_norms(layer, norm_names, "gpt_neox.final_layer_norm")
    weights = sources({"embed.table": "gpt_neox.embed_in.weight", **norms})
    mlp = {"mlp.up": "mlp.dense_h_to_4h", "mlp.down": "mlp.dense_4h_to_h"}
    weights |= dense(layer, mlp, bias=True)
    weights |= dense(layer, {"attention.output": "attention.dense"}, bias=biased)
    weights |= grouped_heads(f"{layer}attention.query_key_value", bias=biased)
    zeros = frozenset() if biased else frozenset({"blocks.attention.output_bias"})
    weights |= {} if tied else sources(_LM_HEAD)
    return Reading(turned(settings, turning), weights, zeros, turning.notes)


def read_opt(keys: Keys) -> Reading:
    """OPT: positions begin at row 2 of their table; ReLU."""
    layer, heads = "model.decoder.layers.{}.", keys.count("num_attention_heads", most=MOST_HEADS)
    model_dim, length = keys.count("hidden_size"), keys.count("max_position_embeddings")
    biased, tied = (keys.flag(name, default=True) for name in ("enable_bias", _TIE))
    activation = keys.choice("activation_function", of=ACTIVATIONS, default="relu")
    # OPT 350m alone has these: norms after the layer, embeddings of another width.
    keys.neutral("do_layer_norm_before", True)
    keys.neutral("word_embed_proj_dim", model_dim, None)
    keys.neutral("_remove_final_layer_norm", False)
    keys.neutral("layer_norm_elementwise_affine", True)
    settings = {
        "vocab_size": keys.count("vocab_size"),
        "num_layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
        "num_heads": heads,
        "model_dim": model_dim,
        "max_length": length,
        "positions": Learned(max_length=length),
        "norm": LayerNorm(eps=1e-5),
        "mlp": DenseMlp(activation=ACTIVATIONS[activation], dim=keys.count("ffn_dim")),
        "qkv_bias": biased,
        "bias": biased,
        "tied": tied,
    }
    norm_names = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
    norms = layer_norms(layer, norm_names, "model.decoder.final_layer_norm")
    weights = sources({"embed.table": "model.decoder.embed_tokens.weight", **norms})
    table = ("model.decoder.embed_positions.weight",)
    weights["embed.positions"] = Source(table, without_rows(2))
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    matrices = {f"attention.{ours}": f"self_attn.{name}" for ours, name in names.items()}
    weights |= dense(layer, {**matrices, "mlp.up": "fc1", "mlp.down": "fc2"}, bias=biased)
    return Reading(settings, weights if tied else {**weights, **sources(_LM_HEAD)})


_TIE = "tie_word_embeddings"


def read_starcoder2(keys: Keys) -> Reading:
    """StarCoder2: rotation, few keys and values, one window in all layers, biases by one key."""
    layer = "model.layers.{}."
    settings: dict[str, Any] = dict(sizes(keys))
    width = keys.count("sliding_window") if keys.value("sliding_window") is not None else None
    biased = keys.flag("use_bias", default=True)
    activation = keys.choice("hidden_act", of=ACTIVATIONS, default="gelu_pytorch_tanh")
    eps = keys.number("norm_epsilon", default=1e-5)
    # Published files have these from training, beside the keys that count.
    keys.value("activation_function")
    keys.neutral("layer_norm_epsilon", eps, None)
    keys.neutral("norm_type", "layer_norm")
    keys.neutral("mlp_type", "default")
    keys.neutral("scale_attn_weights", True)
    unembedding, extra = tying(keys, default=True)
    settings |= {
        "num_kv_heads": keys.count("num_key_value_heads", default=2, most=MOST_HEADS),
        "mask": Causal() if width is None else Window(width=width),
        "norm": LayerNorm(eps=eps),
        "mlp": DenseMlp(activation=ACTIVATIONS[activation], dim=keys.count("intermediate_size")),
        "qkv_bias": biased,
        "bias": biased,
        **unembedding,
    }
    norm_names = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    norms = layer_norms(layer, norm_names, "model.norm")
    weights = sources({"embed.table": "model.embed_tokens.weight", **norms})
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    matrices = {f"attention.{ours}": f"self_attn.{name}" for ours, name in names.items()}
    mlp = {"mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    weights |= dense(layer, {**matrices, **mlp}, bias=biased) | extra
    turning = rotary_of(keys, settings["head_dim"])
    return Reading(turned(settings, turning), weights, notes=turning.notes)


def divided(keys: Keys, model_dim: int, heads: int) -> int:
    """Width of a head of a family without a key for it."""
    if model_dim % heads:
        raise keys.refusal("a hidden_size divisible by its heads", f"{model_dim} and {heads}")
    if model_dim // heads > MOST_HEADS:
        raise keys.refusal(f"heads of width up to {MOST_HEADS}", f"{model_dim // heads}")
    return model_dim // heads


def grouped_heads(name: str, *, bias: bool) -> dict[str, Source]:
    """Sources of queries, keys and values that are stored group by group."""
    ends = {"": "weight", "_bias": "bias"} if bias else {"": "weight"}
    return {
        f"blocks.attention.{ours}{suffix}": Source((f"{name}.{end}",), grouped(part))
        for ours, part in PARTS.items()
        for suffix, end in ends.items()
    }
