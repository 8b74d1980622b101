"""What a GGUF file says beside its weights: used, or refused by name; never passed over."""

import importlib.util
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from model.made_gguf import (
    Entry,
    Raw,
    header,
    llama_config,
    llama_file,
    llama_tensors,
    padded,
)

from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters, open_gguf
from glassesjax.model.gguf_families import ARCHITECTURES
from glassesjax.model.gguf_file import read_gguf
from glassesjax.model.gguf_keys import NEUTRAL
from glassesjax.model.gguf_tokenizer import SWITCHES, tokenizer_from_gguf
from glassesjax.studies.generate.rows import Job

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gguf", "tokenizers")),
    reason="the packages that read models are not installed",
)


LLAMA_NEUTRAL = {**NEUTRAL, **ARCHITECTURES["llama"].neutral}


def opened(tmp_path, change=None, **options):
    return open_gguf(llama_file(tmp_path / "made.gguf", change, **options))


def refused(tmp_path, text, change=None, **options):
    with pytest.raises(BadInput, match=text) as error:
        opened(tmp_path, change, **options)
    assert "\n" not in str(error.value)


def test_each_tensor_goes_to_its_layer(tmp_path):
    found, given = flat_parameters(opened(tmp_path).decoder), llama_tensors()
    # Pairs of neighboring rows, a head at a time, are put into halves: (heads, half, 2, in).
    keys = given["blk.1.attn_k.weight"].reshape(2, -1, 2, 16)
    keys = np.concatenate([keys[:, :, 0], keys[:, :, 1]], axis=1).reshape(-1, 16)
    assert np.array_equal(found["blocks.attention.key"][1], keys)
    assert np.array_equal(found["blocks.mlp.down"][0], given["blk.0.ffn_down.weight"])
    assert np.array_equal(found["embed.table"], given["token_embd.weight"])
    assert found["blocks.norm1.gain"].dtype == jnp.float32


def test_tensors_are_copies_and_are_read_where_they_are_looked_up(tmp_path):
    _, tensors = read_gguf(llama_file(tmp_path / "made.gguf"))
    assert set(tensors) == llama_tensors().keys()
    first = tensors["output_norm.weight"]
    first[0] = 7  # a view of the file could not be written
    assert tensors["output_norm.weight"][0] == llama_tensors()["output_norm.weight"][0]


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0", "Q4_1", "Q5_0"])
def test_quantized_tensors_are_those_of_the_gguf_package(tmp_path, name):
    import gguf

    kind = gguf.GGMLQuantizationType[name]
    drawn = np.random.default_rng(0).normal(size=(3, 2, 64)).astype(np.float32)
    packed = gguf.quants.quantize(drawn, kind)
    path = tmp_path / "one.gguf"
    table = [Entry("x", (64, 2, 3), int(kind), 0)]
    path.write_bytes(padded(header({}, table)) + packed.tobytes())
    found = read_gguf(path)[1]["x"]
    assert (found.dtype, found.shape) == (np.float32, drawn.shape)
    assert np.array_equal(found, gguf.quants.dequantize(packed, kind))


SCALINGS = [
    ({}, 1.0),
    ({"scaling.factor": 4.0}, 4.0),  # without a type: linear
    ({"scale_linear": 2.5}, 2.5),  # the old key
    ({"scaling.type": "linear", "scale_linear": 2.0}, 2.0),
    ({"scaling.type": "linear", "scaling.factor": 4.0, "scale_linear": 4.0}, 4.0),
    ({"scaling.type": "none", "scaling.factor": 4.0}, 1.0),
    ({"scaling.type": "none", "scale_linear": 4.0}, 1.0),
    ({"scaling.factor": 4.0, "scaling.original_context_length": 16}, 4.0),
]


@pytest.mark.parametrize(("change", "scale"), SCALINGS, ids=str)
def test_linear_scaling_is_read_from_all_its_keys(tmp_path, change, scale):
    model = opened(tmp_path, {f"llama.rope.{name}": given for name, given in change.items()})
    assert model.decoder.config.positions.scale == scale


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scaling.type": "yarn", "scaling.factor": 4.0}, "original_context_length .*got none"),
        ({"scaling.type": "longrope"}, "none or linear or yarn, got 'longrope'"),
        ({"scaling.type": "dynamic"}, "none or linear or yarn, got 'dynamic'"),
        ({"scaling.type": 1}, "none or linear or yarn, got 1"),
        ({"scaling.type": ["linear"]}, "none or linear or yarn, got "),
        ({"scaling.factor": 4.0, "scale_linear": 2.0}, "got 4.0 and 2.0"),
        ({"scaling.factor": 0.0}, r"rope\.scaling\.factor over 0"),
        ({"scale_linear": 0.0}, r"rope\.scale_linear over 0"),
        ({"scale_linear": -1.0}, "scale_linear of at least 0, got -1.0"),
        ({"scale_linear": float("nan")}, "got nan"),
        ({"scaling.factor": True}, "got True"),
        ({"scaling.factor": 4}, r"a floating-point number .*scaling\.factor .*got 4"),
        ({"scaling.factor": "4"}, "got '4'"),
        ({"scaling.attn_factor": 1.2}, r"attn_factor = 1 or without it, got 1\.2"),
        ({"scaling.yarn_log_multiplier": 0.1}, "yarn_log_multiplier"),
        ({"scaling.alpha": 1000.0}, r"rope\.scaling\.alpha"),
        ({"freq_base_swa": 10.0}, "freq_base_swa"),
        ({"dimension_sections": [2, 2]}, "dimension_sections"),
    ],
    ids=str,
)
def test_other_rotations_are_refused(tmp_path, change, text):
    refused(tmp_path, text, {f"llama.rope.{name}": given for name, given in change.items()})


@pytest.mark.parametrize("name", LLAMA_NEUTRAL)
def test_a_key_of_another_function_must_leave_it_as_it_is(tmp_path, name):
    neutral = LLAMA_NEUTRAL[name]
    opened(tmp_path, {f"llama.{name}": neutral})
    match neutral:
        case bool():
            others = [not neutral, 1]
        case str():
            others = ["reference", "Meta AI", "", 1, True]
        case _:
            others = [neutral + 2, neutral + 0.5, "x"]
    others += [float("nan"), [3, 3], not neutral]
    for other in others:
        if other is not neutral:
            refused(tmp_path, rf"llama\.{name} = {neutral} or without it", {f"llama.{name}": other})


def test_an_unknown_key_of_the_architecture_is_refused_and_notes_are_not(tmp_path):
    refused(tmp_path, "got llama.new_scale = 2", {"llama.new_scale": 2})
    refused(tmp_path, "keys of a plain llama model, got llama = 2", {"llama": 2})
    notes = {"llama.rope.scaling.finetuned": True}
    opened(tmp_path, notes | {"general.name": "made", "other.scale": 3.0, "my.array": [1, 2]})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"llama.vocab_size": 6}, "vocab_size of 5, the rows of its table of embeddings, got 6"),
        ({"llama.vocab_size": 4}, "got 4"),
        ({"llama.vocab_size": True}, "got True"),
        ({"llama.attention.value_length": 2}, "value_length as wide as its keys, 4, got 2"),
        ({"llama.attention.head_dim": 2}, "head_dim as wide as its keys, 4, got 2"),
        ({"llama.attention.key_length": 2}, "tensors that fit its configuration"),
        ({"llama.attention.scale": 0.25}, "attention.scale of 1"),
        ({"llama.attention.scale": 0.0}, "attention.scale of 1"),
        ({"llama.feed_forward_length": 32}, "sizes of its tensors, got 32"),
        ({"llama.block_count": 1}, "also 'blk.1"),
        ({"llama.block_count": 3}, r"blk\.2\..* is missing"),
        ({"general.architecture": "granite"}, "got 'granite'"),
        ({"general.type": "adapter"}, "got 'adapter'"),
        ({"general.type": "mmproj"}, "got 'mmproj'"),
        ({"adapter.type": "lora"}, r"a whole model, got adapter\.type = 'lora'"),
        ({"adapter.lora.alpha": 16.0}, r"got adapter\.lora\.alpha"),
        ({"clip.has_vision_encoder": True}, r"got clip\.has_vision_encoder"),
        ({"imatrix.chunk_count": 4}, r"got imatrix\.chunk_count"),
    ],
    ids=str,
)
def test_sizes_that_contradict_are_refused(tmp_path, change, text):
    refused(tmp_path, text, change)


def test_sizes_that_agree_are_accepted(tmp_path):
    agreed = {"vocab_size": 5, "attention.key_length": 4, "attention.value_length": 4}
    agreed |= {"attention.head_dim": 4}  # Ollama's converter writes it as well
    model = opened(tmp_path, {f"llama.{n}": v for n, v in agreed.items()})
    assert model.decoder.config.key_dim == 4
    opened(tmp_path, {"llama.attention.scale": 0.5})


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 1e-13, 3.9e-7])
def test_epsilon_is_the_decimal_that_was_meant(tmp_path, eps):
    change = {"llama.attention.layer_norm_rms_epsilon": eps}  # stored in float32
    assert llama_config(tmp_path / "made.gguf", change).norm.eps == eps


@pytest.mark.parametrize("rows", [4, 6])
def test_each_token_needs_its_row(tmp_path, rows):
    refused(tmp_path, f"got {rows} rows for 5 tokens", tensors=llama_tensors(rows))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.1.attn_q.weight", "output_norm.weight"])
def test_weights_that_are_not_finite_are_refused(tmp_path, name, bad):
    tensors = llama_tensors()
    tensors[name].flat[3] = bad
    refused(tmp_path, f"finite weights, got NaN or infinity in {name} of ", tensors=tensors)


def test_a_scale_of_a_block_that_is_not_finite_is_refused(tmp_path):
    block = struct.pack("<e", np.inf) + bytes([1] * 32)  # Q8_0: a half for 32 weights
    path = tmp_path / "one.gguf"
    path.write_bytes(padded(header({}, [Entry("x", (32,), 8, 0)])) + block)
    with pytest.raises(BadInput, match="NaN or infinity in x"):
        read_gguf(path)[1]["x"]


@pytest.mark.parametrize(
    ("kind", "name", "size"), [(28, "F64", 256), (24, "I8", 32), (26, "I32", 128), (9, "Q8_1", 40)]
)
def test_tensors_of_other_numbers_are_refused_by_name(tmp_path, kind, name, size):
    path = tmp_path / "one.gguf"
    path.write_bytes(padded(header({}, [Entry("x", (32,), kind, 0)])) + bytes(size))
    with pytest.raises(BadInput, match=f"de-quantized to float32, got x of type {name}"):
        read_gguf(path)[1]["x"]


@pytest.mark.parametrize(
    "name",
    ["rope_factors_long.weight", "blk.0.attn_q.bias", "blk.0.attn_q_norm.weight", "a\nb"],
)
def test_tensors_of_another_function_are_refused_by_name(tmp_path, name):
    extra = {name: np.ones(16, np.float32)}
    refused(tmp_path, r"a model of LLaMA.*, got also '", tensors=llama_tensors() | extra)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (np.ones(16), r"\[16\] for \[2\] in rope_freqs\.weight"),
        (np.array([1.0, 0.0]), r"positive numbers in rope_freqs\.weight, got 0\.0"),
        (np.array([1.0, np.nan]), r"got NaN or infinity in rope_freqs\.weight"),
    ],
    ids=str,
)
def test_divisors_of_the_rotation_are_positive_and_one_for_each_pair(tmp_path, numbers, text):
    extra = {"rope_freqs.weight": numbers.astype(np.float32)}
    refused(tmp_path, text, tensors=llama_tensors() | extra)


def test_offsets_of_a_model_are_looked_at(tmp_path):
    for offset in (0, 4, 2**64 - 64, 2**40):
        refused(tmp_path, "they overlap or leave a gap", move={"output_norm.weight": offset})


def test_an_unembedding_of_its_own_is_used(tmp_path):
    own = {"output.weight": np.ones((5, 16), np.float32)}
    model = opened(tmp_path, tensors=llama_tensors() | own)
    assert not model.decoder.config.tied


def test_nothing_of_the_weights_is_read_before_the_header_fits(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "glassesjax.model.gguf_file.GgufTensors.rows", lambda self, name: read.append(name)
    )
    for change in ({"llama.expert_count": 8}, {"tokenizer.ggml.model": "llama"}):
        refused(tmp_path, "Expected", change)
    refused(tmp_path, "rows for 5 tokens", tensors=llama_tensors(6))
    assert read == []


IDS = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "mask", "fim_pre")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("number", [True, False, -1, 5, 2**31, 1.0, "1", [1], Raw(6, b"\x00" * 4)])
def test_a_token_id_is_a_number_of_the_vocabulary(tmp_path, name, number):
    change = {f"tokenizer.ggml.{name}_token_id": number}
    refused(tmp_path, rf"tokenizer\.ggml\.{name}_token_id from 0 below 5, got", change)


def test_ids_that_nothing_uses_may_say_none(tmp_path):
    none = {"tokenizer.ggml.padding_token_id": 2**32 - 1}
    assert opened(tmp_path, none).tokenizer.named == ()
    refused(tmp_path, "eos_token_id from 0", {"tokenizer.ggml.eos_token_id": 2**32 - 1})


def test_the_ends_of_a_turn_and_of_a_message_end_a_text(tmp_path):
    ids = {"eos": 1, "eot": 3, "eom": 4}
    model = opened(tmp_path, {f"tokenizer.ggml.{n}_token_id": i for n, i in ids.items()})
    assert model.tokenizer.ends == {1, 3, 4}
    job = Job(model, ((2,),), None, 1, 1, None)
    assert job.stop_tokens == {1, 3, 4}
    alone = opened(tmp_path, {"tokenizer.ggml.eot_token_id": 2})
    assert alone.tokenizer.ends == {2}  # there need not be an end of a sequence
    assert opened(tmp_path).tokenizer.ends == frozenset()


USER = {
    "tokenizer.ggml.tokens": ["<s>", "a", "b", "c", "ab", "naïve", "  ", "<t>", "<t>x", "x"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 4, 4, 4, 4, 1],
}


def test_user_defined_tokens_are_read_whole(tmp_path):
    model = opened(tmp_path, USER, tensors=llama_tensors(10))
    tokenizer = model.tokenizer
    # The longest mark first, before pairs are merged; and each is written as it is named.
    assert tokenizer.encode("ab<t>x<t>b<s>naïve  c") == (4, 8, 7, 2, 0, 5, 6, 3)
    assert tokenizer.decode((4, 8, 7, 2, 0, 5, 6, 3)) == "ab<t>x<t>b<s>naïve  c"
    assert tokenizer.token_bytes(5) == "naïve".encode()  # ï is no byte here
    assert tokenizer.token_text(6) == "  "


def test_letters_without_a_token_are_not_dropped(tmp_path):
    tokenizer = opened(tmp_path, USER, tensors=llama_tensors(10)).tokenizer
    for text, letter in (("abé", "é"), ("naïveï", "ï"), ("a\nb", r"\\n")):
        with pytest.raises(BadInput, match=f"vocabulary can write, got '{letter}'"):
            tokenizer.encode(text)
    with pytest.raises(BadInput, match="no UTF-8"):
        tokenizer.encode("a\udcff")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tokens": ["<s>", "a", "b", "a", "ab"]}, "different texts, got two of 'a'"),
        ({"token_type": [3, 1, 1, 1, 7]}, "from 1 to 6, got 7"),
        ({"token_type": [3, 1, 1, 1, 0]}, "from 1 to 6, got 0"),
        ({"token_type": [3, 1, 1, 1, -1]}, "from 1 to 6, got -1"),
        ({"token_type": Raw(9, struct.pack("<IQ5?", 7, 5, *[True] * 5))}, "got True"),
        ({"token_type": Raw(9, struct.pack("<IQ5f", 6, 5, *[1.0] * 5))}, r"got 1\.0"),
        ({"add_bos_token": "false"}, "got 'false'"),
        ({"add_bos_token": 1}, "got 1 "),
        ({"add_bos_token": True, "bos_token_id": None}, "got True with bos_token_id None"),
        ({"add_eos_token": True}, "add_eos_token false or without it, got True"),
        ({"add_space_prefix": True}, "add_space_prefix false"),
        ({"add_sep_token": True}, "add_sep_token false"),
        ({"ignore_merges": True}, "ignore_merges false or without it, got True"),
        ({"normalizer.lowercase": True}, r"normalizer\.lowercase false or without it, got True"),
        ({"normalizer.lowercase": 0}, r"normalizer\.lowercase false or without it, got 0"),
        ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces false"),
        ({"normalizer": "x"}, r"keys of a plain byte-level or .*, got tokenizer\.ggml\.norm"),
        ({"precompiled_charsmap": Raw(9, struct.pack("<IQ", 0, 0))}, "got .*precompiled_charsmap"),
        ({"added_tokens": ["d"]}, r"got tokenizer\.ggml\.added_tokens"),
        ({"boz_token_id": 0}, r"got tokenizer\.ggml\.boz_token_id = 0"),
        ({"scores": Raw(9, struct.pack("<IQ3f", 6, 3, *[0.0] * 3))}, "each of 5 tokens, got 3"),
        ({"scores": ["a"] * 5}, "one floating-point number tokenizer.ggml.scores"),
        ({"scores": 1.0}, "one floating-point number tokenizer.ggml.scores"),
        ({"token_type": [3, 1, 1, 1]}, "each of 5 tokens, got 4"),
        ({"pre": 3}, "strings tokenizer.ggml.model and tokenizer.ggml.pre, got 3"),
        ({"pre": "llama-bpe", "ignore_merges": False}, "ignore_merges true or without it"),
    ],
    ids=str,
)
def test_what_would_be_read_otherwise_is_refused(tmp_path, change, text):
    refused(tmp_path, text, {f"tokenizer.ggml.{name}": given for name, given in change.items()})


def test_keys_of_a_tokenizer_that_leave_it_as_it_is(tmp_path):
    given = {"ggml.scores": Raw(9, struct.pack("<IQ5f", 6, 5, *[0.0] * 5)), "chat_template.x": "y"}
    given |= {f"ggml.{name}": False for name in SWITCHES} | {"chat_templates": ["x"]}
    opened(tmp_path, {f"tokenizer.{name}": value for name, value in given.items()})
    for key in ("tokenizer.huggingface.json", "tokenizer.rwkv.world", "tokenizer.merges"):
        refused(tmp_path, f"plain byte-level or .*, got {key} = '", {key: "x"})
    refused(tmp_path, "got tokenizer = 1", {"tokenizer": 1})


def test_a_template_is_a_string_and_finds_the_names_of_the_special_tokens(tmp_path):
    refused(tmp_path, "string tokenizer.chat_template", {"tokenizer.chat_template": 1})
    template = "{{ bos_token }}{{ pad_token }}{{ eos_token is defined }}{{ unk_token is defined }}"
    change = {"tokenizer.chat_template": template, "tokenizer.ggml.padding_token_id": 4}
    letters = [*"TrueFals", "<s>", "ab"]
    made = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": letters,
        "tokenizer.ggml.token_type": [1] * 8 + [3, 1],
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 8,
        "tokenizer.ggml.padding_token_id": 4,
        "tokenizer.chat_template": change["tokenizer.chat_template"],
    }
    tokenizer = tokenizer_from_gguf(made)
    assert tokenizer.decode(tokenizer.encode_chat([])) == "<s>FFalseFalse"


@pytest.mark.parametrize("key", ["tokenizen.ggml.token_type", "x.chat_template", "\nggml.scores"])
def test_a_key_of_a_tokenizer_begins_as_such(tmp_path, key):
    refused(tmp_path, r"keys that begin with tokenizer\., got ", {key: [1] * 5})


def test_a_key_of_another_program_is_a_note(tmp_path):
    opened(tmp_path, {"quantize.imatrix.file": "x", "vendor.quantized_by": "y"})
