"""Sections on places and ratios: the numbers of the rows, and nothing where there are none."""

from xml.etree import ElementTree

import pytest
from studies.collapse.made_rows import PROVENANCE
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.heard_cells import Order, heard_cells
from glassesjax.studies.train.heard_figures import heard_figure
from glassesjax.studies.train.heard_sentences import (
    heard_headlines,
    heard_section,
    ratio_section,
    words_of,
)
from glassesjax.studies.train.verdicts import ratio_violations, violations

SHARED = PROVENANCE | {
    "study": "train", "task": "copy_at", "positions": "rotary", "mask": "causal", "layers": 2,
    "remedy": "none", "seed": 0, "format": "f32", "step": 10,
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
    # An interval with both signs tells no order.
    assert Order(0.1, -0.2, 0.4).text == "+0.10 (-0.20 to +0.40: no order)"
    about = "copy_at, positions rotary, remedy none"
    assert (first.name, second.name) == (f"{about}, 2 layers, seed 0", f"{about}, 1 layer, seed 0")


def test_cells_of_a_sweep_stay_apart():
    """They may share positions, layers, seed and length, and differ in what the cell names."""
    rows = [
        *heard_of(16, 0.5, cell="copy_at, mask causal"),
        *heard_of(16, 0.25, cell="copy_at, mask window-4", influence=1.0),
    ]
    first, second = heard_cells(rows)
    assert first.values("influence") == [3, 2, 1]
    assert second.values("influence") == [1, 1, 1]
    assert (first.name, second.name) == (
        "copy_at, mask causal, 2 layers, seed 0",
        "copy_at, mask window-4, 2 layers, seed 0",
    )
    both = [
        row | {"cell": name}
        for name in ("a", "b")
        for row in counted("none", 0.648, 4e-6)
    ]  # fmt: skip
    assert ratio_section(both).count("a, 2 layers, seed 0") == 2
    assert ratio_section(both).count("b, 2 layers, seed 0") == 2


def test_what_contradicts_the_statement_is_named():
    ratio, pairs = counted("none", 0.648, 4e-6)
    pairs |= {"within_roundoff": True}
    assert ratio_violations([ratio, pairs, *ROWS]) == []  # as older rows have it
    apart = pairs | {"within_roundoff": False, "apart": 0.5}
    beyond = ratio | {"likelier_than_ratio": True, "beyond_roundoff": True, "accuracy": 0.75}
    about = "count_mixed, positions none, remedy none, 2 layers, seed 0"
    first, second = ratio_violations([apart, beyond])
    assert says(first, about, 2, 0.5, "4e-06")
    assert says(second, about, "75.00%", "67.34%")
    by_rounding = beyond | {"beyond_roundoff": False}
    free = [row | {"applies": False} for row in (apart, beyond)]
    assert ratio_violations([by_rounding, *free]) == []


def test_commands_fail_on_either_contradiction():
    """The exit status of ``train`` and ``sweep`` is 1 where there is a line."""
    _, pairs = counted("none", 0.648, 4e-6)
    apart = pairs | {"within_roundoff": False}
    twins = pairs | {"kind": "twins", "contradicted": True}
    assert len(violations([apart, twins])) == 2
    assert violations([pairs, twins | {"contradicted": False}, *ROWS]) == []


def test_sentences_have_the_numbers_of_the_rows():
    heard, none, ratio = heard_headlines(ROWS)
    about = "copy_at, positions rotary, remedy none, 2 layers, seed 0, length 16"
    assert says(heard, about, "75%")
    assert says(heard, "influence", "+0.50", "+0.25", "+0.62")
    assert says(none, "copy_at", "1 layer, seed 0, length 32")
    assert "+" not in none, "there is no order"
    assert says(ratio, "64.80%", "not", "67.34%")
    [beyond, _] = counted("causal", 0.99, None)
    [said] = heard_headlines([beyond])
    assert says(said, "99.00%", "67.34%")
    assert "not" not in said


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
        "copy_at, positions rotary, remedy none\n2 layers, seed 0, length 16",
        "copy_at, positions rotary, remedy none\n1 layer, seed 0, length 32",
    ]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["influence, of its largest"]) == [1, 2 / 3, 1 / 3]
    assert list(lines["printed bound, of its largest"]) == [0, 0, 0]
    assert list(lines["share of right answers"]) == list(RIGHT)
    assert to_svg(figure, "heard") == to_svg(heard_figure(ROWS), "heard")
