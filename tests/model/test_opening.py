"""Which decoder a study measures: the one of its seed, whatever the verb, and the rows say so."""

import hashlib
import os

import jax
import pytest

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig, Mlp, Rotary
from glassesjax.model.stored import save_decoder
from glassesjax.runs.rows import read_rows
from glassesjax.tasks.sequences import SYMBOLS

SIZES = {"num_layers": 1, "num_heads": 1, "model_dim": 4, "max_length": 64}
# The smallest run of each verb that measures a model; recall reads text only, so it has its own.
VERBS = {
    "collapse": ("--families", "ones_bos", "--lengths", "1", "2", "--formats", "bf16"),
    "bounded": ("--policies", "window", "--slots", "4", "--kinds", "collapse", "--families",
                "ones_bos", "--lengths", "1", "8"),
    "influence": ("--max-tokens", "4", "--method", "exact"),
    "perplexity": ("--max-tokens", "8", "--policies", "window", "--slots", "4"),
    "retention": ("--max-tokens", "8", "--policies", "window", "--slots", "4"),
    "generate": ("--prompt", "1,1", "--max-tokens", "2", "--slots", "4"),
    "longform": ("--max-tokens", "8", "--policies", "window", "--slots", "4"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with the decoders of seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained")
    config = DecoderConfig(
        vocab_size=len(SYMBOLS), positions=Rotary(), mlp=Mlp(kind="gelu", dim=8), **SIZES
    )
    for seed in (0, 1):
        decoder = Decoder(config, key=jax.random.key(seed))
        save_decoder(folder / f"model-{seed}.safetensors", decoder, SYMBOLS, {"weights": "made"})
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_the_seed_picks_the_decoder_of_a_run_folder(verb, trained, tmp_path):
    out = tmp_path / "run"
    assert run([verb, str(trained), *VERBS[verb], "--seed", "1", "--out", str(out)]) == 0
    rows = read_rows(out / "rows.jsonl")
    assert rows
    digest = hashlib.sha256((trained / "model-1.safetensors").read_bytes()).hexdigest()
    assert {row["weights_sha256"] for row in rows} == {digest}
    assert {(row["model_seed"], row["seed"]) for row in rows} == {(1, 1)}


@pytest.mark.parametrize("verb", [*VERBS, "recall"])
def test_a_seed_that_the_folder_lacks_is_refused(verb, trained, tmp_path, capsys):
    out = tmp_path / "run"
    assert run([verb, str(trained), *VERBS.get(verb, ()), "--seed", "7", "--out", str(out)]) == 2
    assert "model-7.safetensors" in capsys.readouterr().err
    assert not out.exists()


def test_a_name_of_one_decoder_has_no_model_seed(trained, tmp_path):
    one = str(trained / "model-1.safetensors")
    assert open_model(one, seed=5).seed is None
    assert open_model("counter", seed=5).seed is None
    assert open_model("toy", seed=5).seed == 5
    assert run(["collapse", one, *VERBS["collapse"], "--seed", "5", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "rows.jsonl")
    assert {(row["model_seed"], row["seed"]) for row in rows} == {(None, 5)}


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


def test_the_packaged_toy_keeps_its_positions(tmp_path):
    words = ["collapse", "packaged:toy", *VERBS["collapse"], "--positions", "rotary"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    assert {row["positions"] for row in read_rows(tmp_path / "run" / "rows.jsonl")} == {"rotary"}
