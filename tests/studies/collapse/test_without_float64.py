"""Where the backend has no float64, reference precision is float32 with a measured resolution."""

import re

import numpy as np
import pytest

from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model.pretrained import open_model
from glassesjax.precision import F32, F64, wide
from glassesjax.studies.collapse.measure import _Passes, measure
from glassesjax.studies.collapse.rows import Pairs
from glassesjax.studies.collapse.run import open_run
from glassesjax.studies.collapse.settings import CollapseSettings

LENGTHS = (8, 512)
SETTINGS = CollapseSettings(
    model="toy",
    families=("doubled_digits", "ones"),
    lengths=LENGTHS,
    formats=("bf16",),
    positions=("none",),
)


@pytest.fixture(scope="module")
def model():
    return open_model("toy", positions="none")


def measured(model):
    return [row for _, rows in measure(SETTINGS, "none", model) for row in rows]


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A run of the command in float32."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("--families", "ones", "--lengths", "8", "256", "--formats", "f32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "_fault", lambda name: "whose float64 has fewer bits")
        assert run(["collapse", "toy", *words, "--positions", "none", "--out", str(out)]) == 0
    return out


def keyed(rows):
    return {
        (r.format, r.family, r.curve, r.norm, r.length): r for r in rows if r.mode == "reference"
    }


@pytest.fixture
def lacking(monkeypatch):
    monkeypatch.setattr(wide, "_fault", lambda name: "whose float64 has fewer bits")


@pytest.fixture(scope="module")
def exact(model):
    return measured(model)


@pytest.fixture(scope="module")
def found(model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "_fault", lambda name: "whose float64 has fewer bits")
        return measured(model)


def test_page_and_terminal_name_float32(folder):
    page, rows = ((folder / name).read_text() for name in ("index.html", "rows.jsonl"))
    assert "Reference precision is float32" in page
    assert "computed in float32" in page
    assert "computed in float64" not in page
    assert "reference" in rows
    assert "native" not in rows  # nothing is wider than float32's own arithmetic


def test_with_float64_it_is_the_reference(exact):
    assert {row.dtype for row in exact if row.mode == "reference"} == {"float64"}


def test_the_layers_keep_theorem_4_2_in_float32(found):
    bounds = [row.layer_bounds for row in found if row.layer_bounds]
    assert len(bounds) == 2  # of each family
    assert not any(each.exceeded for each in bounds)


def test_rows_say_that_the_reference_is_float32(found):
    assert {row.dtype for row in found if row.mode == "reference"} == {"float32"}


def test_the_resolution_covers_the_true_error_at_every_length(exact, found):
    exact, found = keyed(exact), keyed(found)
    assert exact.keys() == found.keys()
    signals = [key for key in found if key[2] == "signal" and key[3] != "ulp"]
    assert len(signals) == 2 * 4 * len(LENGTHS)
    for key in signals:
        # Both ends of a difference err; the resolution is eight times the largest error of one.
        assert abs(found[key].distance - exact[key].distance) <= found[key].resolution, key
        assert found[key].resolution > 1e3 * exact[key].resolution
    # With the resolution of float64 it would not: the comparison can fail.
    errors = [abs(found[key].distance - exact[key].distance) for key in signals]
    told = [exact[key].resolution for key in signals]
    assert any(error > most for error, most in zip(errors, told, strict=True))


@pytest.mark.parametrize(
    ("counts", "some", "read"),
    [
        ((8, 65, 64, 200), [0, 2], 64),  # a text of more characters may have fewer tokens
        ((300, 128, 512), [1], 128),  # the shortest, where all are long
    ],
)
def test_the_host_reads_short_prompts_and_errors_grow_beyond_them(model, counts, some, read):
    prompts = tuple((1,) * count for count in counts)
    pairs = Pairs(prompts, prompts, (True,) * len(counts), ())
    passes = _Passes(model, {"made": pairs}, F32)
    assert passes._sample("made") == some
    wanted = [max(1.0, count / read) ** 0.5 for count in counts]
    np.testing.assert_allclose(passes.growth("made"), wanted, rtol=2**-50)
    assert set(_Passes(model, {"made": pairs}, F64).growth("made")) == {1.0}


def test_a_format_beyond_float32_is_refused_before_a_model_is_opened(lacking):
    for name in ("f64", "e11m3"):
        settings = CollapseSettings(model="nowhere", formats=(name,))
        with pytest.raises(BadInput, match=f"that float32 contains.*got {name} on"):
            open_run(settings)


@pytest.mark.parametrize("verb", ["influence", "retention", "perplexity", "generate", "bounded"])
def test_format_f64_is_refused_elsewhere(lacking, verb, tmp_path, capsys):
    words = {"generate": ["--prompt", "11"], "perplexity": []}.get(verb, [])
    out = tmp_path / "run"
    assert run([verb, "toy", *words, "--format", "f64", "--out", str(out)]) == 2
    assert re.search("float64 for --formats? f64", capsys.readouterr().err)
    assert not out.exists()


def test_verify_is_refused(lacking, tmp_path, capsys):
    assert run(["verify", "--only", "err_e01", "--out", str(tmp_path / "run")]) == 2
    assert "float64 for verify" in capsys.readouterr().err
