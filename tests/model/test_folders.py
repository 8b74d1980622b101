"""Folders of models: what opens, bit for bit, and spoiled ones, each refused in one line."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_folders import BF16, LLAMA, folder, llama_tensors, sharded, written

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters
from glassesjax.model.narrow import under
from glassesjax.precision import F16, F32, RoundingPlan

INDEX = "model.safetensors.index.json"
TOKENS = jnp.asarray([1, 5, 2, 9, 0, 3], jnp.int32)


@jax.jit
def logits(decoder):
    return decoder.logits(decoder(TOKENS)[0])


def test_one_file_and_shards_are_the_same_model(tmp_path):
    whole = open_model(folder(tmp_path / "whole"))
    parts = open_model(sharded(tmp_path / "parts"))
    tensors = llama_tensors()
    arrays, others = flat_parameters(whole.decoder), flat_parameters(parts.decoder)
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
    query = [tensors[f"model.layers.{i}.self_attn.q_proj.weight"] for i in range(2)]
    assert np.array_equal(arrays["blocks.attention.query"], np.stack(query))
    assert (whole.source["weights"], parts.source["weights"]) == (
        "model.safetensors in f32",
        "2 shards in f32",
    )


@pytest.mark.parametrize("dtype", [BF16, np.float16], ids=["bf16", "f16"])
def test_16_bits_are_kept_and_computed_with_in_float32(dtype, tmp_path):
    tensors = llama_tensors(dtype)
    narrow = open_model(folder(tmp_path, tensors=tensors))
    wide = open_model(tmp_path, dtype="float32")
    assert narrow.decoder.dtype == jnp.dtype(dtype)
    assert narrow.decoder.plan.dtype == jnp.float32
    table = flat_parameters(narrow.decoder)["embed.table"]
    assert np.asarray(table).tobytes() == tensors["model.embed_tokens.weight"].tobytes()
    assert wide.decoder.plan == RoundingPlan.wide()
    # The same products of the same numbers; only the order of a sum may differ.
    size = np.max(np.abs(logits(wide.decoder)))
    assert np.max(np.abs(logits(narrow.decoder) - logits(wide.decoder))) <= 200 * 2.0**-24 * size


def test_rounding_at_opening_is_in_the_rows(tmp_path):
    model = open_model(folder(tmp_path), dtype="bfloat16")
    assert model.source["weights"] == "model.safetensors in f32; rounded to bf16"


def test_content_and_not_a_name_decides(tmp_path):
    path = folder(tmp_path / "a.gguf")
    names = [path, path / "config.json", path / "model.safetensors"]
    assert len({open_model(name).source["weights_sha256"] for name in names}) == 1
    shutil.move(path / "model.safetensors", path / "weights")
    assert open_model(path / "weights").source["weights"] == "weights in f32"


def test_both_dialects_are_one_model(tmp_path):
    scaling = {"type": "linear", "factor": 2.0}
    old = open_model(folder(tmp_path / "old", {**LLAMA, "rope_scaling": scaling}))
    given = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    new = {name: value for name, value in LLAMA.items() if name != "rope_theta"}
    new = open_model(folder(tmp_path / "new", {**new, "rope_parameters": given}))
    assert old.config == new.config
    assert old.config.positions.scale == 2.0


def test_a_pair_of_surrogates_is_a_letter(tmp_path):
    path = folder(tmp_path / "pair", {**LLAMA, "_name_or_path": "\U0001f600"})
    assert "\\ud83d\\ude00" in (path / "config.json").read_text()
    assert open_model(path).config == open_model(folder(tmp_path / "plain")).config


def spoiled_config(**changes):
    def spoil(path):
        (path / "config.json").write_text(json.dumps({**LLAMA, **changes}))

    return spoil


def text_config(text):
    return lambda path: (path / "config.json").write_bytes(text)


def spoiled_header(change):
    return lambda path: written(path / "model.safetensors", llama_tensors(), change=change)


def spoiled_index(change):
    def spoil(path):
        (path / "model.safetensors").unlink()
        sharded(path)
        index = json.loads((path / INDEX).read_text())
        change(path, index["weight_map"])
        (path / INDEX).write_text(json.dumps(index))

    return spoil


def bytes_of(change):
    def spoil(path):
        file = path / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return spoil


def with_header(data, change):
    """A safetensors file with another text of its header."""
    length = int.from_bytes(data[:8], "little")
    text = change(data[8 : 8 + length].rstrip())
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def index_text(change):
    def spoil(path):
        (path / "model.safetensors").unlink()
        sharded(path)
        text = change((path / INDEX).read_text())
        (path / INDEX).write_text(text)

    return spoil


def only_pickle(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def emptied(path):
    for file in path.iterdir():
        file.unlink()


def dangling(name):
    def spoil(path):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(path / "gone")

    return spoil


def dangling_index(path):
    (path / "model.safetensors").unlink()
    (path / INDEX).symlink_to(path / "gone")


def adapter(name):
    return lambda path: (path / name).write_bytes(b"{}")


def adapter_alone(path):
    emptied(path)
    (path / "adapter_config.json").write_text("{}")


def moved(name, **changes):
    return lambda header: header[name].update(changes)


def pointing(file):
    return lambda path, places: places.update({"lm_head.weight": file})


def linked(path, places):
    outside = path.parent / "elsewhere.safetensors"
    shutil.move(path / places["lm_head.weight"], outside)
    (path / places["lm_head.weight"]).symlink_to(outside)


def tensors_with(**changes):
    def spoil(path):
        every = {**llama_tensors(), **changes}
        written(path / "model.safetensors", {n: a for n, a in every.items() if a is not None})

    return spoil


HEAD, NORM = "lm_head.weight", "model.norm.weight"
SPOILED = {
    "missing shard": (spoiled_index(lambda p, m: (p / m[HEAD]).unlink()), "cannot be read"),
    "index above": (spoiled_index(pointing("../x.safetensors")), "plain names"),
    "index absolute": (spoiled_index(pointing("/etc/passwd")), "plain names"),
    "index of no text": (spoiled_index(pointing(3)), "got 3"),
    "link outside": (spoiled_index(linked), "a link to elsewhere"),
    "index without": (spoiled_index(lambda p, m: m.pop(HEAD)), "also 'lm_head.weight'"),
    "index with more": (
        spoiled_index(lambda p, m: m.update(more=m[HEAD])),
        "'more' is missing",
    ),
    "cut header": (bytes_of(lambda data: data[:100]), "header of"),
    "huge header": (bytes_of(lambda data: b"\xff" * 7 + b"\x7f{" + data[9:]), "header of"),
    "cut data": (bytes_of(lambda data: data[:-4]), "tensor"),
    "more data": (bytes_of(lambda data: data + b"0000"), "bytes where its tensors end"),
    "empty file": (bytes_of(lambda data: b""), "header of 0 bytes"),
    "overlap": (spoiled_header(moved(NORM, data_offsets=[0, 32])), "overlap"),
    "unknown dtype": (spoiled_header(moved(NORM, dtype="F7")), "unknown dtype"),
    "dtype of numbers": (spoiled_header(moved(NORM, dtype="I32")), "I32"),
    "negative shape": (spoiled_header(moved(NORM, shape=[-8])), r"shape \[-8\]"),
    "negative offset": (spoiled_header(moved(NORM, data_offsets=[-32, 0])), "at bytes -32"),
    "shape of text": (spoiled_header(moved(NORM, shape="8")), "shape '8'"),
    "no entry": (spoiled_header(lambda header: header.update(more=3)), "without dtype"),
    "layers off": (spoiled_config(num_hidden_layers=3), r"3 layers .* is missing"),
    "too few layers": (spoiled_config(num_hidden_layers=1), "also 'model.layers.1"),
    "text as a number": (spoiled_config(hidden_size="8"), "got '8'"),
    "negative size": (spoiled_config(hidden_size=-8), "got -8"),
    "huge size": (spoiled_config(vocab_size=2**31 - 1), "sizes"),
    "huge integer": (text_config(b'{"vocab_size": ' + b"9" * 9999 + b"}"), "JSON"),
    "NaN": (text_config(b'{"rms_norm_eps": NaN}'), "the number NaN"),
    "a list": (text_config(b"[]"), "a JSON list"),
    "a key twice": (text_config(b'{"a": 1, "a": 2}'), "'a' twice"),
    "a key twice in an object": (
        text_config(b'{"rope_scaling": {"factor": 2.0, "factor": 4.0}}'),
        "'factor' twice",
    ),
    "a tensor twice": (
        bytes_of(lambda data: with_header(data, lambda text: text[:-1] + b"," + text[1:])),
        "a header that is no JSON .the key '[^']*' twice",
    ),
    "a shard twice": (
        index_text(lambda text: text.replace('"weight_map"', '"weight_map": {}, "weight_map"')),
        "index of a model's shards as JSON.*the key 'weight_map' twice",
    ),
    "nested": (text_config(b'{"a":' * 100_000), "brackets|JSON"),
    "no configuration": (lambda path: (path / "config.json").unlink(), "cannot be read"),
    "empty folder": (emptied, "got"),
    "only a pickle": (only_pickle, "a pickle, which could run any program.*save_pretrained"),
    "another shape": (tensors_with(**{NORM: np.ones(9, np.float32)}), "fit its configuration"),
    "a tensor missing": (tensors_with(**{HEAD: None}), "lm_head.weight is missing"),
    "a tensor more": (tensors_with(odd=np.ones(9, np.float32)), "also 'odd'"),
    "not finite": (tensors_with(**{NORM: np.full(8, np.inf, np.float32)}), "NaN or infinity"),
    "tied to another": (spoiled_config(tie_word_embeddings=True), "unembedding of a tied model"),
    "unknown key": (spoiled_config(attention_twist=2), "'attention_twist' = 2"),
    "experts": (spoiled_config(model_type="mixtral"), "a mixture of experts"),
    "MLA": (spoiled_config(model_type="deepseek_v3"), "MLA"),
    "sinks": (spoiled_config(model_type="gpt_oss"), "sink logits"),
    "encoder": (spoiled_config(model_type="t5"), "an encoder"),
    "quantized": (spoiled_config(quantization_config={"quant_method": "gptq"}), "'gptq'"),
    "dynamic": (
        spoiled_config(rope_scaling={"type": "dynamic", "factor": 2.0}),
        "dynamic NTK",
    ),
    "index of a half surrogate": (
        spoiled_index(pointing("\ud800")),
        r"index of a model's shards as JSON.*a text that is no UTF-8, with '\\ud800'",
    ),
    "tensor of a half surrogate": (
        spoiled_header(lambda header: header.update({"a\udcff": header.pop(NORM)})),
        r"no UTF-8, with '\\udcff'",
    ),
    "key of a half surrogate": (spoiled_config(**{"\ud800": 1}), r"no UTF-8, with '\\ud800'"),
    "value of a half surrogate": (
        spoiled_config(architectures=["\ud800"]),
        r"no UTF-8, with '\\ud800'",
    ),
    "half surrogate as bytes": (text_config(b'{"a": "\xed\xa0\x80"}'), r"with '\\ud800'"),
    "dangling configuration": (dangling("config.json"), r"config.json'.*a link that leads nowhere"),
    "dangling weights": (dangling("model.safetensors"), "a link that leads nowhere"),
    "dangling index": (dangling_index, r"index.json'.*a link that leads nowhere"),
    "adapter": (adapter("adapter_config.json"), r"an adapter.*adapter_config.json.*merge_and_unl"),
    "adapter's weights": (adapter("adapter_model.safetensors"), "got adapter_model.safetensors"),
    "dangling adapter": (dangling("adapter_config.json"), "without an adapter"),
    "adapter alone": (adapter_alone, "without an adapter"),
    "classifier": (spoiled_config(architectures=["LlamaForSequenceClassification"]), "Sequence"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_folder_is_refused_in_one_line(kind, tmp_path):
    spoil, text = SPOILED[kind]
    path = folder(tmp_path / "model")
    spoil(path)
    with pytest.raises(BadInput, match=text) as error:
        open_model(path)
    assert "\n" not in str(error.value)


def test_a_plan_that_rounds_nothing_keeps_weights_of_16_bits(tmp_path):
    narrow = open_model(folder(tmp_path, tensors=llama_tensors(BF16))).decoder
    for plan in (RoundingPlan.wide(), RoundingPlan.everywhere(F32, mode="native")):
        kept = under(narrow, plan)
        assert kept.dtype == jnp.bfloat16
        assert kept.plan.dtype == jnp.float32
        assert np.array_equal(logits(kept), logits(narrow))
    rounded = under(narrow, RoundingPlan.everywhere(F16, mode="native"))
    assert rounded.dtype == jnp.float16
