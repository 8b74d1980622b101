"""The perplexity page: what it answers in each state, its table, and what its figures draw."""

import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader, answer, findings
from studies.perplexity.made_perplexity import KNOWN, made_result, made_rows, run_of

from glassesjax.report.colors import policy_color
from glassesjax.report.numbers import percent
from glassesjax.report.ticks import Limits
from glassesjax.studies.perplexity.charts import (
    by_cost,
    figures_of,
    positions_chart,
    ratios_chart,
)
from glassesjax.studies.perplexity.paper import PERPLEXITIES, SLOTS
from glassesjax.studies.perplexity.summary import summarize


def page_of(rows, **changes):
    return made_result(rows, **changes).files()["index.html"]


def summary_of(rows):
    return summarize(run_of(rows))


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows(KNOWN, windows=4))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page_of(made_rows(KNOWN, windows=4)) == page


def test_what_comes_from_data_is_escaped(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;.txt" in page
    assert "<b>.txt" not in page


def test_the_page_says_what_the_weights_are(page):
    assert "quantized to about 4 bits" in page
    assert "quantized" not in page_of(made_rows(KNOWN), weights="toy seed 0")


ONE = {"full": 10.0, "tova": {31: 20.0}}
TWO = ONE | {"h2o": {31: 21.0}}


@pytest.mark.parametrize(
    ("known", "changes", "text"),
    [
        (KNOWN, {}, "Perplexity is 1.25 to 2.50 times the full cache's 10.00 under window+4 and"
         " tova, 20 to 200 times under a plain window; intervals settle the order of every pair"),
        (TWO, {}, "Perplexity is 2.00 to 2.10 times the full cache's 10.00 under tova and h2o;"
         " an interval settles which of the two is lower"),
        (TWO | {"h2o": {31: 20.0}}, {}, "Perplexity is 2.00 times the full cache's 10.00 under tova"
         " and h2o; no interval settles the order of the policies"),
        (ONE, {}, "Perplexity is 2.00 times the full cache's 10.00 under tova"),
        (KNOWN, {"ranking_obstacle": "random_digits"},
         "Nothing can be ranked here: random digits, which nothing predicts"),
        (KNOWN, {"ranking_obstacle": "random_weights"}, "Nothing can be ranked here:"
         " random weights on random digits, which nothing predicts"),
        (ONE | {"tova": {31: None}}, {},
         "The model is not finite in 8 of 16 segments: these have no result"),
        ({"full": 10.0}, {},
         "Nothing is evicted: only the full cache was measured, with a perplexity of 10.00"),
        (ONE | {"tova": {127: 10.0}}, {},
         "Nothing is evicted: the cache has room for every token of the text"),
        ({"tova": {31: 20.0}}, {},
         "Perplexity is 20.00, and no full cache was measured to compare with"),
    ],
    ids=["settled", "two", "tied", "one", "digits", "weights", "not finite", "full", "fits",
         "no full"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(known, changes, text):
    page = page_of(made_rows(known, windows=4), **changes)
    assert answer(page).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'") == text


def test_the_title_has_no_order_without_intervals():
    few = answer(page_of(made_rows(KNOWN, windows=1)))
    assert few.endswith("no order can be inferred from so few tokens")
    rows = made_rows(KNOWN, windows=4)
    old = [{k: v for k, v in row.items() if k != "block_losses"} for row in rows]
    assert answer(page_of(old)).endswith("from rows without losses by block")
    cut = answer(page_of(rows[:-1]))
    assert cut.startswith("Cut off (segments left out: 1). Perplexity is 1.25 to 2.50")


def test_findings_are_numbers_of_the_summary(page):
    assert findings(page) == ["2.20×", "80×", "2 of 3"]  # noqa: RUF001
    for changes in ({"ranking_obstacle": "random_digits"}, {}):
        rows = made_rows(ONE | {"tova": {31: None}} if not changes else KNOWN, windows=4)
        assert findings(page_of(rows, **changes)) == []


def test_the_share_of_bytes_is_that_of_the_sizes_as_printed(page):
    share = re.search(r"with (\S+) of its bytes", page)[1]
    sizes = dict(re.findall(r'<td data-v="(\d+)">([\d.]+ [KM]iB)</td>', page))
    units = {"KiB": 2**10, "MiB": 2**20}
    printed = [float(n) * units[unit] for n, unit in map(str.split, sizes.values())]
    assert share in {percent(each / max(printed)) for each in printed}


def test_each_policy_at_each_size_is_a_record_of_the_table(page):
    slots = [128, *[31] * 4, *[63] * 4]
    assert re.findall(r'<tbody data-slots="(\d+)"', page) == [*map(str, slots)]
    assert page.count('data-filter="slots:') == 3
    tova = re.search(r'<tbody data-slots="31"><tr><th scope="row">tova.*?</tbody>', page, re.S)[0]
    cells = [" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in tova.split("<td")[1:]]
    texts = [cell.partition(">")[2] for cell in cells]
    assert texts[:3] == ["31", "22.00", "2.20×"]  # noqa: RUF001
    assert texts[3:] == [*["2.20 to 2.20", "2.20×", "2.20×"], "2", "0", "0", "512 KiB", "32"]  # noqa: RUF001


def test_without_an_order_the_page_has_no_pairs():
    rows = made_rows(KNOWN, windows=4)
    assert "Pairs of policies" in page_of(rows)
    page = page_of(rows, ranking_obstacle="random_digits")
    assert "Pairs of policies" not in page
    assert "95% interval" not in page.partition("<h2>More")[0]


@pytest.mark.parametrize("known", [{"full": 10.0}, {"short": {31: 5.0}}, {"tova": {1: 3.0}}])
def test_few_rows_give_a_whole_page(known):
    assert Reader(page_of(made_rows(known, windows=1))).open == []


def test_a_book_is_one():
    assert "a book of 128 tokens" in page_of(made_rows(KNOWN), span="book")


def test_random_digits_have_their_name_on_the_page():
    page = page_of(made_rows({"full": 10.0}), text="random_digits")
    assert "<span>random digits</span>" in page


def test_the_papers_table_has_a_number_in_each_place(page):
    assert {len(line) for line in PERPLEXITIES.values()} == {len(SLOTS)}
    assert {line[-1] for line in PERPLEXITIES.values()} == {7.16}  # nothing is evicted at 4096
    assert "<td>4,812</td>" in page
    assert PERPLEXITIES["h2o-layer"] == PERPLEXITIES["window+1"]  # as printed
    assert "digit by digit" in page


def xs(axes, series):
    """Where a series has dots, bars and ticks."""
    lines = [line for line in axes.lines if (line.get_gid() or "").split("--")[1:2] == [series]]
    return [x for line in lines for x in np.asarray(line.get_xdata(), np.float64)]


@pytest.mark.parametrize("narrow", [False, True])
def test_each_size_has_a_panel_and_each_policy_its_dot_bar_and_tick(narrow):
    chart = ratios_chart(summary_of(made_rows(KNOWN, windows=4)), narrow=narrow)
    titles = [axes.get_title(loc="left") for axes in chart.axes]
    assert titles == ["31 slots, 512 KiB", "63 slots, 1.00 MiB"]
    for axes, ratio in zip(chart.axes, (2.2, 1.25), strict=True):
        np.testing.assert_allclose(xs(axes, "tova"), [ratio] * 4, rtol=64 * 2.0**-53)
    marks = [mark for mark in chart.marks if mark.series == "tova"]
    assert [mark.start[1] for mark in marks] == [3] * 4  # below all others
    assert marks[0].text == "tova, 31 slots\ntokens 64 to 127\n2.20 times the full cache"


def test_what_is_not_finite_has_a_text_and_no_dot():
    rows = made_rows({"full": 10.0, "tova": {31: None, 63: 20.0}, "window": {31: 1e300, 63: 5.0}})
    first, second = ratios_chart(summary_of(rows)).axes
    assert xs(first, "tova") == []
    assert "not finite" in [text.get_text() for text in first.texts]
    assert len(xs(second, "tova")) == 2


def test_without_a_full_cache_the_axis_is_perplexity():
    chart = ratios_chart(summary_of(made_rows({"tova": {31: 20.0}, "h2o": {31: 30.0}})))
    assert xs(chart.axes[0], "tova") == pytest.approx([20, 20], rel=64 * 2.0**-53, abs=0)
    assert [text.get_text() for text in chart.texts] == ["perplexity (log scale)"]


def test_steps_are_segments_of_positions():
    summary = summary_of(made_rows(KNOWN))
    assert [*figures_of(summary)] == ["ratios", "positions-31", "positions-63"]
    chart = positions_chart(summary, 31)
    assert xs(chart.axes[0], "tova") == [32, 64, 128]
    assert len(chart.marks) == 2 * len(KNOWN)


def test_policies_are_in_the_order_of_their_perplexity_and_colored_by_score():
    assert by_cost(summary_of(made_rows(KNOWN))) == ["window", "short", "window+4", "tova"]
    names = ("h2o", "h2o-layer", "tova+4", "window", "window+4", "tova@half~0.9")
    assert [policy_color(name) for name in names] == ["c1", "c1", "c3", "c2", "c5", "c3"]


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.04), (0.8, 1.1), (1.0, 9.0), (1.0, 1e3), (1.0, 1e12)]
)
def test_a_logarithmic_axis_has_a_few_round_ticks_inside(low, high):
    limits = Limits.spanning([low, high, float("inf")])
    ticks = limits.ticks(7)
    assert 2 <= len(ticks) <= 7
    assert limits.low < low < high < limits.high
    assert limits.low <= ticks[0] < ticks[-1] <= limits.high
