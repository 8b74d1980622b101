"""The numbers of a perplexity run, on rows whose every number is known."""

import math

import numpy as np
import pytest
from studies.perplexity.made_perplexity import (
    KNOWN,
    in_formats,
    made_result,
    made_rows,
    run_of,
    with_tokens,
)

from glassesjax.errors import BadInput
from glassesjax.studies.perplexity.numbers import perplexity_text, times_text
from glassesjax.studies.perplexity.records import ROWS
from glassesjax.studies.perplexity.summary import summarize
from glassesjax.studies.perplexity.totals import CellName, Totals

ROUNDINGS = 64 * 2.0**-53  # of sums of 64 equal numbers


def summary_of(rows, arrays=None, **changes):
    return summarize(run_of(rows, arrays, **changes))


def near(value):
    return pytest.approx(value, rel=ROUNDINGS, abs=0)


def test_numbers_by_hand():
    """The same loss at each token: intervals without a width."""
    summary = summary_of(made_rows(KNOWN, windows=4))
    assert (summary.tokens, summary.blocks, summary.num_pairs) == (512, 12, 6)
    assert summary.num_distinct == 6
    assert summary.full.perplexity == near(10)
    assert [size.evicts for size in summary.sizes] == [True, True]
    tova = summary.of("tova", 31)
    assert tova.over_full.ratio == near((2.2, 2.2, 2.2))
    assert (tova.bytes_share, tova.order) == (32 / 129, (2, 0, 0))
    assert [(at.start, at.last, at.over_full) for at in tova.evicted] == [(64, 127, near(2.2))]
    assert summary.of("window", 31).order == (0, 2, 0)
    assert summary.of("short", 31).order is None
    small, large = summary.sizes
    assert (small.lowest, small.lowest_tied) == ("tova", [])
    assert (small.over_sinks.ratio.value, large.over_sinks.ratio.value) == (near(80), near(12.5))
    assert small.short == (3, 2, 1, 0)
    assert summary.cost == (["window+4", "tova"], near(1.25), near(2.5))
    assert summary.window_cost == (["window"], near(20), near(200))
    assert not summary.may_know_text


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
    known = {"full": 10.0, "tova": {31: 20.0}, "h2o": {31: 21.0}}
    rows = made_rows(known, windows=8)
    settled = lambda rows: summary_of(rows).num_distinct == 1
    assert settled(rows)
    assert not settled(noisy(rows, "tova", 20.0))
    assert settled(noisy(rows, "tova", 0.1))
    assert not settled(made_rows(known | {"h2o": {31: 20.0}}, windows=8))
    assert not settled(made_rows(known, windows=1))
    tied = summary_of(noisy(rows, "tova", 20.0)).sizes[0]
    assert {tied.lowest, *tied.lowest_tied} == {"tova", "h2o"}


def test_losses_of_tokens_give_what_their_sums_by_block_give():
    # No ratio is a half digit, which roundings would turn.
    known = {"full": 10.0, "window": {31: 31.7}, "tova": {31: 22.3}, "h2o": {31: 24.9}}
    rows = noisy(made_rows(known, windows=8), "tova", 3.0)
    old, new = made_result(rows), made_result(*with_tokens(rows))
    assert (old.summary.losses_from, new.summary.losses_from) == ("blocks", "tokens")
    assert new.headline == old.headline
    for pair, other in zip(new.summary.sizes[0].pairs, old.summary.sizes[0].pairs, strict=True):
        assert pair.difference == pytest.approx(other.difference, rel=2.0**-40, abs=0)
    note = "begun before losses of single tokens were stored"
    pages = [each.files()["index.html"] for each in (old, new)]
    assert [note in page for page in pages] == [True, False]
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
    result = made_result(rows, arrays)
    assert result.summary.of("tova", 31).nll == math.inf
    (pair,) = result.summary.sizes[0].pairs
    assert pair.difference.value == pair.ratio.value == math.inf
    assert not pair.distinct
    assert result.summary.cost == (["tova", "h2o"], near(0.5), near(0.5))
    assert "nan" not in result.headline


def test_on_random_digits_there_is_neither_an_order_nor_a_cost():
    for obstacle in ("random_digits", "random_weights"):
        summary = summary_of(made_rows(KNOWN, windows=4), ranking_obstacle=obstacle)
        assert (summary.num_distinct, summary.cost, summary.window_cost) == (0, None, None)
        assert not summary.may_know_text


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


def test_older_rows_are_of_random_digits_by_text_or_model():
    (row,) = made_rows({"full": 10.0}, windows=1)[:1]
    obstacle = lambda **old: ROWS.upgraded({**row, **old})[0].get("ranking_obstacle")
    assert obstacle(text="random digits", model="counter") == "random_digits"
    assert obstacle(text="ferry", model="toy") == "random_digits"
    assert obstacle(text="ferry", model="smollm2") is None
    phrase = "random weights on random digits: nothing predicts them"
    phrase += ", and no policy can be better than another"
    assert obstacle(text="random digits", model="toy", ranking_obstacle=phrase) == "random_weights"
    assert obstacle(text="ferry", model="smollm2", ranking_obstacle="") is None


def test_a_text_that_the_model_may_know_by_heart():
    known = lambda perplexity: summary_of(made_rows({"full": perplexity})).may_know_text
    assert known(3.55)
    assert not known(6.0)


def test_what_not_all_have_read_is_left_out():
    rows = made_rows({"full": 10.0, "tova": {31: 20.0}})
    summary = summary_of([r for r in rows if (r["policy"], r["window"]) != ("tova", 1)])
    assert (summary.tokens, summary.left_out) == (128, 2)
    assert summary.of("full", 128).perplexity == near(10)
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
    assert [totals.last(start) for start in (0, 64)] == [64, 255]


def test_nothing_is_evicted_where_the_cache_has_room_for_all_but_the_query():
    # The token at 127 is scored by the query at 126, which attends to itself and to 126 cached.
    evicts = lambda slots: summary_of(made_rows({"tova": {slots: 2.0}})).evicts
    assert [evicts(slots) for slots in (125, 126)] == [True, False]


def test_a_window_is_compared_with_the_one_that_keeps_the_fewest_first_tokens():
    known = {"full": 10.0, "window": {63: 200.0}, "window+16": {63: 20.0}, "window+4": {63: 40.0}}
    (size,) = summary_of(made_rows(known)).sizes
    assert size.over_sinks.second.policy == "window+4"
    assert size.over_sinks.ratio.value == near(5)
    assert math.isnan(size.over_sinks.ratio.low)  # too short for an interval


def test_numbers_as_text():
    values = (7.16, 4812.27, float("inf"), 2.5e7)
    texts = ["7.16", "4,812", "not finite", "2.5 \N{MULTIPLICATION SIGN} 10⁷"]
    assert [perplexity_text(value) for value in values] == texts
    assert [times_text(ratio) for ratio in (1.0444, 2.06, 563.2)] == ["1.04", "2.06", "563"]
    assert times_text(1.0444, close=True) == "1.044"


def test_formats_are_compared_with_the_first_by_hand():
    """The same loss at each token: intervals without a width."""
    rows = made_rows({"full": 10.0, "tova": {31: 20.0}}, windows=4)
    result = made_result(list(in_formats(rows, {"f32": 1.0, "bf16": 1.25, "e4m3fn": None})))
    f32, bf16, lost = result.summary.formats
    assert [each.format for each in result.summary.formats] == ["f32", "bf16", "e4m3fn"]
    assert f32.of(("full", 128)).perplexity == near((10.0, 10.0, 10.0))
    assert (f32.of(("full", 128)).ratio, f32.of(("full", 128)).distinct) == (None, False)
    assert bf16.of(("tova", 31)).perplexity == near((25.0, 25.0, 25.0))
    assert bf16.of(("tova", 31)).ratio == near((1.25, 1.25, 1.25))
    assert bf16.of(("tova", 31)).difference.value == pytest.approx(math.log(1.25), rel=1e-12)
    assert bf16.of(("tova", 31)).distinct
    assert not lost.of(("tova", 31)).finite
    assert (lost.passes.not_finite, lost.passes.place) == (16, "residual in layer 1")
    # What is said of policies is of the first format alone.
    assert result.summary.of("tova", 31).over_full.ratio.value == near(2.0)
    assert result.summary.passes.failures == []
    assert result.headline == (
        "Perplexity is 10.00 in f32, 1.250 times that in bf16 (told apart);"
        " e4m3fn is not finite in 16 of 16 segments, first at residual in layer 1"
    )
    assert list(result.figures) == ["formats", "ratios", "positions-31"]


def test_formats_that_no_interval_tells_apart():
    rows = made_rows({"tova": {31: 20.0}}, windows=4)
    both = list(in_formats(rows, {"f32": 1.0, "bf16": 1.01}))
    for row in both[len(rows) :]:  # up and down by much more, window by window
        step = 1 if row["window"] % 2 else -1
        row["block_losses"] = [loss + step for loss in row["block_losses"]]
    summary = summary_of(both)
    cell = summary.formats[1].of(("tova", 31))
    assert cell.ratio.low < 1 < cell.ratio.value < cell.ratio.high
    assert not cell.distinct


def test_the_format_of_a_run_of_one():
    summary = summary_of(made_rows(KNOWN))
    (alone,) = summary.formats
    assert (alone.format, alone.passes) == ("f32", summary.passes)
    assert alone.of(("full", 128)).perplexity.value == summary.full.perplexity
