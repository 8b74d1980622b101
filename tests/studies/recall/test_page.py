"""The recall page: intervals by hand, numbers of the summary, what it answers in each state."""

import math
import re

import pytest
from studies.recall.made_recall import made, made_result, run_of

from glassesjax.studies.recall.cells import panels, read_cells, wilson
from glassesjax.studies.recall.charts import figures_of, loss_chart, slots_chart
from glassesjax.studies.recall.page import values
from glassesjax.studies.recall.summary import summarize

FULL = made("full", 300, 0.5, hits=[(0, 0.1), (1, 0.9)])
ROWS = [
    *FULL,
    *made("tova", 64, 1.0, hits=[(0, 0.1)]),
    *made("window", 64, 3.0, answer="<b>&"),
    *made("tova", 128, 0.75),
]
SAID = made("tova", 64, 1.0, task="said")
NINE = [*made("window", 64, 3.0, items=9), *made("tova", 64, 1.0, items=9)]


def page_of(rows):
    return made_result(rows).files()["index.html"]


def answer(rows):
    """The title of the first figure."""
    return " ".join(re.search(r'<p class="title">(.*?)</p>', page_of(rows), re.DOTALL)[1].split())


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
    ends = wilson(hits, count, z=2.0)
    assert ends == pytest.approx((low, high), abs=1e-15)
    # Its ends are the shares p from which hits are just two standard deviations away.
    for p in ends:
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
    both = run_of([*ROWS, *SAID]).rows
    assert list(panels(read_cells(both))) == [("verse", 256), ("said", 256)]


def test_the_summary_has_the_numbers_of_the_rows():
    summary = summarize(run_of(ROWS))
    (panel,) = summary.panels
    full, tova, window, _ = panel.cells
    # With z = 1.96 and n = 4: 1/2 and half a width of sqrt(1/16 + z^2/64) z / (1 + z^2/4) = 0.35.
    assert (full.low, full.high) == pytest.approx((0.15, 0.85), abs=5e-3)
    assert (full.f1, full.nats, full.more_than_full) == (0.8, 0.75, None)
    assert (tova.more_than_full, window.more_than_full) == (0.5, 2.5)
    assert tova.at(0.9) == (0.9, 2, 0, 1.5, 0.25)
    assert tova.at(0.5) is None
    assert (summary.full_hits, summary.full_questions) == (2, 4)
    assert (summary.num_cells, summary.num_bounded, summary.num_whole) == (4, 3, 0)
    assert panel.slots == [64, 128]
    assert panel.smallest == [tova, window]
    assert panel.losses(0.1) == [1.0, 3.0]
    assert (summary.pairs, summary.settled, summary.passages) == (1, 0, 2)


def test_an_order_is_settled_only_where_the_interval_over_passages_leaves_no_tie():
    def gaps(rows):
        (panel,) = summarize(run_of(rows)).panels
        return [gap for order in panel.orders for gap in order.gaps]

    (apart,) = gaps(NINE)
    assert (apart.nats.value, apart.lower, apart.higher) == (2.0, "tova", "window")
    # One passage turns the mean around: the values differ, and no order stands.
    tied = [*made("tova", 64, 1.0, items=8), *made("tova", 64, 40.0, items=9)[16:]]
    (gap,) = gaps([*NINE[:18], *tied])
    assert (gap.lower, gap.higher) == (None, None)
    # Of questions that are not the same nothing is compared.
    assert gaps([*NINE[:18], *made("tova", 64, 1.0, items=8)]) == []


def test_a_run_without_the_full_cache_or_without_numbers():
    more = lambda rows: [c.more_than_full for c in summarize(run_of(rows)).panels[0].cells]
    assert more(made("tova", 64, 1.0)) == [None]
    lost = more([*FULL, *made("tova", 64, None)])
    assert math.isnan(lost[1])
    # Cut off within a cell: only the questions that both have are compared.
    assert more([*FULL, *made("tova", 64, 1.0)[:1]]) == [None, 0.5]


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (ROWS, "Expected answers cost 0.75 nats a token with the full cache, 1.25 to 3.25 with 64"
         " slots; too few passages (2) to order the policies"),
        ([*made("full", 300, 0.5, items=9), *NINE], "Expected answers cost 0.75 nats a token with"
         " the full cache, 1.25 to 3.25 with 64 slots; tova is lower than window"),
        ([*ROWS, *SAID], "Expected answers cost 0.75 (verse) nats a token with the full cache, 1.25"
         " to 3.25 (verse) and 1.25 (said) with 64 slots; too few passages (2) to order the"
         " policies"),
        ([*FULL, *[{**row, "retained_share": 1.0} for row in made("tova", 280, 0.5)]],
         "No line with an answer was evicted: expected answers cost 0.75 nats a token with the full"
         " cache, 0.75 with 280 slots"),
        (FULL, "Expected answers cost 0.75 nats a token with the full cache; no bounded cache was"
         " measured"),
        (made("tova", 64, 1.0)[:1], "Expected answers cost 1.00 nats a token with 64 slots; the"
         " full cache was not measured"),
        ([*FULL, *[{**row, "finite": False} for row in made("tova", 64, None)]],
         "The loss is not finite in 4 of 8 answers: these have no result"),
    ],
    ids=["usual", "settled", "tasks", "whole", "full alone", "cut off", "not finite"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(rows, title):
    assert answer(rows) == title


def test_more_than_two_tasks_and_lengths_are_titled_by_their_range():
    rows = [row | {"length": length} for row in ROWS for length in (256, 512, 1024)]
    assert "over verse and 256, 512 and 1024 tokens" in answer(rows)


def drawn(axes, name):
    """Heights of the points that a policy has."""
    heights = lambda line: [float(y) for y in line.get_ydata() if not math.isnan(y)]
    lines = [line for line in axes.lines if (line.get_gid() or "").split("--")[1:2] == [name]]
    return [y for line in lines for y in heights(line)]


@pytest.mark.parametrize("narrow", [False, True])
def test_each_depth_of_each_cell_is_drawn_and_can_be_touched(narrow):
    chart = loss_chart(summarize(run_of([*ROWS, *SAID])), narrow=narrow)
    small, large, said = chart.axes
    assert drawn(small, "tova") == [1.0, 1.5]
    assert drawn(large, "tova") == [0.75, 1.25]
    assert drawn(small, "full") == drawn(large, "full") == [0.5, 1.0]
    assert drawn(said, "full") == []
    assert len(chart.marks) == 2 * (3 + 2 + 1)
    assert "tova with 64 slots, depth 0.1\n1.0 nats a token\n1 of 2 exact" in chart.marks[2].text


@pytest.mark.parametrize("narrow", [False, True])
def test_answers_at_one_depth_have_a_bar_a_policy(narrow):
    rows = [row for row in ROWS if row["depth"] == 0.1]
    chart = loss_chart(summarize(run_of(rows)), narrow=narrow)
    bars = [[float(bar.get_width()) for bar in axes.patches] for axes in chart.axes]
    assert bars == [[0.5, 1.0, 3.0], [0.5, 0.75]]
    assert [text.get_text() for text in chart.axes[1].texts[-2:]] == ["0.50", "0.75"]
    assert len(chart.marks) == 3 + 2


def test_what_is_not_finite_stands_in_a_strip_above():
    chart = loss_chart(summarize(run_of([*FULL, *made("tova", 64, None)])))
    assert len(drawn(chart.axes[0], "tova")) == 2
    assert min(drawn(chart.axes[0], "tova")) > 1.0
    assert "not finite" in [text.get_text() for text in chart.axes[0].texts]


def test_sizes_have_a_figure_where_there_are_several():
    summary = summarize(run_of([*ROWS, *SAID]))
    assert [*figures_of(summary)] == ["depth", "slots-verse-256"]
    axes = slots_chart(summary, summary.panels[0]).axes[0]
    assert drawn(axes, "tova") == [1.25, 1.0]
    assert drawn(axes, "full") == [0.75, 0.75]


def test_data_of_the_figure_are_those_of_the_summary():
    rows = values(summarize(run_of([*FULL, *made("tova", 64, None)])))
    assert len(rows) == 4
    assert rows[0] == {
        "task": "verse", "length": 256, "policy": "full", "slots": 300, "depth": 0.1,
        "questions": 2, "hits": 1, "nats": 0.5, "retained": 0.25,
    }  # fmt: skip
    assert rows[-1]["nats"] is None


def test_the_page_has_all_cells_and_answers_and_escapes_them():
    page = page_of([*ROWS, *SAID])
    assert page == page_of([*ROWS, *SAID])
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert page.count("<tbody data-task") == 5
    assert page.count('data-filter="task:') == 3
    assert page.count('data-filter="slots:') == 3
    assert page.count(">expected</th>") == 4 + 4  # questions of each task
    assert page.count('data-toggle="') == 3


def test_the_most_exact_answers_of_a_task_are_counted_out_of_its_own_questions():
    verse = made("tova", 64, 1.0, items=9)
    said = made("tova", 64, 1.0, hits=[(0, 0.1), (0, 0.9), (1, 0.1)], task="said")
    page = page_of([*made("full", 300, 0.5, items=9), *verse, *said])
    assert "at most 3 of 4 in a task" in page
