"""Lemma B.1 as an identity, and the bracket of one softmax weight."""

import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassesjax.theory.dispersion import (
    dispersion_bracket,
    last_weight_drop,
    last_weight_drop_bound,
)

U = 2.0**-53  # unit roundoff of float64


def exact_drop(logits, inserted):
    """The difference of the two last weights, in 400 digits: it may cancel down to exp(-600)."""
    with localcontext(prec=400):
        *others, last = (Decimal(float(entry)).exp() for entry in logits)
        before = last / (sum(others) + last)
        return float(before - last / (sum(others) + last + Decimal(float(inserted)).exp()))


@jax.jit
def drop_and_bound(logits, inserted):
    everything = jnp.append(logits, inserted)
    span = jnp.max(everything) - jnp.min(everything)
    return last_weight_drop(logits, inserted), last_weight_drop_bound(logits.size, span)


@given(logits=st.lists(st.floats(-150, 150), min_size=5, max_size=5), inserted=st.floats(-150, 150))
@settings(deadline=None, max_examples=60)
def test_drop_is_the_difference_and_within_its_bound(logits, inserted):
    drop, bound = drop_and_bound(jnp.array(logits), jnp.array(inserted))
    # Two factors, each with a sum of six and one exponential whose argument, at most 300, was
    # rounded after the shift.
    roundoff = 2 * (6 + 8 + 300) * U
    assert float(drop) == pytest.approx(exact_drop(logits, inserted), rel=roundoff, abs=0)
    assert 0 < drop <= bound * (1 + roundoff)


@pytest.mark.parametrize(
    "n", [1, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 100)), 10_000]
)
@pytest.mark.parametrize("level", [0.0, 700.0, -700.0])
def test_equal_logits_attain_the_bound(n, level):
    drop = float(last_weight_drop(jnp.full(n, level), jnp.array(level)))
    assert drop == pytest.approx(1 / (n * (n + 1)), rel=4 * U, abs=0)
    bound = float(last_weight_drop_bound(n, jnp.array(0.0)))
    assert bound == pytest.approx(1 / (n * (n + 1)), rel=4 * U, abs=0)


def test_the_drop_of_a_repeated_token_and_of_absent_ones():
    logits = jnp.log(jnp.array([1.0, 2.0, 3.0]))  # p = 1/2, and p^2 / (1 + p) = 1/6
    assert float(last_weight_drop(logits, logits[-1])) == pytest.approx(1 / 6, rel=16 * U, abs=0)
    assert last_weight_drop(logits, jnp.array(-jnp.inf)) == 0
    assert last_weight_drop(logits.at[-1].set(-jnp.inf), jnp.array(0.0)) == 0


def test_the_drop_needs_bounded_logits_to_vanish():
    # A last logit that keeps up with log n keeps its weight; the range must then grow, too.
    for n in (10, 10_000):
        logits = np.zeros(n)
        logits[-1] = math.log(n - 1)
        drop = float(last_weight_drop(jnp.array(logits), jnp.array(logits[-1])))
        assert drop == pytest.approx(1 / 6, rel=(n + 8) * U, abs=0)
        assert drop > last_weight_drop_bound(n, jnp.array(1.0))


@pytest.mark.parametrize("span", [0.0, 1.0, 30.0, 600.0])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_bracket_is_attained_by_one_against_the_rest(n, span):
    least, greatest = dispersion_bracket(n, jnp.array(span))
    one = jnp.zeros(n).at[0].set(span)
    roundoff = (n + 8 + 2 * span) * U  # exp multiplies the error of a rounded span
    assert float(jax.nn.softmax(one)[0]) == pytest.approx(float(greatest), rel=roundoff, abs=0)
    assert float(jax.nn.softmax(-one)[0]) == pytest.approx(float(least), rel=roundoff, abs=0)


def test_bracket_of_one_entry_and_of_boundless_range():
    for span in (0.0, 800.0, jnp.inf):
        assert dispersion_bracket(1, jnp.array(span)) == (1, 1)
    assert dispersion_bracket(7, jnp.array(jnp.inf)) == (0, 1)
    found = dispersion_bracket(jnp.array([1, 2, 4]), jnp.zeros(3, jnp.float32))
    assert found.lower.dtype == jnp.float32
    np.testing.assert_array_equal(found.upper, [1, 0.5, 0.25])
