"""Each family: a small configuration opens with weights under the names and shapes of its files."""

import numpy as np
import pytest
from model.made_folders import LLAMA, folder

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters
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


def test_every_family_has_a_row():
    assert ROWS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_family_opens_and_refuses_an_unknown_key(name, tmp_path):
    config = ROWS[name] | {"model_type": name}
    tensors = made(name, ROWS[name])
    model = open_model(folder(tmp_path / "whole", config, tensors))
    arrays = flat_parameters(model.decoder)
    assert all(np.isfinite(np.asarray(array)).all() for array in arrays.values())
    # Without the prefix, as some files are, it is the same model.
    prefix = FAMILIES[name].prefix
    bare = {file.removeprefix(prefix): array for file, array in tensors.items()}
    again = flat_parameters(open_model(folder(tmp_path / "bare", config, bare)).decoder)
    assert all(np.array_equal(arrays[ours], again[ours]) for ours in arrays)
    with pytest.raises(BadInput, match="'attention_twist' = 1"):
        open_model(folder(tmp_path / "odd", config | {"attention_twist": 1}, tensors))


def test_longrope_is_fixed_to_its_original_length(tmp_path):
    config = ROWS["phi3"] | {"model_type": "phi3"}
    model = open_model(folder(tmp_path, config, made("phi3", ROWS["phi3"])))
    assert model.config.max_length == 16
    assert "rotary factors of texts to 16 tokens" in model.source["weights"]


def test_grouped_rows_are_split_by_hand(tmp_path):
    config = ROWS["falcon"] | {"model_type": "falcon"}
    tensors = made("falcon", ROWS["falcon"])
    # Two groups of two queries, a key and a value, each of two rows.
    fused = tensors["transformer.h.1.self_attention.query_key_value.weight"]
    arrays = flat_parameters(open_model(folder(tmp_path, config, tensors)).decoder)
    rows = {"query": [0, 1, 2, 3, 8, 9, 10, 11], "key": [4, 5, 12, 13], "value": [6, 7, 14, 15]}
    for ours, index in rows.items():
        assert np.array_equal(arrays[f"blocks.attention.{ours}"][1], fused[index])
