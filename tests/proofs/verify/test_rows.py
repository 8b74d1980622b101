"""Rows of measurements whose numbers are all known."""

import dataclasses
import json
import math

import numpy as np
import pytest
from proofs.made_claims import claim, half, hypothesis, install, ledger_rows

from glassesjax.files import to_json
from glassesjax.runs.record import to_row
from proofs_numeric.claim import Hypothesis, Measurement
from proofs_numeric.verify.records import ROWS, ClosingRow, MeasurementRow
from proofs_numeric.verify.rows import claim_rows

CODE = "0" * 16
INF, NAN = math.inf, math.nan


def rows_of(*measurements, part="ladder", **words):
    """The rows of a claim that has these measurements in one part."""
    return claim_rows(claim(**words), [(part, each) for each in measurements], CODE)


def row_of(part="ladder", **fields):
    """The row of one measurement."""
    whole = {"setting": "n=2", "measured": 0.5, "bound": 1.0}
    return rows_of(Measurement(**(whole | fields)), part=part)[0]


def unmet(*distances):
    """Hypotheses at these distances, none of which rounding allows."""
    return tuple(hypothesis(each, f"x, {at}: y") for at, each in enumerate(distances))


def test_a_row_of_every_field():
    measurement = Measurement(
        setting="n=2", measured=0.5, bound=2.0, floor=0.25, roundoff=2.0**-50, size=2.0, norm="L2",
        dtype="bf16", rounding="weights", certified=True,
        hypotheses=(Hypothesis(name="finite logits", distance=0.0, allowed=1e-16),),
    )  # fmt: skip
    row, _ = rows_of(measurement, kind="erratum", norm="L1")
    assert row == MeasurementRow(
        fingerprint=CODE, claim="made", claim_kind="erratum", source="arXiv 0000.00000, Lemma 1",
        part="ladder", setting="n=2", size=2.0, norm="L2", dtype="bf16", rounding="weights",
        hypotheses="met", hypotheses_not_met=(), hypothesis_names=("finite logits",),
        hypothesis_distances=(0.0,), hypothesis_allowances=(1e-16,), measured=0.5, bound=2.0,
        floor=0.25, roundoff=2.0**-50, tightness=0.25, verdict="holds", certified=True,
    )  # fmt: skip


def test_what_a_measurement_leaves_open_is_the_claims_or_missing():
    row, _ = rows_of(Measurement(setting="n=2", measured=0.5, bound=0.0), norm="L1")
    assert row.norm == "L1"
    assert (row.size, row.floor, row.tightness, row.counter_case) == (None, None, None, None)
    assert (row.hypotheses, row.hypothesis_names) == ("none_needed", ())
    assert {"size", "floor", "tightness", "counter_case"}.isdisjoint(to_row(row))


def test_numbers_of_hypotheses_have_all_their_digits():
    number = Hypothesis(name="some", distance=1 / 3, allowed=2 / 3 * 1e-16)
    row = row_of(hypotheses=(number,))
    again = ROWS.read(json.loads(to_json(to_row(row))))
    for each in (row, again):
        assert each.hypothesis_distances == (1 / 3,)
        assert each.hypothesis_allowances == (2 / 3 * 1e-16,)


def test_a_distance_that_is_not_finite_is_null():
    row = to_row(row_of(hypotheses=unmet(0.0, INF, NAN)))
    assert json.loads(to_json(row))["hypothesis_distances"] == [0.0, None, None]


@pytest.mark.parametrize(
    ("distances", "state", "at"),
    [
        ((), "none_needed", ()),
        ((0.0, -1.0), "met", ()),
        ((0.0, 1.0, INF), "unmet", (1, 2)),
        ((1.0, NAN, 0.0, NAN), "unmeasured", (1, 3)),
    ],
)
def test_hypotheses_that_are_not_met_are_named(distances, state, at):
    row = row_of(hypotheses=unmet(*distances))
    assert row.hypotheses == state
    assert row.hypotheses_not_met == tuple(row.hypothesis_names[each] for each in at)


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({"measured": 2.0, "hypotheses": unmet(1.0)}, True),
        ({"measured": INF, "hypotheses": unmet(1.0)}, True),
        ({"measured": 0.0, "floor": 0.5, "hypotheses": unmet(1.0)}, True),
        ({"measured": 0.5, "hypotheses": unmet(1.0)}, False),  # the inequality holds
        ({"measured": 2.0, "hypotheses": unmet(0.0)}, False),  # within the hypotheses
        ({"measured": 2.0, "hypotheses": ()}, False),
        ({"measured": 2.0, "hypotheses": unmet(1.0, NAN)}, False),  # nobody knows whether within
        ({"measured": NAN, "hypotheses": unmet(1.0)}, False),
        ({"measured": 2.0, "bound": INF, "hypotheses": unmet(1.0)}, False),
    ],
)
def test_a_counter_case_fails_outside_a_hypothesis_and_by_numbers(fields, fails):
    case = row_of("counter_case", **fields)
    assert case.counter_case == ("fails" if fails else "does_not_fail")
    assert row_of("adversary", **fields).counter_case is None


@pytest.mark.parametrize(
    ("floor", "bound", "equal"),
    [(1.0, 1.0, True), (0.5, 1.0, False), (-INF, 1.0, False), (-INF, -INF, False)],
)
def test_an_equality_has_no_room_between_its_ends(floor, bound, equal):
    assert row_of(floor=floor, bound=bound).is_equality == equal


def test_a_closing_row_of_every_field():
    equal = Measurement.equality(setting="e", measured=1.0, expected=1.0, roundoff=0.0)
    endless = Measurement(setting="i", measured=INF, bound=1.0, roundoff=INF)  # says nothing
    below = Measurement(setting="b", measured=0.25, bound=1.0, certified=True)
    case = Measurement(setting="c", measured=2.0, bound=1.0, hypotheses=unmet(1.0))
    tried = [half(2), half(8, measured=9.0, distance=4.0), equal, endless]
    parts = [("ladder", each) for each in tried]
    parts += [("counter_case", case), ("certified", below)]
    *rows, closing = claim_rows(claim(norm="L1"), parts, CODE)
    assert [row.part for row in rows] == [part for part, _ in parts]
    wanted = ClosingRow(
        fingerprint=CODE, claim="made", claim_kind="statement", source="arXiv 0000.00000, Lemma 1",
        norm="L1", measurements=5, holding=4, counter_cases=1, tightness=0.5, verdict="holds",
        counter_case="fails", certified=True,
    )  # fmt: skip
    assert closing == wanted
    holds = dataclasses.replace(case, setting="d", measured=0.0)
    wrong = [("ladder", half(2, measured=2.0)), ("counter_case", case), ("counter_case", holds)]
    assert claim_rows(claim(norm="L1"), wrong, CODE)[-1] == dataclasses.replace(
        wanted, measurements=1, holding=0, counter_cases=2, tightness=None, verdict="violated",
        counter_case="does_not_fail", certified=False,
    )  # fmt: skip
    assert claim_rows(claim(norm="L1"), [], CODE)[-1] == dataclasses.replace(
        wanted, measurements=0, holding=0, counter_cases=0, tightness=None,
        verdict="not_applicable", counter_case="does_not_fail", certified=False,
    )  # fmt: skip


def test_a_number_of_another_type_is_refused_when_it_is_written():
    with pytest.raises(TypeError, match="number as hypothesis_distances of MeasurementRow"):
        to_row(row_of(hypotheses=unmet(np.int64(1))))


def test_rows_are_written_as_they_are_read(monkeypatch):
    """With numbers that are not finite, in every place."""
    strange = [
        half(2),
        half(3, measured=NAN),
        half(4, distance=NAN),
        half(5, distance=INF),
        Measurement(setting="a", measured=-INF, bound=INF, roundoff=INF),
        Measurement(setting="b", measured=1.0, bound=0.0, floor=0.0),
    ]
    install(monkeypatch, claim(measure=lambda suite: strange))
    rows = ledger_rows()
    assert [to_json(to_row(ROWS.read(to_row(row)))) for row in rows] == [
        to_json(to_row(row)) for row in rows
    ]
