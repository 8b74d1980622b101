"""A model that has diverged: every verb says so and ends with status 1, and none calls it equal."""

import jax
import jax.numpy as jnp
import pytest

from glassesjax.cli import run
from glassesjax.model import Decoder, DecoderConfig, Mlp, Rotary
from glassesjax.model.stored import save_decoder
from glassesjax.runs.rows import read_rows
from glassesjax.tasks.sequences import SYMBOLS

pytestmark = pytest.mark.usefixtures("undrawn")

SIZES = {"num_layers": 1, "num_heads": 1, "model_dim": 4, "max_length": 64}
CACHE = ("--max-tokens", "8", "--policies", "window", "--slots", "4")
VERBS = {
    "collapse": ("--families", "ones_bos", "--lengths", "1", "2", "--formats", "bf16"),
    "bounded": ("--policies", "window", "--slots", "4", "--families", "ones_bos", "--lengths",
                "1", "8", "--max-tokens", "8", "--method", "exact"),
    "influence": ("--max-tokens", "4", "--method", "exact", "--passages", "1"),
    "perplexity": CACHE,
    "retention": CACHE,
    "longform": CACHE,
    "generate": ("--prompt", "1,1", "--max-tokens", "2", "--slots", "4"),
}  # fmt: skip
FAULTS = {"nan": jnp.nan, "inf": jnp.inf}


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A file for each fault, and one without."""
    folder = tmp_path_factory.mktemp("diverged")
    config = DecoderConfig(
        vocab_size=len(SYMBOLS), positions=Rotary(), mlp=Mlp(kind="gelu", dim=8), **SIZES
    )
    for name, value in {**FAULTS, "sound": 0.0}.items():
        decoder = Decoder(config, key=jax.random.key(0))
        down = decoder.blocks.mlp.down
        down[...] += value
        save_decoder(folder / f"{name}.safetensors", decoder, SYMBOLS, {"weights": name})
    return folder


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_diverged_model_is_said_to_be_one(verb, fault, diverged, tmp_path, capsys):
    out = tmp_path / "run"
    assert run([verb, str(diverged / f"{fault}.safetensors"), *VERBS[verb], "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "FAILED the unrounded pass is not finite, in " in said
    assert "ot finite, in " in said.replace("FAILED the unrounded pass is not finite, in ", "")
    for word in ("equal", "best", "lowest", "nan"):
        assert word not in said.replace("neither equal nor different", "").replace(
            str(tmp_path), ""
        )
    rows = read_rows(out / "rows.jsonl")
    assert not all(row["finite"] for row in rows if row.get("finite") is not None)


@pytest.mark.parametrize("verb", VERBS)
def test_a_sound_model_passes(verb, diverged, tmp_path):
    out = tmp_path / "run"
    assert run([verb, str(diverged / "sound.safetensors"), *VERBS[verb], "--out", str(out)]) == 0


def test_a_training_that_diverges_says_so(tmp_path, capsys):
    sizes = ("--layers", "1", "--heads", "1", "--width", "4", "--steps", "4", "--chunk", "2")
    words = [
        "train",
        "copy_string",
        *sizes,
        "--batch",
        "2",
        "--examples",
        "2",
        "--lengths",
        "2",
        "3",
    ]
    out = tmp_path / "run"
    assert run([*words, "--rate", "1e38", "--formats", "f32", "bf16", "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "FAILED the unrounded pass is not finite, in " in said
    assert "bf16: the loss is not finite, at " in said
    assert "at none" not in said
    rows = [row for row in read_rows(out / "rows.jsonl") if row["kind"] == "answers"]
    assert {(row["format"], row["finite"], row["loss"]) for row in rows} == {
        ("f32", False, None), ("bf16", None, None),
    }  # fmt: skip


def test_the_overflow_of_a_format_is_a_result(tmp_path, capsys):
    pairs = ("--families", "ones_zero", "--lengths", "1", "2")
    words = ["collapse", "toy", *pairs, "--formats", "e2m2", "--positions", "none"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    rows = read_rows(tmp_path / "run" / "rows.jsonl")
    assert all(row["finite"] for row in rows)
    own = [row for row in rows if row["mode"] == "simulated" and row["curve"] == "signal"]
    lost = [row for row in own if row["distance"] is None]
    assert lost
    assert {row.get("detectable") for row in lost} == {None}
    assert "FAILED" not in capsys.readouterr().out
