"""Intervals over blocks: by hand, by coverage, and where an order stands or does not."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from glassesjax.statistics import intervals
from glassesjax.statistics.intervals import (
    LEAST_BLOCKS,
    RESAMPLES,
    Interval,
    block_draws,
    mean_ratio,
    paired_difference,
)


def test_equal_sides_are_not_told_apart():
    losses = np.random.default_rng(0).exponential(size=20)
    found = paired_difference(losses, losses.copy())
    assert found == (0.0, 0.0, 0.0)
    assert not found.excludes(0.0)


def test_an_order_that_stands_in_every_block_is_one_and_is_turned_with_the_sides():
    random = np.random.default_rng(1)
    first, tokens = random.normal(200, 40, 16), np.full(16, 64.0)
    second = first + random.uniform(1, 3, 16)  # blocks differ far more than the two do
    found = paired_difference(first, second, tokens)
    assert found.value == pytest.approx(np.sum(first - second) / 1024, rel=1e-12, abs=0)
    assert found.low < found.value < found.high < 0
    assert paired_difference(second, first, tokens) == pytest.approx(found.turned, rel=1e-12, abs=0)
    # The same numbers unpaired leave it open: only pairing tells them apart.
    assert not paired_difference(first, random.permutation(second), tokens).excludes(0.0)
    assert paired_difference(first, first + 1, tokens) == (-1 / 64,) * 3  # nothing moves


def test_weights_are_what_sums_are_over():
    first, weights = np.arange(1.0, 11.0), np.arange(10.0, 0.0, -1)
    assert paired_difference(first, np.zeros(10), weights).value == pytest.approx(1)
    # Half a nat a token in each block, whatever its length.
    assert paired_difference(0.5 * weights, np.zeros(10), weights) == pytest.approx((0.5,) * 3)


@pytest.mark.parametrize("blocks", [0, 1, LEAST_BLOCKS - 1])
def test_few_blocks_give_no_interval(blocks):
    found = paired_difference(np.ones(blocks), np.zeros(blocks))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not found.excludes(0.0)
    assert not mean_ratio(*np.ones((4, blocks))).excludes(2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_told_apart(value):
    losses = np.full(20, 3.0)
    losses[4] = value
    assert not paired_difference(losses, np.zeros(20)).excludes(0.0)
    assert not paired_difference(losses, losses).excludes(0.0)
    assert not mean_ratio(losses, *np.ones((3, 20))).excludes(0.0)


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="got 9, 8 and 9: pair them"):
        paired_difference(np.ones(9), np.ones(8))
    with pytest.raises(ValueError, match="Expected positive weights"):
        paired_difference(np.ones(9), np.ones(9), np.zeros(9))


def test_draws_are_of_all_blocks_alike_and_the_same_again():
    draws = block_draws(10, 3)
    assert draws.shape == (RESAMPLES, 10)
    assert set(draws.sum(axis=1)) == {10}
    # A share of a tenth of 40000 draws, six standard deviations.
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=6 * (0.9 / RESAMPLES) ** 0.5)
    np.testing.assert_array_equal(draws, block_draws(10, 3))
    assert np.any(draws != block_draws(10, 4))


def test_many_normal_blocks_give_students_interval():
    gap = np.random.default_rng(2).normal(0.3, 1, 200)
    found = paired_difference(gap, np.zeros(200))
    low, high = stats.t.interval(0.95, 199, gap.mean(), stats.sem(gap))
    # Quantiles of 4000 draws are known to some 3 % of a standard error; three times that.
    assert found == pytest.approx((gap.mean(), low, high), abs=0.1 * stats.sem(gap))


@pytest.fixture
def drawn_once(monkeypatch):
    """Draws of a seed are made once: that takes far longer than what is done with them."""
    monkeypatch.setattr(intervals, "block_draws", functools.cache(block_draws))


# Coverage is over the blocks. What quantiles of 4000 draws are off, some 3 % of a standard error,
# moves it by 0.4 % at most for one set of draws, and less for the mean over several.
SEEDS = 8
DRAWS = {
    "normal": (lambda random, size: random.normal(0.5, 1, size), 0.5),
    "skewed": (lambda random, size: random.exponential(1, size), 1.0),
}


@pytest.mark.parametrize("blocks", [12, 32])
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.usefixtures("drawn_once")
def test_nineteen_of_twenty_intervals_cover_the_truth(name, blocks):
    draw, truth = DRAWS[name]
    random, runs = np.random.default_rng(blocks), 200
    zeros = np.zeros(blocks)
    some = (paired_difference(draw(random, blocks), zeros, seed=n % SEEDS) for n in range(runs))
    covered = sum(not found.excludes(truth) for found in some)
    # Binomial with 0.95: three standard deviations are 4.6 %, and 0.93 is what is held here for the
    # approximation of small numbers.
    assert 0.93 - 0.046 <= covered / runs <= 0.95 + 0.046


def test_a_ratio_of_means_by_hand():
    part, count = np.full(10, 6.0), np.full(10, 2.0)
    whole, size = np.full(10, 64.0), np.full(10, 64.0)
    assert mean_ratio(part, count, whole, size) == pytest.approx((3.0, 3.0, 3.0))
    random = np.random.default_rng(5)
    part = part + random.normal(size=10)
    found = mean_ratio(part, count, whole, size)
    assert found.value == pytest.approx(part.sum() / 20)
    assert found.low < found.value < found.high
    assert found.excludes(1.0)
    # Of the mean itself there is nothing to tell.
    assert mean_ratio(whole * part, size, whole * part, size) == pytest.approx((1.0, 1.0, 1.0))


def test_members_in_few_blocks_have_a_ratio_without_an_interval():
    count = np.zeros(20)
    count[: LEAST_BLOCKS - 1] = 3
    found = mean_ratio(2 * count, count, np.full(20, 64.0), np.full(20, 64.0))
    assert found.value == pytest.approx(2)
    assert not found.excludes(1.0)
    count[LEAST_BLOCKS - 1] = 3  # some draws have no member: they are left out
    assert mean_ratio(2 * count, count, np.full(20, 64.0), np.full(20, 64.0)).excludes(1.0)


@pytest.mark.usefixtures("drawn_once")
def test_ratios_cover_the_truth():
    random, runs, covered = np.random.default_rng(6), 200, 0
    for seed in range(runs):
        count = random.poisson(3, 32).astype(float)
        part = random.gamma(2 * count + 1e-9)  # two each
        size = np.full(32, 64.0)
        whole = part + random.gamma(size - count)  # one each of the others
        truth = 2 / ((3 * 2 + 61) / 64)
        covered += not mean_ratio(part, count, whole, size, seed=seed % SEEDS).excludes(truth)
    assert 0.93 - 0.046 <= covered / runs <= 0.95 + 0.046


def test_an_interval_that_is_none_excludes_nothing():
    assert not Interval(1.0, math.nan, math.nan).excludes(0.0)
    assert Interval(1.0, 0.5, 2.0).excludes(0.4)
    assert Interval(1.0, 0.5, 2.0).turned == (-1.0, -2.0, -0.5)
