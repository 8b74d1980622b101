"""Rank correlations by hand and against SciPy; intervals where they are known."""

import math

import numpy as np
import pytest
from scipy import stats

from glassesjax.statistics.ranks import Correlation, correlate, dispersion, spearman


def test_equal_values_share_the_mean_of_their_ranks():
    # Ranks 2.5 1 2.5 4 and 1 2 3 4, less their mean: a product of 3, squares of 4.5 and 5.
    tied = spearman(np.array([3.0, 1.0, 3.0, 7.0]), np.arange(4.0))
    assert tied == pytest.approx(3 / math.sqrt(4.5 * 5), rel=2.0**-50, abs=0)


def test_coefficients_by_hand():
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 5.0, 6.0])) == 1
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, 1.0])) == -1
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    assert spearman(np.arange(4.0), np.array([1.0, 0.0, 3.0, 2.0])) == pytest.approx(0.6)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_coefficients_are_scipys(levels):
    random = np.random.default_rng(levels)
    first, second = random.integers(levels, size=(2, 20, 12)).astype(float)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(spearman(first, second), expected, rtol=0, atol=1e-14)


def test_a_coefficient_of_few_values_is_scipys():
    two, one = np.array([1.0, 2.0]), np.ones(1)
    for other in (two, -two):
        expected = stats.spearmanr(two, other).statistic
        np.testing.assert_allclose(spearman(two, other), expected, rtol=0, atol=1e-14)
    assert math.isnan(spearman(one, one))
    assert math.isnan(spearman(np.array([]), np.array([])))


def flags(shares, count=100):
    return [np.arange(count) < round(share * count) for share in shares]


def test_an_order_without_noise_is_certain():
    shares, sizes = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    measured = [np.full(4, size) for size in sizes]
    assert correlate(flags(shares), measured, 0) == Correlation(1.0, 1.0, 1.0)
    measured = [np.full(4, -size) for size in sizes]
    assert correlate(flags(shares), measured, 0) == Correlation(-1.0, -1.0, -1.0)


def test_intervals_are_wide_where_examples_are_few():
    shares = np.linspace(0.3, 0.7, 9)
    measured = [np.full(3, place) for place in shares]
    few, many = (correlate(flags(shares, count), measured, 0) for count in (10, 10_000))
    assert many.value == 1
    assert many.low > 0.95
    assert few.low < 0.5
    assert correlate(flags(shares, 10), measured, 0) == few, "the same draws"


def test_an_interval_is_the_one_that_scipy_draws():
    random = np.random.default_rng(4)
    right = [random.random(40) < share for share in np.linspace(0.2, 0.8, 7)]
    measured = [random.normal(place, 3, 30) for place in range(7)]

    def statistic(*samples, axis):
        means = np.stack([np.mean(x, axis) for x in samples], axis=-1)
        return spearman(means[..., :7], means[..., 7:])

    again = stats.bootstrap(
        (*right, *measured), statistic, n_resamples=2000, method="percentile", rng=random
    )
    # An end of 2000 draws is known to 6 % of a standard error, both ends are drawn, and four times
    # that; coefficients of seven places lie 1/28 apart.
    apart = 4 * 2**0.5 * 0.06 * again.standard_error + 1 / 28
    found = correlate(right, measured, 0)
    assert found[1:] == pytest.approx(again.confidence_interval, abs=apart)


def test_no_order_without_differences():
    measured = [np.full(3, float(place)) for place in range(6)]
    for right in (flags([1.0] * 6), flags([0.0] * 6), flags([0.5] * 6)):
        assert math.isnan(correlate(right, measured, 0).value)
    assert math.isnan(correlate(flags([0.0, 0.5, 1.0]), measured[:3], 0).value), "too few places"
    level = [np.ones(3)] * 6
    assert math.isnan(correlate(flags(np.linspace(0, 1, 6)), level, 0).value)


def test_dispersion_by_hand():
    # Shares 1/4 and 3/4 of 4 examples, all in all 1/2: (4/16 + 4/16) / (1/4) over 1.
    assert dispersion(flags([0.25, 0.75], 4)) == pytest.approx(2.0)
    assert dispersion(flags([0.5, 0.5], 4)) == 0
    assert math.isnan(dispersion(flags([1.0, 1.0], 4)))
