"""Decay of distances with length: exact laws, drifting ones, and curves that have none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassesjax.studies.collapse.settings import LENGTHS
from glassesjax.trace.decay import fit_decay, loglog_slope


def fitted(law, lengths=LENGTHS):
    return fit_decay(lengths, [law(n) for n in lengths])


@pytest.mark.parametrize("lengths", [(4, 8, 16, 64), range(1, 200), LENGTHS])
def test_an_exact_power_has_its_exponent_at_every_cut(lengths):
    fit = fitted(lambda n: 3.0 * n**-2.0, lengths)
    for slope in (fit.exponent, fit.low, fit.high, *(slope for _, slope in fit.local)):
        # Logarithms of one rounding each, divided by a spread of log n of at least log(200/199)/2.
        assert slope == pytest.approx(-2, abs=1e-10)
    assert fit.stable
    assert fit.spans_decade
    assert (fit.first, fit.last, fit.points) == (min(lengths), max(lengths), len(lengths))


@pytest.mark.parametrize(("offset", "power"), [(5, -1.0), (1, -1.0), (3, -2.0), (0.5, -0.5)])
def test_a_power_law_with_an_offset_is_read_at_its_tail(offset, power):
    fit = fitted(lambda n: (n + offset) ** power)
    assert fit.stable
    assert fit.law == "power"
    assert fit.low <= power <= fit.high
    assert fit.exponent == pytest.approx(power, abs=0.1)  # SPREAD: the tail bends by no more
    # All lengths together are far off, and their standard error would exclude the truth.
    assert abs(loglog_slope(LENGTHS, [(n + offset) ** power for n in LENGTHS]) - power) > 0.02


def test_an_offset_near_the_longest_length_leaves_the_slope_open():
    fit = fitted(lambda n: 1 / (n + 50))
    assert not fit.stable
    assert fit.low <= -1 <= fit.high


def test_an_exponential_is_told_from_a_power_out_of_sample():
    exponential = fitted(lambda n: math.exp(-0.05 * n))
    assert exponential.law == "exponential"
    assert exponential.exponential_error < 1e-9 < exponential.power_error
    assert not exponential.stable
    assert fitted(lambda n: n**-0.7).law == "power"


def test_a_curve_without_a_trend_has_no_stable_tail():
    fit = fitted(lambda n: 0.3 + 0.05 * math.sin(n))
    assert not fit.stable
    assert fit.low <= 0 <= fit.high
    plateau = fitted(lambda n: 1 / n + 0.01)
    assert not plateau.stable


def test_logs_in_the_law_keep_the_tail_unsettled():
    # Three layers: n^-2 (log n)^2 has local exponents -2 + 2 / log n, still moving at 512.
    fit = fitted(lambda n: n**-2.0 * math.log(n + 2) ** 2)
    slopes = [slope for _, slope in fit.local]
    assert np.all(np.diff(slopes[4:]) < 0)
    assert -2 < fit.low < fit.exponent


def test_what_has_no_logarithm_is_left_out():
    fit = fit_decay([1, 2, 4, 8, 100], [1.0, 0.0, math.inf, math.nan, 0.1])
    assert math.isnan(fit.exponent)
    assert math.isnan(fit.low)
    assert (fit.points, fit.stable, fit.law) == (2, False, "undecided")
    assert fit_decay([1, 2], [0.0, 0.0]).points == 0
    assert fit_decay([], []).points == 0


@given(
    st.lists(st.integers(1, 10**6), min_size=0, max_size=12, unique=True),
    st.lists(st.floats(1e-12, 1e6), min_size=12, max_size=12),
)
def test_awkward_lengths_are_fitted_all_the_same(lengths, distances):
    fit = fit_decay(lengths, distances[: len(lengths)])
    if fit.points < 3:
        assert math.isnan(fit.exponent)
        return
    assert fit.low <= fit.exponent <= fit.high
    assert min(lengths) <= fit.first < fit.last == max(lengths)
    assert not fit.stable or fit.spans_decade


@pytest.mark.parametrize("lengths", [(1, 10, 100), (1, 16, 256), (1, 2, 100), (1, 100, 101)])
def test_three_points_are_no_stable_tail(lengths):
    assert not fitted(lambda n: n**-1.0, lengths).stable


def test_a_law_that_misses_is_not_named():
    fit = fitted(lambda n: math.exp(-n / 20) + 1e-6)
    assert fit.power_error > 1
    assert fit.law == "undecided"


def test_a_curve_that_flattens_is_not_carried_beyond_zero():
    fit = fitted(lambda n: n**-2.0 + 1e-4)
    assert fit.low < fit.high <= 0


def test_the_order_of_lengths_does_not_matter():
    assert fitted(lambda n: 1 / n, LENGTHS[::-1]) == fitted(lambda n: 1 / n)


@pytest.mark.parametrize("lengths", [(0, 1, 2), (1, 2, 2), (-1, 4, 8)])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ValueError, match="positive lengths, each once"):
        fitted(lambda n: 1.0, lengths)


def test_slopes_and_errors_of_five_points_by_hand():
    """Logarithms of base two: at 0, 1, 2 the values 0, -1, -3, then two that neither law meets."""
    six = math.log2(6)
    lengths, logs = (1, 2, 4, 6, 8), (0, -1, -3, -5, -4)
    fit = fit_decay(lengths, [2.0**y for y in logs])
    steps = [(2, -1.0), (4, -2.0), (6, -2 / (six - 2))]
    for (length, slope), (wanted, by_hand) in zip(fit.local, steps, strict=False):
        assert length == wanted
        assert slope == pytest.approx(by_hand, rel=1e-14, abs=0)
    # The line through the first three: -4/3 - 3/2 (x - 1); in n itself: -4/3 - (n - 7/3).
    power = [-5 + 4 / 3 + 1.5 * (six - 1), -4 + 4 / 3 + 3.0]
    exponential = [-5 + 4 / 3 + 6 - 7 / 3, -4 + 4 / 3 + 8 - 7 / 3]
    root = lambda missed: math.log(2) * math.sqrt((missed[0] ** 2 + missed[1] ** 2) / 2)
    assert fit.power_error == pytest.approx(root(power), rel=1e-14, abs=0)
    assert fit.exponential_error == pytest.approx(root(exponential), rel=1e-14, abs=0)
    assert loglog_slope((1, 2, 4, 8), (1.0, 0.5, 0.125, 2.0**-4)) == pytest.approx(
        -1.4, rel=1e-14, abs=0
    )
