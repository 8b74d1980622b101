"""Charts of the influence page: which dots are drawn, and what the slider reads."""

import math
import re

import numpy as np
import pytest
from studies.influence.made_influence import LAYERS, TOKENS, made_result, made_rows, run_of

from glassesjax.report.chart import COLORS, drawing
from glassesjax.studies.influence.charts import (
    MANY,
    PLACES,
    influence_chart,
    layers_shown,
    share_chart,
)
from glassesjax.studies.influence.page import values
from glassesjax.studies.influence.profiles import profiles_of

NORMS = (8.0, 4.0, 2.0, 1.0, 0.0)
MEASURES = ("frobenius", "along", "scaled")


def profiles(**changes):
    return profiles_of(run_of(made_rows(norms=NORMS, **changes)))[0]


def dots(axes, color):
    """Places of the dots of a color: strokes of one line, with gaps between."""
    lines = [line for line in axes.lines if line.get_color() == COLORS[color]]
    lines = [line for line in lines if line.get_linewidth() > 1]  # no error
    strokes = [np.asarray(line.get_xydata(), np.float64).reshape(-1, 3, 2) for line in lines]
    return [tuple(each[0]) for line in strokes for each in line if each[0, 1] == each[1, 1]]


@pytest.mark.parametrize("narrow", [False, True])
def test_every_token_is_a_dot_that_can_be_touched(narrow):
    chart = influence_chart(profiles(), narrow=narrow)
    (axes,) = chart.axes
    assert dots(axes, "c2") == [(0, pytest.approx(64 / 85, rel=2.0**-50))]
    assert [at for at, _ in dots(axes, "c6")] == [1, 2, 3, 4]
    assert 0 < dots(axes, "c6")[-1][1] < 1e-3  # a zero has no logarithm: it stands in the strip
    assert [mark.row for mark in chart.marks] == ["0", "1", "2", "3", "4"]
    assert chart.marks[0].text == "0 1"


def test_dots_of_a_linear_scale_are_drawn_by_the_script_alone():
    chart = influence_chart(profiles(), linear=True)
    assert dots(chart.axes[0], "c2") == dots(chart.axes[0], "c6") == []
    assert chart.touches().count('class="drawn') == 2


def test_the_script_knows_where_data_stand():
    chart = influence_chart(profiles())
    maps = re.findall(r'data-map="([^"]*)"', chart.touches())
    assert len(maps) == 2
    x, across, y, up, low = map(float, maps[0].split())
    (axes,) = chart.axes
    assert chart.place(axes, 3, 0.01) == pytest.approx((x + 3 * across, y - 2 * up), abs=0.02)
    assert low == 1e-3


def test_values_of_the_slider_are_those_of_the_rows():
    rows = values(profiles())
    assert len(rows) == (LAYERS + 1) * len(TOKENS)
    assert rows[0]["share"] == pytest.approx(64 / 85, rel=1e-4)
    assert (rows[0]["norm"], rows[0]["rollout"]) == (8.0, 0.2)
    assert {row["share"] for row in rows[-5:]} == {None}


def test_of_very_many_tokens_the_slider_has_some_layers():
    many = profiles()
    many.shape = 31, PLACES // 4
    assert layers_shown(many) == [0, 10, 20, 30]
    many.shape = 31, PLACES
    assert layers_shown(many) == [0, 30]


def test_figures_of_the_folds_show_all_that_was_measured():
    figures = made_result(norms=NORMS, method="estimated").figures
    kinds = ("true", "frozen")
    names = [part for m in MEASURES for part in (f"layers-{m}", *(f"share-{k}-{m}" for k in kinds))]
    assert [*figures] == ["influence", "norms", *names]
    norms = figures["norms"]().axes[0]
    assert {text.get_text() for text in norms.texts} == {
        "repaired bound", "printed bound", "true attention", "attention held fixed"
    }  # fmt: skip
    true = norms.lines[2]
    assert np.asarray(true.get_ydata())[:4].tolist() == [8, 4, 2, 1]
    assert math.isnan(np.asarray(true.get_ydata())[4])  # the line breaks
    share = figures["share-true-scaled"]()
    assert len(dots(share.axes[0], "c2") + dots(share.axes[0], "c6")) == len(share.marks) == 5
    (image,) = figures["layers-along"]().axes[0].images
    assert image.get_array().shape == (LAYERS + 1, len(TOKENS), 4)
    assert not image.get_array()[-1, :, 3].any()  # 0 / 0 is blank


def test_of_very_many_tokens_neighbors_are_one_stroke():
    tokens = tuple(map(str, range(400)))
    made = profiles_of(run_of(made_rows(tokens=tokens, norms=tuple(map(float, range(400))))))[0]
    axes = share_chart(made, "true", "frobenius").axes[0]
    rollout, spans = axes.lines[1:3]
    assert len(rollout.get_xdata()) == MANY
    # The first two tokens of a block of two: squares over the sum of all.
    total, (low, high) = sum(at * at for at in range(400)), np.asarray(spans.get_ydata())[-3:-1]
    assert (low, high) == pytest.approx((398**2 / total, 399**2 / total))
    assert len(dots(axes, "c2")) == 40


def test_figures_repeat_and_any_text_can_be_a_label():
    for token in ("$x$", "中文", "a_{b", "\x00"):
        made = profiles(tokens=(token, *"abcd"))
        first, again = (drawing(influence_chart(made), "a") for _ in range(2))
        assert first == again
    assert "\\x00" in first.inline
