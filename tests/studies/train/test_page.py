"""Training in numbers, in words and on a page, for made rows whose means are known by hand."""

import html
from xml.etree import ElementTree

import pytest
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.studies.train.cells import MIXED, answered, formats, learned, losses, reach
from glassesjax.studies.train.figures import lengths_figure, losses_figure
from glassesjax.studies.train.page import train_headlines, train_page
from glassesjax.surveys.sweep.cells import cells
from glassesjax.surveys.sweep.figures import reaches_figure
from glassesjax.surveys.sweep.page import sweep_files, sweep_headlines, sweep_page

SHARED = {
    "study": "train", "task": "count_<ones>", "remedy": "none", "positions": "rotary",
    "mask": "causal", "temperature": "constant", "mix": "uniform", "layers": 2, "heads": 4,
    "width": 32, "arithmetic": "f32", "shortest": 2, "longest": 4, "mesh": "1 x 1 x 1",
    "dtype": "float32",
}  # fmt: skip


def step(seed, at, loss):
    return {**SHARED, "kind": "step", "seed": seed, "step": at, "format": "f32", "length": -1,
            "place": -1, "loss": loss, "accuracy": 0.5, "gradient_norm": 1.0,
            "tokens_per_second": 9.0}  # fmt: skip


def answer(seed, fmt, length, exact, margin=1.0):
    return {**SHARED, "kind": "answers", "seed": seed, "step": 20, "format": fmt, "length": length,
            "place": -1, "in_training": length <= 4, "examples": 8, "exact": exact,
            "tokens_right": exact, "loss": 0.25, "margin": margin}  # fmt: skip


ROWS = [
    step(1, 20, 0.5), step(1, 10, 1.0), step(0, 10, 2.0), step(0, 20, None),
    answer(0, "f32", MIXED, 1.0), answer(1, "f32", MIXED, 0.5, -1.0),
    answer(0, "f32", 4, 1.0), answer(1, "f32", 4, 1.0, 0.5),
    answer(0, "f32", 2, 1.0), answer(1, "f32", 2, 0.98),
    answer(0, "f32", 8, 0.5), answer(1, "f32", 8, 0.25),
    answer(0, "bf16", MIXED, 0.0), answer(1, "bf16", MIXED, 0.0),
    answer(0, "bf16", 2, 0.0), answer(1, "bf16", 2, 0.5),
]  # fmt: skip


def test_steps_come_in_order_and_what_is_no_number_is_none():
    assert losses(ROWS)[1] == ([10, 20], [1.0, 0.5])
    steps, values = losses(ROWS)[0]
    assert steps == [10, 20]
    assert values[0] == 2.0
    assert values[1] != values[1]


def test_answers_are_means_over_seeds_and_the_smallest_margin():
    curve = answered(ROWS)["f32"]
    assert [(point.length, point.in_training) for point in curve] == [
        (2, True),
        (4, True),
        (8, False),
    ]
    assert [point.mean for point in curve] == [0.99, 1.0, 0.375]
    assert curve[1].margin == 0.5
    assert learned(ROWS)["f32"].mean == 0.75
    assert learned(ROWS)["f32"].margin == -1.0


def test_reach_ends_at_the_first_length_that_is_not_learned():
    assert reach(answered(ROWS)["f32"]) == 4
    assert reach(answered(ROWS)["bf16"]) is None
    later = [*answered(ROWS)["f32"], answered(ROWS)["f32"][1]._replace(length=16)]
    assert reach(later) == 4


def test_sentences_give_shares_and_reach():
    first, wide, narrow, *_ = train_headlines(ROWS)
    assert says(first, 2, 4, "uniform")
    assert says(wide, "f32", "75.0%", 8, 4)  # right, longest tested, longest learned
    assert says(narrow, "bf16", "0.0%", "none")


def test_figures_have_a_line_a_format_and_a_line_a_seed():
    [axes] = lengths_figure(ROWS).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"f32": [0.99, 1.0, 0.375], "bf16": [0.25]}
    [axes] = losses_figure(ROWS).axes
    assert len(axes.lines) == 2
    for figure in (lengths_figure(ROWS), losses_figure(ROWS)):
        ElementTree.fromstring(to_svg(figure, "name"))


def test_the_page_shows_every_number_and_escapes_what_it_is_given():
    page = train_page(ROWS, {"task": "count_<ones>"}, {"command": "glassesjax train"})
    assert "<ones>" not in page
    assert html.escape("count_<ones>") in page
    assert "37.5%" in page
    assert "75.0% (-1)" in page
    assert page == train_page(ROWS, {"task": "count_<ones>"}, {"command": "glassesjax train"})
    assert "&lt;div" not in page
    assert "&lt;table" not in page
    with pytest.raises(ValueError, match="rows"):
        train_page([], {}, {})


def swept(name, rows):
    return [{"cell": name, **row} for row in rows]


SWEPT = [*swept("a<b", ROWS), *swept("second", [row for row in ROWS if row["format"] == "f32"])]


def test_a_sweep_is_read_cell_by_cell():
    one, two = cells(SWEPT)
    assert one.learned == (("f32", 0.75), ("bf16", 0.0))
    assert one.reach == {"f32": 4, "bf16": None}
    assert two.learned == (("f32", 0.75),)
    assert formats(SWEPT) == ["f32", "bf16"]
    assert says(sweep_headlines(SWEPT)[1], "second", "f32", "75.0%")


def test_a_sweep_has_a_panel_a_cell():
    shown = [axes for axes in reaches_figure(SWEPT).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["a<b", "second"]
    assert [len(axes.lines) for axes in shown] == [2, 1]
    many = [row for n in range(5) for row in swept(f"cell {n}", ROWS)]
    assert sum(axes.get_visible() for axes in reaches_figure(many).axes) == 5


def test_the_page_of_a_sweep_is_whole():
    record = {"cells": "2 of 3", "command": "glassesjax sweep"}
    files = sweep_files(SWEPT, {"preset": "quick"}, record)
    assert "index.html" in files
    page = sweep_page(SWEPT, {"preset": "quick"}, record)
    assert page == files["index.html"]
    assert "2 of 3 cells" in page
    assert "a<b" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
