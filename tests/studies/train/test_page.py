"""Training in numbers and on a page, for made rows whose means are known by hand."""

import dataclasses
import html
import math
import re

import pytest
from studies.collapse.test_page import Reader, findings
from studies.collapse.test_page import answer as title_of
from studies.train.made_train import (
    FOUR_FORMATS,
    PAIR_LENGTHS,
    answer,
    answers_in,
    influences,
    pairs_of,
    refused,
    run_of,
    step,
    swept,
    training,
)

from glassesjax.errors import BadInput
from glassesjax.report.chart import drawing
from glassesjax.studies.train.cells import decoders_of, influences_of
from glassesjax.studies.train.charts import (
    MOST_DECODERS,
    accuracy_chart,
    failure_chart,
    influence_chart,
    loss_chart,
    pairs_chart,
    panels_of,
    signal_chart,
)
from glassesjax.studies.train.records import WrongPairs
from glassesjax.studies.train.run import result
from glassesjax.studies.train.summary import summary_of
from glassesjax.surveys.sweep.run import result as sweep_result

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


def test_steps_come_in_order_and_what_is_no_number_is_a_gap():
    [axes] = loss_chart(ONE).axes
    first, second = ([list(xs) for xs in line.get_data()] for line in axes.lines)
    assert second == [[10, 20], [1.0, 0.5]]
    assert first[0] == [10, 20]
    assert first[1][0] == 2.0
    assert math.isnan(first[1][1])


def test_answers_are_means_over_seeds_and_the_smallest_margin():
    wide, narrow = summary_of([ONE]).trainings[0].formats
    assert [(point.length, point.in_training) for point in wide.lengths] == [
        (2, True),
        (4, True),
        (8, False),
    ]
    assert [point.answers.mean for point in wide.lengths] == [0.99, 1.0, 0.375]
    assert wide.lengths[1].answers.logit_margin == 0.5
    assert wide.in_distribution.mean == 0.75
    assert wide.in_distribution.logit_margin == -1.0
    assert (wide.reach, wide.last, wide.following) == (4, 4, 8)
    assert narrow.reach is None


def test_reach_ends_at_the_first_length_that_is_not_learned():
    later = [*ROWS, answer(0, "f32", 16, 1.0), answer(1, "f32", 16, 1.0)]
    assert summary_of([training(later)]).trainings[0].formats[0].reach == 4


def test_formats_need_answers_at_lengths_as_in_training():
    with pytest.raises(BadInput, match="Expected answers in f32 at lengths as in training"):
        summary_of([training([answer(0, "f32", 2, 1.0)])])


PAIRED = [*answers_in(["bf16", "e4m3fn", "e8m3@weights"]), *FOUR_FORMATS]


def page_of(rows):
    return result(run_of(rows)).files()["index.html"]


def drawn(chart, series):
    """How many artists belong to a series."""
    every = [artist for axes in chart.axes for artist in axes.get_children()]
    return sum((each.get_gid() or "").split("--")[1:2] == [series] for each in every)


def marks(chart, series):
    return [mark for mark in chart.marks if mark.series == series]


def test_a_summary_says_where_learning_ends():
    summary = summary_of([training([*answers_in(["f32", "bf16"]), *pairs_of("bf16", 16, 8)])])
    assert (summary.boundary, summary.following) == (4, 8)
    assert (summary.accuracy_boundary, summary.accuracy_following) == ((1, 1), (0, 0))
    assert (summary.learned, summary.answered) == (2, 2)
    assert summary.learned_formats == ["f32", "bf16"]
    assert summary.collisions == (1, 1)
    first = summary.first_collision.row
    assert (first.format, first.length, first.collision) == ("bf16", 8, True)
    failed = summary_of([training(answers_in(["f32"], learned=False))])
    assert (failed.learned, failed.learned_formats) == (0, [])
    assert failed.lowest == ("", "f32", 0)


def test_neighboring_pairs_in_one_state_are_one_bar():
    chart = pairs_chart(decoders_of([training(FOUR_FORMATS)]))
    # Up to 4 right, then a collision; of the last one wrong but different, to the end.
    for series in ("f64", "bf16", "e4m3fn", "e8m3_weights"):
        texts = [mark.text for mark in marks(chart, series)]
        assert "n = 2 to 4" in texts[0]
        assert len(texts) == (3 if series == "f64" else 2)
    assert "wrong, but different" in marks(chart, "e8m3_weights")[1].text
    assert "> 31" in marks(chart, "e8m3_weights")[1].text
    # Bars, and of a format that rounds the prediction with its interval, which has an edge.
    assert [drawn(chart, name) for name in ("f64", "bf16")] == [3, 5]


def test_a_prediction_stands_on_the_row_of_its_format():
    [axes] = pairs_chart(decoders_of([training(FOUR_FORMATS)])).axes
    of = lambda line: (line.get_gid() or "").split("--")[1:2]
    for at, name in enumerate(("bf16", "e4m3fn", "e8m3_weights"), 1):
        lines = [line for line in axes.lines if of(line) == [name]]
        assert len(lines) == 3
        assert {float(y) for line in lines for y in line.get_ydata()} == {at}


def test_no_format_lies_on_another():
    chart = accuracy_chart(decoders_of([training(PAIRED)]))
    [axes] = chart.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "bf16", "e4m3fn", "e8m3@weights",
    ]  # fmt: skip
    middles = [{mark.start[1] for mark in marks(chart, name)} for name in ("bf16", "e4m3fn")]
    assert middles == [{-0.45}, {0.55}]
    assert len(marks(chart, "bf16")) == 4


def test_many_decoders_stand_below_each_other_by_format():
    few = decoders_of([training(PAIRED, str(n))._replace(label=f"cell {n}") for n in range(2)])
    assert [panel.title for panel in panels_of(few, "pairs")] == ["cell 0", "cell 1"]
    many = decoders_of([training(PAIRED, str(n))._replace(label=f"cell {n}") for n in range(30)])
    panels = panels_of(many, "pairs")
    assert [panel.title for panel in panels] == ["f64", "bf16", "e4m3fn", "e8m3@weights"]
    assert {len(panel.lines) for panel in panels} == {MOST_DECODERS}
    assert len(pairs_chart(many[:6], narrow=True).axes) == 4


def test_other_figures_have_what_the_rows_have():
    decoders = decoders_of([training(PAIRED)])
    chart = failure_chart(decoders)
    assert {mark.series for mark in chart.marks} == {"bf16", "e4m3fn", "e8m3_weights"}
    colors = dict.fromkeys(("bf16", "e4m3fn", "e8m3@weights"), "c1")
    assert len(signal_chart(decoders[0], colors).marks) == len(PAIR_LENGTHS)
    assert [len(axes.lines) for axes in loss_chart(ONE).axes] == [2]
    [cell] = influences_of([training(influences(16, 0.5))])
    lines = {
        line.get_label(): list(line.get_ydata()) for line in influence_chart(cell).axes[0].lines
    }
    assert lines["influence"] == [1, 2 / 3, 1 / 3]
    assert lines["bound"] == [0, 0, 0]
    assert lines["accuracy"] == [1, 0.75, 0.5]
    first, again = (drawing(pairs_chart(decoders), "a") for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (PAIRED, "In bf16, e4m3fn and e8m3@weights the decoder is right up to n = 4; beyond, 0% to"
         " 100% of the pairs n, n + 1 get one answer for both"),
        ([*answers_in(["f32"]), refused()], "In f32 the decoder is right up to n = 4; at n = 8,"
         " beyond training, 0% of the answers are right"),
        (answers_in(["f32"], learned=False), "The task is not learned: at trained lengths 0% of the"
         " answers are right"),
        ([*answers_in(["f32"]), *answers_in(["f16"], learned=False)], "In f32 the decoder is"),
        ([answer(0, "f32", n, 0.0, math.nan, loss=math.nan, finite=False) for n in (None, 2)],
         "The unrounded pass is not finite in 2 of 2 rows: these have no result"),
        ([step(0, 10, 1.0)], "No answers yet: training is not finished"),
    ],
    ids=["pairs", "no pairs", "not learned", "one format", "not finite", "unfinished"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(rows, text, undrawn):
    page = page_of(rows)
    assert title_of(page).startswith(html.escape(text))
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))


def test_a_page_has_its_findings_answers_and_every_format(undrawn):
    page = page_of([*PAIRED, step(0, 10, 1.0)])
    assert findings(page) == ["0%", "n = 8", "1 of 2"]
    assert re.findall(r'<tbody data-format="([^"]+)"', page) == ["bf16", "e4m3fn", "e8m3_weights"]
    answers = page.partition("Answers to each pair")[2].partition("</details>")[0]
    assert answers.count("<tr>") == 1 + len(PAIR_LENGTHS)
    assert "&lt;eos&gt;" in answers
    assert "<ones>" not in page
    assert "href=" not in page


def test_a_format_that_overflows_has_no_accuracy(undrawn):
    lost = {"loss": math.nan, "logit_margin": math.nan}
    rows = [dataclasses.replace(row, **lost) for row in answers_in(["f16"], learned=False)]
    page = page_of([*answers_in(["f32"]), *rows])
    assert page.count(">not finite</td>") == len(rows)
    title = title_of(page)
    assert title.startswith("In f32 the decoder is right up to n = 4")
    assert title.endswith("; f16 is not finite")


def test_a_page_says_why_nothing_is_predicted(undrawn):
    counts = WrongPairs(wrong_pairs=3, training_pairs=29)
    page = page_of([*answers_in(["f32"]), refused(counts)])
    assert findings(page)[-1] == "3 of 29"
    assert "failure length</th>" not in page
    page = page_of([*answers_in(["f32"]), refused()])
    assert findings(page) == []
    assert "no two trained lengths are drawn alike" in page


SWEPT = swept(("a<b", ROWS), ("second", [row for row in ROWS if row.format == "f32"]))


def test_a_sweep_is_read_cell_by_cell():
    summary = sweep_result(SWEPT).summary
    one, two = summary.trainings
    shares = lambda cell: [(each.format, each.in_distribution.mean) for each in cell.formats]
    assert shares(one) == [("f32", 0.75), ("bf16", 0.0)]
    assert [each.reach for each in one.formats] == [4, None]
    assert shares(two) == [("f32", 0.75)]
    assert (summary.cells_done, summary.cells, summary.decoders) == (2, 3, 4)


def test_the_page_of_a_sweep_links_each_decoder_to_its_own(undrawn):
    page = sweep_result(SWEPT).files()["index.html"]
    assert "2 of 3 cells" in page
    assert "a<b" not in page
    links = re.findall(r'href="([^"]+)"', page)
    assert set(links) == {"cells/a&lt;b/index.html", "cells/second/index.html"}
    assert len(links) == 2 * 2 + 2  # a line for each decoder and format
    assert "http" not in page.replace("http://www.w3.org", "")
    assert Reader(page).open == []


def test_cells_are_named_and_filtered_by_what_varies(undrawn):
    run = swept(("one", PAIRED), ("two", PAIRED), axes=("positions", "none", "rotary"))
    records = [{**run.records[0], "positions": "none"}, run.records[1]]
    page = sweep_result(dataclasses.replace(run, records=records)).files()["index.html"]
    assert (
        re.findall(r"<tbody[^>]* data-positions=\"(\w+)\"", page) == ["none"] * 3 + ["rotary"] * 3
    )
    assert page.count('data-filter="positions:') == 3
    assert {"no positions", "rotary positions"} <= set(Reader(page).text)
    assert title_of(page).startswith("In bf16, e4m3fn and e8m3@weights all 2 decoders are right")


def test_a_sweep_without_a_cell_says_so(undrawn):
    whole = sweep_result(swept())
    assert title_of(whole.files()["index.html"]).startswith("No cell is done yet")
    assert whole.figures == {}
