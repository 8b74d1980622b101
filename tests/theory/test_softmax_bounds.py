"""Lemma B.2: the distance against high precision, its bounds where tight and where void."""

import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassesjax.theory.softmax import (
    alternating_total_variation,
    prefix_total_variation,
    softmax_total_variation,
    total_variation,
    tv_bound_half_range,
    tv_bound_max,
    tv_bound_mean,
    tv_bound_partition,
    tv_bound_range,
)

U = 2.0**-53  # unit roundoff of float64
LENGTH = 8
BOUNDS = [tv_bound_partition, tv_bound_mean, tv_bound_range, tv_bound_half_range, tv_bound_max]
RANGE = 2  # the place of the sharp bound: those before it need the logits, those after bound it


@jax.jit
def distance_and_bounds(x, x_star):
    return softmax_total_variation(x, x_star), jnp.stack([bound(x, x_star) for bound in BOUNDS])


def exact_distance(x, x_star):
    """The total variation in 60 digits; also of logits that differ by a few ulp."""
    with localcontext(prec=60):
        rows = [[Decimal(float(entry)).exp() for entry in row] for row in (x, x_star)]
        p, q = ([entry / sum(row) for entry in row] for row in rows)
        return float(sum(abs(a - b) for a, b in zip(p, q, strict=True)))


logits = st.lists(st.floats(-700, 700), min_size=LENGTH, max_size=LENGTH).map(np.array)
close = st.lists(st.floats(-2, 2), min_size=LENGTH, max_size=LENGTH).map(np.array)
# A weight's error is n u from the sum and |x - max| u exp(x - max) < u / 2 from the shift; the
# bounds, at most 4 where they are not void, have no larger one.
ROUNDOFF = 4 * (LENGTH + 8) * U


@given(x=logits, x_star=logits)
@settings(deadline=None, max_examples=100)
def test_bounds_hold_for_any_logits(x, x_star):
    distance, bounds = distance_and_bounds(x, x_star)
    assert abs(distance - exact_distance(x, x_star)) <= ROUNDOFF
    assert jnp.all(distance <= bounds + ROUNDOFF)


@given(x=close, change=close, scale=st.integers(0, 40))
@settings(deadline=None, max_examples=100)
def test_bounds_hold_and_are_ordered_for_close_rows(x, change, scale):
    distance, bounds = distance_and_bounds(x, x + change * 2.0**-scale)
    partition, mean, by_range, half_range, largest = bounds
    # All are proportional to the change here, so the allowance is relative to it; but x and x*
    # are rounded before they meet the bounds, which costs no more than their difference's ulp.
    slack = ROUNDOFF * largest
    assert distance <= jnp.min(jnp.stack([partition, mean, by_range])) + slack
    assert by_range <= half_range * (1 + 4 * U)
    assert half_range <= largest * (1 + 4 * U)


@pytest.mark.parametrize("exponent", [0, 30, 45])
def test_distance_of_nearly_equal_rows_has_a_small_relative_error(exponent):
    x = np.linspace(-1.0, 1.0, LENGTH)
    x_star = x + np.sin(np.arange(LENGTH)) * 2.0**-exponent
    found = float(softmax_total_variation(jnp.array(x), jnp.array(x_star)))
    assert found == pytest.approx(exact_distance(x, x_star), rel=ROUNDOFF, abs=0)
    subtracted = float(total_variation(jax.nn.softmax(jnp.array(x)), jax.nn.softmax(x_star)))
    # What the care is for: at small changes, plain subtraction has lost this accuracy.
    lost = abs(subtracted / exact_distance(x, x_star) - 1) > ROUNDOFF
    assert lost == (exponent > 0)


def test_a_shift_of_all_logits_moves_nothing():
    x = jnp.linspace(-3.0, 3.0, LENGTH)
    distance, bounds = distance_and_bounds(x, x + 512)
    # The shifted logits are rounded to the ulp of 512.
    assert distance <= 512 * LENGTH * U
    assert bounds[RANGE] <= 512 * LENGTH * U
    assert bounds[0] == 2  # (a) is not invariant


@pytest.mark.parametrize("length", [2, 100, 10_000])
def test_alternating_rows_saturate_the_range_bound(length):
    even, odd = (np.arange(length) % 2 == parity for parity in (0, 1))
    tight = 2 * (math.e - 1) / (math.e + 1)
    assert alternating_total_variation() == pytest.approx(tight, rel=4 * U, abs=0)
    assert alternating_total_variation() == 0.9242343145200195
    distance, bounds = distance_and_bounds(jnp.array(even, float), jnp.array(odd, float))
    assert float(distance) == pytest.approx(tight, rel=(length + 8) * U, abs=0)
    assert float(bounds[RANGE]) == pytest.approx(tight, rel=4 * U, abs=0)


@pytest.mark.parametrize("span", [1e-6, 0.5, 1.0, 2.0, 20.0, 60.0])
def test_two_valued_change_saturates_the_range_bound(span):
    # Mass 1 / (1 + exp(R/2)) on the entry that gains R.
    x, x_star = jnp.array([0.0, -span / 2]), jnp.array([0.0, span / 2])
    distance, bounds = distance_and_bounds(x, x_star)
    assert float(distance) == pytest.approx(float(bounds[RANGE]), rel=32 * U, abs=0)
    # The change alone does not make it tight: with the mass elsewhere something is left.
    distance, bounds = distance_and_bounds(x.at[1].add(span + 2), x_star.at[1].add(span + 2))
    assert distance < bounds[RANGE] / 2


def test_bounds_of_one_small_change_are_tight():
    # One of n logits moves by h: the distance is 2 (1 - 1/n) h / n to first order, (a) and (b)
    # are 2 h / n. Half of n logits move: the distance is R/2, to third order.
    n, h = 100, 1e-2
    distance, bounds = distance_and_bounds(jnp.zeros(n), jnp.zeros(n).at[0].set(h))
    assert jnp.all(0.97 * bounds[:RANGE] < distance)
    half = jnp.where(jnp.arange(n) < n // 2, h / 2, -h / 2)
    distance, bounds = distance_and_bounds(jnp.zeros(n), half)
    assert jnp.all((1 - h**2) * bounds[RANGE:] < distance)


def test_the_mean_bound_needs_its_interval():
    # The change sits on the one entry that has all the weight: its mean is small, its effect not.
    x = jnp.zeros(100).at[0].set(20.0)
    distance, bounds = distance_and_bounds(x, jnp.zeros(100))
    assert distance > 1.9 > 4 * (2 * jnp.mean(jnp.abs(x)))
    assert distance < bounds[1]


def test_entries_masked_in_both_rows_are_dropped():
    x, x_star = np.linspace(-1, 2, LENGTH), np.sin(np.arange(LENGTH))
    pad = lambda row: jnp.array([row[0], -np.inf, *row[1:], -np.inf])
    for kept, padded in zip(
        distance_and_bounds(jnp.array(x), jnp.array(x_star)),
        distance_and_bounds(pad(x), pad(x_star)),
        strict=True,
    ):
        np.testing.assert_allclose(padded, kept, rtol=ROUNDOFF)


def test_an_entry_masked_in_one_row_voids_the_bounds_by_change():
    x_star = jnp.zeros(LENGTH)
    distance, bounds = distance_and_bounds(x_star.at[0].set(-jnp.inf), x_star)
    np.testing.assert_allclose(distance, 2 / LENGTH, rtol=ROUNDOFF)
    np.testing.assert_allclose(bounds, [2 / LENGTH, np.inf, 2, np.inf, np.inf], rtol=ROUNDOFF)


def test_rows_masked_everywhere_and_nan_give_nan():
    masked, zeros = jnp.full(LENGTH, -jnp.inf), jnp.zeros(LENGTH)
    for x, x_star in ((masked, masked), (zeros, zeros.at[1].set(jnp.nan))):
        distance, bounds = distance_and_bounds(x, x_star)
        assert jnp.isnan(distance)
        assert jnp.all(jnp.isnan(bounds))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_and_leading_axes_are_kept(dtype):
    x = jnp.ones((2, 3, 4), dtype)
    distance, bounds = jax.eval_shape(distance_and_bounds, x, x)
    assert (distance.dtype, distance.shape) == (dtype, (2, 3))
    assert (bounds.dtype, bounds.shape) == (dtype, (len(BOUNDS), 2, 3))


FIGURE_9 = {500: 0.025983, 1000: 0.016589, 2000: 0.009286, 2500: 0.007594, 10_000: 0.002025}


@pytest.mark.parametrize("length", FIGURE_9)
def test_prefix_form_gives_the_values_of_figure_9(length):
    assert prefix_total_variation(200 / length, 0.1) == pytest.approx(FIGURE_9[length], abs=5e-7)


@pytest.mark.parametrize("perturbed", [200, 1999])
@pytest.mark.parametrize("width", [0.1, 3.0])
def test_prefix_form_equals_softmax_on_a_grid_of_perturbations(perturbed, width):
    # A midpoint grid in place of uniform draws: the kink costs h^2 exp(w) over the width.
    length, h = 2000, width / perturbed
    places = jnp.arange(length, dtype=float)
    x_star = jnp.where(places < perturbed, (places + 0.5) * h, 0.0)
    found = float(softmax_total_variation(jnp.zeros(length), x_star))
    expected = prefix_total_variation(perturbed / length, width)
    assert found == pytest.approx(expected, abs=h**2 * math.exp(width) / width)


def test_prefix_form_has_its_ends():
    assert prefix_total_variation(0.0, 0.1) == 0
    first_order = 2 * 1e-3 * (1 - 1e-3) * 0.0517092
    assert prefix_total_variation(1e-3, 0.1) == pytest.approx(first_order, rel=1e-3, abs=0)


@pytest.mark.parametrize(("fraction", "width"), [(-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)])
def test_prefix_form_says_what_it_wanted(fraction, width):
    with pytest.raises(ValueError, match=r"fraction in \[0, 1\] and a positive width"):
        prefix_total_variation(fraction, width)
