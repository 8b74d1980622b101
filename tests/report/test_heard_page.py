"""Sections on places and ratios: the numbers of the rows, and nothing where there are none."""

from xml.etree import ElementTree

import pytest
from report.made_rows import PROVENANCE

from glassesjax.report.canvas import to_svg
from glassesjax.report.heard_cells import heard_cells
from glassesjax.report.heard_figures import heard_figure
from glassesjax.report.heard_sentences import (
    heard_headlines,
    heard_section,
    ratio_section,
    words_of,
)
from glassesjax.report.markup import MISSING

SHARED = PROVENANCE | {
    "study": "train", "task": "copy_at", "positions": "rotary", "mask": "causal", "layers": 2,
    "seed": 0, "format": "f32", "step": 10,
}  # fmt: skip
RIGHT = (1.0, 0.75, 0.5)


def heard_of(length, coefficient, **changes):
    """Rows of three places, of which the first is heard best."""
    places = [
        SHARED | {
            "kind": "heard", "length": length, "place": place, "examples": 64, "right": right,
            "differentiated": 8, "influence": 3.0 - place, "rollout": 0.3, "bound": 0.0,
        }
        for place, right in enumerate(RIGHT)
    ]  # fmt: skip
    order = {
        f"{of}_{name}": None if coefficient is None else coefficient + shift
        for of, shift in (("spearman", 0.0), ("low", -0.25), ("high", 0.125))
        for name in ("influence", "rollout", "bound", "earliness")
    }
    whole = {
        "kind": "heard_order", "length": length, "place": -1, "places": 3, "examples": 192,
        "right": 0.75, "dispersion": None if coefficient is None else 12.25,
    }  # fmt: skip
    return [row | changes for row in [*reversed(places), SHARED | whole | order]]


def counted(mask, accuracy, roundoff):
    """Rows of one counter and of one length's repetitions."""
    head = SHARED | {"task": "count_mixed", "positions": "none", "mask": mask, "place": -1}
    beyond = accuracy > 0.6734
    return [
        head | {
            "kind": "ratio", "length": -1, "items": 1020, "accuracy": accuracy,
            "ratio_only": 0.6734, "likelier_than_ratio": beyond, "applies": not beyond,
        },
        head | {
            "kind": "repeated", "length": 2, "pairs": 24, "apart": 5e-15, "roundoff": roundoff,
            "within_roundoff": None, "same_answer": 1.0, "both_right": 0.0, "applies": not beyond,
        },
    ]  # fmt: skip


ROWS = [*heard_of(16, 0.5), *heard_of(32, None, layers=1), *counted("none", 0.648, 4e-6)]


def test_cells_put_places_in_order():
    first, second = heard_cells(ROWS)
    assert first.values("place") == [0, 1, 2]
    assert first.values("right") == list(RIGHT)
    assert first.order("rollout").text == "+0.50 (+0.25 to +0.62)"
    assert second.order("rollout") is None
    assert (first.name, second.name) == ("rotary, 2 layers, seed 0", "rotary, 1 layer, seed 0")


def test_sentences_have_the_numbers_of_the_rows():
    heard, none, ratio = heard_headlines(ROWS)
    assert heard.startswith("rotary, 2 layers, seed 0, length 16: 75% right; order of the places")
    assert "influence +0.50 (+0.25 to +0.62)" in heard
    assert "not applicable" in none
    assert "64.80% of all items are counted, not more than the ratio" in ratio
    [beyond, _] = counted("causal", 0.99, None)
    assert "more than the ratio alone could give (67.34%)" in heard_headlines([beyond])[0]


def test_sections_are_well_formed():
    heard, ratio = heard_section(ROWS), ratio_section(ROWS)
    for section in (heard, ratio):
        ElementTree.fromstring(section.replace("&nbsp;", " "))
    assert heard.count("not applicable") == 4
    assert "5e-15" in ratio
    assert "4e-06" in ratio
    assert MISSING in ratio_section(counted("causal", 0.99, None))
    assert set(words_of(ROWS)) > {"order", "ratio only"}


def test_nothing_is_said_of_what_was_not_measured():
    others = [SHARED | {"kind": "step"}]
    assert heard_section(others) == ratio_section(others) == ""
    assert heard_headlines(others) == []
    assert words_of(others) == {}
    with pytest.raises(ValueError, match="found none"):
        heard_figure(others)


def test_the_figure_has_a_panel_a_length():
    figure = heard_figure(ROWS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "rotary, 2 layers, seed 0, length 16",
        "rotary, 1 layer, seed 0, length 32",
    ]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["influence, of its largest"]) == [1, 2 / 3, 1 / 3]
    assert list(lines["printed bound, of its largest"]) == [0, 0, 0]
    assert list(lines["share of right answers"]) == list(RIGHT)
    assert to_svg(figure, "heard") == to_svg(heard_figure(ROWS), "heard")
