"""Each architecture of GGUF: the decoder of the same model's folder, or a refusal by name."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_families import ROWS, made
from model.made_folders import folder
from model.made_gguf import plain_file

from glassesjax import open_model
from glassesjax.model import flat_parameters
from glassesjax.model.gguf_families import ARCHITECTURES

if importlib.util.find_spec("gguf") is None:
    pytest.skip("gguf is not installed", allow_module_level=True)
from model.made_conversions import converted

LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8,
}
CASES = {name: ROWS[name] for name in ROWS if name != "opt"}
CASES["mistral"] = ROWS["mistral"] | {"sliding_window": None}
CASES["qwen2"] = ROWS["qwen2"] | {"sliding_window": None, "use_sliding_window": False}
CASES["gemma2"] = ROWS["gemma2"] | {"tie_word_embeddings": True}
CASES["falcon 7b"] = ROWS["falcon"] | {"new_decoder_architecture": False}
CASES["falcon 11b"] = ROWS["falcon"] | {"num_ln_in_parallel_attn": 1}
CASES["gpt_neox sequential"] = ROWS["gpt_neox"] | {
    **{
        "use_parallel_residual": False,
        "attention_bias": False,
        "rotary_pct": 0.5,
        "hidden_size": 16,
    },
}
CASES["llama 3"] = ROWS["llama"] | {"rope_scaling": LLAMA3, "head_dim": 4}
CASES["phi3 plain"] = ROWS["phi3"] | {"rope_scaling": None, "sliding_window": 5}
CASES["llama tied"] = ROWS["llama"] | {"tie_word_embeddings": True, "mlp_bias": True}
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}
CASES["qwen3 yarn"] = ROWS["qwen3"] | {"rope_scaling": YARN}
LINEAR = {"rope_type": "linear", "factor": 2.0}
CASES["gemma3_text linear"] = ROWS["gemma3_text"] | {"rope_scaling": LINEAR, "num_hidden_layers": 7}
TOKENS = jnp.asarray([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], jnp.int32)


def pair(root, case):
    """A folder, and the pairs and tensors of a GGUF file of the same model."""
    kind = case.split()[0]
    config = CASES[case] | {"model_type": kind}
    tensors = made(kind, CASES[case])
    path = folder(root / "folder", config | ({"pad_token_id": 0}), tensors)
    return path, *converted(config, tensors)


@jax.jit
def logits(decoder):
    return decoder.logits(decoder(TOKENS)[0])


@pytest.mark.parametrize("case", CASES)
def test_a_file_and_its_folder_are_the_same_decoder(case, tmp_path):
    path, pairs, tensors = pair(tmp_path, case)
    file = open_model(plain_file(tmp_path / "made.gguf", pairs, tensors))
    other = open_model(path)
    ours, theirs = (flat_parameters(model.decoder) for model in (file, other))
    assert ours.keys() == theirs.keys()
    gemma = case.startswith("gemma")
    for name, weights in ours.items():
        # Gains of Gemma are stored with the one that the family adds.
        more = np.float32(1 if gemma and name.endswith("gain") else 0)
        assert np.array_equal(np.asarray(weights), np.asarray(theirs[name]) + more), name
    one, two = np.asarray(logits(file.decoder)), np.asarray(logits(other.decoder))
    # Roundings of a gain's sum and of factors in float32, in logits of some tens.
    exact = case not in ("llama 3", "phi3") and not gemma
    apart = np.max(np.abs(one - two), axis=1) / np.max(np.abs(two), axis=1)
    assert np.all(np.isfinite(one))
    assert np.max(apart) <= (0 if exact else 1e-5)
    assert file.config.max_length == other.config.max_length or case == "bloom"


def test_every_architecture_is_compared():
    kinds = {case.split()[0] for case in CASES}
    assert {row.family for row in ARCHITECTURES.values()} == kinds
