"""Entropy, adaptive temperature, scalable softmax and critical scaling."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.sharpness import (
    adapted_logits,
    bounded_logit_bracket,
    critical_cosine,
    critical_scaling,
    critical_self_weight,
    entropy,
    inverse_temperature,
    logit_range_bound,
    ssmax_greatest_weight,
    ssmax_weights,
    threshold_length,
)

U = 2.0**-53  # unit roundoff of float64


def test_entropy_of_equal_weights_and_of_a_single_one():
    rows = jnp.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(entropy(rows), [0, math.log(2), math.log(4)], rtol=4 * U)
    skewed = jnp.array([0.5, 0.25, 0.25])  # (1/2) ln 2 + (1/2) ln 4
    assert float(entropy(skewed)) == pytest.approx(1.5 * math.log(2), rel=4 * U, abs=0)


def test_the_temperature_is_greatest_where_the_notes_say():
    grid = jnp.arange(0.5, 8, 1e-3)
    found = inverse_temperature(grid)
    at = int(jnp.argmax(found))
    assert float(found[at]) == pytest.approx(2.421, abs=5e-4)  # both numbers are rounded there
    assert float(grid[at]) == pytest.approx(4.412, abs=1e-3)
    changed = grid[found > 1]
    assert float(changed[0]) == pytest.approx(0.849, abs=1e-3)
    assert float(changed[-1]) == pytest.approx(5.944, abs=1e-3)
    assert math.exp(5.944) == pytest.approx(382, abs=1)


def test_sharp_rows_and_rows_beyond_the_fit_keep_their_logits():
    assert inverse_temperature(jnp.array(0.5)) == 1
    row = jnp.zeros(400)  # ln 400 = 5.99
    np.testing.assert_array_equal(adapted_logits(row), row)
    sharp = jnp.array([9.0, 0.0, -jnp.inf])
    np.testing.assert_array_equal(adapted_logits(sharp), sharp)


def test_adaptation_never_raises_the_entropy(key):
    logits = 2 * jax.random.normal(key, (50, 16))
    before, after = entropy(jax.nn.softmax(logits)), entropy(jax.nn.softmax(adapted_logits(logits)))
    assert jnp.all(after <= before * (1 + 64 * U))
    assert jnp.any(after < 0.5 * before)


@pytest.mark.parametrize(("threshold", "span"), [(0.1, 2.0), (0.5, 0.0), (0.01, 5.0)])
def test_beyond_the_threshold_length_no_weight_reaches_it(threshold, span):
    length = float(threshold_length(jnp.array(threshold), jnp.array(span)))
    least, most = math.ceil(length - 1e-9), math.floor(length + 1e-9)
    assert dispersion_bracket(least + 1, jnp.array(span)).upper < threshold
    assert dispersion_bracket(most, jnp.array(span)).upper >= threshold * (1 - 8 * U)


def test_logit_range_by_norms_holds_and_is_attained():
    bound_of = jax.jit(logit_range_bound, static_argnames="scale")
    rng = np.random.default_rng(0)
    q, k, y, x = (rng.normal(size=shape) for shape in ((4, 8), (4, 8), (8,), (6, 8)))
    logits = 0.5 * (x @ k.T) @ (q @ y)
    assert np.ptp(logits) <= bound_of(q, k, y, x, 0.5)
    one = 3.0 * np.eye(8)[0]
    both = np.stack([one, -one])
    eye = np.eye(4, 8)
    assert float(bound_of(eye, 2 * eye, one, both)) == pytest.approx(36, rel=64 * U, abs=0)
    assert float(np.ptp((both @ (2 * eye).T) @ (eye @ one))) == 36
    # Turned, no vector lies on an axis: 2 scale 2 1.5 |(3, 4)| |(3, 4)|.
    turn, both = np.array([[0.6, 0.8], [-0.8, 0.6]]), np.array([[3.0, 4.0], [-3.0, -4.0]])
    bound = bound_of(2 * turn, 1.5 * turn, both[0], both, 0.5)
    assert float(bound) == pytest.approx(75, rel=64 * U, abs=0)
    attained = 0.5 * np.ptp((both @ (1.5 * turn).T) @ (2 * turn @ both[0]))
    assert float(attained) == pytest.approx(75, rel=64 * U, abs=0)


@pytest.mark.parametrize("n", [1, 2, 64])
@pytest.mark.parametrize("magnitude", [0.0, 0.5, 4.0])
def test_bracket_of_bounded_logits_holds_the_sharp_one(n, magnitude):
    loose = bounded_logit_bracket(n, jnp.array(magnitude), 2.0)
    sharp = dispersion_bracket(n, jnp.array(2 * magnitude / 2.0))
    assert loose.lower <= sharp.lower * (1 + 8 * U)
    assert sharp.upper <= loose.upper * (1 + 8 * U)


# Rounded to three places in the notes.
TABLE = {2.0: (0.446, 0.276, 0.126, 0.052), 2.5: (0.569, 0.627, 0.738, 0.826)}


@pytest.mark.parametrize("gap", TABLE)
def test_scalable_softmax_against_its_table(gap):
    lengths = jnp.array([10, 10**3, 10**6, 10**9])
    found = ssmax_greatest_weight(lengths, jnp.full(4, gap), 0.43)
    np.testing.assert_allclose(found, TABLE[gap], atol=5.1e-4)


def test_scalable_softmax_is_the_closed_form_on_one_against_the_rest():
    weights = ssmax_weights(jnp.array([0.0, 2.5, 0.0, 0.0, 0.0]), 0.43)
    closed = ssmax_greatest_weight(5, jnp.array(2.5), 0.43)
    assert float(weights[1]) == pytest.approx(float(closed), rel=32 * U, abs=0)
    # 10^300 is no machine integer; at s g = 1 the limit is one half.
    assert float(ssmax_greatest_weight(10**300, jnp.array(2.0), 0.5)) == pytest.approx(
        0.5, rel=1e-9, abs=0
    )


def test_scalable_softmax_counts_unmasked_entries():
    rows = jnp.array([[3.0, -jnp.inf, -jnp.inf], [1.0, 0.0, -jnp.inf]])
    third = 2**0.5 / (2**0.5 + 1)  # n = 2, s = 1/2
    np.testing.assert_allclose(
        ssmax_weights(rows, 0.5), [[1, 0, 0], [third, 1 - third, 0]], rtol=16 * U
    )


def simplex(n, overlap):
    """Unit vectors with equal inner products, as rows."""
    gram = (1 - overlap) * np.eye(n) + overlap
    return np.linalg.cholesky(gram)


@pytest.mark.parametrize("n", [2, 5, 12])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_critical_forms_against_attention_on_a_simplex(n, gamma, overlap):
    x = simplex(n, overlap)
    weights = np.asarray(jax.nn.softmax(jnp.asarray(gamma * math.log(n) * x @ x.T)))
    y = weights @ x
    cosine = y[0] @ y[1] / np.linalg.norm(y[0]) / np.linalg.norm(y[1])
    arguments = n, jnp.array(gamma), jnp.array(overlap)
    # Cholesky, logits up to 8 under exp, and two sums of n: some tens of roundoffs.
    roundoff = 20 * n * U
    assert float(critical_self_weight(*arguments)) == pytest.approx(
        weights[0, 0], rel=roundoff, abs=0
    )
    assert float(critical_cosine(*arguments)) == pytest.approx(cosine, rel=roundoff, abs=roundoff)


@pytest.mark.parametrize("overlap", [0.2, 0.6])
def test_limits_of_the_cosine_below_at_and_above_the_critical_factor(overlap):
    critical = critical_scaling(overlap)
    assert critical == pytest.approx(1 / (1 - overlap), rel=2 * U, abs=0)
    limits = {0.5: 1.0, 1.0: 4 * overlap / (1 + 3 * overlap), 1.5: overlap}
    for factor, limit in limits.items():
        # The distance from the limit is of the order of n^(-1/2); the exponent is a rounded number.
        arguments = jnp.array(factor * critical), jnp.array(overlap)
        assert float(critical_cosine(10**30, *arguments)) == pytest.approx(limit, rel=1e-12, abs=0)
    half = critical_self_weight(10**30, jnp.array(critical), jnp.array(overlap))
    assert float(half) == pytest.approx(0.5, rel=200 * U, abs=0)


def test_equal_vectors_have_no_critical_factor():
    with pytest.raises(ValueError, match="distinct unit vectors"):
        critical_scaling(1.0)
