"""Rows of the ledger as schema 1 had them, in today's words; and which rows count."""

import dataclasses

import pytest
from proofs.made_claims import claim, install, ledger_rows

from glassesjax.runs.record import to_row
from proofs_numeric.verify.records import CODES, ROWS

SHARED = {"study": "verify", "suite": "quick", "matmul_default": "highest", "optimized": False}
OLD = {
    "claim": "made", "kind": "erratum", "source": "Lemma 1", "part": "ladder", "setting": "n=2",
    "size": 2, "norm": "L1", "dtype": "float64", "rounding": "none", "hypotheses": "met",
    "hypotheses_measured": "finite logits: 0 (allowed 1e-16)", "measured": 0.5, "bound": 1.0,
    "floor": None, "roundoff": 0.0, "tightness": 0.5, "verdict": "holds", "counter_case": None,
    "certified": False,
}  # fmt: skip
CLOSING = {
    "claim": "made", "kind": "erratum", "source": "Lemma 1", "part": "closing", "setting": "all",
    "norm": "L1", "measurements": 3, "holding": 3, "counter_cases": 1, "tightness": None,
    "verdict": "holds", "counter_case": "fails as it must", "certified": False,
}  # fmt: skip


def upgraded(row):
    """What stands once, and the row as it is written today."""
    shared, new = ROWS.upgraded({**SHARED, "fingerprint": "0" * 16, **row})
    assert shared == SHARED
    assert list(to_row(ROWS.read(new))) == list(new)  # in the order in which it is written
    return new


def test_a_measurement_of_before():
    assert upgraded(OLD) == {
        "kind": "measurement", "fingerprint": "0" * 16, "claim": "made", "claim_kind": "erratum",
        "source": "Lemma 1", "part": "ladder", "setting": "n=2", "size": 2.0, "norm": "L1",
        "dtype": "float64", "rounding": "none", "hypotheses": "met", "hypotheses_not_met": [],
        "hypothesis_names": ["finite logits"], "hypothesis_distances": [0.0],
        "hypothesis_allowances": [1e-16], "measured": 0.5, "bound": 1.0, "roundoff": 0.0,
        "tightness": 0.5, "verdict": "holds", "certified": False,
    }  # fmt: skip


def test_a_closing_row_of_before():
    assert upgraded(CLOSING) == {
        "kind": "closing", "fingerprint": "0" * 16, "claim": "made", "claim_kind": "erratum",
        "source": "Lemma 1", "norm": "L1", "measurements": 3, "holding": 3, "counter_cases": 1,
        "verdict": "holds", "counter_case": "fails", "certified": False,
    }  # fmt: skip
    assert upgraded(CLOSING | {"tightness": 1})["tightness"] == 1.0


@pytest.mark.parametrize(
    ("state", "detail", "wanted"),
    [
        ("none needed", "", ("none_needed", [], [], [])),
        ("unmet: b", "a: 0 (allowed 0); b: inf (allowed 2)", ("unmet", ["b"], ["a", "b"], [0, 2])),
        (
            "unmeasured: x, in y, z: the last",
            "w: -1 (allowed 0); x, in y: nan (allowed 1e+06); z: the last: nan (allowed 0.25)",
            (
                "unmeasured",
                ["x, in y", "z: the last"],
                ["w", "x, in y", "z: the last"],
                [0, 1e6, 0.25],
            ),
        ),
    ],
)
def test_hypotheses_of_before_are_lists(state, detail, wanted):
    new = upgraded(OLD | {"hypotheses": state, "hypotheses_measured": detail})
    names = ("hypotheses", "hypotheses_not_met", "hypothesis_names", "hypothesis_allowances")
    assert tuple(new[name] for name in names) == wanted


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({"size": None}, {"size": False, "floor": False, "tightness": True}),
        ({"floor": 1}, {"floor": True}),
        ({"bound": 0.0, "tightness": None}, {"tightness": False}),
        ({"bound": None, "tightness": None}, {"bound": True, "tightness": False}),
        ({"measured": None, "tightness": None}, {"measured": True, "tightness": True}),
        ({"roundoff": None}, {"roundoff": True}),
    ],
)
def test_null_of_before_is_a_number_that_is_not_finite_or_none_at_all(change, there):
    new = upgraded(OLD | change)
    assert {name: name in new for name in there} == there


def test_of_a_folder_of_before_the_last_rows_of_a_claim_count(monkeypatch):
    install(monkeypatch, claim("a"), claim("b"))
    rows = ledger_rows()
    other = [dataclasses.replace(row, fingerprint="0" * 16) for row in rows if row.claim == "a"]
    assert ROWS.counting([*rows, *other], {}) == [row.claim == "b" for row in rows] + [
        True for _ in other
    ]
    noted = {CODES: {row.claim: row.fingerprint for row in rows}}
    assert ROWS.counting([*rows, *other], noted) == [True for _ in rows] + [False for _ in other]
    install(monkeypatch, claim("a"))  # there is no b any more
    assert ROWS.counting(rows, noted) == [row.claim == "a" for row in rows]
