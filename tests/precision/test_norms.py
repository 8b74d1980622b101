"""Scaling by powers of two against NumPy, norms of every size, derivatives at singular points."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import (
    euclidean_norm,
    root_mean_square,
    safe_abs,
    safe_entr,
    safe_sqrt,
)
from glassesjax.precision.bits import peak_exponent, times_power

DTYPES = [np.float32, np.float64]
U = {np.float32: 2.0**-24, np.float64: 2.0**-53}
# One program a shape; operation by operation ``euclidean_norm`` is run in the test of NaN.
norm = jax.jit(euclidean_norm, static_argnames="axis")
mean_square = jax.jit(root_mean_square, static_argnums=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_times_power_is_ldexp_for_every_bit_pattern(dtype):
    rng = np.random.default_rng(3)
    uint = np.dtype(f"u{np.dtype(dtype).itemsize}")
    x = rng.integers(0, np.iinfo(uint).max, 20_000, dtype=uint, endpoint=True).view(dtype)
    reach = 300 if dtype == np.float32 else 2300
    exponent = rng.integers(-reach, reach, x.size).astype(np.int32)
    with np.errstate(all="ignore"):
        expected = np.ldexp(x, exponent)
    found = np.asarray(jax.jit(times_power)(jnp.asarray(x), jnp.asarray(exponent)))
    same = (found.view(uint) == expected.view(uint)) | (np.isnan(found) & np.isnan(x))
    assert same.all()


def test_the_derivative_of_a_zero_times_a_huge_power_is_no_nan():
    exponent = jnp.asarray(149, jnp.int32)
    zero, slope = jnp.zeros((), jnp.float32), jax.jit(jax.grad(times_power))
    pulled = jax.jit(lambda x, power, y: jax.vjp(lambda x: times_power(x, power), x)[1](y)[0])
    assert float(pulled(zero, exponent, zero)) == 0
    assert float(slope(jnp.float32(5), jnp.asarray(-3, jnp.int32))) == 0.125


def test_peak_exponents_by_hand():
    rows = jnp.array([[0.75, -5.0], [0.0, 0.0], [3e-320, 0.0], [1.0, math.nan]])
    assert peak_exponent(rows, -1).tolist() == [2, 0, math.frexp(3e-320)[1] - 1, 0]
    assert int(peak_exponent(rows[:2], (0, 1))) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_every_size(dtype):
    limits = np.finfo(dtype)
    for size in (limits.tiny / 64, limits.tiny, math.sqrt(limits.tiny), 1, limits.max / 8):
        x = np.array([3, 0, -4], dtype) * dtype(size)
        # The subnormal result is rounded once more, to its own spacing.
        atol = float(limits.smallest_subnormal)
        assert float(norm(jnp.asarray(x))) == pytest.approx(
            5 * float(dtype(size)), rel=4 * U[dtype], abs=atol
        )
    largest = jnp.asarray(np.full(4, limits.max, dtype))
    assert math.isinf(norm(largest))  # it is above the largest
    assert float(norm(jnp.asarray(np.full((2, 2), 2, dtype)), axis=(0, 1))) == 4


def test_root_mean_square_is_the_formula_and_does_not_overflow():
    x = np.array([[3.0, -4.0], [0.0, 0.0]])
    expected = np.sqrt(np.mean(np.square(x), axis=-1) + 1e-5)
    np.testing.assert_allclose(mean_square(jnp.asarray(x), 1e-5), expected, rtol=16 * U[np.float64])
    assert float(mean_square(jnp.asarray(np.full(3, 1e200)), 1e-5)) == pytest.approx(
        1e200, rel=1e-14, abs=0
    )


def test_norms_never_mask_a_nan():
    x = jnp.array([[1.0, math.nan], [1.0, 0.0], [math.nan, math.inf], [0.0, 0.0]])
    assert np.isnan(euclidean_norm(x)).tolist() == [True, False, True, False]
    assert np.isnan(safe_sqrt(jnp.array([math.nan, -1.0, 0.0]))).tolist() == [True, True, False]


def test_derivatives_where_plain_formulas_have_none():
    slope = lambda function, x: jax.jit(jax.grad(function))(jnp.asarray(np.asarray(x)))
    assert slope(safe_sqrt, 0.0) == 0
    assert slope(safe_sqrt, 4.0) == 0.25
    assert slope(safe_abs, 0.0) == 0
    assert slope(safe_abs, -2.0) == -1
    assert slope(safe_entr, 0.0) == 0
    assert slope(safe_entr, 1.0) == -1
    assert slope(euclidean_norm, np.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(slope(euclidean_norm, [3e-200, 4e-200]), [0.6, 0.8], rtol=1e-15)
    # The second derivative, (I - u u^T) / |x|.
    bent = jax.jit(jax.hessian(euclidean_norm))(jnp.asarray(np.array([3.0, 4.0])))
    np.testing.assert_allclose(bent, np.array([[16, -12], [-12, 9]]) / 125, atol=1e-15)
