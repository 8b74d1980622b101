"""The perplexity page on rows whose every number is known: sentences, figures, tables, markup."""

import math
import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader
from studies.perplexity.made_perplexity import (
    lines_of,
    made_result,
    made_rows,
    run_of,
    with_tokens,
)
from wording import says

from glassesjax.errors import BadInput
from glassesjax.report.canvas import to_svg
from glassesjax.studies.perplexity.figures import positions_figure, slots_figure
from glassesjax.studies.perplexity.page import perplexity_page
from glassesjax.studies.perplexity.records import ROWS
from glassesjax.studies.perplexity.sentences import size_name, told
from glassesjax.studies.perplexity.summary import summarize
from glassesjax.studies.perplexity.totals import CellName, Totals
from glassesjax.studies.perplexity.words import BLOCK_LOSSES, PAPER, PAPER_SLOTS

KNOWN = {
    "full": 10.0,
    "short": {31: 40.0, 63: 20.0},
    "window": {31: 2000.0, 63: 200.0},
    "window+4": {31: 25.0, 63: 16.0},
    "tova": {31: 22.0, 63: 12.5},
}


def page_of(rows, **changes):
    return perplexity_page(made_result(rows, **changes))


def summary_of(rows):
    return summarize(run_of(rows))


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows(KNOWN))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_comes_from_data_is_escaped(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;.txt" in page
    assert "<b>.txt" not in page


def test_the_same_rows_give_the_same_page(page):
    assert page_of(made_rows(KNOWN)) == page


def test_the_page_says_what_the_weights_are(page):
    assert "quantized to about 4 bits" in page
    assert "quantized" not in page_of(made_rows(KNOWN), weights="toy seed 0")


def test_the_headlines_by_hand():
    # The same loss at each token: intervals without a width.
    full, small, large, over, first, short = lines_of(made_rows(KNOWN, windows=4))
    assert says(full, 512, "<b>.txt", "10.00", 4, 128, "2.0 MiB")
    lower = ("window+4 lower than window; tova lower than window, window+4", "95%", 12, 64)
    assert says(small, 31, "512.0 KiB", "window 2,000, window+4 25.00, tova 22.00", *lower)
    assert says(large, 63, "1.0 MiB", "window 200.00, window+4 16.00, tova 12.50", *lower)
    sizes = ("window", 200, 200, 200, "window+4", 2.5, 2.5, 2.5, "tova", 2.2, 2.2, 2.2, 31)
    sizes += ("window", 20, 20, 20, "window+4", "1.600", "1.600", "1.600")
    assert says(over, *sizes, "tova", "1.250", "1.250", "1.250", 63)
    assert says(first, "window", "window+4", 80, 80, 80, 31, 12, 12, 12, 63)
    # Policies that are lower, of how many, higher, and not apart.
    assert says(short, "short", "40.00", 31, 2, 3, 1, 0, "20.00", 63, 2, 3, 1, 0)


def noisy(rows, policy, step):
    """The blocks of a policy moved up and down by so many nats, window by window."""
    rows = [dict(row) for row in rows]
    for row in rows:
        if row["policy"] == policy:
            sign = 1 if row["window"] % 2 else -1
            losses = [loss + sign * step for loss in row["block_losses"]]
            row |= {"block_losses": losses, "nll": sum(losses)}
    return rows


def test_an_order_is_one_only_where_its_interval_leaves_zero_out():
    found = {"full": 10.0, "tova": {31: 20.0}, "h2o": {31: 21.0}}
    rows = made_rows(found, windows=8)
    close = lambda text: "nothing is told apart" in text
    assert "tova lower than h2o" in lines_of(rows)[1]
    assert close(lines_of(noisy(rows, "tova", 20.0))[1])
    assert not close(lines_of(noisy(rows, "tova", 0.1))[1])
    equal = made_rows(found | {"h2o": {31: 20.0}}, windows=8)
    assert close(lines_of(equal)[1])
    few = lines_of(made_rows(found, windows=1))[1]
    assert close(few)
    assert "no order can be inferred from fewer than 8" in few


def test_losses_of_tokens_say_what_their_sums_by_block_say():
    # No ratio is a half digit, which roundings would turn.
    known = {"full": 10.0, "window": {31: 31.7}, "tova": {31: 22.3}, "h2o": {31: 24.9}}
    rows = noisy(made_rows(known, windows=8), "tova", 3.0)
    old, new = made_result(rows), made_result(*with_tokens(rows))
    assert (old.summary.losses_from, new.summary.losses_from) == ("blocks", "tokens")
    assert new.headline == old.headline
    for size, other in zip(new.summary.sizes, old.summary.sizes, strict=True):
        for pair, known in zip(size.pairs, other.pairs, strict=True):
            # Sums of 64 equal numbers.
            assert pair.difference == pytest.approx(known.difference, rel=2.0**-40, abs=0)
    pages = [perplexity_page(each) for each in (old, new)]
    assert [BLOCK_LOSSES in page for page in pages] == [True, False]
    assert pages[0].replace(f"<li>{BLOCK_LOSSES}</li>", "") == pages[1]
    # An older run that was continued has both.
    half = len(rows) // 2
    tokens, arrays = with_tokens(rows[half:])
    mixed = made_result([*rows[:half], *tokens], arrays)
    assert mixed.summary.losses_from == "blocks"
    assert mixed.headline == old.headline
    assert mixed.summary.sizes[0].pairs[0].distinct == old.summary.sizes[0].pairs[0].distinct


def test_an_infinite_loss_is_infinite_in_what_it_is_compared_with():
    rows, arrays = with_tokens(made_rows({"full": 10.0, "tova": {31: 20.0}, "h2o": {31: 5.0}}))
    for row in rows:
        if row["policy"] == "tova" and row["start"] == 0:
            row |= {"nll": None, "finite": False, "perplexity": None}
            arrays[row["token_losses"]][3] = np.inf
    summary = summarize(run_of(rows, arrays))
    assert summary.of("tova", 31).nll == math.inf
    (pair,) = summary.sizes[0].pairs
    assert pair.difference.value == pair.ratio.value == math.inf
    assert not pair.distinct
    text = " ".join(lines_of(rows, arrays))
    assert "tova not finite" in text
    assert "nan" not in text


def test_rows_without_losses_by_block_are_read_and_tell_no_order():
    rows = made_rows(KNOWN, windows=4)
    old = [{k: v for k, v in row.items() if k != "block_losses"} for row in rows]
    lines = lines_of(old)
    assert any("rows have no losses by block" in text for text in lines)
    assert not any(" lower than " in text for text in lines if "short" not in text)
    assert "<svg" in page_of(old)


def test_on_random_digits_nothing_is_ranked():
    rows = made_rows(KNOWN, windows=4)
    for obstacle, phrase in (
        ("random_digits", "digits: "),
        ("random_weights", "weights on random"),
    ):
        lines = lines_of(rows, ranking_obstacle=obstacle)
        assert lines[1].startswith(f"Nothing can be ranked here: random {phrase}")
        assert "With 31 slots (512.0 KiB): window 2,000, window+4 25.00, tova 22.00." in lines
        assert not any(word in " ".join(lines) for word in ("under", "over that", "interval"))
        page = page_of(rows, ranking_obstacle=obstacle)
        assert "told apart" not in page.partition("<h2>Methods")[0]


def test_rows_of_schema_1_in_todays_words():
    (row,) = made_rows({"full": 10.0}, windows=1)[:1]
    old = row | {"block_losses": "1.5,nan,2.0", "spacing": "true", "rankable": True, "layers": 2}
    shared, new = ROWS.upgraded(old)
    assert shared == {"position_ids": "original", "num_layers": 2}
    assert list(new) == list(row)
    assert [each for each in new["block_losses"] if each == each] == [1.5, 2.0]
    assert ROWS.read(new).block_losses[::2] == (1.5, 2.0)
    with pytest.raises(BadInput, match="Expected list of number as block_losses in a row, got 'a"):
        ROWS.read(ROWS.upgraded(old | {"block_losses": "a,b"})[1])


def test_rows_of_before_they_said_it_are_of_random_digits_by_text_or_model():
    (row,) = made_rows({"full": 10.0}, windows=1)[:1]
    obstacle = lambda **old: ROWS.upgraded({**row, **old})[0].get("ranking_obstacle")
    assert obstacle(text="random digits", model="counter") == "random_digits"
    assert obstacle(text="ferry", model="toy") == "random_digits"
    assert obstacle(text="ferry", model="smollm2") is None
    said = "random weights on random digits: nothing predicts them"
    said += ", and no policy can be better than another"
    assert obstacle(text="random digits", model="toy", ranking_obstacle=said) == "random_weights"
    assert obstacle(text="ferry", model="smollm2", ranking_obstacle="") is None


def test_random_digits_have_their_name_on_the_page():
    rows = made_rows({"full": 10.0})
    assert "tokens of random digits is" in lines_of(rows, text="random_digits")[0]
    page = page_of(rows, text="random_digits").partition("Where this was made")[0]
    assert "random digits" in page
    assert "random_digits" not in page


def test_a_text_that_the_model_may_know_is_said():
    known = [text for text in lines_of(made_rows({"full": 3.55})) if "heart" in text]
    [said] = known
    assert says(said, 3.55, 6)
    assert not any("heart" in text for text in lines_of(made_rows({"full": 6.0})))


def test_sentences_keep_silent_where_nothing_was_measured():
    [text] = lines_of(made_rows({"tova": {31: 20.0}}, windows=1))
    assert says(text, 31, "512.0 KiB", "tova", "20.00")
    (alone,) = lines_of(made_rows({"full": 10.0}, windows=1), span="book")
    assert says(alone, "book", "2.0 MiB")


def test_what_not_all_have_read_is_left_out_and_said():
    rows = made_rows({"full": 10.0, "tova": {31: 20.0}})
    kept = [row for row in rows if (row["policy"], row["window"]) != ("tova", 1)]
    summary = summary_of(kept)
    assert (summary.tokens, summary.left_out) == (128, 2)
    assert summary.of("full", 128).perplexity == pytest.approx(10, rel=64 * 2.0**-53, abs=0)
    assert says(lines_of(kept)[-1], 2)
    apart = [row for row in rows if (row["policy"] == "full") == (row["window"] == 0)]
    for none in (apart, []):
        with pytest.raises(BadInput, match="common to all"):
            summary_of(none)


def test_sums_are_over_tokens_and_not_over_rows():
    rows = made_rows({"tova": {31: 2.0}}, windows=1)
    rows[1] |= {"tokens": 192, "nll": 0.0}  # a perplexity of one
    cell, totals = CellName("tova", 31), Totals(run_of(rows))
    total = totals(cell)
    assert total.perplexity == pytest.approx(2**0.25, rel=8 * 2.0**-53, abs=0)
    assert total.speed == 32
    assert [t.tokens for _, t in totals.by_position(cell)] == [64, 192]


def test_what_is_not_finite_is_said_and_drawn_as_a_gap():
    rows = made_rows({"full": 10.0, "tova": {31: None, 63: 20.0}, "window": {31: 1e300, 63: 5.0}})
    assert "tova not finite" in " ".join(lines_of(rows))
    assert "not finite" in page_of(rows)
    (line,) = [
        found for found in lines(slots_figure(summary_of(rows))) if found.get_label() == "tova"
    ]
    assert np.isnan(line.get_ydata()[0])


def lines(figure):
    return [line for axes in figure.axes for line in axes.get_lines()]


def test_the_figures_hold_the_rows_numbers():
    figure = slots_figure(summary_of(made_rows(KNOWN)))
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert list(drawn["tova"].get_xdata()) == [31, 63]
    np.testing.assert_allclose(drawn["tova"].get_ydata(), [22, 12.5], rtol=64 * 2.0**-53)
    assert drawn.keys() == KNOWN.keys()
    low, high = axes.get_ylim()
    assert low < 10 < 2000 < high
    assert 2 <= len(axes.get_yticks()) <= 9
    panels = positions_figure(summary_of(made_rows(KNOWN))).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["31 slots", "63 slots"]
    step = next(line for line in panels[0].get_lines() if line.get_label() == "tova")
    assert list(step.get_xdata()) == [1, 64, 128]


@pytest.mark.parametrize("found", [{"full": 10.0}, {"short": {31: 5.0}}, {"tova": {1: 3.0}}])
def test_few_rows_give_figures_and_a_page(found):
    rows = made_rows(found, windows=1)
    assert "<svg" in to_svg(slots_figure(summary_of(rows)), "a")
    assert "<svg" in page_of(rows)


def test_numbers_as_they_are_told():
    assert [told(x) for x in (7.16, 4812.27, float("inf"))] == ["7.16", "4,812", "not finite"]
    assert told(2.5e7) == "2.5 \N{MULTIPLICATION SIGN} 10⁷"
    assert [size_name(x) for x in (512, 2048, 3 * 2**29)] == ["512 B", "2.0 KiB", "1.5 GiB"]


def test_the_papers_table_has_a_number_in_each_place(page):
    assert {len(line) for line in PAPER.values()} == {len(PAPER_SLOTS)}
    assert {line[-1] for line in PAPER.values()} == {7.16}  # nothing is forgotten at 4096
    assert re.search(r"<td>4,812</td>", page)
    assert PAPER["h2o-layer"] == PAPER["window+1"]  # as printed, and said on the page
    assert "digit by digit" in page


def test_a_window_is_compared_with_the_one_that_keeps_the_fewest_first_tokens():
    found = {"full": 10.0, "window": {63: 200.0}, "window+16": {63: 20.0}, "window+4": {63: 40.0}}
    (line,) = [line for line in lines_of(made_rows(found)) if "which drops" in line]
    assert says(line, "window+4", "5.0", 63)
    assert " to " not in line, "too short for an interval"
