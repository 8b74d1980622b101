"""Failing lengths: readouts whose lengths are known, chances by hand, and formats that keep all."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import BF16, E4M3FN, F32, F64
from glassesjax.theory import failing
from glassesjax.theory.failing import Noise, occurred_by, settled_from, uniform_share

# One program a shape, in place of one an operation.
probability_apart, chance_wrong = map(jax.jit, (failing.probability_apart, failing.chance_wrong))
noise, surely_confused = map(jax.jit, (failing.noise, failing.surely_confused))


def nearest_readout(values, targets):
    """Rows (x, 1) and an unembedding by which the token of the nearest target is first."""
    y = np.stack([values, np.ones(len(values))], axis=1)
    return y, np.stack([2 * targets, -(targets**2)], axis=1)


def certified(values, targets, fmt=None):
    y, unembed = nearest_readout(values, targets)
    y = y if fmt is None else np.asarray(fmt.round(jnp.asarray(y)))
    return np.asarray(surely_confused(y[:-1], y[1:], unembed)), np.argmax(y @ unembed.T, axis=-1)


@pytest.mark.parametrize(
    ("values", "fmt", "first"),
    [
        # rd(1/n) = rd(1/(n + 1)) first at 190 in bf16 and at 14 in e4m3; integers are exact up to
        # 2^(m + 1), and the next one is a tie that goes to the even one below.
        (lambda n: 1 / n, BF16, 190),
        (lambda n: 1 / n, E4M3FN, 14),
        (lambda n: n, BF16, 256),
        (lambda n: n, E4M3FN, 16),
        (lambda n: n, F32, None),
        (lambda n: 1 / n, F32, None),
    ],
)
def test_what_is_stored_alike_is_confused_from_a_known_length(values, fmt, first):
    lengths = np.arange(1, 301)
    targets = values(lengths.astype(float))
    alike, said = certified(targets, targets, fmt)
    assert occurred_by(lengths[:-1].tolist(), alike.astype(float)) == first
    if first is None:
        np.testing.assert_array_equal(said, np.arange(300))


def test_a_wide_certificate_is_never_contradicted_and_speaks():
    # As many as above: one program.
    x = np.linspace(0, 10, 300) + 0.03
    alike, said = certified(x, np.arange(300.0))
    changes = said[1:] != said[:-1]
    assert not np.any(alike & changes)
    assert changes.sum() == 10
    assert alike.any()


def test_certificates_of_random_pairs_are_sound(key):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    first, step, weights = rng.normal(size=(3, 200, 6))
    sizes = np.logspace(-3, 1, 200)[:, None]
    second, unembed = first + sizes * step, weights[:9]
    alike = np.asarray(surely_confused(first, second, unembed))
    same = np.argmax(first @ unembed.T, axis=-1) == np.argmax(second @ unembed.T, axis=-1)
    assert 0 < alike.sum() < 200
    assert np.all(same[alike])
    assert not np.all(same)


def test_lengths_by_hand():
    lengths = [2, 3, 5, 8]
    assert settled_from(lengths, [1.0, 0.0, 1.0, 0.0]) == 8
    assert settled_from(lengths, [0.0] * 4) == 2
    assert settled_from(lengths, [0.0, 0.0, 0.0, 1.0]) is None
    # Products from the end: 0.9, 0.72, 0.432, 0.
    chances = [1.0, 0.4, 0.2, 0.1]
    assert [settled_from(lengths, chances, s) for s in (0.4, 0.5, 0.8, 0.95)] == [3, 5, 8, None]
    assert occurred_by(lengths, [0.0, 0.0, 1.0, 0.0]) == 5
    # One minus products from the start: 0.1, 0.28, 0.568, 1.
    assert [occurred_by(lengths, chances[::-1], s) for s in (0.09, 0.5, 0.6)] == [2, 5, 8]
    assert occurred_by(lengths, [0.0, 0.0, 0.0, 0.1]) is None


def test_noise_by_hand():
    wide = np.zeros((2, 2))
    found = noise(np.array([[1.0, 1.0], [3.0, -1.0]]), wide)
    assert float(found.spread) == math.sqrt(3)  # (1 + 1 + 9 + 1) / 4
    assert float(found.shared) == 0  # the mean product is -1, and less than nothing is not shared
    assert float(noise(np.full((2, 2), 2.0), wide).shared) == 1
    nothing = noise(wide, wide)
    assert (float(nothing.spread), float(nothing.shared)) == (0, 1)
    assert float(noise(np.array([[np.nan, 0.0], [0.0, 0.0]]), wide).spread) == math.inf


def normal(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def error(spread, shared):
    return Noise(np.asarray(float(spread)), np.asarray(float(shared)))


# Two tokens: the first leads by 2 at n, and at n + 1 the other leads by 1.
HERE, THERE = np.asarray([[2.0, 0.0]]), np.asarray([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("shared", "apart"),
    [
        (1.0, normal(2) - normal(-1)),
        (0.0, normal(2) * normal(1) + normal(-2) * normal(-1)),
    ],
)
def test_chances_by_hand(shared, apart):
    assert float(probability_apart(HERE, THERE, error(1, shared))[0]) == pytest.approx(
        apart, abs=1e-12
    )


def test_chances_of_partly_shared_errors():
    """Of two leads of zero: the probability of different signs is arccos(rho) / pi."""
    even = np.asarray([[0.0, 0.0]])
    for shared in (0.1, 0.5, 0.9, 0.99):
        found = float(probability_apart(even, even, error(3, shared))[0])
        assert found == pytest.approx(math.acos(shared) / math.pi, abs=1e-9)


def test_without_noise_chances_are_what_is_seen():
    assert float(probability_apart(HERE, THERE, error(0, 1))[0]) == 1
    assert float(probability_apart(HERE, HERE, error(0, 1))[0]) == 0
    lead = np.asarray([2.0, -1.0, 2.0])
    after = np.asarray([1.0, 1.0, -1.0])
    np.testing.assert_array_equal(chance_wrong(lead, after, error(0, 1)), [0, 1, 1])


def test_without_noise_ties_are_no_answers():
    """A tie is wrong, and of equal scores the smaller token is first."""
    tie, won = np.asarray([0.0]), np.asarray([1.0])
    for leads in ((tie, won), (won, tie), (tie, tie)):
        assert float(chance_wrong(*leads, error(0, 1))[0]) == 1
    assert float(chance_wrong(won, won, error(0, 1))[0]) == 0
    even = np.asarray([[1.0, 1.0]])
    assert float(probability_apart(HERE, even, error(0, 1))[0]) == 0  # the first token both times
    assert float(probability_apart(even, THERE, error(0, 1))[0]) == 1


def test_endless_noise_leaves_nothing_to_tell_apart():
    assert float(probability_apart(HERE, THERE, error(math.inf, 1))[0]) == 0


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_chance_to_be_wrong(shared):
    """Both are right while -2 < e and e' < 1; against a million draws."""
    found = float(chance_wrong(np.asarray([2.0]), np.asarray([1.0]), error(1, shared))[0])
    draws = np.random.default_rng(0).standard_normal((3, 10**6))
    mix = lambda own: math.sqrt(shared) * draws[0] + math.sqrt(1 - shared) * own
    right = np.mean((mix(draws[1]) > -2) & (mix(draws[2]) < 1))
    assert found == pytest.approx(1 - right, abs=5 * 0.5e-3)  # five standard errors


def test_weights_of_one_over_n():
    assert uniform_share(BF16, 1000) == (190, None)
    assert uniform_share(E4M3FN, 2000) == (14, 1024)
    assert uniform_share(E4M3FN, 1023) == (14, None)
    assert uniform_share(F64, 100) == (None, None)  # lost beyond the largest number
    assert E4M3FN.round(jnp.asarray([1 / 1023, 1 / 1024])).tolist() == [2.0**-9, 0]
