"""Kernels against the decoder's own rotation; their maximum, norms and mean steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model.config import Rotary
from glassesjax.model.positions import rotate, sinusoidal
from glassesjax.theory import rotary
from glassesjax.theory.rotary import alibi_kernel, position_increments, sinusoidal_kernel

U = 2.0**-53  # unit roundoff of float64
DIM = 8
FREQUENCIES = 10_000.0 ** (-np.arange(0, DIM, 2) / DIM)
# One program a shape and style, in place of one an operation.
rotary_kernel = jax.jit(rotary.rotary_kernel, static_argnums=4)
key_with_peak = jax.jit(rotary.key_with_peak, static_argnums=(2, 3))
frequency_norms = jax.jit(rotary.frequency_norms, static_argnums=1)
STYLES = ("half", "interleaved")

# Angles up to 12 with a rounding of their own, cosines and sines, and a sum of DIM products of
# numbers below 4.
ERROR = 16 * 16 * DIM * U


def pair(key):
    return np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=(2, DIM))


@pytest.mark.parametrize("style", STYLES)
def test_kernel_is_the_product_of_rotated_vectors(key, style):
    query, key_vector = pair(key)
    distances = np.arange(-3, 9)
    there = jnp.asarray(3 + distances)
    turn = jax.jit(lambda x, at: rotate(x, at, Rotary(style=style))[:, 0])
    q = np.asarray(turn(np.tile(query, (12, 1, 1)), there))
    k = np.asarray(turn(np.tile(key_vector, (12, 1, 1)), np.full(12, 3)))[0]
    found = rotary_kernel(query, key_vector, FREQUENCIES, distances.astype(float), style)
    np.testing.assert_allclose(found, q @ k, atol=ERROR)


@pytest.mark.parametrize("style", STYLES)
def test_kernel_is_a_sum_of_cosines_with_the_norms_for_amplitudes(key, style):
    query, other = pair(key)
    split = (slice(0, 4), slice(4, 8)) if style == "half" else (slice(0, 8, 2), slice(1, 8, 2))
    angles = [np.arctan2(v[split[1]], v[split[0]]) for v in (query, other)]
    norms = [np.asarray(frequency_norms(v, style)) for v in (query, other)]
    np.testing.assert_allclose(np.sum(norms[0] ** 2), query @ query, rtol=16 * U)
    phase = angles[0] - angles[1]
    distances = np.arange(6.0)
    cosines = np.cos(distances[:, None] * FREQUENCIES + phase)
    by_norms = cosines @ (norms[0] * norms[1])
    found = rotary_kernel(query, other, FREQUENCIES, distances, style)
    np.testing.assert_allclose(found, by_norms, atol=ERROR)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("distance", [0, 5, 11])
def test_the_maximum_may_be_anywhere(key, style, distance):
    query = pair(key)[0]
    best = key_with_peak(query, FREQUENCIES, float(distance), style)
    kernel = np.asarray(rotary_kernel(query, best, FREQUENCIES, np.arange(12.0), style))
    assert int(np.argmax(kernel)) == distance
    assert float(kernel[distance]) == pytest.approx(float(query @ query), abs=ERROR)


def test_sinusoidal_kernel_is_the_product_of_two_position_vectors():
    vectors = np.asarray(sinusoidal(jnp.arange(10), DIM, 10_000.0, jnp.dtype("float64")))
    found = np.asarray(sinusoidal_kernel(jnp.asarray(FREQUENCIES), jnp.arange(10.0)))
    for i in range(10):
        np.testing.assert_allclose(vectors[: i + 1][::-1] @ vectors[i], found[: i + 1], atol=ERROR)


def test_mean_steps_without_positions_and_under_alibi():
    distances = jnp.arange(7.0)
    still = rotary_kernel(jnp.ones(4), jnp.ones(4), jnp.zeros(2), distances)
    np.testing.assert_array_equal(position_increments(still[None]), jnp.zeros(6))
    steps = position_increments(alibi_kernel(jnp.array(0.25), distances)[None])
    np.testing.assert_array_equal(steps, jnp.full(6, 0.25))


def test_mean_steps_take_the_greatest_of_the_kernels():
    kernels = jnp.array([[0.0, 1.0, 1.0, 4.0], [0.0, 0.0, -2.0, -2.0]])
    np.testing.assert_allclose(position_increments(kernels), [1, 3 / 2, 2], rtol=2 * U)


def test_mean_steps_of_rotary_kernels_need_not_vanish():
    # A sixth of a turn: cosines 1, 1/2, -1/2, -1, -1/2, 1/2; steps 1/2, 1, 1/2, and again.
    unit = jnp.array([1.0, 0.0])
    turns = rotary_kernel(unit, unit, jnp.array([math.pi / 3]), jnp.arange(61.0))
    means = position_increments(turns[None])
    np.testing.assert_allclose(means[:3], [1 / 2, 3 / 4, 2 / 3], rtol=64 * U)
    assert float(means[-1]) == pytest.approx(2 / 3, rel=64 * 64 * U, abs=0)  # angles up to 64


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one frequency per pair"):
        rotary.rotary_kernel(jnp.ones(4), jnp.ones(4), jnp.ones(4), jnp.ones(1))
    with pytest.raises(ValueError, match="one frequency per pair"):
        rotary.key_with_peak(jnp.ones(4), jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match="an even head size"):
        rotary.frequency_norms(jnp.ones(3))
