"""Failing lengths on a page: bounds with their sign, factors, slopes and contradictions by hand."""

import dataclasses
import html
import math
from xml.etree import ElementTree

import pytest
from studies.train.made_train import training
from wording import says

from glassesjax.errors import BadInput
from glassesjax.report.canvas import WIDTH, to_svg
from glassesjax.runs.record import to_row
from glassesjax.studies.train.failing_cells import failing, slopes
from glassesjax.studies.train.failing_figures import failing_figures, palette
from glassesjax.studies.train.failing_sentences import (
    failing_headlines,
    failing_section,
    failing_table,
    told_length,
)
from glassesjax.studies.train.records import ROWS as ROWS_OF_TRAININGS
from glassesjax.studies.train.records import FailureLengths, FailureRow, PairRow, WrongPairs
from glassesjax.studies.train.study import violations
from glassesjax.studies.train.summary import summary_of

LENGTHS = (2, 3, 4, 8, 16, 31)
NAME = "count_ones, positions none, remedy none"


def made(format, predicted, observed, *, exponent=-1.0, noise=0.5, seed=0):
    """Rows of one decoder in one format."""
    head = {
        "seed": seed, "step": 9, "format": format, "dtype": "float32", "mode": "simulated",
        "rounding": format,
    }  # fmt: skip
    pairs = [
        PairRow(
            **head, length=n, in_training=n < 8, target="1", next_target="2", answer="1",
            next_answer="2", logit_margin=1.0, next_logit_margin=-1.0, correct=True,
            collision=observed is not None and n >= observed, l2=1 / n, linf=1 / n,
            equal_coordinates=0, coordinates=8, certified=False, contradicted=False,
            signal=2 / n, noise=noise, probability_distinct=0.5,
            probability_distinct_correlated=0.5, probability_wrong=0.5,
        )
        for n in LENGTHS
    ]  # fmt: skip
    lengths = FailureLengths(
        predicted=predicted, predicted_low=predicted, predicted_correlated=16, by_certificate=31,
        stores=False, by_signal=8, predicted_first=3, observed=observed, noise=noise,
        noise_shared=0.0, exponent=exponent, exponent_low=exponent - 0.2,
        exponent_high=exponent + 0.2, distance_exponent=-1.0, pairs=6, least=2, reach=31,
        contradictions=0,
    )  # fmt: skip
    return [*pairs, FailureRow(**head, lengths=lengths)]


ROWS = [
    *made("f64", 31, 31, noise=0.0),
    *made("bf16", 16, 8),
    *made("e4m3fn", 3, 8),
    *made("e8m3", 2, None),
]


def summary(rows):
    return summary_of([training(rows, NAME)])


def test_bounds_and_ratios():
    cells = failing(training(ROWS))
    assert [cell.ratio for cell in cells] == [1, 0.5, pytest.approx(8 / 3), None]
    assert [cell.beyond_factor for cell in cells] == [False, False, True, True]
    far, bound = (cell.lengths for cell in cells[2:])
    assert told_length(bound, bound.predicted) == "≤ 2"
    assert told_length(bound, bound.observed) == "> 31"
    assert told_length(far, far.observed) == "8"


def refused(wrong):
    row = made("f64", 2, 2)[-1]
    obstacle = "no_pairs" if wrong is None else "pairs_wrong"
    return dataclasses.replace(row, lengths=None, obstacle=obstacle, wrong=wrong)


def test_sentences_have_the_numbers_of_the_rows():
    about = f"{NAME}, seed 0"
    said = failing_headlines(summary(ROWS))
    assert says(said[0], 1, 2, 2)  # predictions within a factor of two, of how many
    one_pass = failing_headlines(summary(made("f64", 31, 31)))
    assert not one_pass, "one pass is no prediction of itself"
    assert all(text.startswith(f"{about}: ") for text in said[1:])
    assert says(said[1], "e4m3fn", 3, 8)
    assert says(said[2], "e8m3", "≤ 2", "> 31")
    [said] = failing_headlines(summary([refused(None)]))
    assert says(said, about, "no two lengths")
    counts = WrongPairs(wrong_pairs=3, training_pairs=29)
    [said] = failing_headlines(summary([refused(counts)]))
    assert says(said, about, "3 of 29 pairs of the training are wrong")


def test_a_slope_by_hand():
    """Lengths that double with every bit, for a gap that falls as 1/n; and one that is a bound."""
    rows = [row for m, n in ((2, 4), (3, 8), (4, 16), (5, None)) for row in made(f"e8m{m}", n, n)]
    (found,) = slopes(failing(training(rows)))
    assert found.observed.factor == pytest.approx(2, rel=1e-12, abs=0)
    assert (found.observed.points, found.theory, found.sites) == (3, (-1.0, 1.0, 2.0), "")
    assert says(failing_headlines(summary(rows))[-1], "2.00", 3, 2)  # measured, formats, by theory
    flat = [row for m in (2, 3, 4) for row in made(f"e8m{m}@weights", 8, 8, exponent=0.1)]
    (found,) = slopes(failing(training(flat)))
    assert (found.theory, found.sites) == (None, "weights")
    assert slopes(failing(training(ROWS[:14]))) == []


def test_a_power_beyond_float64_is_infinite():
    flat = [row for m in (2, 3, 4) for row in made(f"e8m{m}", 4, 8, exponent=-0.0008)]
    flat = [
        dataclasses.replace(row, lengths=dataclasses.replace(row.lengths, exponent_high=-0.0007))
        if isinstance(row, FailureRow) else row
        for row in flat
    ]  # fmt: skip
    (found,) = slopes(failing(training(flat)))
    assert found.theory.factor == math.inf


def test_a_row_without_lengths_says_why():
    with pytest.raises(ValueError, match="either lengths or an obstacle"):
        dataclasses.replace(made("f64", 2, 2)[-1], lengths=None)
    row = {name: value for name, value in to_row(refused(None)).items() if name != "obstacle"}
    with pytest.raises(BadInput, match="Expected either lengths or an obstacle in a row"):
        ROWS_OF_TRAININGS.read(row)


def test_contradictions_are_named():
    assert violations(summary(ROWS)) == []
    wrong = [dataclasses.replace(ROWS[1], contradicted=True)]
    [said] = violations(summary(wrong))
    assert says(said, f"{NAME}, seed 0", "f64", 3)


def two_settings():
    rotary = [*made("f64", 31, 31), *made("bf16", 8, 8)]
    return [training(ROWS, NAME), training(rotary, NAME.replace("none", "rotary", 1))]


def test_figures_have_a_panel_a_setting():
    figures = {name: draw() for name, draw in failing_figures(two_settings()).items()}
    for figure in figures.values():
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert len(shown) == 2
        assert "rotary" in shown[1].get_title(loc="left")
        ElementTree.fromstring(to_svg(figure, "x"))
    bounds = [
        line for line in figures["failing"].axes[0].lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == "white"
    ]  # fmt: skip
    assert len(bounds) == 1
    assert len(set(palette(["bf16", "e8m1", "e8m2"]).values())) == 3
    assert failing_figures([]) == {}


def test_figures_are_as_wide_as_the_page():
    """A page draws all figures in one width, and would magnify a narrower one."""
    for trainings in ([training(ROWS)], two_settings()):
        for draw in failing_figures(trainings).values():
            assert draw().get_size_inches()[0] == WIDTH
    figure = failing_figures([training(ROWS)])["failing"]()
    (alone,) = [a for a in figure.axes if a.get_visible()]
    assert alone.get_position().x1 < 0.62


def section(rows):
    figures = failing_figures([training(rows, NAME)])
    return failing_section(summary(rows), {name: draw() for name, draw in figures.items()})


def test_the_section_is_whole_or_empty():
    whole = section(ROWS)
    for text in failing_headlines(summary(ROWS)):
        assert html.escape(text) in whole
    assert whole.count("<svg") == 2
    assert failing_table(summary(ROWS)).count("<tr>") == 5
    assert section([]) == ""
    nothing = section([refused(None)])
    assert "not applicable" in nothing
    assert "<svg" not in nothing
