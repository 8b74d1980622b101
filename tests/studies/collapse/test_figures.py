import re

import numpy as np
import pytest
from studies.collapse.made_rows import FAMILIES, LENGTHS, made_rows, made_run, run_of

from glassesjax.report.canvas import LogScale, color, to_svg
from glassesjax.report.numbers import power_of
from glassesjax.report.points import Point
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.figures import collapse_figure, equality_figure
from glassesjax.studies.collapse.overview import overview_figure

ZERO, LOST, FAINT = Point(1, 0.0), Point(2, None), Point(3, 1e-17, resolved=False)


def vanishing(n):
    """A decay that ends in exact zeros."""
    return 1 / n if n < 16 else 0.0


def drawn(axes, ink):
    """Lengths at which something of this color is drawn, a curve's breaks left out."""
    lines = [line for line in axes.lines if line.get_color() == ink]
    pairs = [np.asarray(line.get_xydata(), np.float64) for line in lines]
    return sorted(n for pair in pairs for n, y in pair if np.isfinite(y))


def test_zeros_and_overflow_have_strips_outside_all_distances():
    points = [Point(4, 1e-3), Point(8, 0.5), ZERO, LOST, FAINT]
    scale = LogScale.spanning(points)
    bottom, top = scale.bounds
    assert bottom < scale.place(ZERO) == scale.place(FAINT) < 10.0**scale.low <= 1e-3
    assert 0.5 <= 10.0**scale.high < scale.place(LOST) < top


def test_without_zeros_there_is_no_strip():
    scale = LogScale.spanning([Point(1, 0.1), Point(2, 0.01)])
    assert scale.bounds == (10.0**scale.low, 10.0**scale.high)


@pytest.mark.parametrize("signal", [vanishing, lambda n: None if n > 8 else 1 / n])
def test_every_measured_length_of_the_signal_is_drawn(signal):
    figure = collapse_figure(Curves(made_run(signal=signal)), "rotary", "ones_bos")
    for axes, name in zip(figure.axes, ("f32", "bf16"), strict=True):
        assert axes.get_title(loc="left").startswith(f"{name} native, u = 2⁻")
        # Once in wide arithmetic, once in the format's own.
        assert drawn(axes, color(name)) == sorted(2 * LENGTHS)
        assert axes.get_ylim() == figure.axes[0].get_ylim()


def test_the_axis_names_its_strip():
    figure = collapse_figure(Curves(made_run(signal=vanishing)), "rotary", "ones_bos")
    figure.canvas.draw_idle()
    assert "equal" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_a_line_breaks_at_a_zero():
    rows = made_rows(signal=lambda n: 0.0 if n == 4 else 1 / n, formats=("f32",))
    (axes,) = collapse_figure(Curves(run_of(rows)), "rotary", "ones_bos").axes
    thick = max(axes.lines, key=lambda line: line.get_linewidth())
    assert np.isnan(np.asarray(thick.get_ydata())).tolist() == [n == 4 for n in LENGTHS]


def test_a_missing_cell_says_so():
    rows = [r for r in made_rows() if (r["format"], r["family"]) != ("bf16", "ones_zero")]
    figure = collapse_figure(Curves(run_of(rows)), "rotary")
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["not measured"]


def test_equality_shows_the_share_of_equal_coordinates_and_the_ulp():
    figure = equality_figure(Curves(made_run(signal=vanishing)), "rotary", "ones_bos")
    share, ulp = figure.axes
    curve = next(line for line in share.lines if line.get_color() == color("bf16"))
    assert np.asarray(curve.get_ydata()).tolist() == [0, 0, 0, 0, 1, 1]
    assert drawn(ulp, color("bf16")) == list(LENGTHS)


@pytest.mark.parametrize(
    ("signal", "lengths", "words"),
    [
        (
            lambda n: n**-1.5,
            LENGTHS,
            "\N{MINUS SIGN}1.500 (\N{MINUS SIGN}1.500 to \N{MINUS SIGN}1.500)\nn 1~32",
        ),
        (lambda n: 2.0**-n, LENGTHS, "an exponential\nis closer, n 2~32"),
        (lambda n: 0.5 + 0.1 * (n % 3), LENGTHS, "no trend, n 2~32"),
        (lambda n: 1 / n, (4, 8, 16), "no slope: n 4~16 is\nunder a decade"),
        (lambda n: 1 / n, (8,), "no slope: n 8~8 is\nunder a decade"),
        (lambda n: 0.0, LENGTHS, "equal"),
        (lambda n: 1e-17, LENGTHS, "equal to within\nfloat64's rounding"),
    ],
)
def test_the_overview_gives_an_exponent_only_where_there_is_one(signal, lengths, words):
    figure = overview_figure(Curves(made_run(signal=signal, lengths=lengths)))
    words = words.replace("~", "\N{EN DASH}")
    assert all(axes.texts[0].get_text().endswith(words) for axes in figure.axes)


def test_the_overview_shades_what_the_theorem_does_not_cover():
    met, unmet = overview_figure(Curves(made_run())).axes
    assert met.get_facecolor() == (1, 1, 1, 1)
    assert unmet.get_facecolor() != (1, 1, 1, 1)


def test_several_encodings_make_a_grid():
    figure = overview_figure(Curves(made_run(positions=("none", "rotary", "alibi"))))
    assert len(figure.axes) == 3 * len(FAMILIES)


def test_svg_repeats_and_keeps_to_its_own_ids():
    curves = Curves(made_run(signal=vanishing))
    first, again = (to_svg(collapse_figure(curves, "rotary", "ones_bos"), "a") for _ in range(2))
    assert first == again
    assert first.startswith("<svg")
    ids = re.findall(r' id="([^"]+)"', first)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', first)) == set(ids)
    assert all(name.startswith("a-") for name in ids)


def test_powers_are_written_in_plain_characters():
    assert power_of(10, -12) == "10⁻¹²"
