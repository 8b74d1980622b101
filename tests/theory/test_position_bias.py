"""Rollouts of random masked attention against the bounds, and the bounds attained."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.position_bias import (
    causal_rollout_bound,
    cumulative_rollout,
    decay_peak,
    decay_profile,
    decay_rollout_bracket,
    decay_weight_bracket,
    least_visible_weight,
    prefix_rollout_bound,
    rotary_ratio_bracket,
    window_rollout_bound,
)

U = 2.0**-53  # unit roundoff of float64
N, DEPTH = 8, 12

# Sums of N positive products, once a layer, and the power in the bound.
ROUNDOFF = 2 * DEPTH * (N + 2) * U

PLACE = np.arange(N)
CAUSAL = jnp.asarray(PLACE[None, :] <= PLACE[:, None])
WINDOW = CAUSAL & jnp.asarray(PLACE[:, None] - PLACE[None, :] < 3)
PREFIX = CAUSAL | jnp.asarray((PLACE < 3)[None, :])


def attention(key, visible, scale=0.3):
    logits = scale * jax.random.normal(key, (DEPTH, N, N))
    return jax.nn.softmax(jnp.where(visible[None], logits, -jnp.inf))


def tail(products):
    """Weight on all tokens from each one on."""
    return np.cumsum(np.asarray(products)[..., ::-1], axis=-1)[..., ::-1]


def test_rollout_is_the_product_of_the_layers_above_one_another(key):
    weights = np.asarray(attention(key, CAUSAL))
    found = cumulative_rollout(jnp.asarray(weights))
    product = np.eye(N)
    for layer, rolled in zip(weights, np.asarray(found), strict=True):
        product = layer @ product
        np.testing.assert_allclose(rolled, product, rtol=ROUNDOFF)


def test_causal_bound_holds_for_the_whole_tail_at_each_depth(key):
    weights = attention(key, CAUSAL)
    least = jnp.min(least_visible_weight(weights, CAUSAL))
    for depth, product in enumerate(np.asarray(cumulative_rollout(weights)), start=1):
        bound = np.asarray(causal_rollout_bound(depth, N, least))
        assert np.all(tail(product) <= bound * (1 + ROUNDOFF))


def test_causal_bound_is_attained_by_rows_that_keep_all_but_epsilon():
    epsilon = 0.1
    layer = np.tril(np.full((N, N), epsilon), -1)
    layer += np.diag(1 - layer.sum(axis=1))
    assert least_visible_weight(jnp.asarray(layer), CAUSAL) == epsilon
    product = cumulative_rollout(jnp.asarray([layer] * DEPTH))[-1]
    bound = causal_rollout_bound(DEPTH, N, jnp.array(epsilon))
    np.testing.assert_allclose(jnp.diagonal(product), bound, rtol=8 * ROUNDOFF)


def test_window_bound_holds_and_equals_the_causal_one_for_a_full_window(key):
    weights = attention(key, WINDOW)
    least = jnp.min(least_visible_weight(weights, WINDOW))
    for depth, product in enumerate(np.asarray(cumulative_rollout(weights)), start=1):
        bound = np.asarray(window_rollout_bound(depth, N, 3, least))
        assert np.all(tail(product) <= bound * (1 + ROUNDOFF))
    assert bound[1] < 1
    full = window_rollout_bound(DEPTH, N, N, jnp.array(0.1))
    np.testing.assert_array_equal(full, causal_rollout_bound(DEPTH, N, jnp.array(0.1)))
    with pytest.raises(ValueError, match="a window of at least 2"):
        window_rollout_bound(DEPTH, N, 1, least)


def test_exponent_of_the_window_bound_covers_the_papers():
    steps = math.ceil((N - 1) / (3 - 1))
    base = 1 - np.arange(N) * 0.1**steps
    for depth in range(steps, 40, 3):
        ours = np.asarray(window_rollout_bound(depth, N, 3, jnp.array(0.1)))
        assert np.all(ours <= base ** (depth / (2 * steps)) * (1 + 80 * U))


def test_prefix_bound_holds_and_is_attained(key):
    weights = attention(key, PREFIX)
    least = jnp.min(least_visible_weight(weights, PREFIX))
    for depth, product in enumerate(np.asarray(cumulative_rollout(weights)), start=1):
        assert np.all(tail(product)[:, 3] <= prefix_rollout_bound(depth, 3, least) * (1 + ROUNDOFF))
        assert np.all(tail(product)[3:, 4] <= causal_rollout_bound(depth, N, least)[4])
    # The first token after the prefix gives each token of the prefix epsilon.
    layer = np.diag([1.0, 1.0, 1.0, 0.7])
    layer[3, :3] = 0.1
    product = cumulative_rollout(jnp.asarray([layer] * 5))[-1]
    assert float(product[3, 3]) == pytest.approx(float(prefix_rollout_bound(5, 3, jnp.array(0.1))))


def penalized(logits, slope):
    distance = PLACE[:, None] - PLACE[None, :]
    shifted = np.where(np.asarray(CAUSAL), np.asarray(logits) - slope * distance, -np.inf)
    return jax.nn.softmax(jnp.asarray(shifted))


@pytest.mark.parametrize("slope", [0.0, 0.4, 30.0])
@pytest.mark.parametrize("span", [0.0, 1.5])
def test_decay_bracket_holds_and_both_ends_are_attained(key, slope, span):
    bracket = decay_weight_bracket(N, jnp.array(slope), jnp.array(span))
    weights = penalized(span * jax.random.uniform(key, (N, N)), slope)
    # Exponents up to 30 N multiply the error of a rounded argument.
    roundoff = (30 * N + 4 * N) * U
    assert jnp.all(weights >= bracket.lower * (1 - roundoff))
    assert jnp.all(weights <= bracket.upper * (1 + roundoff))
    for j in (0, 3):
        one = span * np.eye(N)[j] * np.ones((N, 1))
        highest, lowest = penalized(one, slope), penalized(-one, slope)
        for found, end in ((highest, bracket.upper), (lowest, bracket.lower)):
            column = np.asarray(found)[:, j]
            np.testing.assert_allclose(column, np.asarray(end)[:, j], rtol=roundoff)


def test_decay_bracket_of_a_boundless_range_is_the_trivial_one():
    bracket = decay_weight_bracket(3, jnp.array(0.5), jnp.array(jnp.inf))
    np.testing.assert_array_equal(bracket.lower, jnp.zeros((3, 3)).at[0, 0].set(1))
    np.testing.assert_array_equal(bracket.upper, jnp.tril(jnp.ones((3, 3))))


def test_profile_is_the_convolution_of_geometric_distances():
    q = 0.6
    one = (1 - q) * q ** np.arange(60)
    three = np.convolve(np.convolve(one, one)[:60], one)[:60]
    found = decay_profile(3, jnp.arange(60.0), jnp.array(-math.log(q)))
    # Differences of logarithms of factorials, of up to 200, and exponents of up to 30.
    np.testing.assert_allclose(found, three, rtol=1000 * U)


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
@pytest.mark.parametrize("slope", [0.11, 0.5, 1.3])
def test_whole_part_of_the_peak_is_the_mode(depth, slope):
    q = math.exp(-slope)
    paths = [math.comb(depth - 1 + x, x) * q**x for x in range(400)]
    peak = float(decay_peak(depth, jnp.array(slope)))
    assert math.floor(peak) == int(np.argmax(paths))
    assert peak == pytest.approx((depth - 1) * q / (1 - q), rel=16 * U, abs=0)


@pytest.mark.parametrize("span", [0.0, 0.7])
def test_rollout_under_a_penalty_is_within_its_bracket(key, span):
    slope, depth = jnp.array(0.5), 4
    weights = penalized(span * jax.random.uniform(key, (depth, N, N)), 0.5)
    product = np.asarray(cumulative_rollout(weights)[depth - 1])
    distance = jnp.arange(N, dtype=jnp.float64)
    lower, upper = map(np.asarray, decay_rollout_bracket(depth, distance, slope, jnp.array(span)))
    for row in range(N):
        reached = product[row, : row + 1][::-1]  # by distance
        assert np.all(reached >= lower[: row + 1] * (1 - 1000 * U))
        assert np.all(reached <= upper[: row + 1] * (1 + 1000 * U))


def test_rotary_ratio_bracket_holds_until_half_a_turn_and_is_attained_there():
    amplitudes, frequencies = jnp.array([1.0, 0.5]), jnp.array([0.5, 0.1])
    distances = jnp.arange(8.0)
    lower, upper = map(np.asarray, rotary_ratio_bracket(amplitudes, frequencies, distances))
    kernel = np.cos(np.outer(distances, frequencies)) @ np.asarray(amplitudes)
    ratio = np.exp(kernel - kernel[0])
    inside = slice(0, 7)  # 6 / 2 < pi < 7 / 2
    assert np.all(lower[inside] <= ratio[inside])
    assert np.all(ratio[inside] <= upper[inside])
    assert np.isnan(lower[7])
    assert np.isnan(upper[7])
    half = rotary_ratio_bracket(jnp.ones(1), jnp.array([math.pi]), jnp.ones(1))
    assert float(half.upper[0]) == pytest.approx(math.exp(-2), rel=8 * U, abs=0)  # cos(pi) - cos(0)


def test_the_lower_end_of_the_rotary_bracket_is_the_parabola_at_small_angles():
    # 1 - cos x is x^2 / 2 up to x^4 / 24, so the exponents agree to x^2 / 12 in relation.
    amplitudes, frequencies, angle = jnp.array([2.0]), jnp.array([1e-3]), 1e-3
    lower = rotary_ratio_bracket(amplitudes, frequencies, jnp.ones(1)).lower
    assert -float(jnp.log(lower[0])) == pytest.approx(2.0 * angle**2 / 2, rel=1e-9, abs=0)
    assert -math.log(lower[0]) >= 2.0 * (1 - math.cos(angle)) * (1 - 1e-9)
