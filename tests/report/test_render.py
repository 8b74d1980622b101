"""Templates and charts by hand: what is escaped, what a number becomes, one drawing, two uses."""

import importlib.resources
import math
import re

import pytest

from glassesjax.report.chart import COLORS, Chart, charted, drawing
from glassesjax.report.numbers import number, size_text
from glassesjax.report.render import TEMPLATES, percent_of, plot, signed, words

STYLE = (importlib.resources.files(TEMPLATES) / "page.css").read_text("utf-8")


@charted
def square():
    """Two points of a series, one of which a reader may touch."""
    chart = Chart(200, 100)
    axes = chart.panel(20, 10, 160, 80)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    chart.series("a<b", axes.plot([0, 10], [0, 10], color=COLORS["c1"]))
    chart.mark(axes, (5, 5), 'n = 5\n"<b>"', series="s", radius=7)
    chart.mark(axes, (0, 10), "all", stop=(10, 0), go="row")
    chart.cursor(axes, [0, 5, 10])
    return chart


def test_a_mark_stands_where_its_data_do_and_is_escaped():
    inline = drawing(square(), "a").inline
    assert '<circle cx="100.0" cy="50.0" r="7" data-series="s" data-tip="n = 5&#10;' in inline
    assert "&quot;&lt;b&gt;&quot;" in inline
    assert '<rect x="20.0" y="10.0" width="160.0" height="80.0" data-go="row"' in inline
    assert 'data-xs="20.0,100.0,180.0" x1="180.0" x2="180.0" y1="90.0" y2="10.0"' in inline


def test_one_drawing_gives_a_file_with_colors_and_a_part_of_a_page_with_tokens():
    file, inline = drawing(square(), "a")
    assert COLORS["c1"] in file
    assert 'class="hits"' not in file
    assert "var(--c1)" in inline
    assert re.search(
        r'<svg aria-hidden="true" style="max-width:210px" [^>]*viewBox="0 0 200 100"', inline
    )
    assert not re.search(r'<svg[^>]* width="', inline)


def test_every_color_of_a_figure_is_a_token_of_the_style_sheet():
    light = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", STYLE.partition("@media")[0]))
    assert {name: light[name] for name in COLORS if name != "paper"} == {
        name: color for name, color in COLORS.items() if name != "paper"
    }
    assert len(set(COLORS.values())) == len(COLORS)


def test_data_behind_a_figure_cannot_end_its_element():
    rows = [{"n": 1, "gap": 0.1 + 0.2, "name": "</script>&lt;", "none": None}]
    assert plot("a", square, rows=rows).csv == "n,gap,name,none\n1,0.3,&lt;/script>&amp;lt;,\n"
    assert plot("a", square).csv == plot("a", square).narrow == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (number(None), "\N{EN DASH}"),
        (number(math.nan), "not finite"),
        (number(0.0), "0"),
        (number(426.0), "426"),
        (number(9.96), "10"),
        (number(4.9e-6), "4.9 \N{MULTIPLICATION SIGN} 10⁻⁶"),
        (number(-0.0123), "\N{MINUS SIGN}0.012"),
        (number(-1.26e-5), "\N{MINUS SIGN}1.3 \N{MULTIPLICATION SIGN} 10⁻⁵"),
        (size_text(1023), "1023 B"),
        (size_text(1024), "1.00 KiB"),
        (size_text(987_654), "965 KiB"),
        (size_text(3 * 2**29), "1.50 GiB"),
        (size_text(200 * 2**30), "200 GiB"),
        (signed(-1.5), "\N{MINUS SIGN}1.50"),
        (signed(math.inf), "not finite"),
        (percent_of(None), "\N{EN DASH}"),
        (percent_of(0.25), "25%"),
        (words([]), "none"),
        (words(["a"]), "a"),
        (words(["a", "b", "c"]), "a, b and c"),
    ],
)  # fmt: skip
def test_numbers_and_names_as_a_page_has_them(text, wanted):
    assert text == wanted


def test_further_drawings_name_the_values_of_the_first():
    """A page has each text once; what stands in a further drawing alone is written there."""

    @charted
    def narrow():
        chart = square()
        chart.mark(chart.axes[0], (1, 1), "of a phone")
        return chart

    made = plot("a", square, narrow=narrow, linear=lambda narrow=False: square())
    assert made.linear
    assert made.narrow_linear
    assert re.findall(r'data-(tip|same)="([^"]*)"', made.narrow)[:2] == [
        ("same", "0"), ("same", "1")
    ]  # fmt: skip
    assert 'data-tip="of a phone"' in made.narrow
    assert "data-tip" not in made.linear


def test_a_drawing_leaves_out_what_shows_nothing():
    file, inline = drawing(square(), "a")
    for text in (file, inline):
        assert text.count("<g") == text.count("</g>")
        assert "<g>" not in text
        assert "rotate(-0" not in text
        assert not re.search(r">\s+<", text)
        used = re.findall(r'(?:href="|url\()#([^")]+)', text)
        assert sorted(set(used)) == sorted(re.findall(r' id="([^"]+)"', text))
