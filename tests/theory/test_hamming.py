"""One attention row under replaced tokens: the modulus searched, and where it is attained."""

import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.hamming import (
    hamming_output_bound,
    hamming_weight_bound,
    relative_hamming,
    substituted_mass_bound,
)

U = 2.0**-53  # unit roundoff of float64
N = 12
SPANS = (0.1, 1.0, 3.0, 8.0)


def softmax(logits):
    grown = np.exp(logits)
    return grown / grown.sum(axis=-1, keepdims=True)


def rows(rng, replaced, span, count=4000):
    """Logits before and after with many at the interval's ends, where the extremes are."""
    uniform = rng.random((2, count, N))
    ends = np.round(rng.random((2, count, N)) + rng.uniform(-0.5, 0.5, (2, count, 1))).clip(0, 1)
    before, after = span * np.where(rng.random((2, count, 1)) < 0.3, uniform, ends)
    after[:, replaced:] = before[:, replaced:]
    return before, after


@pytest.mark.parametrize("replaced", [1, 4, 11])
@pytest.mark.parametrize("span", SPANS)
def test_search_finds_no_violation(replaced, span):
    rng = np.random.default_rng(replaced)
    before, after = rows(rng, replaced, span)
    p, q = softmax(before), softmax(after)
    arguments = jnp.array(replaced / N), jnp.array(span)
    roundoff = (2 * N + 8 + span) * U
    assert np.abs(p - q).sum(-1).max() <= hamming_weight_bound(*arguments) * (1 + roundoff)
    mass = q[:, :replaced].sum(-1).max()
    assert mass <= substituted_mass_bound(*arguments) * (1 + roundoff)
    angles = rng.uniform(0, 2 * np.pi, (2, len(p), N))
    values, others = (np.stack([np.cos(a), np.sin(a)], -1) for a in angles)  # on the unit circle
    others[:, replaced:] = values[:, replaced:]
    moved = np.einsum("ci,cid->cd", p, values) - np.einsum("ci,cid->cd", q, others)
    bound = hamming_output_bound(*arguments, jnp.array(1.0))
    assert np.linalg.norm(moved, axis=-1).max() <= bound * (1 + roundoff)


@pytest.mark.parametrize("replaced", [1, 5, 11])
@pytest.mark.parametrize("span", SPANS)
def test_output_bound_is_attained(replaced, span):
    chosen = np.arange(N) < replaced
    p, q = softmax(np.zeros(N)), softmax(np.where(chosen, span, 0.0))
    moved = q @ np.where(chosen, 3.0, -3.0) - p @ np.full(N, -3.0)
    bound = hamming_output_bound(jnp.array(replaced / N), jnp.array(span), jnp.array(3.0))
    # The difference of two numbers of size 3 may be 1/10 of them.
    assert moved == pytest.approx(float(bound), rel=100 * N * U, abs=0)


@pytest.mark.parametrize("span", SPANS)
def test_weight_bound_is_attained_to_first_order(span):
    n = 10**6
    rising = np.exp(span)
    # One of n equal logits rises: the others lose what it gains.
    gained = rising / (n - 1 + rising) - 1 / n
    bound = float(hamming_weight_bound(jnp.array(1 / n), jnp.array(span)))
    assert 2 * gained <= bound
    # The quotient is 1 - 1/n; the gain cancels down to 1e-7 of a number of size 1/n.
    assert 2 * gained == pytest.approx(bound, rel=2 / n, abs=0)


@pytest.mark.parametrize("span", SPANS)
def test_bounds_are_below_the_sums_that_count_twice(span):
    share, grown = jnp.linspace(0, 0.99, 12), np.exp(span)
    spans = jnp.full(12, span)
    changed = hamming_weight_bound(share, spans)
    crude = 2 * (grown - 1) * share
    assert jnp.all(changed <= crude * (1 + 32 * U))
    output = hamming_output_bound(share, spans, jnp.ones(12))
    assert jnp.all(output <= (crude + 2 * grown * share) * (1 + 32 * U))
    assert jnp.all(changed <= 2)
    assert jnp.all(output <= 2)


def test_no_replaced_token_and_a_boundless_range():
    for span in (0.0, 5.0, 800.0):
        assert hamming_weight_bound(jnp.array(0.0), jnp.array(span)) == 0
        assert substituted_mass_bound(jnp.array(0.0), jnp.array(span)) == 0
    assert hamming_weight_bound(jnp.array(0.25), jnp.array(800.0)) == 2
    assert substituted_mass_bound(jnp.array(0.25), jnp.array(0.0)) == 0.25


def test_relative_hamming_counts_places():
    one, other = jnp.array([[1, 2, 3, 4], [5, 6, 7, 8]]), jnp.array([[1, 0, 3, 0], [5, 6, 7, 8]])
    np.testing.assert_array_equal(relative_hamming(one, other), [0.5, 0])
