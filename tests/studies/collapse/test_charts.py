"""Charts of the collapse page: what is drawn of each row, and what stands in a strip."""

import re

import numpy as np
import pytest
from studies.collapse.made_rows import FAMILIES, LENGTHS, made_rows, made_run, run_of

from glassesjax.report.chart import COLORS, drawing
from glassesjax.report.points import Point
from glassesjax.report.scales import LogScale
from glassesjax.studies.collapse.charts import (
    Look,
    equal_chart,
    family_chart,
    figures_of,
    first_chart,
)
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.page import values
from glassesjax.studies.collapse.summary import summarize

ZERO, LOST, FAINT = Point(1, 0.0), Point(2, None), Point(3, 1e-17, resolved=False)


def vanishing(n):
    """A decay that ends in exact zeros."""
    return 1 / n if n < 16 else 0.0


def look_of(run):
    return Look(Curves(run), summarize(run))


def drawn(axes, series):
    """Lengths at which a series has a line or a ring."""
    lines = [line for line in axes.lines if (line.get_gid() or "").split("--")[1:2] == [series]]
    return {n for line in lines for n, _ in np.asarray(line.get_xydata(), np.float64)}


def test_zeros_and_overflow_have_strips_outside_all_distances():
    points = [Point(4, 1e-3), Point(8, 0.5), ZERO, LOST, FAINT]
    scale = LogScale.spanning(points)
    bottom, top = scale.bounds
    assert bottom < scale.place(ZERO) == scale.place(FAINT) < 10.0**scale.low <= 1e-3
    assert 0.5 <= 10.0**scale.high < scale.place(LOST) < top


def test_without_zeros_there_is_no_strip():
    scale = LogScale.spanning([Point(1, 0.1), Point(2, 0.01)])
    assert scale.bounds == (10.0**scale.low, 10.0**scale.high)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("signal", [vanishing, lambda n: None if n > 8 else 1 / n])
def test_every_measured_length_of_each_family_is_drawn_and_can_be_touched(signal, narrow):
    chart = first_chart(look_of(made_run(signal=signal)), narrow=narrow)
    for family in FAMILIES:
        assert drawn(chart.axes[0], family) == {*LENGTHS}
        assert [m.start[0] for m in chart.marks if m.series == family] == [*LENGTHS]


def test_the_axis_names_its_strip():
    chart = first_chart(look_of(made_run(signal=vanishing)))
    assert "equal" in [label.get_text() for label in chart.axes[0].get_yticklabels()]


def test_a_missing_panel_is_left_out():
    rows = [r for r in made_rows() if (r["format"], r["family"]) != ("bf16", "ones_zero")]
    look = look_of(run_of(rows))
    assert drawn(first_chart(look).axes[0], "ones_zero") == {*LENGTHS}  # in f32 it is there
    assert len(family_chart(look, "rotary", "ones_zero").marks) == 0


def test_rings_are_where_the_format_hides_the_difference():
    """Noise of bf16 is 1 / 32: a signal of 1 / n is under it from 64 on."""
    look = look_of(made_run(lengths=(8, 32, 64, 128), families=("ones_bos",)))
    axes = first_chart(look).axes[0]
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == COLORS["paper"]]
    assert list(ring.get_xdata()) == [64, 128]


def test_equality_is_the_share_of_equal_coordinates():
    look = look_of(made_run(signal=vanishing, families=("ones_bos",), formats=("bf16",)))
    (curve,) = equal_chart(look, "rotary").axes[0].lines
    assert np.asarray(curve.get_ydata()).tolist() == [0, 0, 0, 0, 100, 100]


def test_several_encodings_have_a_panel_each():
    names = ("none", "rotary", "alibi")
    look = look_of(made_run(positions=names))
    assert [axes.get_title(loc="left") for axes in first_chart(look).axes] == [*names]
    assert drawing(first_chart(look), "a").inline.count('<line class="cursor') == len(names)
    assert [*figures_of(look)] == [
        "distance",
        *(f"{part}" for p in names for part in (f"equal-{p}", *(f"{p}-{f}" for f in FAMILIES))),
    ]


def test_values_of_the_slider_are_those_of_the_rows():
    look = look_of(made_run(lengths=(8, 64), families=("ones_bos",)))
    first, last = values(look)
    assert (first["n"], first["distance"], first["times"]) == (8, 1 / 8, 4)
    assert (last["error_bf16"], last["times"]) == (1 / 32, 0.5)


def test_svg_repeats_and_keeps_to_its_own_ids():
    look = look_of(made_run(signal=vanishing))
    first, again = (drawing(first_chart(look), "a") for _ in range(2))
    assert first == again
    for text in first:
        assert text.startswith("<svg")
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(ids) == len(set(ids)) > 0
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) == set(ids)
        assert all(name.startswith("a-") for name in ids)


def test_a_page_has_tokens_where_a_file_has_colors():
    file, inline = drawing(first_chart(look_of(made_run())), "a")
    assert COLORS["c1"] in file
    assert "var(" not in file
    assert "var(--c1)" in inline
    assert not any(color in inline for color in COLORS.values())
