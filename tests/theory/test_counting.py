"""Proposition 6.1 against attention over lists of tokens; what a causal mask changes."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from squashing_reference import typed_attention

from glassesjax.theory.counting import expected_error_floor, ratio_attention

U = 2.0**-53  # unit roundoff of float64
DIM = 3


@pytest.fixture(scope="module")
def types():
    """Logits, values and residuals of three types."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 3)), rng.normal(size=(3, DIM)), rng.normal(size=(3, DIM))


def outputs(counts, types):
    return np.asarray(ratio_attention(jnp.array(counts, jnp.float64), *map(jnp.array, types)))


def test_zeros_and_ones_by_hand():
    # Two zeros, one one. A zero sees logits 0, ln 4: (2 . 0 + 4 . 1) / 6. A one sees ln 2, 0.
    logits = jnp.log(jnp.array([[1.0, 4.0], [2.0, 1.0]]))
    values = jnp.array([[0.0], [1.0]])
    found = ratio_attention(jnp.array([2.0, 1.0]), logits, values, values)
    np.testing.assert_allclose(found, [[2 / 3], [1 + 1 / 5]], rtol=32 * U)


@pytest.mark.parametrize("tokens", [[0], [1, 0], [1, 1, 0, 0], [2, 0, 1, 1, 1, 2, 1]], ids=str)
def test_it_is_attention_without_a_mask(tokens, types):
    counts = [tokens.count(t) for t in range(3)]
    found, expected = outputs(counts, types)[tokens], typed_attention(tokens, *types)
    # Exponentials of logits of size 4, sums of as many terms as tokens; values of size 4.
    np.testing.assert_allclose(found, expected, atol=4 * (len(tokens) + 24) * U, rtol=0)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any),
    factor=st.integers(1, 10**6),
)
def test_only_ratios_count(counts, factor):
    rng = np.random.default_rng(1)
    types = tuple(rng.normal(size=shape) for shape in ((3, 3), (3, DIM), (3, DIM)))
    repeated = [count * factor for count in counts]
    # The logarithm of a count, up to 20, is rounded relative to itself.
    np.testing.assert_allclose(
        outputs(counts, types), outputs(repeated, types), atol=4 * 60 * U, rtol=0
    )


def deep(tokens, types, layers, causal=False):
    """Representations of the tokens after some layers; keys and queries are the tokens' own."""
    _, values, resid = types
    found = resid[tokens]
    for _ in range(layers):
        place = list(range(len(tokens)))
        logits = found @ found.T / math.sqrt(DIM)
        found = typed_attention(place, logits, np.tanh(found) @ values, found, causal)
    return found


def test_at_any_depth_without_a_mask(types):
    short, long = deep([1, 0], types, 4), deep([1, 1, 0, 0], types, 4)
    scale = np.abs(long).max()
    # Errors may grow with the logits' slopes; they stay far below any difference of substance.
    np.testing.assert_allclose(short, long[[0, 2]], atol=1e-10 * scale, rtol=0)
    np.testing.assert_allclose(
        deep([0, 1, 0, 1], types, 4)[-1], long[0], atol=1e-10 * scale, rtol=0
    )


def test_a_causal_mask_lets_two_layers_see_the_order(types):
    one, other = [0, 0, 1, 1], [0, 1, 0, 1]  # the same counts and the same last token
    gaps = [
        np.abs(deep(one, types, layers, True)[-1] - deep(other, types, layers, True)[-1]).max()
        for layers in (1, 2)
    ]
    assert gaps[0] <= 64 * U
    assert gaps[1] > 0.01


def test_types_that_do_not_occur(types):
    logits, values, resid = types
    alone = outputs([0, 3, 0], types)
    np.testing.assert_allclose(alone, values[1] + resid, rtol=0, atol=16 * U)
    assert np.isnan(outputs([0, 0, 0], types)).all()
    huge = logits.copy()
    huge[:, 1] = 900.0  # its exponential overflows
    assert np.isfinite(outputs([1, 1, 1], (huge, values, resid))).all()
    far = outputs([1, math.nan, 1], types)
    assert np.isnan(far).all()


def test_one_type_gives_no_count_at_all():
    one = (jnp.zeros((1, 1)), jnp.ones((1, 2)), jnp.zeros((1, 2)))
    run = jax.jit(ratio_attention)
    for count in (1.0, 10.0, 1e300):
        np.testing.assert_array_equal(run(jnp.array([count]), *one), [[1, 1]])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.fractions())
def test_one_answer_to_two_counts_is_off_by_half_the_gap(n, other, answer):
    errors = abs(answer - n), abs(answer - other)
    floor = Fraction(expected_error_floor(float(other - n)))
    assert sum(errors) / 2 >= floor
    assert max(errors) >= floor
    middle = Fraction(n + other, 2)
    assert abs(middle - n) == abs(middle - other) == floor
    assert Fraction(abs(n - other), 2) == floor  # either count itself: a zero and the whole gap
    assert expected_error_floor() == 0.5
