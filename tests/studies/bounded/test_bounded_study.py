"""The bounded study on the toy: predicted equalities, prompts one by one, resuming, bad input."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from documented import row_keys
from studies.made_diverged import check_diverged, check_sound, faults, words_of

from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.model.pretrained import open_model
from glassesjax.studies.bounded.measure import KEY, BoundedSettings, cells, measure
from glassesjax.studies.bounded.panels import panels
from glassesjax.studies.bounded.sentences import evicted_share, first_equal
from glassesjax.studies.bounded.verdicts import coarsest, violations

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
    return [row for _, rows in measure(SETTINGS, "none", model) for row in rows]


def curve(rows, name, family, norm="l2"):
    where = {"kind": "collapse", "policy": name, "family": family, "norm": norm}
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def test_every_row_is_there_once_and_flat(rows):
    assert len({tuple(row[name] for name in KEY) for row in rows}) == len(rows)
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
        assert full[-1]["equal_from"] is None
        assert first_equal(full) is None


def test_distances_before_the_state_is_full_are_those_of_full_attention(rows):
    first, other = (curve(rows, name, "ones_bos", "relative_l1") for name in ("full", "window"))
    # With the sequence's beginning, one run of one still fits: its longer one has three tokens.
    assert math.isclose(first[0]["distance"], other[0]["distance"], rel_tol=1e-12)
    assert other[3]["distance"] != pytest.approx(first[3]["distance"], rel=1e-3, abs=0)


def test_influence_ends_where_a_window_does_not_reach(rows):
    found = panels(rows, "influence")
    (full, *_), (window, *_) = (
        [found[p] for p in found if p.policy == n] for n in ("full", "window")
    )
    back = np.arange(SETTINGS.max_tokens - 1, -1, -1)
    assert [row["reaches"] for row in window] == (back <= 9).tolist()
    assert [row["frobenius"] > 0 for row in window] == (back <= 9).tolist()
    assert [row["held_layers"] for row in window] == np.where(back <= 3, 3, 0).tolist()
    assert [row["last_held"] for row in window] == np.minimum(13 - back + 3, 13).tolist()
    assert 0 < evicted_share(window) < 1
    assert evicted_share(full) == 0
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
    assert coarsest(mine) == 3 * 64 * 16 * 2.0**-53  # layers, width, 1 + 14 + 1 tokens
    made = [{**row, "resolution": resolution, "equal": True} for row in mine]
    assert any("too coarse" in line for line in violations(made))
    assert violations([{**row, "resolution": coarsest(mine)} for row in mine]) == []


def test_a_trunk_as_long_as_the_context_is_fine(model):
    config = dataclasses.replace(model.decoder.config, max_length=16)  # mark, 14 ones, one more
    short = dataclasses.replace(model, decoder=Decoder(config, key=jax.random.key(0)))
    own = {"kinds": ("collapse",), "families": ("ones_bos",)}
    assert len(cells(dataclasses.replace(SETTINGS, **own), "none", short)) == 2


def test_a_finished_cell_is_not_measured_again(rows, model):
    have = {tuple(row[name] for name in KEY) for row in rows}
    done = lambda row: tuple(row[name] for name in KEY) in have
    assert list(measure(SETTINGS, "none", model, done)) == []
    assert len(cells(SETTINGS, "none", model)) == SETTINGS.steps == 6


def test_every_key_of_a_row_is_documented(rows):
    assert set().union(*rows) == row_keys("bounded")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"policies": ("lru",)}, "NAME out of"),
        ({"families": ("separators_in_phase",)}, "told apart by one token"),
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


@pytest.mark.usefixtures("undrawn")
@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, policies=("window",), families=("ones_bos",))
    check_diverged("bounded", words_of(settings), tmp_path, capsys, fault)
    check_sound("bounded", words_of(settings), tmp_path)
