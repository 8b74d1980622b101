"""Sections on places and ratios: the numbers of the rows, and nothing where there are none."""

import dataclasses
from xml.etree import ElementTree

import pytest
from studies.train.made_train import step, training
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
from glassesjax.studies.train.records import (
    InfluenceOrderRow,
    InfluenceRow,
    RankCorrelation,
    RatioRow,
    RepetitionRow,
    Roundoff,
)
from glassesjax.studies.train.study import violations
from glassesjax.studies.train.summary import summary_of

HEAD = {"seed": 0, "step": 10, "dtype": "float32", "rounding": "none"}
RIGHT = (1.0, 0.75, 0.5)
COPY = "copy_at, positions rotary, remedy none"
COUNT = "count_mixed, positions none, remedy none"


def influences(length, coefficient, first=3.0):
    """Rows of three positions, of which the first has the largest influence."""
    places = [
        InfluenceRow(
            **HEAD, format="f32", length=length, position=position, examples=64, accuracy=right,
            differentiated=8, influence=max(first - position, 1.0), rollout=0.3, bound=0.0,
        )
        for position, right in enumerate(RIGHT)
    ]  # fmt: skip
    order = None
    if coefficient is not None:
        order = RankCorrelation(
            spearman=coefficient, low=coefficient - 0.25, high=coefficient + 0.125
        )
    whole = InfluenceOrderRow(
        **HEAD, format="f32", length=length, num_positions=3, examples=192, accuracy=0.75,
        dispersion=None if order is None else 12.25, influence=order, rollout=order, bound=order,
        earliness=order,
    )  # fmt: skip
    return [*reversed(places), whole]


def counted(accuracy, roundoff, *, within=True, applies=None, beyond=None):
    """Rows of one counter and of one length's repetitions."""
    more = accuracy > 0.6734
    head = {**HEAD, "format": "f64", "applies": not more if applies is None else applies}
    allowed = None if roundoff is None else Roundoff(roundoff=roundoff, within_roundoff=within)
    return [
        RatioRow(
            **head, items=1020, accuracy=accuracy, ratio_only_accuracy=0.6734,
            exceeds_ratio_only=more, exceeds_beyond_roundoff=beyond,
        ),
        RepetitionRow(
            **head, length=2, pairs=24, max_difference=5e-15, median_difference=1e-15,
            roundoff=allowed, same_answer=1.0, both_correct=0.0,
        ),
    ]  # fmt: skip


TWO = training(influences(16, 0.5), COPY)
ONE = training(influences(32, None), COPY, num_layers=1)
COUNTER = training(counted(0.648, 4e-6), COUNT, mask="none")
TRAININGS = [TWO, ONE, COUNTER]
SUMMARY = summary_of(TRAININGS)


def test_cells_put_positions_in_order():
    [first], [second] = heard_cells(TWO), heard_cells(ONE)
    assert first.values("position") == [0, 1, 2]
    assert first.values("accuracy") == list(RIGHT)
    assert first.order("rollout").text == "+0.50 (+0.25 to +0.62)"
    assert second.order("rollout") is None
    # An interval with both signs tells no order.
    assert Order(0.1, -0.2, 0.4).text == "+0.10 (-0.20 to +0.40: no order)"
    assert (first.name, second.name) == (f"{COPY}, 2 layers, seed 0", f"{COPY}, 1 layer, seed 0")


def test_cells_of_a_sweep_stay_apart():
    """They may share positions, layers, seed and length, and differ in what the cell names."""
    causal = training(influences(16, 0.5), "copy_at, mask causal")
    window = training(influences(16, 0.25, first=1.0), "copy_at, mask window-4")
    [first], [second] = heard_cells(causal), heard_cells(window)
    assert first.values("influence") == [3, 2, 1]
    assert second.values("influence") == [1, 1, 1]
    assert (first.name, second.name) == (
        "copy_at, mask causal, 2 layers, seed 0",
        "copy_at, mask window-4, 2 layers, seed 0",
    )
    both = summary_of([training(counted(0.648, 4e-6), name) for name in ("a", "b")])
    assert ratio_section(both).count("a, 2 layers, seed 0") == 2
    assert ratio_section(both).count("b, 2 layers, seed 0") == 2


def lines_of(rows):
    return violations(summary_of([training(rows, COUNT)]))


def test_what_contradicts_the_statement_is_named():
    """The exit status of ``train`` and ``sweep`` is 1 where there is a line."""
    ratio, pairs = counted(0.648, 4e-6)
    assert lines_of([ratio, pairs]) == []
    _, apart = counted(0.648, 4e-6, within=False)
    apart = dataclasses.replace(apart, max_difference=0.5)
    beyond, _ = counted(0.75, None, applies=True, beyond=True)
    first, second = lines_of([apart, beyond])
    about = f"{COUNT}, 2 layers, seed 0"
    assert says(first, about, 2, 0.5, "4e-06")
    assert says(second, about, "75.00%", "67.34%")
    by_rounding = dataclasses.replace(beyond, exceeds_beyond_roundoff=False)
    unknown = dataclasses.replace(beyond, exceeds_beyond_roundoff=None)
    free = [dataclasses.replace(row, applies=False) for row in (apart, beyond)]
    assert lines_of([by_rounding, unknown, *free]) == []


def test_sentences_have_the_numbers_of_the_rows():
    first, none, ratio = heard_headlines(SUMMARY)
    assert says(first, f"{COPY}, 2 layers, seed 0, length 16", "75%")
    assert says(first, "influence", "+0.50", "+0.25", "+0.62")
    assert says(none, "copy_at", "1 layer, seed 0, length 32")
    assert "+" not in none, "there is no order"
    assert says(ratio, "64.80%", "not", "67.34%")
    [said] = heard_headlines(summary_of([training(counted(0.99, None)[:1])]))
    assert says(said, "99.00%", "67.34%")
    assert "not" not in said


def test_sections_are_well_formed():
    order, ratio = heard_section(SUMMARY, heard_figure(TRAININGS)), ratio_section(SUMMARY)
    for section in (order, ratio):
        ElementTree.fromstring(section.replace("&nbsp;", " "))
    assert order.count("not applicable") == 4
    assert "5e-15" in ratio
    assert "4e-06" in ratio
    assert MISSING in ratio_section(summary_of([training(counted(0.99, None))]))
    assert set(words_of(SUMMARY)) > {"order", "ratio only"}


def test_nothing_is_said_of_what_was_not_measured():
    others = [training([step(0, 1, 1.0)])]
    nothing = summary_of(others)
    assert heard_section(nothing, None) == ratio_section(nothing) == ""
    assert heard_headlines(nothing) == []
    assert words_of(nothing) == {}
    with pytest.raises(ValueError, match="found none"):
        heard_figure(others)


def test_the_figure_has_a_panel_a_length():
    figure = heard_figure(TRAININGS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{COPY}\n2 layers, seed 0, length 16",
        f"{COPY}\n1 layer, seed 0, length 32",
    ]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["influence, of its largest"]) == [1, 2 / 3, 1 / 3]
    assert list(lines["printed bound, of its largest"]) == [0, 0, 0]
    assert list(lines["share of right answers"]) == list(RIGHT)
    assert to_svg(figure, "heard") == to_svg(heard_figure(TRAININGS), "heard")
