"""The bounded study on the toy: predicted equalities, prompts one by one, resuming, bad input."""

import copy
import dataclasses
import math

import jax
import numpy as np
import pytest
from studies.bounded.made_bounded import run_of
from studies.made_diverged import check_diverged, check_sound, faults, words_of
from studies.made_plans import OVERFLOWS, check_overflow

from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.model.pretrained import open_model
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.record import names, to_row
from glassesjax.studies.bounded.measure import BoundedSettings, cells, measure
from glassesjax.studies.bounded.panels import token_panels
from glassesjax.studies.bounded.records import ROWS, DistanceRow, TokenRow
from glassesjax.studies.bounded.run import open_run
from glassesjax.studies.bounded.statements import coarsest
from glassesjax.studies.bounded.study import STUDY
from glassesjax.studies.bounded.summary import first_equal, summarize

pytestmark = pytest.mark.usefixtures("one_program")

SETTINGS = BoundedSettings(
    model="toy",
    positions=("none",),
    policies=("full", "window"),
    slots=("3",),
    families=("ones_bos", "ones_zero"),
    lengths=(1, 2, 3, 8, 9, 10, 11, 14),
    max_tokens=14,
    method="exact",
)


@pytest.fixture(scope="module")
def model():
    return open_model(SETTINGS.model, seed=SETTINGS.seed)


@pytest.fixture(scope="module")
def rows(model):
    return [to_row(row) for _, rows in measure(SETTINGS, "none", model) for row in rows]


def violations(rows):
    return STUDY.violations(summarize(run_of(rows)))


def curve(rows, name, family, norm="l2"):
    where = {"kind": "collapse", "policy": name, "family": family, "norm": norm}
    return [row for row in rows if all(row.get(key) == value for key, value in where.items())]


def test_every_row_is_there_once_and_flat(rows):
    assert len({tuple(row.get(name) for name in ROWS.key) for row in rows}) == len(rows)
    assert len(rows) == 2 * 2 * len(SETTINGS.lengths) * 3 + 2 * SETTINGS.max_tokens
    assert all(isinstance(v, str | int | float | None) for row in rows for v in row.values())


def test_a_window_of_three_slots_and_three_layers_collapses_at_ten(rows):
    mine = curve(rows, "window", "ones_bos")
    assert {row["equal_from"] for row in mine} == {10}
    assert [row["equal"] for row in mine] == [row["length"] >= 10 for row in mine]
    # A run that begins the prompt is told apart from a longer one by k copies at most.
    mine = curve(rows, "window", "ones_zero")
    assert {row["equal_from"] for row in mine} == {3}
    assert [row["equal"] for row in mine] == [row["length"] >= 3 for row in mine]
    for family in ("ones_bos", "ones_zero"):
        full = curve(rows, "full", family)
        assert not any(row["equal"] for row in full)
        assert "equal_from" not in full[-1]
        assert first_equal([ROWS.read(row) for row in full]) is None


def test_distances_before_the_state_is_full_are_those_of_full_attention(rows):
    first, other = (curve(rows, name, "ones_bos", "relative_l1") for name in ("full", "window"))
    # With the sequence's beginning, one run of one still fits: its longer one has three tokens.
    assert math.isclose(first[0]["distance"], other[0]["distance"], rel_tol=1e-12)
    assert other[3]["distance"] != pytest.approx(first[3]["distance"], rel=1e-3, abs=0)


def test_influence_ends_where_a_window_does_not_reach(rows):
    found = token_panels(run_of(rows).rows)
    (full, *_), (window, *_) = (
        [[to_row(token.row) for token in found[p]] for p in found if p.policy == n]
        for n in ("full", "window")
    )
    evicted = {text.panel.policy: text.evicted.share for text in summarize(run_of(rows)).texts}
    back = np.arange(SETTINGS.max_tokens - 1, -1, -1)
    assert [row["reaches"] for row in window] == (back <= 9).tolist()
    assert [row["frobenius"] > 0 for row in window] == (back <= 9).tolist()
    assert [row["cached_layers"] for row in window] == np.where(back <= 3, 3, 0).tolist()
    assert [row["last_cached"] for row in window] == np.minimum(13 - back + 3, 13).tolist()
    assert 0 < evicted["window"] < 1
    assert evicted["full"] == 0
    for mine in (full, window):
        assert math.isclose(sum(row["squared_share"] for row in mine), 1, rel_tol=1e-12)
        assert all(row["spectral"] <= row["frobenius"] * (1 + 1e-9) for row in mine)


def test_nothing_contradicts_a_statement_and_what_would_is_named(rows):
    assert violations(rows) == []
    told = [{**row, "equal": False} if row.get("equal_from") else row for row in rows]
    assert any("must be equal" in line for line in violations(told))
    louder = [
        {**row, "log10_repaired": -9.0} if row["kind"] == "influence" else row for row in rows
    ]
    assert any("bound is exceeded" in line for line in violations(louder))


@pytest.mark.parametrize("resolution", [1e-9, None, math.nan, math.inf])
def test_a_resolution_that_says_nothing_is_a_contradiction(rows, resolution):
    mine = curve(rows, "window", "ones_bos", "relative_l1")
    limit = coarsest([ROWS.read(row) for row in mine], run_of(mine).constants)
    assert limit == 8 * 2 * 3 * (848 + 2 * 16) * 2.0**-53  # three layers, 1 + 14 + 1 tokens
    made = [{**row, "resolution": resolution, "equal": True} for row in mine]
    assert any("too coarse" in line for line in violations(made))
    assert violations([{**row, "resolution": limit} for row in mine]) == []


def test_runs_of_before_the_terms_were_recorded_keep_their_limit(rows):
    mine = curve(rows, "window", "ones_bos", "relative_l1")
    constants = dataclasses.replace(run_of(mine).constants, layer_terms=None)
    assert coarsest([ROWS.read(row) for row in mine], constants) == 3 * 64 * 16 * 2.0**-53


def test_a_trunk_as_long_as_the_context_is_fine(model):
    config = dataclasses.replace(model.decoder.config, max_length=16)  # mark, 14 ones, one more
    short = dataclasses.replace(model, decoder=Decoder(config, key=jax.random.key(0)))
    own = {"kinds": ("collapse",), "families": ("ones_bos",)}
    assert len(cells(dataclasses.replace(SETTINGS, **own), "none", short)) == 2


def test_a_finished_cell_is_not_measured_again(rows, model):
    have = {tuple(row.get(name) for name in ROWS.key) for row in rows}
    done = lambda row: tuple(row.get(name) for name in ROWS.key) in have
    assert list(measure(SETTINGS, "none", model, done)) == []
    assert len(cells(SETTINGS, "none", model)) == SETTINGS.steps == 6


def test_every_field_is_there_somewhere(rows):
    others = {"standard_error", "along_standard_error", *names(OverflowFields)}
    assert set().union(*rows) == {*names(DistanceRow), *names(TokenRow)} - others


def test_what_all_rows_share_says_how_was_measured():
    settings = dataclasses.replace(SETTINGS, method="estimated")
    each = [open_run(which).constants for which in (SETTINGS, settings)]
    assert [(one.method, one.probes) for one in each] == [("exact", None), ("estimated", 16)]
    assert (each[0].num_layers, each[0].model_dim, each[0].dtype) == (3, 64, "float64")
    assert "prefill_chunk=64" in each[0].tiling  # its own, not that of other studies


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"policies": ("lru",)}, "NAME out of"),
        ({"families": ("separators_in_phase",)}, "which differ in one token"),
        ({"lengths": (4, 2)}, "ascending"),
        ({"slots": ()}, "different --slots"),
        ({"probes": 1}, "2 or more"),
        ({"positions": ("spiral",)}, "spiral"),
        ({"text": "kjv"}, "leave it out"),
    ],
)
def test_bad_settings_are_refused_in_one_line(wrong, text):
    with pytest.raises(BadInput, match=text):
        BoundedSettings(model="toy", **wrong)


def test_bad_sizes_are_refused_before_anything_is_measured(model):
    few = BoundedSettings(model="toy", policies=("window+4",), slots=("4",))
    with pytest.raises(BadInput, match="at least 5 slots"):
        cells(few, "none", model)
    long = BoundedSettings(model="toy", lengths=(9000,))
    with pytest.raises(BadInput, match="8192 tokens"):
        cells(long, "none", model)


@pytest.mark.parametrize("name", ["bf16-flash", "w4a16", "e4m3fn@all", "bf16@weights", "bf16"])
def test_every_plan_is_taken(name):
    assert BoundedSettings(model="toy", format=name).format == name


def test_derivatives_in_float16_are_refused():
    with pytest.raises(BadInput, match="got 'f16': use f16@all, or --kinds collapse"):
        BoundedSettings(model="toy", format="f16")
    assert BoundedSettings(model="toy", format="f16", kinds=("collapse",)).format == "f16"


def influence_under(name, model):
    """Rows of the text alone under a plan, with their constants."""
    changes = {"kinds": ("influence",), "policies": ("window",), "format": name}
    settings = dataclasses.replace(SETTINGS, **changes)
    constants = {"rounding": settings.plan.name, "dtype": "float32"}
    return [to_row(r) for _, rows in measure(settings, "none", model) for r in rows], constants


@pytest.fixture(scope="module")
def flash(model):
    return influence_under("bf16-flash", model)


@pytest.fixture(scope="module")
def overflowed(model):
    return influence_under(OVERFLOWS, model)


def test_influence_of_a_rounded_pass_has_no_bound(rows, flash):
    found, constants = flash
    assert not any("log10_repaired" in row for row in found)
    exact = [row for row in rows if row["kind"] == "influence" and row["policy"] == "window"]
    assert [row["reaches"] for row in found] == [row["reaches"] for row in exact]
    assert [row["frobenius"] > 0 for row in found] == [row["reaches"] for row in found]
    norms = [[row["frobenius"] for row in each] for each in (found, exact)]
    assert norms[0] != norms[1]
    # Some dozen stores in bfloat16 in each of three layers.
    np.testing.assert_allclose(*norms, rtol=3 * 24 * 2.0**-8)
    # Norms that would exceed any bound are compared with none.
    summary = summarize(run_of([row | {"spectral": 1e30} for row in found], **constants))
    assert (summary.bounds, summary.violations) == (0, [])
    assert summarize(run_of(rows)).bounds == 2 * SETTINGS.max_tokens


def test_an_overflow_is_named_by_its_site(overflowed):
    found, constants = overflowed
    check_overflow(summarize(run_of(found, **constants)), found)


@pytest.fixture(scope="module")
def ended(model):
    decoder = copy.copy(model.decoder)
    decoder.final_norm = jax.tree.map(lambda gain: 8 * gain, decoder.final_norm)
    # Of numbers up to 3.5.
    return influence_under("e2m2@output", dataclasses.replace(model, decoder=decoder))[0]


def test_a_representation_that_overflows_has_no_influence_to_speak_of(ended):
    """Straight through the last rounding every derivative is finite."""
    assert np.isfinite([row["frobenius"] for row in ended]).all()
    assert {(row["finite"], row["overflow_site"]) for row in ended} == {(False, "output")}


@pytest.mark.usefixtures("undrawn")
@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, policies=("window",), families=("ones_bos",))
    check_diverged("bounded", words_of(settings), tmp_path, capsys, fault)
    check_sound("bounded", words_of(settings), tmp_path)


def test_the_cost_of_exact_derivatives_is_said_of_each_influence(monkeypatch):
    said = []
    monkeypatch.setattr(
        "glassesjax.studies.bounded.run.note_exact",
        lambda config, lengths, *_, **__: said.append(lengths),
    )
    for change in ({}, {"method": "estimated"}, {"kinds": ("collapse",)}):
        open_run(dataclasses.replace(SETTINGS, **change))
    # Of two policies, one encoding; ``full`` and a window of three slots read the same text.
    assert said == [[14, 14]]
