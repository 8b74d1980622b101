"""A GGUF file in several parts: opened by the first, or refused in one line."""

import importlib.util

import numpy as np
import pytest
from model.made_gguf import LLAMA, Raw, llama_file, llama_tensors, plain_file

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gguf") is None, reason="the package that reads GGUF is not installed"
)
COUNT = 3


def u16(number):
    return Raw(2, number.to_bytes(2, "little"))


def split(number, count=COUNT, total=None):
    total = len(llama_tensors()) if total is None else total
    return {"split.no": u16(number), "split.count": u16(count), "split.tensors.count": total}


def parts(root, change=None, *, pairs=LLAMA, tensors=None):
    """Three parts of a small llama; ``change`` of the pairs of one, by its number from 0."""
    names = list(tensors := llama_tensors() if tensors is None else tensors)
    each = [names[:4], names[4:5], names[5:]]
    for number, some in enumerate(each):
        keys = split(number) | (pairs if number == 0 else {}) | (change or {}).get(number, {})
        path = root / f"made-{number + 1:05}-of-{COUNT:05}.gguf"
        plain_file(
            path, {k: v for k, v in keys.items() if v is not None}, {n: tensors[n] for n in some}
        )
    return root / f"made-00001-of-{COUNT:05}.gguf"


def refused(path, text):
    with pytest.raises(BadInput, match=text) as error:
        open_model(path)
    assert "\n" not in str(error.value)


def test_parts_are_one_model(tmp_path, capsys):
    first = parts(tmp_path)
    ours = open_model(first)
    whole = open_model(llama_file(tmp_path / "whole.gguf"))
    one, two = (flat_parameters(model.decoder) for model in (ours, whole))
    assert all(np.array_equal(one[name], two[name]) for name in two)
    assert ours.source["weights"] == "3 shards in f32"
    assert run(["models", str(first)]) == 0
    assert " in 3 files\n" in capsys.readouterr().out
    before = ours.source["weights_sha256"]
    tensors = llama_tensors()
    tensors["output_norm.weight"] = tensors["output_norm.weight"] + 1  # in the last part
    parts(tmp_path, tensors=tensors)
    assert open_model(first).source["weights_sha256"] != before


def test_another_part_names_the_first(tmp_path):
    parts(tmp_path)
    second = tmp_path / "made-00002-of-00003.gguf"
    refused(second, r"first part .*, got part 2 of 3 in .*: open .*made-00001-of-00003\.gguf")


def test_a_missing_part_is_named(tmp_path):
    first = parts(tmp_path)
    (tmp_path / "made-00003-of-00003.gguf").unlink()
    refused(first, r"3 parts .*, got no .*made-00003-of-00003\.gguf")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({1: {"split.no": u16(2)}}, r"'split\.no' = 2"),
        ({1: {"split.no": None}}, r"'split\.no' = None"),
        ({2: {"split.count": u16(2)}}, r"'split\.count' = 2"),
        ({2: {"split.tensors.count": 99}}, r"'split\.tensors\.count' = 99"),
        ({1: {"general.architecture": "gpt2"}}, "'general.architecture' = 'gpt2'"),
        ({1: {"llama.block_count": 3}}, r"'llama\.block_count' = 3"),
        ({0: {"split.no": u16(1)}}, "got part 2 of 3"),
        ({0: {"split.count": -1}}, r"whole number split\.count"),
        ({0: {"split.count": "3"}}, r"whole number split\.count"),
        ({0: {"split.count": u16(2)}}, "a name as MODEL-00001-of-00002"),
        ({0: {"split.count": 2**31}}, "a name as MODEL-00001-of-2147483648"),
        ({i: {"split.tensors.count": 19} for i in range(3)}, "19 tensors in all parts .*, got 20"),
    ],
    ids=str,
)
def test_a_part_of_another_model_is_refused(tmp_path, change, text):
    refused(parts(tmp_path, change), text)


def test_a_part_under_another_name_is_refused(tmp_path):
    path = parts(tmp_path).rename(tmp_path / "renamed.gguf")
    refused(path, "a name as MODEL-00001-of-00003.gguf, got .*renamed.gguf, a part of a model in 3")


def test_a_tensor_in_two_parts_is_refused(tmp_path):
    first = parts(tmp_path)
    last = tmp_path / "made-00003-of-00003.gguf"
    names = list(tensors := llama_tensors())
    plain_file(last, split(2), {name: tensors[name] for name in names[4:]})
    refused(first, "each tensor in one part, got .* in made-00002-of-00003.gguf and made-00003")


def test_a_file_of_one_part_is_whole(tmp_path):
    pairs = LLAMA | split(0, 1)
    model = open_model(plain_file(tmp_path / "any.gguf", pairs, llama_tensors()))
    assert model.source["weights"] == "any.gguf in f32"
