"""The norms, their duality, and radii against the exact ones of small sets."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory import norms
from glassesjax.theory.norms import DUAL, Norm

U = 2.0**-53  # unit roundoff of float64
NORMS: list[Norm] = [1, 2, "inf"]
# One program a shape and norm, in place of one an operation.
vector_norm = jax.jit(norms.vector_norm, static_argnums=1)
chebyshev_radius_bound = jax.jit(norms.chebyshev_radius_bound, static_argnums=1)
slope_of = jax.jit(jax.grad(norms.vector_norm), static_argnums=1)


def test_norms_by_hand():
    x = np.array([[3.0, -4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(
        [vector_norm(x, norm) for norm in NORMS], [[7, 0], [5, 0], [4, 0]]
    )


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"norm to be 1, 2 or 'inf', got 3\."):
        inspect.unwrap(norms.vector_norm)(jnp.ones(2), 3)  # without the check of its type


def test_squares_do_not_underflow_in_float16():
    assert vector_norm(np.full(4, 1e-4, np.float16), 2) == jnp.float16(2e-4)


@pytest.fixture(scope="module")
def uncompiled():
    """One operation after another; each is a program, so that it stands in a fixture."""
    return norms.vector_norm(np.full(4, 1e-4, np.float16), 2)


def test_squares_do_not_underflow_in_float16_without_compiling(uncompiled):
    assert uncompiled.dtype == jnp.float16
    assert uncompiled == jnp.float16(2e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_norms_of_numbers_of_every_size(norm):
    by_hand = {1: 7, 2: 5, "inf": 4}[norm]
    tiny = np.finfo(np.float32).smallest_subnormal
    for unit in (tiny, np.float32(2.0**-126), np.float32(2.0**124)):
        x = np.array([3, -4], np.float32) * unit
        assert float(vector_norm(x, norm)) == by_hand * float(unit)
        slope = slope_of(x, norm)
        expected = {1: [1, -1], 2: [0.6, -0.8], "inf": [0, -1]}[norm]
        np.testing.assert_allclose(slope, expected, rtol=2.0**-22)
    small = vector_norm(np.array([1e-40, 1e-41], np.float32), norm)
    exact = np.linalg.norm([1e-40, 1e-41], np.inf if norm == "inf" else norm)
    assert float(small) == pytest.approx(exact, abs=2 * float(tiny))
    assert not vector_norm(np.zeros(2, np.float32), norm)
    assert np.isnan(vector_norm(np.array([np.nan, 1.0]), norm))
    assert np.isinf(vector_norm(np.array([np.inf, 1.0]), norm))


@pytest.mark.parametrize(
    ("norm", "aligned"), [(1, [0, 0, -1]), (2, [1, 2, -3]), ("inf", [1, 1, -1])]
)
def test_the_dual_norm_is_attained(norm, aligned):
    x, aligned = np.array([1.0, 2.0, -3.0]), np.array(aligned, float)
    product = float(vector_norm(aligned, norm) * vector_norm(x, DUAL[norm]))
    assert float(aligned @ x) == pytest.approx(product, rel=8 * U, abs=0)


@pytest.mark.parametrize("norm", NORMS)
def test_radius_of_two_points_is_half_their_distance(norm):
    points = np.array([[101.0, 100.0, 98.0], [100.0, 103.0, 98.0]])
    half = float(vector_norm(points[1] - points[0], norm)) / 2
    assert float(chebyshev_radius_bound(points, norm)) == pytest.approx(half, rel=128 * U, abs=0)


@pytest.mark.parametrize("norm", NORMS)
def test_radius_lies_between_half_the_diameter_and_the_largest_norm(norm):
    points = np.random.default_rng(0).normal(size=(2, 9, 4))
    radius = np.asarray(chebyshev_radius_bound(points, norm))
    apart = np.asarray(vector_norm(points[:, :, None] - points[:, None], norm))
    diameter = np.max(apart, axis=(1, 2))
    assert np.all(radius >= diameter / 2 * (1 - 8 * U))
    assert np.all(radius <= np.max(vector_norm(points, norm), axis=1))
    if norm == "inf":  # where the midrange is optimal
        np.testing.assert_allclose(radius, diameter / 2, rtol=8 * U)
