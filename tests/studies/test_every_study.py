"""What every study of a model shares: which decoder a seed means, and a training that diverges.

How each says that its model has diverged stands in its own file, beside what is compiled there.
"""

import contextlib
import io

import pytest
from studies.made_diverged import SEED, joined, saved_pair

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.model import Rotary
from glassesjax.model.opening import open_headers
from glassesjax.runs.rows import read_rows
from glassesjax.studies.collapse.settings import CollapseSettings

pytestmark = pytest.mark.usefixtures("undrawn", "near", "few_at_once")

CACHE = ("--max-tokens", "8", "--policies", "window", "--slots", "4")
# Small runs of the verbs that measure a model.
VERBS = {
    "collapse": ("--lengths", "1", "2"),
    "bounded": ("--max-tokens", "8"),
    "influence": ("--max-tokens", "4"),
    "perplexity": CACHE,
    "retention": CACHE,
    "longform": CACHE,
    "generate": ("--prompt", "1", "--slots", "4"),
    "recall": (),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with the decoders of seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained") / "models"
    saved_pair(folder, fault=0.5)
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_a_seed_that_the_folder_lacks_is_refused(verb, trained, tmp_path, capsys):
    out = tmp_path / "run"
    assert run([verb, str(trained), *VERBS[verb], "--seed", "7", "--out", str(out)]) == 2
    assert "model-7.safetensors" in capsys.readouterr().err
    assert not out.exists()


def test_a_name_of_one_decoder_has_no_model_seed(trained, tmp_path):
    one = str(trained / f"model-{SEED}.safetensors")
    assert open_model(one, seed=5).seed is None
    assert open_model("counter", seed=5).seed is None
    assert open_model("toy", seed=5).seed == 5
    words = ["retention", one, *VERBS["retention"], "--seed", "5", "--out", str(tmp_path / "run")]
    assert run(words) == 0
    rows = joined(tmp_path / "run")
    assert {(row.get("model_seed"), row["seed"]) for row in rows} == {(None, 5)}


def test_the_packaged_toy_keeps_its_positions():
    settings = CollapseSettings(model="packaged:toy", positions=("rotary",))
    [(name, header)] = open_headers(settings)
    assert name == "rotary"
    assert header.config.positions == Rotary()


def test_rows_of_the_packaged_toy_name_their_positions(tmp_path):
    """As those of ``toy`` do: the name is not that of a model with an encoding of its own."""
    words = ["retention", "packaged:toy", *VERBS["retention"], "--positions", "rotary"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    rows = joined(tmp_path / "run")
    assert {row["positions"] for row in rows} == {"rotary"}


@pytest.fixture(scope="module")
def diverging(tmp_path_factory):
    """A training that diverges: its folder, its status and what it prints."""
    sizes = ("--layers", "1", "--heads", "1", "--width", "4", "--steps", "2", "--chunk", "2")
    words = ["train", "copy_string", *sizes, "--batch", "2", "--examples", "2"]
    words += ["--lengths", "2", "3"]
    out, printed = tmp_path_factory.mktemp("diverging") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run([*words, "--rate", "1e38", "--formats", "f32", "bf16", "--out", str(out)])
    return out, status, printed.getvalue()


def test_a_training_that_diverges_says_so(diverging):
    out, status, said = diverging
    assert status == 1
    assert said.startswith("The unrounded pass is not finite in 5 of 6 rows")
    assert "FAILED the unrounded pass is not finite, in " in said
    rows = [row for row in read_rows(out / "rows.jsonl") if row["kind"] == "answers"]
    assert {(row["format"], row.get("finite"), row["loss"]) for row in rows} == {
        ("f32", False, None), ("bf16", None, None),
    }  # fmt: skip
