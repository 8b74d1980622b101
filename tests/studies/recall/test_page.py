"""The recall page: intervals by hand, sentences with the numbers of the rows, answers escaped."""

import math
from xml.etree import ElementTree

import pytest
from studies.recall.made_recall import made, made_result, run_of
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.studies.recall.cells import panels, read_cells, wilson
from glassesjax.studies.recall.figures import depth_figure, slots_figure
from glassesjax.studies.recall.page import recall_page
from glassesjax.studies.recall.sentences import recall_headlines
from glassesjax.studies.recall.summary import summarize


def lines_of(rows):
    return recall_headlines(summarize(run_of(rows)))


ROWS = [
    *made("full", 300, 0.5, hits=[(0, 0.1), (1, 0.9)]),
    *made("tova", 64, 1.0, hits=[(0, 0.1)]),
    *made("window", 64, 3.0, answer="<b>&"),
    *made("tova", 128, 0.75),
]


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        # By hand with z = 2: the center is (p + 2/n) / (1 + 4/n).
        (0, 4, 0.0, 0.5),  # 1/4 and half a width of 1/4
        (4, 4, 0.5, 1.0),
        (2, 4, 0.5 - math.sqrt(2) / 4, 0.5 + math.sqrt(2) / 4),  # sqrt(1/16 + 1/16) / 2
    ],
)
def test_wilson_by_hand(hits, count, low, high):
    found = wilson(hits, count, z=2.0)
    assert found == pytest.approx((low, high), abs=1e-15)
    # Its ends are the shares p from which hits are just two standard deviations away.
    for p in found:
        if 0 < p < 1:
            assert (hits / count - p) ** 2 == pytest.approx(
                4 * p * (1 - p) / count, rel=1e-12, abs=0
            )


def test_cells_and_their_means():
    cells = read_cells(run_of(ROWS).rows)
    assert [(c.policy, c.slots, c.hits) for c in cells] == [
        ("full", 300, 2), ("tova", 64, 1), ("window", 64, 0), ("tova", 128, 0),
    ]  # fmt: skip
    assert cells[1].nats == 1.25
    assert cells[1].at(0.9).nats == 1.5
    both = run_of([*ROWS, *made("tova", 64, 1.0, task="said")]).rows
    assert list(panels(read_cells(both))) == [("verse", 256), ("said", 256)]


def test_sentences_have_the_numbers_of_the_rows():
    about = "verse, passages of 256 tokens: "
    said = lines_of(ROWS)
    # With z = 1.96 and n = 4: 1/2 and half a width of sqrt(1/16 + z^2/64) z / (1 + z^2/4) = 0.35.
    assert all(text.startswith(about) for text in said)
    assert says(said[0], "full", 2, 4, "15%", "85%", "0.80", 0.75)
    assert says(said[1], "tova", 64, "0.50")
    assert says(said[2], "window", 64, "2.50")
    assert says(said[4], 64, 4, "tova", 1.25, "window", 3.25, 2, 8)
    assert "lower than" not in said[4]
    assert len(said) == 5  # one policy alone has no order


def test_an_order_is_told_only_where_the_interval_over_passages_leaves_no_tie():
    def last(*cells):
        return lines_of([row for cell in cells for row in cell])[-1]

    apart = last(made("window", 64, 3.0, items=9), made("tova", 64, 1.0, items=9))
    assert says(apart, "window", 3.25, "tova", 1.25, "tova lower than window", "95%", 9)
    # One passage turns the mean around: the values differ, and no order stands.
    tied = [*made("tova", 64, 1.0, items=8), *made("tova", 64, 40.0, items=9)[16:]]
    assert "nothing is told apart" in last(made("window", 64, 3.0, items=9), tied)
    # Of questions that are not the same nothing is compared.
    assert "told apart" not in last(
        made("window", 64, 3.0, items=9), made("tova", 64, 1.0, items=8)
    )


def test_a_run_without_the_full_state_or_without_numbers():
    alone = lines_of(made("tova", 64, 1.0))
    assert "than full" not in alone[0]
    lost = lines_of([*made("full", 300, 0.5), *made("tova", 64, None)])
    assert "no number of nats" in lost[1]
    assert "not comparable with full" in lost[1]
    # Cut off within a cell: only the questions that both have are compared.
    part = lines_of([*made("full", 300, 0.5), *made("tova", 64, 1.0)[:1]])
    assert "0.50 more than full" in part[1]


def test_figures_have_a_panel_a_task_and_a_line_a_policy():
    summary = summarize(run_of([*ROWS, *made("tova", 64, 1.0, task="said")]))
    for draw, count in ((slots_figure, 3), (depth_figure, 3)):
        figure = draw(summary)
        first, second = figure.axes
        assert len([line for line in first.lines if len(line.get_xdata())]) == count
        assert first.get_title(loc="left") == "verse, passages of 256 tokens"
        assert second.get_title(loc="left") == "said, passages of 256 tokens"
        ElementTree.fromstring(to_svg(figure, "x"))


def test_the_page_is_whole_and_escapes_answers():
    page = recall_page(made_result(ROWS))
    assert page == recall_page(made_result(ROWS))
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "<script" not in page
    for text in lines_of(ROWS):
        assert text in page
    assert page.count("<h3>") == 3  # the fourth question is folded
