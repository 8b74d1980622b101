"""Each architecture of GGUF: the decoder of the same model's folder, or a refusal by name."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_families import ROWS, made
from model.made_folders import folder
from model.made_gguf import Entry, header, padded, plain_file

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import build_decoder, flat_parameters
from glassesjax.model.gguf_families import ARCHITECTURES

if importlib.util.find_spec("gguf") is None:
    pytest.skip("gguf is not installed", allow_module_level=True)
from model.made_conversions import NotInGguf, converted

LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8,
}
CASES = {name: ROWS[name] for name in ROWS if name != "opt"}
CASES["mistral"] = ROWS["mistral"] | {"sliding_window": None}
CASES["starcoder2"] = ROWS["starcoder2"] | {"sliding_window": None}
CASES["starcoder2 plain"] = CASES["starcoder2"] | {
    **{"use_bias": False, "tie_word_embeddings": False, "head_dim": 6},
}
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
CASES["mistral newer"] = CASES["mistral"] | {"rope_theta": 1e6, "head_dim": 4}
CASES["mistral yarn"] = CASES["mistral"] | {"rope_scaling": YARN, "rope_theta": 5e3}
CASES["llama yarn"] = ROWS["llama"] | {"rope_scaling": YARN}
CASES["qwen3 yarn"] = ROWS["qwen3"] | {"rope_scaling": YARN}
LINEAR = {"rope_type": "linear", "factor": 2.0}
CASES["gemma3_text linear"] = ROWS["gemma3_text"] | {"rope_scaling": LINEAR, "num_hidden_layers": 7}
# Files of newer models of Mistral; those of older ones say llama.
OTHER_NAMES = dict.fromkeys(("mistral newer", "mistral yarn"), "mistral3")
TOKENS = jnp.asarray([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], jnp.int32)


def pair(root, case):
    """A folder, and the pairs and tensors of a GGUF file of the same model."""
    kind = case.split()[0]
    config = CASES[case] | {"model_type": kind}
    tensors = made(kind, CASES[case])
    path = folder(root / "folder", config | ({"pad_token_id": 0}), tensors)
    return path, *converted(config, tensors, OTHER_NAMES.get(case))


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


def test_every_architecture_is_compared(tmp_path):
    pairs = (pair(tmp_path / case, case)[1] for case in CASES)
    assert {each["general.architecture"] for each in pairs} == ARCHITECTURES.keys()
    assert {row.family for row in ARCHITECTURES.values()} == {case.split()[0] for case in CASES}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mistral3.rope.scaling.yarn_log_multiplier": 1.0}, "yarn_log_multiplier = 0 or without"),
        ({"mistral3.rope.scaling.attn_factor": 1.5}, "attn_factor = 1 or without it, got 1.5"),
        ({"mistral3.attention.temperature_scale": 0.1}, "temperature_scale = 0 or without it"),
    ],
    ids=str,
)
def test_what_files_of_mistral_scale_otherwise_is_refused(change, text, tmp_path):
    _, pairs, tensors = pair(tmp_path, "mistral yarn")
    with pytest.raises(BadInput, match=text):
        open_model(plain_file(tmp_path / "made.gguf", pairs | change, tensors))


@pytest.mark.parametrize(
    ("case", "is_tied"), [("olmo2", False), ("gpt_neox", False), ("llama", True)]
)
def test_without_an_unembedding_a_file_is_tied_where_llama_cpp_has_it_so(case, is_tied, tmp_path):
    _, pairs, tensors = pair(tmp_path, case)
    assert tensors.pop("output.weight").shape == tensors["token_embd.weight"].shape
    path = plain_file(tmp_path / "made.gguf", pairs, tensors)
    if is_tied:
        assert open_model(path).config.tied
        return
    with pytest.raises(BadInput, match=r"a tensor output\.weight, .*, got none"):
        open_model(path)


PATTERN, BASE = "gemma3.attention.sliding_window_pattern", "gemma3.rope.freq_base_swa"


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({}, "windows by layer, and the base of their rotation, as the family has them"),
        ({BASE: 1e4}, "windows by layer, as the family has them"),
        ({PATTERN: 6}, "the base of layers with a window, as the family has it"),
        ({PATTERN: 6, BASE: 1e4}, None),
    ],
)
def test_a_note_of_gemma_3_names_what_the_file_does_not_say(changed, note, tmp_path):
    _, pairs, tensors = pair(tmp_path, "gemma3_text")
    pairs = {key: value for key, value in pairs.items() if key not in (PATTERN, BASE)}
    weights = open_model(plain_file(tmp_path / "made.gguf", pairs | changed, tensors)).source
    said = [part for part in weights["weights"].split("; ") if "as the family" in part]
    assert said == ([] if note is None else [note])


def test_a_rotation_is_stretched_once(tmp_path):
    _, pairs, tensors = pair(tmp_path, "llama yarn")
    tensors["rope_freqs.weight"] = np.ones(1, np.float32)
    with pytest.raises(BadInput, match=r"one scaling .*got yarn, and rope_freqs\.weight"):
        open_model(plain_file(tmp_path / "made.gguf", pairs, tensors))


WIDE = {"hidden_size": 64, "intermediate_size": 96, "n_embd": 64}


@pytest.mark.parametrize("name", ["Q8_0", "Q4_1", "BF16"])
@pytest.mark.parametrize("case", ["llama tied", "phi3 plain", "falcon", "bloom", "gpt2"])
def test_rows_are_put_in_order_as_they_are_packed(case, name, tmp_path):
    import gguf

    kind = case.split()[0]
    sizes = {key: size for key, size in WIDE.items() if key in CASES[case]}
    config = CASES[case] | sizes
    pairs, tensors = converted(config | {"model_type": kind}, made(kind, config))
    quantization = gguf.GGMLQuantizationType[name]
    matrix = lambda array: array.ndim == 2
    packed = {n: gguf.quants.quantize(a, quantization) for n, a in tensors.items() if matrix(a)}
    numbers = {n: gguf.quants.dequantize(a, quantization) for n, a in packed.items()}
    table, data = [], b""
    for each, array in tensors.items():
        stored = packed.get(each, array)
        table.append(
            Entry(each, array.shape[::-1], quantization if each in packed else 0, len(data))
        )
        data += padded(stored.tobytes())
    path = tmp_path / "packed.gguf"
    path.write_bytes(padded(header(pairs, table)) + data)
    model = open_model(path)
    whole = open_model(plain_file(tmp_path / "plain.gguf", pairs, tensors | numbers))
    ours, theirs = (flat_parameters(each.decoder) for each in (model, whole))
    assert all(np.array_equal(ours[each], theirs[each]) for each in theirs)
    assert name.lower() in model.source["weights"].lower()
    narrow = open_model(path, dtype="bfloat16")
    assert {str(a.dtype) for a in flat_parameters(narrow.decoder).values()} == {"bfloat16"}
    assert "rounded to bf16" in narrow.source["weights"]


@pytest.mark.parametrize(
    ("case", "change", "text"),
    [
        (
            "qwen2",
            {"qwen2.attention.sliding_window": 5},
            r"sliding_window = 0 or without it, got 5",
        ),
        ("gemma3_text", {"gemma3.rope.freq_base": None}, r"number gemma3\.rope\.freq_base"),
        ("gemma3_text", {"gemma3.attention.sliding_window": None}, "sliding_window of at least 1"),
        ("bloom", {"bloom.feed_forward_length": 33}, "of 32, four times its width, got 33"),
        ("gpt2", {"gpt2.attention.head_count_kv": 2}, "of 4, that of its queries, got 2"),
        ("gpt2", {"gpt2.rope.freq_base": 10.0}, "plain gpt2 model, got gpt2.rope.freq_base"),
        ("qwen3 yarn", {"qwen3.rope.scaling.yarn_ext_factor": 0.5}, "yarn_ext_factor = 1"),
        ("qwen3 yarn", {"qwen3.rope.scaling.original_context_length": None}, "got none"),
        ("falcon", {"falcon.tensor_data_layout": "other"}, "= jploski or without it"),
        ("gpt_neox", {"gptneox.use_parallel_residual": 1}, "use_parallel_residual true or false"),
        ("falcon", {"falcon.use_parallel_residual": False}, "use_parallel_residual = True"),
    ],
    ids=str,
)
def test_keys_that_are_another_function_are_refused(case, change, text, tmp_path):
    _, pairs, tensors = pair(tmp_path, case)
    pairs = {key: value for key, value in (pairs | change).items() if value is not None}
    with pytest.raises(BadInput, match=text) as error:
        open_model(plain_file(tmp_path / "made.gguf", pairs, tensors))
    assert "\n" not in str(error.value)


def test_a_file_needs_both_lists_of_factors(tmp_path):
    _, pairs, tensors = pair(tmp_path, "phi3")
    del tensors["rope_factors_short.weight"]
    with pytest.raises(BadInput, match=r"got no rope_factors_short\.weight"):
        open_model(plain_file(tmp_path / "made.gguf", pairs, tensors))


@pytest.mark.parametrize("kind", ["opt", "mistral", "qwen2"])
def test_what_the_format_has_no_key_for_is_not_converted(kind):
    with pytest.raises(NotInGguf):
        converted(ROWS[kind] | {"model_type": kind}, made(kind, ROWS[kind]))


def test_a_file_may_rotate_a_part_of_the_coordinates_of_any_family(tmp_path):
    _, pairs, tensors = pair(tmp_path, "llama tied")
    whole = open_model(plain_file(tmp_path / "whole.gguf", pairs, tensors))
    some = {**pairs, "llama.rope.dimension_count": 0}
    assert pairs["llama.rope.dimension_count"] == whole.config.key_dim == 2
    none = open_model(plain_file(tmp_path / "none.gguf", some, tensors))
    assert (whole.config.positions.fraction, none.config.positions.fraction) == (1.0, 0.0)
    # The logits are those of the same weights with that share.
    config = dataclasses.replace(whole.config, positions=none.config.positions)
    other = build_decoder(config, flat_parameters(whole.decoder))
    assert np.array_equal(logits(none.decoder), logits(other))
    assert not np.array_equal(logits(none.decoder), logits(whole.decoder))


def test_a_part_of_coordinates_with_a_stretched_rotation_is_refused(tmp_path):
    _, pairs, tensors = pair(tmp_path, "qwen3 yarn")
    some = {**pairs, "qwen3.rope.dimension_count": 2}
    with pytest.raises(BadInput, match=r"qwen3\.rope\.dimension_count of the head's width .*got 2"):
        open_model(plain_file(tmp_path / "some.gguf", some, tensors))


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
def test_weights_that_are_not_finite_are_refused_without_a_warning(value, tmp_path):
    _, pairs, tensors = pair(tmp_path, "bloom")
    tensors["token_embd.weight"][3] = value
    tensors["token_embd_norm.weight"][0] = 3e38
    # A NaN that signals, as damage makes it, warns where it is cast.
    tensors["token_embd.weight"].view(np.uint32)[2, 1] = 0x7F800001
    with pytest.raises(
        BadInput, match=r"finite weights, got NaN or infinity in token_embd\.weight"
    ):
        open_model(plain_file(tmp_path / "made.gguf", pairs, tensors))
