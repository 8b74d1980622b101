"""Densities of uniform attention against exact matrix powers, each other and their mass."""

import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.birth import (
    cesaro_density,
    residual_atom,
    residual_density,
    residual_density_sum,
)

U = 2.0**-53  # unit roundoff of float64

# A rule of 24 nodes is exact for polynomials up to degree 47; the depths below have degree 9.
NODES, RULE = np.polynomial.laguerre.laggauss(24)

# Nodes and weights are good to about 1e-14, and so are sums of positive terms.
RULE_ERROR = 1e-12


def moment(density, m):
    """Integral of x^m times a density that is a polynomial in ln(1/x)."""
    return float(RULE @ np.asarray(density(jnp.exp(-jnp.asarray(NODES) / (m + 1))))) / (m + 1)


def exact_last_row(n, depth, mixing):
    """Last row of the power of the mixed matrix, in fractions."""
    row = [Fraction(0)] * (n - 1) + [Fraction(1)]
    for _ in range(depth):
        spread = [sum((row[i] / (i + 1) for i in range(k, n)), Fraction(0)) for k in range(n)]
        row = [(1 - mixing) * old + mixing * new for old, new in zip(row, spread, strict=True)]
    return row


def entry(moments, n, k):
    """C(n, k) E[X^k (1 - X)^(n - k)], columns from 0, from the moments of X."""
    terms = ((-1) ** j * math.comb(n - k, j) * moments[k + j] for j in range(n - k + 1))
    return math.comb(n, k) * sum(terms)


def test_exact_rows_of_the_notes():
    squared = [Fraction(*f) for f in ((137, 300), (77, 300), (47, 300), (9, 100), (1, 25))]
    assert exact_last_row(5, 2, Fraction(1)) == squared
    mixed = [Fraction(*f) for f in ((257, 1200), (197, 1200), (167, 1200), (49, 400), (9, 25))]
    assert exact_last_row(5, 2, Fraction(1, 2)) == mixed


@pytest.mark.parametrize("depth", [1, 2, 4, 10])
def test_density_gives_the_matrix_power_at_every_length(depth):
    n = 5
    moments = [moment(lambda x: cesaro_density(x, depth), m) for m in range(n)]
    assert moments == pytest.approx([(m + 1) ** -depth for m in range(n)], rel=RULE_ERROR, abs=0)
    row = [entry(moments, n - 1, k) for k in range(n)]
    # Alternating sums with terms up to 6.
    exact = [float(f) for f in exact_last_row(n, depth, Fraction(1))]
    assert row == pytest.approx(exact, abs=16 * RULE_ERROR)


def mixed_powers():
    """Every depth with every mixing: quick is each value once, for each pair is programs."""
    for (i, depth), (j, mixing) in itertools.product(
        enumerate([1, 3, 10]), enumerate([0.25, 0.5, 0.9])
    ):
        yield pytest.param(depth, mixing, marks=[pytest.mark.slow] * (i != j))


@pytest.mark.parametrize(("depth", "mixing"), list(mixed_powers()))
def test_density_and_atom_give_the_mixed_power_at_every_length(depth, mixing):
    n, atom = 5, residual_atom(depth, mixing)
    moments = [moment(lambda x: residual_density(x, depth, mixing), m) for m in range(n)]
    assert moments[0] + atom == pytest.approx(1, rel=RULE_ERROR, abs=0)
    row = [entry([each + atom for each in moments], n - 1, k) for k in range(n)]
    exact = [float(f) for f in exact_last_row(n, depth, Fraction(mixing))]
    assert row == pytest.approx(exact, abs=16 * RULE_ERROR)


@pytest.mark.parametrize("depth", [1, 2, 7, 40])
@pytest.mark.parametrize("mixing", [0.0, 0.1, 0.5, 1.0])
def test_recursion_and_sum_agree(depth, mixing):
    place = jnp.array([1e-6, 0.01, 0.3, 0.9, 1.0])
    by_recursion = residual_density(place, depth, mixing)
    by_sum = residual_density_sum(place, depth, mixing)
    # Each of the steps subtracts, at worst, neighbors as at a double root: errors grow as depth^2.
    np.testing.assert_allclose(by_recursion, by_sum, rtol=4 * depth**2 * U)
    end = depth * mixing * (1 - mixing) ** (depth - 1)
    assert float(by_recursion[-1]) == pytest.approx(end, rel=4 * depth**2 * U, abs=0)


def test_full_mixing_is_the_pure_density_with_its_dead_zone():
    place = jnp.array([0.2, 0.99, 1.0])
    pure = cesaro_density(place, 6)
    np.testing.assert_allclose(residual_density(place, 6, 1.0), pure, rtol=16 * U)
    by_hand = [(-math.log(x)) ** 5 / 120 for x in (0.2, 0.99, 1.0)]
    np.testing.assert_allclose(pure, by_hand, rtol=32 * U)
    assert pure[-1] == 0 < residual_density(place, 6, 0.9)[-1]


def test_long_rows_approach_the_density():
    n, depth, mixing = 300, 3, 0.5
    scaled = n * last_row_in_floats(n, depth, mixing)
    place = (np.arange(30, 250, 40) + 0.5) / n
    limit = residual_density(jnp.asarray(place), depth, mixing)
    np.testing.assert_allclose(scaled[30:250:40], limit, rtol=10 / n)  # an error of order 1/n


def last_row_in_floats(n, depth, mixing):
    """As above by a product of non-negative matrices, where fractions would grow too long."""
    mean = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    return np.linalg.matrix_power((1 - mixing) * np.eye(n) + mixing * mean, depth)[-1]


@pytest.mark.parametrize(("depth", "mixing"), [(0, 0.5), (2, 1.5), (2, -0.1)])
def test_settings_outside_their_range_are_refused(depth, mixing):
    for function in (residual_density, residual_density_sum):
        with pytest.raises(ValueError, match="positive depth and mixing"):
            function(jnp.ones(2), depth, mixing)
    with pytest.raises(ValueError, match="positive depth and mixing"):
        residual_atom(depth, mixing)
