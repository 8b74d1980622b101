"""Trainings of schema 1 and of before: rows by hand, and a checkpoint that stands on old rows."""

import json
import shutil
from pathlib import Path

import pytest

import glassesjax
from glassesjax.errors import BadInput
from glassesjax.files import json_object, mark_of
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.record import to_row
from glassesjax.runs.rows import read_rows
from glassesjax.runs.upgrade import upgraded_settings
from glassesjax.studies.train import measure
from glassesjax.studies.train.records import ROWS
from glassesjax.studies.train.settings import TrainSettings

STORED = Path(__file__).parents[2] / "data" / "schema_1" / "train"
STANDS_ON = 2  # rows


@pytest.fixture
def upgraded(tmp_path, monkeypatch):
    """The stored run, opened by today's code; its checkpoint noted its first rows as they were."""
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    mark = mark_of(folder / "rows.jsonl", STANDS_ON)
    monkeypatch.setattr(measure, "newest_first", lambda path: [Path("00000200")])
    monkeypatch.setattr(measure, "covered_rows", lambda path: mark)
    settings = upgraded_settings(json_object((folder / "settings.json").read_bytes()))
    del settings["schema"]
    with RunFolder(folder, settings, ROWS):
        pass
    assert mark_of(folder / "rows.jsonl", STANDS_ON) != mark
    return folder


SETTINGS = TrainSettings(task="count_ones", steps=400)


def test_the_training_goes_on_from_the_checkpoint(upgraded):
    assert measure.settled(SETTINGS, upgraded, 66) == STANDS_ON


def test_rows_that_were_changed_since_are_refused(upgraded):
    path = upgraded / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"loss": ', b'"loss": 1', 1))
    with pytest.raises(BadInput, match="Expected the rows that the checkpoints"):
        measure.settled(SETTINGS, upgraded, 66)


def test_without_the_old_rows_nothing_stands(upgraded):
    (upgraded / "rows.schema-1.jsonl").unlink()
    with pytest.raises(BadInput, match="Expected the rows that the checkpoints"):
        measure.settled(SETTINGS, upgraded, 66)


SHARED = {
    "study": "train", "task": "copy_at", "remedy": "none", "positions": "rotary",
    "mask": "causal", "temperature": "constant", "mix": "log", "layers": 2, "heads": 4,
    "width": 32, "arithmetic": "f32", "steps": 10, "batch": 8, "rate": 0.5, "parts": 1,
    "remat": False, "weight_decay_on": "all", "shortest": 2, "longest": 4, "mesh": "1 x 2 x 4",
    "seed": 1, "step": 10, "dtype": "float32",
}  # fmt: skip
CONSTANTS = {
    "study": "train", "task": "copy_at", "remedy": "none", "positions": "rotary",
    "mask": "causal", "temperature": "constant", "mix": "log", "num_layers": 2, "num_heads": 4,
    "model_dim": 32, "arithmetic": "f32", "steps": 10, "batch": 8, "rate": 0.5, "parts": 1,
    "remat": False, "weight_decay_on": "all", "shortest": 2, "longest": 4, "mesh": [1, 2, 4],
}  # fmt: skip
HEAD = {"seed": 1, "step": 10, "dtype": "float32"}
WIDE = {"mode": "wide", "rounding": "wide f32"}
REFERENCE = {"mode": "reference", "rounding": "none"}
SIMULATED = {"mode": "simulated", "rounding": "simulated bf16 everywhere"}
LENGTHS = {
    "predicted": 4, "predicted_low": 3, "predicted_high": None, "predicted_correlated": 5,
    "by_certificate": 6, "stores": True, "by_storage": 7, "by_signal": 8, "predicted_first": 9,
    "observed": 10, "first_failure": 11, "noise": 0.5, "noise_shared": 0.25, "exponent": -1.0,
    "exponent_low": -1.5, "exponent_high": -0.5, "distance_exponent": -2.0,
    "distance_exponent_low": -2.5, "distance_exponent_high": None, "pairs": 12, "least": 2,
    "reach": 13, "contradictions": 0, "mantissa_bits": 7, "share_collides": 14, "share_lost": None,
}  # fmt: skip
# By kind of schema 1: what a row had beside ``SHARED``, and what it has today beside ``HEAD``.
BY_HAND = {
    "step": (
        {"kind": "step", "format": "f32", "length": -1, "place": -1, "loss": None, "finite": False,
         "accuracy": 0.5, "gradient_norm": 2.0, "tokens_per_second": None,
         "model_steps_per_second": None, "learning_rate": 0.25, "norm": "l2", **WIDE},
        {"kind": "step", "format": "f32", "loss": None, "finite": False, "accuracy": 0.5,
         "gradient_norm": 2.0, "learning_rate": 0.25, "norm": "l2", **REFERENCE},
    ),
    "in distribution": (
        {"kind": "answers", "format": "bf16", "length": -1, "place": -1, "in_training": True,
         "examples": 8, "exact": 0.25, "tokens_right": 0.5, "loss": 1.0, "finite": None,
         "margin": -1.0, "norm": "none", **SIMULATED},
        {"kind": "in_distribution", "format": "bf16", "examples": 8, "exact_match": 0.25,
         "token_accuracy": 0.5, "loss": 1.0, "logit_margin": -1.0, "norm": "none", **SIMULATED},
    ),
    "answers": (
        {"kind": "answers", "format": "bf16", "length": 4, "place": -1, "in_training": True,
         "examples": 8, "exact": 0.25, "tokens_right": 0.5, "loss": 1.0, "finite": None,
         "margin": -1.0, "norm": "none", **SIMULATED},
        {"kind": "answers", "format": "bf16", "length": 4, "in_training": True, "examples": 8,
         "exact_match": 0.25, "token_accuracy": 0.5, "loss": 1.0, "logit_margin": -1.0,
         "norm": "none", **SIMULATED},
    ),
    "place": (
        {"kind": "place", "format": "f32", "length": 4, "place": 3, "in_training": True,
         "examples": 2, "tokens_right": 0.5, "norm": "none", **WIDE},
        {"kind": "position", "format": "f32", "length": 4, "position": 3, "in_training": True,
         "examples": 2, "token_accuracy": 0.5, "norm": "none", **REFERENCE},
    ),
    "place, drawn": (
        {"kind": "place", "format": "f32", "length": -1, "place": 3, "in_training": True,
         "examples": 2, "tokens_right": 0.5, "norm": "none", **WIDE},
        {"kind": "in_distribution_position", "format": "f32", "position": 3, "examples": 2,
         "token_accuracy": 0.5, "norm": "none", **REFERENCE},
    ),
    "heard": (
        {"kind": "heard", "format": "f32", "length": 4, "place": 3, "examples": 64, "right": 0.5,
         "differentiated": 2, "influence": 3.0, "rollout": 0.125, "bound": 7.0,
         "rounding": "none", "norm": "frobenius; bound operator"},
        {"kind": "influence", "format": "f32", "length": 4, "position": 3, "examples": 64,
         "accuracy": 0.5, "differentiated": 2, "influence": 3.0, "rollout": 0.125, "bound": 7.0,
         "rounding": "none", "norm": "frobenius"},
    ),
    "heard_order": (
        {"kind": "heard_order", "format": "f32", "length": 4, "place": -1, "places": 5,
         "examples": 320, "right": 0.5, "dispersion": 2.0, "rounding": "none",
         "norm": "frobenius; bound operator", "spearman_influence": 0.1, "low_influence": 0.01,
         "high_influence": 0.2, "spearman_rollout": 0.3, "low_rollout": 0.25, "high_rollout": 0.35,
         "spearman_bound": None, "low_bound": None, "high_bound": None,
         "spearman_earliness": 0.7, "low_earliness": None, "high_earliness": 0.75},
        {"kind": "influence_order", "format": "f32", "length": 4, "num_positions": 5,
         "examples": 320, "accuracy": 0.5, "dispersion": 2.0, "rounding": "none",
         "norm": "frobenius", "influence_spearman": 0.1, "influence_low": 0.01,
         "influence_high": 0.2, "rollout_spearman": 0.3, "rollout_low": 0.25, "rollout_high": 0.35,
         "earliness_spearman": 0.7, "earliness_low": None, "earliness_high": 0.75},
    ),
    "ratio": (
        {"kind": "ratio", "format": "f64", "length": -1, "place": -1, "items": 28, "accuracy": 0.5,
         "ratio_only": 0.75, "likelier_than_ratio": False, "beyond_roundoff": None,
         "applies": True, "rounding": "none", "norm": "linf"},
        {"kind": "ratio", "format": "f64", "items": 28, "accuracy": 0.5,
         "ratio_only_accuracy": 0.75, "exceeds_ratio_only": False, "applies": True,
         "rounding": "none", "norm": "linf"},
    ),
    "repeated": (
        {"kind": "repeated", "format": "f64", "length": 2, "place": -1, "pairs": 8, "apart": 0.5,
         "median_apart": 0.25, "roundoff": None, "within_roundoff": None, "same_answer": 0.75,
         "both_right": 0.125, "applies": False, "rounding": "none", "norm": "linf"},
        {"kind": "repetition", "format": "f64", "length": 2, "pairs": 8, "max_difference": 0.5,
         "median_difference": 0.25, "same_answer": 0.75, "both_correct": 0.125, "applies": False,
         "rounding": "none", "norm": "linf"},
    ),
    "twins": (
        {"kind": "twins", "format": "bf16", "length": 5, "place": -1, "in_training": False,
         "token": "5", "next_token": "6", "said": "7", "next_said": "8", "lead": 1.0,
         "next_lead": 2.0, "right": True, "confused": False, "l2": 3.0, "linf": 4.0,
         "equal_coordinates": 6, "coordinates": 9, "certified": True, "stored": False,
         "contradicted": False, "signal": 10.0, "noise": 11.0, "chance_apart": 0.1,
         "chance_correlated": 0.2, "chance_wrong": 0.3, "norm": "l2", **SIMULATED},
        {"kind": "pair", "format": "bf16", "length": 5, "in_training": False, "target": "5",
         "next_target": "6", "answer": "7", "next_answer": "8", "logit_margin": 1.0,
         "next_logit_margin": 2.0, "correct": True, "collision": False, "l2": 3.0, "linf": 4.0,
         "equal_coordinates": 6, "coordinates": 9, "certified": True, "certified_stored": False,
         "contradicted": False, "signal": 10.0, "noise": 11.0, "probability_distinct": 0.1,
         "probability_distinct_correlated": 0.2, "probability_wrong": 0.3, "norm": "l2",
         **SIMULATED},
    ),
    "failing": (
        {"kind": "failing", "format": "bf16", "length": -1, "place": -1, "applies": True,
         "why": "", "exponent_error": 0.1, "norm": "l2", **LENGTHS, **SIMULATED},
        {"kind": "failure", "format": "bf16", "norm": "l2", **SIMULATED,
         **{n: v for n, v in LENGTHS.items() if n not in ("predicted_high", "share_lost")}},
    ),
    "failing, wrong": (
        {"kind": "failing", "format": "bf16", "length": -1, "place": -1, "applies": False,
         "why": "in float64 3 of 29 pairs of the training are wrong", "norm": "l2", **SIMULATED},
        {"kind": "failure", "format": "bf16", "obstacle": "pairs_wrong", "wrong_pairs": 3,
         "training_pairs": 29, "norm": "l2", **SIMULATED},
    ),
    "failing, no pairs": (
        {"kind": "failing", "format": "bf16", "length": -1, "place": -1, "applies": False,
         "why": "no two lengths of the training are drawn alike and have different answers",
         "norm": "l2", **SIMULATED},
        {"kind": "failure", "format": "bf16", "obstacle": "no_pairs", "norm": "l2", **SIMULATED},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), BY_HAND.values(), ids=BY_HAND)
def test_a_row_of_schema_1_by_hand(old, new):
    constants, row = ROWS.upgraded({**SHARED, **old})
    assert constants == CONSTANTS
    assert row == {**HEAD, **new}
    whole = {n: None if v != v else v for n, v in to_row(ROWS.read(row)).items()}
    assert whole == row


# Rows of before schema 1 lack these.
LATER = ("learning_rate", "steps", "batch", "rate", "parts", "remat", "weight_decay_on", "finite")


@pytest.fixture
def without_schema(tmp_path):
    """The stored run, as code of before schema 1 had written it."""
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    settings = json.loads((folder / "settings.json").read_text())
    old = {n: v for n, v in settings.items() if n not in ("schema", "weight_decay_on")}
    (folder / "settings.json").write_text(json.dumps(old))
    rows = [
        {n: v for n, v in row.items() if n not in LATER} for row in read_rows(folder / "rows.jsonl")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "provenance.json").unlink()
    return folder


def test_a_training_without_a_schema_is_read_and_brought_up_to_date(without_schema, undrawn):
    before = glassesjax.read(without_schema)
    assert before.run.constants.weight_decay_on == "all"
    assert before.run.rows[0].learning_rate is None
    settings = {**before.run.settings}
    with RunFolder(without_schema, settings, ROWS):
        pass
    assert glassesjax.read(without_schema).frame().equals(before.frame())
    assert (without_schema / "rows.schema-0.jsonl").is_file()


def test_a_folder_that_cannot_be_read_stays_as_it_is(without_schema):
    rows = (without_schema / "rows.jsonl").read_text().replace('"accuracy"', '"acuracy"')
    (without_schema / "rows.jsonl").write_text(rows)
    before = {path.name: path.read_bytes() for path in without_schema.iterdir()}
    settings = upgraded_settings(json.loads(before["settings.json"]))
    with pytest.raises(BadInput, match="Expected accuracy in line 1"):
        RunFolder(without_schema, settings, ROWS).__enter__()
    after = {p.name: p.read_bytes() for p in without_schema.iterdir() if not p.name.startswith(".")}
    assert after == before
