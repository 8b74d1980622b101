"""What ``glassesjax models PATH`` prints, from headers alone."""

import importlib.util
import json

import pytest
from model.made_families import family_folder
from model.made_folders import BF16, LLAMA, folder, llama_tensors, written

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.memory import size_text
from glassesjax.model import DecoderConfig, MaskByLayer, PositionsByLayer
from glassesjax.model.config import Causal, GatedMlp, NoPositions, Rotary, Window
from glassesjax.model.describing import describe
from glassesjax.model.opening import encoding_name


def printed(capsys, path, status=0):
    """Lines by their names, and what went to standard error."""
    assert run(["models", str(path)]) == status
    out, err = capsys.readouterr()
    return dict(line.split(None, 1) for line in out.splitlines()), err


def test_a_folder_is_described(tmp_path, capsys):
    path = family_folder(tmp_path / "made", "gemma3_text", BF16)
    lines, _ = printed(capsys, path)
    assert lines["family"] == "Gemma 3"
    assert lines["dtype"] == "bf16"
    assert lines["sizes"] == (
        "2 layers, width 8, 4 heads of 4, 2 key-value heads, 12 hidden units, 11 tokens"
    )
    assert (lines["norm_place"], lines["qk_norm"]) == ("both", "head")
    assert lines["tokenizer"].startswith("token numbers only: ")
    # Two bytes a number, in the file and no more.
    numbers = int(lines["weights"].split(";")[0].replace(",", ""))
    assert lines["bytes"] == f"{size_text(2 * numbers)} in 1 file"


def test_a_file_of_weights_is_described_as_it_is_opened(tmp_path, capsys):
    path = folder(tmp_path / "made", tensors=llama_tensors(BF16))
    other = written(path / "other.safetensors", llama_tensors())
    assert printed(capsys, path / "model.safetensors")[0]["dtype"] == "bf16"
    assert printed(capsys, other)[0]["dtype"] == "f32"
    assert open_model(other).source["weights"] == "other.safetensors in f32"
    (path / "model.safetensors").unlink()
    assert printed(capsys, other)[0]["dtype"] == "f32"


def test_a_name_of_two_meanings_is_refused_as_at_opening(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "toy")
    assert "packaged:toy" in printed(capsys, "toy", status=2)[1]
    assert printed(capsys, "./toy")[0]["family"].startswith("LLaMA")
    assert "family" not in printed(capsys, "packaged:toy")[0]


def test_only_what_is_no_default_is_printed_and_layers_by_kind():
    kinds = (Window(width=3), Window(width=3), Causal(), Window(width=3))
    config = DecoderConfig(
        vocab_size=5,
        num_layers=4,
        mlp=GatedMlp(dim=6),
        mask=MaskByLayer(layers=kinds),
        positions=PositionsByLayer(
            layers=(Rotary(divisors=tuple(map(float, range(1, 17)))),) * 3 + (NoPositions(),)
        ),
    )
    lines = dict(describe(config))
    assert lines["mask"] == "Window(width=3) in layers 0-1, 3; Causal() in layers 2"
    assert lines["positions"] == (
        "Rotary(divisors=(1, ..., 16: 16 numbers)) in layers 0-2; NoPositions() in layers 3"
    )
    assert lines["mlp"] == "GatedMlp(dim=6)"
    assert lines.keys() == {"sizes", "weights", "longest text", "mask", "positions", "mlp"}


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="not installed")
def test_a_tokenizer_is_refused_after_the_model_is_described(tmp_path, capsys):
    path = folder(tmp_path / "made")
    (path / "tokenizer.json").write_text("{}")
    lines, error = printed(capsys, path, status=2)
    assert lines["family"].startswith("LLaMA")
    assert "tokenizer" not in lines
    assert error.count("\n") == 1
    assert "tokenizer.json" in error


def test_a_refused_model_is_one_line(tmp_path, capsys):
    path = folder(tmp_path / "made", LLAMA)
    (path / "config.json").write_text(json.dumps(LLAMA | {"num_local_experts": 8}))
    lines, error = printed(capsys, path, status=2)
    assert not lines
    assert error.count("\n") == 1
    assert "num_local_experts" in error


@pytest.mark.parametrize(("name", "kinds"), [("gemma3_text", "rotary"), ("gpt2", "learned")])
def test_the_encoding_of_a_model_is_that_of_its_layers(name, kinds, tmp_path):
    row = {"num_hidden_layers": 7} if name == "gemma3_text" else {}
    assert encoding_name(open_model(family_folder(tmp_path, name, **row))) == kinds


def test_kinds_of_layers_that_differ_are_all_named(tmp_path):
    path = family_folder(tmp_path, "smollm3", num_hidden_layers=4)
    assert encoding_name(open_model(path)) == "rotary+nopositions"
