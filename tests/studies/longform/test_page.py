"""The longform summary, page and figure, for made rows whose means are known by hand."""

import math
import re

import pytest
from studies.collapse.test_page import Reader, answer, findings
from studies.longform.made_longform import made, made_result, run_of

from glassesjax.studies.longform.charts import texts_chart
from glassesjax.studies.longform.page import values
from glassesjax.studies.longform.summary import full_perplexity, summarize

LONG = "word " * 100
# A prompt of 4 and a text of 8 tokens outgrow a cache of 9 slots.
ROWS = [
    made("full", 200, 0, "<b>&", nll=0.0),
    made("full", 200, 1, LONG, nll=2.0, ended=False),
    made("tova", 9, 0, "two", nll=1.0, agrees=2, repetition=0.5),
    made("tova", 9, 1, LONG, nll=3.0, agrees=4, repetition=1.0),
]


def page_of(rows):
    return made_result(rows).files()["index.html"]


def many(samples=8, **changes):
    """A full cache and a policy that repeats itself more, text by text."""
    full = [made("full", 200, at, f"a{at}", nll=1 + at / 8) for at in range(samples)]
    other = {"repetition": 0.5, "nll": 2.0} | changes
    return [*full, *(made("tova", 9, at, f"b{at}", **other) for at in range(samples))]


def test_the_summary_by_hand():
    summary = summarize(run_of(ROWS))
    full, tova = summary.cells
    assert (full.ended, full.texts, full.length, full.repetition) == (1, 2, 8, 0.25)
    assert full.perplexity == pytest.approx(math.e, rel=2.0**-50, abs=0)
    assert (tova.texts, tova.evicting, tova.differing) == (2, 2, 1)
    assert (tova.repetition, tova.common_prefix) == (0.75, 3)
    assert tova.perplexity == pytest.approx(math.e**2, rel=2.0**-50, abs=0)
    assert (tova.repetition_gap.value, tova.loss_gap.value) == (0.5, 1)
    assert not tova.settled  # two texts give no interval
    assert (summary.num_bounded, summary.evicting, summary.differing, summary.pairs) == (1, 2, 1, 2)
    assert full.repetition_gap is None


def test_eight_texts_settle_what_differs_everywhere():
    (_, tova) = summarize(run_of(many())).cells
    assert tuple(tova.repetition_gap) == (0.25, 0.25, 0.25)
    assert tova.settled
    (_, equal) = summarize(run_of(many(repetition=0.25, nll=1.4))).cells
    assert not equal.settled
    assert equal.loss_gap.low < 0 < equal.loss_gap.high


def test_what_is_no_number_is_not_averaged():
    empty = made("tova", 9, 0, "", length=0)
    absent = ("full_nll", "finite", "full_perplexity", "repetition")
    short = {name: value for name, value in empty.items() if name not in absent}
    [cell] = summarize(run_of([short, ROWS[3]])).cells
    assert (cell.repetition, cell.repetition_gap) == (1, None)
    assert cell.perplexity == pytest.approx(math.e**3, rel=2.0**-50, abs=0)
    [cell] = summarize(run_of([short])).cells
    assert math.isnan(cell.repetition)
    assert math.isnan(cell.perplexity)
    assert not re.search(r"\bnan\b", page_of([ROWS[0], short]).partition("<script")[0])
    [cell] = summarize(run_of([made("tova", 9, 0, "x", nll=1e6)])).cells
    assert cell.perplexity == math.inf


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (ROWS, "1 of 2 texts that outgrow their cache differ from the full cache's;"
         " too few (2 each) to say whether they are worse"),
        (many(), "8 of 8 texts that outgrow their cache differ from the full cache's;"
         " an interval shows another repetition or perplexity"),
        (many(repetition=0.25, nll=1.4), "8 of 8 texts that outgrow their cache differ from the"
         " full cache's; no interval shows another repetition or perplexity"),
        (ROWS[:3:2], "The text that outgrows its cache differs from the full cache's;"
         " too few (1 each) to say whether it is worse"),
        (ROWS[1::2], "Texts that outgrow their cache are the full cache's, token by token"),
        ([ROWS[0], made("tova", 12, 0, "<b>&")],
         "Nothing is evicted: no text is longer with its prompt than its cache"),
        (ROWS[:2], "Only the full cache's texts were written: there is nothing to compare"),
        (ROWS[2:], "The full cache's texts were not written: there is nothing to compare with"),
        ([made("full", 200, 0, "0", nll=None), made("tova", 9, 0, "0", nll=None)],
         "The model is not finite in 2 of 2 texts: these have no result"),
    ],
    ids=["few", "settled", "tied", "one", "equal", "fits", "full", "no full", "not finite"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(rows, text):
    page = page_of(rows)
    assert answer(page).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'") == text
    assert Reader(page).open == []


def test_the_page_is_whole_and_escapes_texts():
    page = page_of(ROWS)
    assert page == page_of(ROWS)
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert page.count(f">{LONG.strip()}<") == 2
    assert re.findall(r'<tbody data-slots="(\d+)"', page) == ["200", "9"]


def test_findings_are_numbers_of_the_summary():
    assert findings(page_of(ROWS)) == ["75%", "7.4"]
    assert findings(page_of(many())) == ["50%", "7.4"]
    assert findings(page_of([*many(), made("tova", 10, 0, "c", repetition=0.75)])) == [
        "8.0", "75%", "7.4",
    ]  # fmt: skip


def test_intervals_have_their_columns_only_where_there_are_some():
    assert "95%</button>" not in page_of(ROWS)
    page = page_of(many())
    assert '<td data-v="0.25" class="low">0.25 (0.25 to 0.25)</td>' in page


@pytest.mark.parametrize("narrow", [False, True])
def test_the_figure_has_a_dot_a_text(narrow):
    run = run_of(ROWS)
    chart = texts_chart(run.rows, summarize(run), narrow=narrow)
    common, repetition, perplexity = (
        [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        for axes in chart.axes
    )
    assert common == [2, 4]
    assert repetition == [row.repetition for row in run.rows]
    assert perplexity == [full_perplexity(row) for row in run.rows]
    assert len(chart.marks) == 10
    assert [each["perplexity"] for each in values(run.rows)] == perplexity


def test_texts_that_are_not_finite_are_drawn_as_far_as_they_go():
    lost = {"nll": None, "repetition": None}
    rows = [made("full", 200, 0, "0", **lost), made("tova", 9, 0, "0", **lost)]
    run = run_of(rows)
    assert len(texts_chart(run.rows, summarize(run)).marks) == 1  # of the common prefix
