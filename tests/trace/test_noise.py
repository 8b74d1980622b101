"""Errors of differences: by hand, and drawn so that the truth is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import BF16
from glassesjax.trace.collapse import distance as eager_distance
from glassesjax.trace.noise import paired_noise as eager_noise

WIDTH, PAIRS = 256, 16


distance = jax.jit(eager_distance, static_argnums=2)


compiled = jax.jit(eager_noise, static_argnums=4)


def paired_noise(*given):
    """Of arrays of NumPy, as arrays of NumPy: one program a shape."""
    return jax.device_get(compiled(*map(jnp.asarray, given[:4]), given[4]))


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def drawn(size, *, shared=0.0, seed=0, cosine=0.0):
    """Unit differences under independent noise of norm ``size``, beside a shared error."""
    random = np.random.default_rng(seed)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    first = random.normal(size=(PAIRS, WIDTH))
    true = unit(random.normal(size=(PAIRS, WIDTH)))
    common = shared * unit(random.normal(size=(PAIRS, WIDTH)))
    error = size * unit(random.normal(size=(PAIRS, WIDTH)) + cosine * true * WIDTH**0.5)
    arrays = first, first + true, first + common, first + true + common + error
    return paired_noise(*arrays, BF16)


def test_one_pair_by_hand():
    rows = [[[1.0, 0.0]], [[1.0, 2.0]], [[1.5, 0.0]], [[2.5, 1.0]]]
    noise = paired_noise(*map(np.asarray, rows), BF16)
    # D = (0, 2), d = (1, 1), e = (1, -1); one pair alone has the chance of its width, 1 / sqrt 2.
    by_hand = {
        "l1": 2, "l2": 2**0.5, "linf": 1, "relative_l1": 2, "cosine": 0.5**0.5,
        "chance": 0.5**0.5, "projection": 0.5, "projection_noise": 0.5,
        "ulp": 128,  # of both coordinates: 1 over 2^-7, and 1 over 2^-6
    }  # fmt: skip
    for name, value in by_hand.items():
        # A handful of roundings each, in units of the largest number.
        assert getattr(noise, name)[0] == pytest.approx(value, rel=16 * 2.0**-53, abs=0), name
    assert not noise.detectable[0]


def test_an_error_that_both_prompts_share_is_none_of_the_difference():
    # One pass is off by a hundred times the difference, and yet nothing of it is lost.
    noise = drawn(1e-6, shared=100.0)
    assert np.all(np.asarray(noise.l2) < 1e-5)
    assert np.all(noise.detectable)


@pytest.mark.parametrize(("size", "detectable"), [(2.0, True), (1000.0, False)])
def test_a_difference_smaller_than_its_error_is_found_along_itself(size, detectable):
    # Noise of norm s has s / sqrt(256) = s / 16 along the difference: 1/8, or 60 times it.
    noise = drawn(size)
    assert np.mean(noise.detectable == detectable) >= 15 / 16
    np.testing.assert_allclose(noise.l2, size, rtol=1e-9)
    chance = np.asarray(noise.chance)
    assert np.all((chance >= 1 / 16) & (chance < 1 / 8))


def test_pure_noise_is_rarely_called_a_difference():
    # Three deviations: 0.13 % of Gaussian draws. Of 640, more than 6 have a chance below 1e-4.
    found = [drawn(1e6, seed=seed).detectable for seed in range(40)]
    assert np.sum(found) <= 6


def test_errors_that_lean_on_the_difference_raise_the_chance():
    first = np.random.default_rng(3).normal(size=(PAIRS, WIDTH))
    true = np.tile(first[:1], (PAIRS, 1))  # all differences point one way,
    sizes = 5 * np.where(np.arange(PAIRS) % 2, 1.0, -1.0)[:, None]  # and so do all errors
    arrays = first, first + true, first, first + true + sizes * true
    noise = paired_noise(*arrays, BF16)
    np.testing.assert_allclose(noise.chance, 1, rtol=1e-9)
    assert not np.any(noise.detectable)


def test_no_number_is_never_detectable_and_hurts_no_other_pair():
    first = np.random.default_rng(4).normal(size=(PAIRS, WIDTH))
    second, own = first + 1.0, first + 1.001
    own[3, 5] = np.nan
    arrays = first, second, first, own
    noise = paired_noise(*arrays, BF16)
    expected = np.ones(PAIRS, bool)
    expected[3] = False
    np.testing.assert_array_equal(np.isfinite(noise.l2), expected)
    assert not noise.detectable[3]
    assert np.all(np.isfinite(noise.chance))


def test_relative_errors_of_rows_of_zeros_are_those_of_distances():
    zeros, ones = np.zeros((1, 4)), np.ones((1, 4))
    for error in (zeros, ones):
        noise = paired_noise(zeros, ones, zeros, ones + error, BF16)
        rule = distance(jnp.asarray(zeros), jnp.asarray(error), BF16)
        assert noise.relative_l1[0] == rule.relative_l1[0] == (np.inf if error[0, 0] else 0)


def test_equal_rows_have_no_direction():
    rows = np.ones((2, 4))
    noise = paired_noise(rows, rows, rows, rows + 1e-3, BF16)
    assert np.all(np.isnan(noise.cosine))
    assert not np.any(noise.detectable)


def test_three_pairs_are_measured_each_by_itself_but_for_their_chance():
    random = np.random.default_rng(5)
    true = np.array([[2.0, 0, 0, 0], [-3, 0, 0, 0], [1, 1, 0, 0]])
    error = np.array([[0, -0.5, 0, 0.25], [-0.125, 0, 0, 0], [0, 0, -1, 0]])
    first = random.integers(-8, 9, size=(3, 4)) + np.array([[-16.0, -32, 16, 32]])
    first[1, 0] = -15  # and then -18, of the next power of two
    rows = [first, first + true, first, first + true + error]
    together = paired_noise(*rows, BF16)
    alone = [paired_noise(*(row[at : at + 1] for row in rows), BF16) for at in range(3)]
    shared = ("chance", "projection_noise", "detectable")
    for name in set(together._fields) - set(shared):
        np.testing.assert_allclose(
            getattr(together, name), [getattr(one, name)[0] for one in alone], rtol=8 * 2.0**-53
        )
    np.testing.assert_array_equal(together.linf, [0.5, 0.125, 1])
    spacing = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(first), np.abs(first + true)))) - 7)
    np.testing.assert_array_equal(together.ulp, np.max(np.abs(error) / spacing, axis=1))
    # Cosines of the other errors with each true difference, root mean square, at least 1 / 2.
    squares = [(1 + 0) / 2, 0, (0.25 / 0.3125 + 1) / 4]
    chance = np.sqrt(np.maximum(squares, 1 / 4))
    np.testing.assert_allclose(together.chance, chance, rtol=8 * 2.0**-53)
    by_hand = np.linalg.norm(error, axis=1) * chance / np.linalg.norm(true, axis=1)
    np.testing.assert_allclose(together.projection_noise, by_hand, rtol=16 * 2.0**-53)
