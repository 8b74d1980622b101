"""Names of models that mean two things or none."""

import os

import jax
import pytest

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig
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
