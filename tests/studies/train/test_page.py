"""Training in numbers, in words and on a page, for made rows whose means are known by hand."""

import dataclasses
import html
import math
from xml.etree import ElementTree

import pytest
from studies.train.made_train import CONSTANTS, MADE, answer, run_of, step, training
from wording import says

from glassesjax.errors import BadInput
from glassesjax.report.canvas import to_svg
from glassesjax.runs.record import to_row
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import answered, learned, losses, reach
from glassesjax.studies.train.figures import lengths_figure, losses_figure
from glassesjax.studies.train.page import headline, train_headlines
from glassesjax.studies.train.run import result
from glassesjax.studies.train.summary import summary_of
from glassesjax.surveys.sweep.figures import reaches_figure
from glassesjax.surveys.sweep.page import headline as sweep_headline
from glassesjax.surveys.sweep.run import result as sweep_result
from glassesjax.surveys.sweep.summary import SweepConstants, trainings_of

ROWS = [
    step(1, 20, 0.5), step(1, 10, 1.0), step(0, 10, 2.0), step(0, 20, math.nan),
    answer(0, "f32", None, 1.0), answer(1, "f32", None, 0.5, -1.0),
    answer(0, "f32", 4, 1.0), answer(1, "f32", 4, 1.0, 0.5),
    answer(0, "f32", 2, 1.0), answer(1, "f32", 2, 0.98),
    answer(0, "f32", 8, 0.5), answer(1, "f32", 8, 0.25),
    answer(0, "bf16", None, 0.0), answer(1, "bf16", None, 0.0),
    answer(0, "bf16", 2, 0.0), answer(1, "bf16", 2, 0.5),
]  # fmt: skip
ONE = training(ROWS)


def test_steps_come_in_order_and_what_is_no_number_is_none():
    assert losses(ONE)[1] == ([10, 20], [1.0, 0.5])
    steps, values = losses(ONE)[0]
    assert steps == [10, 20]
    assert values[0] == 2.0
    assert values[1] != values[1]


def test_answers_are_means_over_seeds_and_the_smallest_margin():
    curve = answered(ONE)["f32"]
    assert [(point.length, point.in_training) for point in curve] == [
        (2, True),
        (4, True),
        (8, False),
    ]
    assert [point.answers.mean for point in curve] == [0.99, 1.0, 0.375]
    assert curve[1].answers.logit_margin == 0.5
    assert learned(ONE)["f32"].mean == 0.75
    assert learned(ONE)["f32"].logit_margin == -1.0


def test_reach_ends_at_the_first_length_that_is_not_learned():
    assert reach(answered(ONE)["f32"]) == 4
    assert reach(answered(ONE)["bf16"]) is None
    later = [*answered(ONE)["f32"], answered(ONE)["f32"][1]._replace(length=16)]
    assert reach(later) == 4


def test_sentences_give_shares_and_reach():
    first, wide, narrow, *_ = train_headlines(summary_of([ONE]))
    assert says(first, 2, 4, "uniform")
    assert says(wide, "f32", "75.0%", 8, 4)  # right, longest tested, longest learned
    assert says(narrow, "bf16", "0.0%", "none")


def test_the_headline_has_share_and_reach_of_each_format():
    wide, narrow = headline(summary_of([ONE])).split("; ")
    assert says(wide, "75.0%", "f32", 4, 8)
    assert says(narrow, "0.0%", "bf16", "none")
    assert headline(summary_of([training(ROWS[:4])])) == "no answers yet"
    with pytest.raises(BadInput, match="Expected answers in f32 at lengths as in training"):
        summary_of([training([answer(0, "f32", 2, 1.0)])])
    lost = [dataclasses.replace(row, loss=math.nan) for row in ROWS if hasattr(row, "examples")]
    text = headline(summary_of([training(lost)]))
    assert says(text, "f32", "not finite", 4, "bf16", 2)
    assert "%" not in text


def test_figures_have_a_line_a_format_and_a_line_a_seed():
    [axes] = lengths_figure(ONE).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"f32": [0.99, 1.0, 0.375], "bf16": [0.25]}
    [axes] = losses_figure(ONE).axes
    assert len(axes.lines) == 2
    for figure in (lengths_figure(ONE), losses_figure(ONE)):
        ElementTree.fromstring(to_svg(figure, "name"))


def test_the_page_shows_every_number_and_escapes_what_it_is_given():
    page = result(run_of(ROWS)).files()["index.html"]
    assert "<ones>" not in page
    assert html.escape("count_<ones>") in page
    assert "37.5%" in page
    assert "75.0% (-1)" in page
    assert page == result(run_of(ROWS)).files()["index.html"]
    assert "&lt;div" not in page
    assert "&lt;table" not in page


def swept(*cells):
    """Rows of cells, by name, as those of a sweep."""
    known = [
        {**to_row(SweepConstants(cell=name, **to_row(CONSTANTS))), **MADE} for name, _ in cells
    ]
    return Run(
        settings={"study": "sweep", "preset": "quick", "axes": {"task": ["a", "b", "c"]}},
        rows=[row for _, rows in cells for row in rows],
        numbers=[number for number, (_, rows) in enumerate(cells) for _ in rows],
        records=known,
        constants=SweepConstants(cell="a<b", **to_row(CONSTANTS)),
        provenance={"command": "glassesjax sweep"},
    )


SWEPT = swept(("a<b", ROWS), ("second", [row for row in ROWS if row.format == "f32"]))


def test_a_sweep_is_read_cell_by_cell():
    summary = sweep_result(SWEPT).summary
    one, two = summary.trainings
    shares = lambda cell: [(each.format, each.in_distribution.mean) for each in cell.formats]
    assert shares(one) == [("f32", 0.75), ("bf16", 0.0)]
    assert [each.reach for each in one.formats] == [4, None]
    assert shares(two) == [("f32", 0.75)]
    assert summary.formats == ["f32", "bf16"]
    assert (summary.cells_done, summary.cells) == (2, 3)
    assert says(sweep_headline(summary), 2, 3, "75.0%", "f32", "0.0%", "bf16")


def test_a_sweep_has_a_panel_a_cell():
    shown = [axes for axes in reaches_figure(trainings_of(SWEPT)).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["a<b", "second"]
    assert [len(axes.lines) for axes in shown] == [2, 1]
    many = trainings_of(swept(*[(f"cell {n}", ROWS) for n in range(5)]))
    assert sum(axes.get_visible() for axes in reaches_figure(many).axes) == 5


def test_the_page_of_a_sweep_is_whole():
    page = sweep_result(SWEPT).files()["index.html"]
    assert "2 of 3 cells" in page
    assert "a<b" not in page
    assert "second: right in distribution f32 75.0%." in page
    assert "http" not in page.replace("http://www.w3.org", "")
