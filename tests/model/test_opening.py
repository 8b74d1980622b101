"""Names of models that mean two things or none."""

import os

import jax
import pytest

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig, flat_parameters, pretrained
from glassesjax.model.stored import save_decoder
from glassesjax.tasks.sequences import SYMBOLS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with the decoders of seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = {"num_layers": 1, "num_heads": 1, "model_dim": 4}
    config = DecoderConfig(vocab_size=len(SYMBOLS), **sizes)
    for seed in (0, 1):
        decoder = Decoder(config, key=jax.random.key(seed))
        save_decoder(folder / f"model-{seed}.safetensors", decoder, SYMBOLS, {"weights": "made"})
    return folder


@pytest.mark.parametrize("name", ["count_ones", "toy", "counter", "smollm2"])
def test_a_name_with_two_meanings_is_refused(name, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(trained)
    with pytest.raises(BadInput, match=rf"packaged:{name} or \.{os.sep}{name}\."):
        open_model(name)
    assert open_model(f"./{name}", seed=1).seed == 1
    assert open_model("packaged:count_ones").name == "count_ones"


def test_a_folder_of_other_things_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counter").mkdir()
    (tmp_path / "counter" / "notes.txt").write_text("ones")
    assert open_model("counter").name == "counter"
    with pytest.raises(BadInput, match="packaged:"):
        open_model("packaged:nothing")


MESH = jax.make_mesh((1,), ("model",))


@pytest.mark.parametrize("name", ["toy", "counter", "count_ones", "file", "run"])
def test_a_model_without_the_choice_refuses_a_dtype(name, trained):
    paths = {"file": str(trained / "model-0.safetensors"), "run": str(trained)}
    with pytest.raises(BadInput, match="a folder or a GGUF file with a dtype") as error:
        open_model(paths.get(name, name), dtype="bfloat16")
    assert "\n" not in str(error.value)
    assert repr(paths[name]) in str(error.value) if name in paths else name in str(error.value)


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn", "nothing", 3, ["float32"], "f33"])
def test_a_dtype_of_no_weights_is_refused_before_a_file_is_read(dtype, tmp_path):
    from model.made_folders import folder
    from model.made_gguf import llama_file

    broken = folder(tmp_path / "folder")
    (broken / "model.safetensors").write_bytes(b"no header")
    cut = llama_file(tmp_path / "made.gguf")
    cut.write_bytes(cut.read_bytes()[:50])
    for path in (broken, cut):
        with pytest.raises(BadInput, match=r"Expected a dtype.*use one of") as error:
            open_model(path, dtype=dtype)
        assert "\n" not in str(error.value)


def test_smollm2_takes_a_dtype_and_a_mesh(tmp_path, monkeypatch):
    from model.made_gguf import llama_file

    monkeypatch.setattr(pretrained, "smollm2_file", lambda: llama_file(tmp_path / "made.gguf"))
    wide, narrow = open_model("smollm2"), open_model("smollm2", dtype="bfloat16", mesh=MESH)
    assert (wide.name, narrow.name) == ("smollm2", "smollm2")
    assert (wide.decoder.dtype.name, narrow.decoder.dtype.name) == ("float32", "bfloat16")
    assert "rounded to bf16" in narrow.source["weights"]
    assert "rounded" not in wide.source["weights"]
    weights = flat_parameters(narrow.decoder).values()
    assert all(array.sharding.device_set == {*MESH.devices.flat} for array in weights)
