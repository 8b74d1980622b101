"""Rank collapse and what it implies, against loops and spectra known beforehand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glassesjax.theory import rank
from glassesjax.theory.rank import doubly_exponential_bound, pure_attention_bound

U = 2.0**-53  # unit roundoff of float64
# One program a shape, in place of one an operation.
effective_rank, stable_rank, mean_cosine = map(
    jax.jit, (rank.effective_rank, rank.stable_rank, rank.mean_cosine)
)
relative_residual, residual_to_mean = map(jax.jit, (rank.relative_residual, rank.residual_to_mean))
representational_gap_bound, token_diameter = map(
    jax.jit, (rank.representational_gap_bound, rank.token_diameter)
)
N, DIM = 6, 4
MATRICES = arrays(np.float64, (N, DIM), elements=st.floats(-100, 100, width=32))


def with_spectrum(spectrum):
    """A matrix with these singular values, from reflections."""
    reflect = lambda v: np.eye(len(v)) - 2 * np.outer(v, v) / (v @ v)
    left, right = reflect(np.arange(1.0, N + 1)), reflect(np.array([3.0, -1, 2, 1]))
    return np.array(left[:, :DIM] @ np.diag(spectrum) @ right)


@settings(deadline=None, max_examples=50)
@given(MATRICES)
def test_any_two_tokens_are_within_the_bound(values):
    bound = float(representational_gap_bound(values))
    gaps = [np.linalg.norm(a - b) for a in values for b in values]
    # The mean of rows, of size 100, is rounded: the residual is off by that, relative to the rows.
    assert max(gaps) <= bound + 8 * N * math.sqrt(N * DIM) * 100 * U
    by_hand = math.sqrt(
        sum((row - values.mean(axis=0)) @ (row - values.mean(axis=0)) for row in values)
    )
    found = float(residual_to_mean(values))
    assert found == pytest.approx(by_hand, rel=40 * U, abs=8 * N * 100 * U)


@pytest.mark.parametrize("others", [0, 3])
def test_two_tokens_and_others_midway_attain_the_bound(others):
    last, gap = np.array([1.0, 2.0, 3.0]), np.array([1.0, -4.0, 0.5])
    midway = [last + gap / 2] * others
    values = np.array([*midway, last + gap, last])
    expected = float(np.linalg.norm(gap))
    assert float(representational_gap_bound(values)) == pytest.approx(expected, rel=64 * U, abs=0)
    # Without the factor, or with a smaller one, it would be false.
    assert float(residual_to_mean(values)) == pytest.approx(
        expected / math.sqrt(2), rel=64 * U, abs=0
    )


def test_ranks_of_known_spectra():
    values = with_spectrum([4.0, 2.0, 1.0, 1.0])
    # An error of the spectrum is relative to its largest entry.
    assert float(stable_rank(values)) == pytest.approx(22 / 16, rel=200 * U, abs=0)
    # p = 1/2, 1/4, 1/8, 1/8: 1.75 bits.
    assert float(effective_rank(values)) == pytest.approx(2**1.75, rel=400 * U, abs=0)
    flat = with_spectrum([3.0, 3.0, 3.0, 3.0])
    assert float(stable_rank(flat)) == pytest.approx(4, rel=200 * U, abs=0)
    assert float(effective_rank(flat)) == pytest.approx(4, rel=200 * U, abs=0)


@settings(deadline=None, max_examples=50)
@given(MATRICES.filter(lambda values: np.abs(values).max() > 1e-3))
def test_ranks_are_between_one_and_the_smaller_side(values):
    for measure in (stable_rank, effective_rank):
        assert 1 - 200 * U <= measure(values) <= DIM * (1 + 200 * U)
    assert 0 <= relative_residual(values) <= 1 + 64 * U


def test_equal_tokens_have_collapsed():
    values = np.tile([1.0, -2.0, 0.5, 3.0], (8, 1))
    assert residual_to_mean(values) == relative_residual(values) == 0  # eight equal: no rounding
    assert representational_gap_bound(values) == 0
    for measure in (stable_rank, effective_rank, mean_cosine):
        # The entropy of zero singular values that came out as u is -u ln u, with 37 for -ln u.
        assert float(measure(values)) == pytest.approx(1, abs=600 * U)


@settings(deadline=None, max_examples=50)
@given(MATRICES.filter(lambda values: np.abs(values).max(axis=-1).min() > 1e-3))
def test_mean_cosine_is_the_mean_over_pairs(values):
    pairs = [(a, b) for i, a in enumerate(values) for j, b in enumerate(values) if i != j]
    by_hand = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    found = float(mean_cosine(values))
    assert found == pytest.approx(by_hand, rel=0, abs=16 * N * U)
    assert -1 / (N - 1) - 16 * N * U <= found <= 1 + 16 * N * U


def test_mean_cosine_of_a_simplex_and_of_a_basis():
    assert float(mean_cosine(np.eye(4) - 1 / 4)) == pytest.approx(-1 / 3, rel=32 * U, abs=0)
    assert mean_cosine(np.eye(4)) == 0


def test_strange_input():
    one, zeros = np.ones((1, 3)), np.zeros((3, 2))
    assert residual_to_mean(one) == representational_gap_bound(one) == 0
    assert stable_rank(one) == effective_rank(one) == 1
    assert np.isnan(mean_cosine(one))  # there is no pair
    assert residual_to_mean(zeros) == token_diameter(zeros) == 0
    for measure in (stable_rank, effective_rank, mean_cosine, relative_residual):
        assert np.isnan(measure(zeros))
    broken = zeros.copy()
    broken[1, 1] = np.nan
    for measure in (stable_rank, effective_rank, mean_cosine, residual_to_mean, token_diameter):
        assert np.isnan(measure(broken))
    assert mean_cosine(np.ones((2, 5, 3, 2), np.float32)).shape == (2, 5)
    tiny = 1e-200 * with_spectrum([1.0, 1.0, 0.0, 0.0])
    assert float(stable_rank(tiny)) == pytest.approx(2, rel=200 * U, abs=0)


@settings(deadline=None, max_examples=50)
@given(MATRICES)
def test_the_diameter_and_the_residual_bound_each_other(values):
    by_hand = max(np.linalg.norm(a - b) for a in values for b in values)
    found = float(token_diameter(values))
    assert found == pytest.approx(by_hand, rel=8 * DIM * U, abs=0)
    residual, allowed = float(residual_to_mean(values)), 8 * N * DIM * 100 * U
    assert found <= math.sqrt(2) * residual + allowed
    assert residual <= math.sqrt((N - 1) / 2) * found + allowed


def test_diameters_that_attain_their_bounds():
    two = np.array([[1.0, 2.0], [4.0, -2.0]])
    assert token_diameter(two) == 5
    assert float(residual_to_mean(two)) == pytest.approx(5 / math.sqrt(2), rel=8 * U, abs=0)
    simplex = np.eye(5)  # all distances are equal: the other side
    assert float(residual_to_mean(simplex)) == pytest.approx(
        math.sqrt(4 / 2) * float(token_diameter(simplex)), rel=16 * U, abs=0
    )


def attend(tokens, query_key, value, key_dim, *, causal=False):
    """One layer of attention alone in NumPy, head by head and row by row."""
    after = np.zeros_like(tokens)
    for steep, moved in zip(query_key, value, strict=True):
        for row, token in enumerate(tokens):
            seen = tokens[: row + 1] if causal else tokens
            logits = token @ steep @ seen.T / math.sqrt(key_dim)
            weights = np.exp(logits - logits.max())
            after[row] += weights / weights.sum() @ seen @ moved
    return after


def norms(matrices):
    return jnp.asarray(np.linalg.norm(matrices, 2, axis=(-2, -1)))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_attention_alone_stays_within_its_bounds(scale):
    random = np.random.default_rng(3)
    tokens, key_dim = scale * random.normal(size=(N, DIM)), 2
    query_key, value = random.normal(size=(2, 3, 2, DIM, DIM)) / 2
    start, strength = float(token_diameter(tokens)), jnp.max(norms(query_key) * norms(value))
    bounds = pure_attention_bound(jnp.array(start), norms(query_key), norms(value), key_dim)
    for layer in range(3):
        tokens = attend(tokens, query_key[layer], value[layer], key_dim)
        assert token_diameter(tokens) <= bounds[layer]
        power = doubly_exponential_bound(jnp.array(start), strength, 2, key_dim, layer + 1)
        assert bounds[layer] <= power * (1 + 100 * U)


def test_two_places_attain_the_bound_and_a_causal_mask_breaks_it():
    tokens = np.array([[0.5, 0.0], [-0.5, 0.0], [-0.5, 0.0], [0.5, 0.0]])
    heads = np.stack([np.eye(2)] * 2)
    steep, moved = jnp.array([[3.0, 3.0]]), jnp.array([[2.0, 2.0]])
    (bound,) = pure_attention_bound(jnp.array(1.0), steep, moved, 4)
    assert float(bound) == pytest.approx(4 * math.tanh(3 / 8), rel=8 * U, abs=0)
    found = token_diameter(attend(tokens, 3 * heads, 2 * heads, 4))
    assert float(found) == pytest.approx(float(bound), rel=64 * U, abs=0)
    near = 0.01 * tokens
    (bound,) = pure_attention_bound(jnp.array(0.01), steep, moved, 4)
    assert token_diameter(attend(near, 3 * heads, 2 * heads, 4, causal=True)) > 1000 * bound


def test_the_doubly_exponential_bound():
    r, strength = jnp.array(0.25), jnp.array(8.0)
    # 8 . 2 / (4 sqrt(4)) = 2; two layers: 2^4 r^9.
    found = doubly_exponential_bound(r, strength, heads=2, key_dim=4, layers=2)
    assert found == 2.0**4 * 0.25**9
    assert doubly_exponential_bound(r, strength, heads=2, key_dim=4, layers=0) == r
    assert doubly_exponential_bound(r, strength, heads=1, key_dim=1, layers=1) == 2 * 0.25**3
    # Its fixed point: at 1 / sqrt(c) nothing is gained, beyond it nothing is said.
    fixed = doubly_exponential_bound(jnp.array(0.5), 2 * strength, heads=2, key_dim=4, layers=5)
    assert fixed == 0.5
    far = jnp.array([0.0, 0.1, 10.0, jnp.nan])
    deep = doubly_exponential_bound(far, jnp.full(4, 8.0), heads=2, key_dim=4, layers=9)
    np.testing.assert_array_equal(deep, [0, 0, jnp.inf, jnp.nan])
    with pytest.raises(ValueError, match="got heads=0, key_dim=4, layers=1"):
        doubly_exponential_bound(r, strength, heads=0, key_dim=4, layers=1)
    with pytest.raises(ValueError, match="got 0: pass the width of a key"):
        pure_attention_bound(r, jnp.ones((1, 1)), jnp.ones((1, 1)), 0)


def test_ranks_of_a_batch_are_those_of_its_members():
    scales = np.array([1.0, 1e-3, 10.0])[:, None, None]
    values = np.random.default_rng(0).normal(size=(3, 5, 4)) * scales
    for measure in (stable_rank, effective_rank):
        one_by_one = np.stack([measure(member) for member in values])
        np.testing.assert_allclose(measure(values), one_by_one, rtol=1e-12)
