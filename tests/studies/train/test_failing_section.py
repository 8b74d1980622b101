"""Failing lengths on a page: bounds with their sign, factors, slopes and contradictions by hand."""

import html
from xml.etree import ElementTree

import pytest
from wording import says

from glassesjax.report.canvas import WIDTH, to_svg
from glassesjax.studies.train.failing_cells import failing, slopes
from glassesjax.studies.train.failing_figures import failing_figures, palette
from glassesjax.studies.train.failing_sentences import (
    failing_headlines,
    failing_section,
    failing_table,
    told_length,
)
from glassesjax.studies.train.verdicts import failing_violations

LENGTHS = (2, 3, 4, 8, 16, 31)


def made(format, predicted, observed, *, positions="none", exponent=-1.0, noise=0.5, seed=0):
    """Rows of one decoder in one format."""
    shared = {
        "task": "count_ones", "positions": positions, "remedy": "none", "seed": seed, "step": 9,
        "format": format, "place": -1, "shortest": 2, "longest": 8,
    }  # fmt: skip
    pairs = [
        {
            "kind": "twins", **shared, "length": n, "l2": 1 / n, "signal": 2 / n,
            "contradicted": False, "confused": observed is not None and n >= observed,
        }
        for n in LENGTHS
    ]  # fmt: skip
    last = {
        "kind": "failing", **shared, "length": -1, "applies": True, "why": "",
        "predicted": predicted, "predicted_low": predicted, "predicted_high": None,
        "predicted_correlated": 16, "by_certificate": 31, "by_storage": None, "stores": False,
        "by_signal": 8, "predicted_first": 3, "observed": observed, "first_failure": None,
        "noise": noise, "exponent": exponent, "exponent_low": exponent - 0.2,
        "exponent_high": exponent + 0.2,
        "least": 2, "reach": 31,
    }  # fmt: skip
    return [*pairs, last]


ROWS = [
    *made("f64", 31, 31, noise=0.0),
    *made("bf16", 16, 8),
    *made("e4m3fn", 3, 8),
    *made("e8m3", 2, None),
]


def test_bounds_and_ratios():
    wide, half, far, bound = failing(ROWS)
    assert (wide.ratio, half.ratio, far.ratio, bound.ratio) == (1, 0.5, pytest.approx(8 / 3), None)
    assert [cell.off for cell in (wide, half, far, bound)] == [False, False, True, True]
    assert told_length(bound, "predicted") == "≤ 2"
    assert told_length(bound, "observed") == "> 31"
    assert told_length(far, "observed") == "8"


def test_sentences_have_the_numbers_of_the_rows():
    about = "count_ones, positions none, remedy none, seed 0"
    said = failing_headlines(ROWS)
    assert says(said[0], 1, 2, 2)  # predictions within a factor of two, of how many
    assert not failing_headlines(made("f64", 31, 31)), "one pass is no prediction of itself"
    assert all(text.startswith(f"{about}: ") for text in said[1:])
    assert says(said[1], "e4m3fn", 3, 8)
    assert says(said[2], "e8m3", "≤ 2", "> 31")
    refused = {**made("f64", 2, 2)[-1], "applies": False, "why": "it has learned nothing"}
    [said] = failing_headlines([refused])
    assert says(said, about, "it has learned nothing")


def test_a_slope_by_hand():
    """Lengths that double with every bit, for a gap that falls as 1/n; and one that is a bound."""
    rows = [row for m, n in ((2, 4), (3, 8), (4, 16), (5, None)) for row in made(f"e8m{m}", n, n)]
    (found,) = slopes(failing(rows))
    assert 2**found.observed.exponent == pytest.approx(2, rel=1e-12, abs=0)
    assert (found.observed.points, found.theory, found.places) == (3, 1.0, "")
    assert says(failing_headlines(rows)[-1], "2.00", 3, 2)  # measured, formats, by theory
    flat = [row for m in (2, 3, 4) for row in made(f"e8m{m}@weights", 8, 8, exponent=0.1)]
    (found,) = slopes(failing(flat))
    assert (found.theory, found.places) == (None, "weights")
    assert slopes(failing(ROWS[:14])) == []


def test_contradictions_are_named():
    assert failing_violations(ROWS) == []
    wrong = [{**ROWS[1], "contradicted": True}]
    [said] = failing_violations(wrong)
    assert says(said, "count_ones, positions none, remedy none, seed 0", "f64", 3)


def test_figures_have_a_panel_a_setting():
    rows = [
        *ROWS,
        *made("f64", 31, 31, positions="rotary"),
        *made("bf16", 8, 8, positions="rotary"),
    ]
    figures = failing_figures(rows)
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
    for rows in (ROWS, [*ROWS, *made("f64", 31, 31, positions="rotary")]):
        for figure in failing_figures(rows).values():
            assert figure.get_size_inches()[0] == WIDTH
    (alone,) = [a for a in failing_figures(ROWS)["failing"].axes if a.get_visible()]
    assert alone.get_position().x1 < 0.62


def test_the_section_is_whole_or_empty():
    section = failing_section(ROWS)
    for text in failing_headlines(ROWS):
        assert html.escape(text) in section
    assert section.count("<svg") == 2
    assert failing_table(ROWS).count("<tr>") == 5
    assert failing_section([{"kind": "step"}]) == ""
    refused = {**ROWS[-1], "applies": False, "why": "it is <b>"}
    section = failing_section([refused])
    assert "&lt;b&gt;" in section
    assert "<svg" not in section
