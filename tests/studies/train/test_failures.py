"""Failure lengths: bounds with their sign, factors, slopes and contradictions by hand."""

import dataclasses
import math

import pytest
from studies.train.made_train import FOUR_FORMATS as ROWS
from studies.train.made_train import pairs_of, refused, training
from wording import says

from glassesjax.errors import BadInput
from glassesjax.runs.record import to_row
from glassesjax.studies.train.charts import length_text
from glassesjax.studies.train.failure_cells import failures, slopes
from glassesjax.studies.train.records import ROWS as ROWS_OF_TRAININGS
from glassesjax.studies.train.records import FailureRow
from glassesjax.studies.train.study import violations
from glassesjax.studies.train.summary import summary_of

NAME = "count_ones, positions none, remedy none"


def summary(rows):
    return summary_of([training(rows, NAME)])


def test_bounds_and_ratios():
    cells = failures(training(ROWS))
    assert [cell.ratio for cell in cells] == [1, 0.5, pytest.approx(8 / 3), None]
    assert [cell.beyond_factor for cell in cells] == [False, False, True, True]
    far, bound = (cell.lengths for cell in cells[2:])
    assert length_text(bound, bound.predicted) == "≤ 2"
    assert length_text(bound, bound.observed) == "> 31"
    assert length_text(far, far.observed) == "8"


def test_predictions_are_counted_without_bounds_and_the_reference():
    whole = summary(ROWS)
    assert whole.predictions == (1, 2)
    assert (whole.furthest.format, whole.furthest.ratio) == ("e4m3fn", pytest.approx(8 / 3))
    assert [cell.collisions_beyond for cell in failures(training(ROWS))] == [1, 3, 3, 0]
    assert whole.collisions == (0, 1)
    assert summary(pairs_of("f64", 31, 31)).predictions == (0, 0)
    assert summary([refused()]).collisions is None


def test_a_slope_by_hand():
    """Lengths that double with every bit, for a gap that falls as 1/n; and one that is a bound."""
    rows = [
        row for m, n in ((2, 4), (3, 8), (4, 16), (5, None)) for row in pairs_of(f"e8m{m}", n, n)
    ]
    (found,) = slopes(failures(training(rows)))
    assert found.observed.factor == pytest.approx(2, rel=1e-12, abs=0)
    assert (found.observed.points, found.theory, found.sites) == (3, (-1.0, 1.0, 2.0), "")
    flat = [row for m in (2, 3, 4) for row in pairs_of(f"e8m{m}@weights", 8, 8, exponent=0.1)]
    (found,) = slopes(failures(training(flat)))
    assert (found.theory, found.sites) == (None, "weights")
    assert slopes(failures(training(ROWS[:14]))) == []


def test_a_power_beyond_float64_is_infinite():
    flat = [row for m in (2, 3, 4) for row in pairs_of(f"e8m{m}", 4, 8, exponent=-0.0008)]
    flat = [
        dataclasses.replace(row, lengths=dataclasses.replace(row.lengths, exponent_high=-0.0007))
        if isinstance(row, FailureRow) else row
        for row in flat
    ]  # fmt: skip
    (found,) = slopes(failures(training(flat)))
    assert found.theory.factor == math.inf


def test_a_row_without_lengths_says_why():
    with pytest.raises(ValueError, match="either lengths or an obstacle"):
        dataclasses.replace(pairs_of("f64", 2, 2)[-1], lengths=None)
    row = {name: value for name, value in to_row(refused()).items() if name != "obstacle"}
    with pytest.raises(BadInput, match="Expected either lengths or an obstacle in a row"):
        ROWS_OF_TRAININGS.read(row)


def test_contradictions_are_named():
    assert violations(summary(ROWS)) == []
    wrong = [dataclasses.replace(ROWS[1], contradicted=True)]
    [said] = violations(summary(wrong))
    assert says(said, f"{NAME}, seed 0", "f64", 3)
