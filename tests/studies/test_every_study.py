"""Every study of a model: it measures the decoder of its seed, and says where one has diverged.

All runs of a study are of one size, and so share what is compiled.
"""

import contextlib
import hashlib
import io

import jax
import jax.numpy as jnp
import pytest

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.model import Decoder, DecoderConfig, Mlp, Rotary
from glassesjax.model.opening import open_headers
from glassesjax.model.stored import save_decoder
from glassesjax.runs.rows import read_rows
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.tasks.sequences import SYMBOLS

pytestmark = pytest.mark.usefixtures("undrawn", "near", "one_program")

SIZES = {"num_layers": 1, "num_heads": 1, "model_dim": 4, "max_length": 64}
CACHE = ("--max-tokens", "8", "--policies", "window", "--slots", "4")
# The smallest run of each verb that measures a model; recall reads text only, so it has its own.
VERBS = {
    "collapse": ("--families", "ones_bos", "--lengths", "1", "2", "--formats", "bf16"),
    "bounded": ("--policies", "window", "--slots", "4", "--families", "ones_bos", "--lengths",
                "1", "8", "--max-tokens", "8", "--method", "exact"),
    "influence": ("--max-tokens", "4", "--method", "exact", "--passages", "1",
                  "--attention", "true"),
    "perplexity": CACHE,
    "retention": CACHE,
    "longform": CACHE,
    "generate": ("--prompt", "1,1", "--max-tokens", "2", "--slots", "4"),
}  # fmt: skip
FAULTS = {"nan": jnp.nan, "inf": jnp.inf}


def saved(path, seed, fault=0.0):
    """A decoder in a file, with something added to a weight."""
    config = DecoderConfig(
        vocab_size=len(SYMBOLS), positions=Rotary(), mlp=Mlp(kind="gelu", dim=8), **SIZES
    )
    decoder = Decoder(config, key=jax.random.key(seed))
    down = decoder.blocks.mlp.down
    down[...] += fault
    save_decoder(path, decoder, SYMBOLS, {"weights": "made"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with the decoders of seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        saved(folder / f"model-{seed}.safetensors", seed)
    return folder


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A file for each fault."""
    folder = tmp_path_factory.mktemp("diverged")
    for name, fault in FAULTS.items():
        saved(folder / f"{name}.safetensors", 0, fault)
    return folder


@pytest.fixture(scope="module", params=VERBS)
def sound(request, trained, tmp_path_factory):
    """A verb and its run on a sound decoder, which compiles what its other runs need."""
    verb, out = request.param, tmp_path_factory.mktemp("sound") / "run"
    return verb, out, run([verb, str(trained), *VERBS[verb], "--seed", "1", "--out", str(out)])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_diverged_model_is_said_to_be_one(sound, fault, diverged, tmp_path, capsys):
    verb, out = sound[0], tmp_path / "run"
    capsys.readouterr()
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


def test_a_sound_model_passes_and_the_seed_picks_the_decoder_of_a_run_folder(sound, trained):
    _, out, status = sound
    assert status == 0
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


def test_the_packaged_toy_keeps_its_positions():
    settings = CollapseSettings(model="packaged:toy", positions=("rotary",))
    [(name, header)] = open_headers(settings)
    assert name == "rotary"
    assert header.config.positions == Rotary()


@pytest.fixture(scope="module")
def diverging(tmp_path_factory):
    """A training that diverges: its folder, its status and what it prints."""
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
    out, printed = tmp_path_factory.mktemp("diverging") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run([*words, "--rate", "1e38", "--formats", "f32", "bf16", "--out", str(out)])
    return out, status, printed.getvalue()


def test_a_training_that_diverges_says_so(diverging):
    out, status, said = diverging
    assert status == 1
    assert "FAILED the unrounded pass is not finite, in " in said
    assert "bf16: the loss is not finite, at " in said
    assert "at none" not in said
    rows = [row for row in read_rows(out / "rows.jsonl") if row["kind"] == "answers"]
    assert {(row["format"], row["finite"], row["loss"]) for row in rows} == {
        ("f32", False, None), ("bf16", None, None),
    }  # fmt: skip


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    """A run in a format that the model leaves: its folder, its status and what it prints."""
    pairs = ("--families", "ones_zero", "--lengths", "1", "2")
    words = ["collapse", "toy", *pairs, "--formats", "e2m2", "--positions", "none"]
    out, printed = tmp_path_factory.mktemp("overflowing") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run([*words, "--out", str(out)])
    return out, status, printed.getvalue()


def test_the_overflow_of_a_format_is_a_result(overflowing):
    out, status, said = overflowing
    assert status == 0
    rows = read_rows(out / "rows.jsonl")
    assert all(row["finite"] for row in rows)
    own = [row for row in rows if row["mode"] == "simulated" and row["curve"] == "signal"]
    lost = [row for row in own if row["distance"] is None]
    assert lost
    assert {row.get("detectable") for row in lost} == {None}
    assert "FAILED" not in said
