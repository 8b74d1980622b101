import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glassesjax.precision import (
    INT4,
    INT4_CHANNEL,
    INT8,
    INT8_CHANNEL,
    INTEGER_FORMATS,
    IntegerFormat,
    float_format,
    number_format,
)

by_name = pytest.mark.parametrize("fmt", INTEGER_FORMATS.values(), ids=lambda fmt: fmt.name)


def test_codes_by_hand():
    x = jnp.array([[127, 0.5, 1.5, 2.5], [-0.5, -1.5, -126.75, 3]], np.float32)
    codes, scale = INT8.quantize(x)
    assert codes.dtype == jnp.int8
    assert codes.tolist() == [[127, 0, 2, 2], [0, -2, -127, 3]]
    assert scale.tolist() == [[1]]
    codes, scale = INT4_CHANNEL.quantize(x * jnp.array([[7 / 127], [2]], np.float32))
    assert scale.tolist() == [[1], [np.float32(253.5) / 7]]
    assert codes.tolist() == [[7, 0, 0, 0], [0, 0, -7, 0]]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(x=hnp.arrays(np.float64, (3, 5), elements=st.floats(-1e6, 1e6)))
@by_name
def test_every_value_moves_to_the_nearest_code(fmt, x):
    rounded, (codes, scale) = np.asarray(fmt.round(jnp.asarray(x))), fmt.quantize(jnp.asarray(x))
    assert np.array_equal(rounded, np.asarray(codes) * np.asarray(scale))
    assert np.abs(codes).max() <= fmt.max
    # A value is at most 2^bits scales; quotient, product and this difference are rounded once each.
    slack = 1 + 3 * 2.0**fmt.bits * 2.0**-53
    kept = np.asarray(scale) >= np.finfo(np.float64).tiny  # smaller scales are flushed to zero
    assert np.all((np.abs(rounded - x) <= 0.5 * np.asarray(scale) * slack) | ~kept)
    assert np.array_equal(fmt.round(-jnp.asarray(x)), -rounded)


@by_name
def test_zeros_stay_zeros(fmt):
    x = jnp.array([[0, -0.0, 0], [1, 2, 3]], np.float32)
    assert np.array_equal(fmt.round(x)[0], np.zeros(3))
    assert np.array_equal(fmt.round(x[:1]), np.zeros((1, 3)))


def test_a_channel_is_a_tensor_by_itself(key):
    x = jax.random.normal(key, (4, 6), jnp.float32)
    rows = jnp.stack([INT8.round(row) for row in x])
    assert np.array_equal(INT8_CHANNEL.round(x), rows)
    assert not np.array_equal(INT8.round(x), rows)


def test_a_stored_value_is_the_one_that_is_added(key):
    # A product fused with the sum would leave the last bit of the product in.
    x, y = jax.random.normal(key, (2, 64, 16), jnp.float32)
    compiled = jax.jit(lambda x, y: INT8.round(x) + y)(x, y)
    assert np.array_equal(compiled, np.asarray(INT8.round(x)) + np.asarray(y))


def test_derivatives_pass_unchanged(key):
    x = jax.random.normal(key, (2, 3), jnp.float32)
    cotangent = jnp.full((2, 3), 1.2345678, jnp.float32)
    (pulled,) = jax.vjp(INT4.round, x)[1](cotangent)
    assert np.array_equal(pulled, cotangent)


def test_a_failure_stays_visible():
    x = jnp.array([[1, np.nan, 2], [3, 4, 5]], np.float32)
    assert np.isnan(INT8.round(x)).all()
    assert np.isnan(INT8_CHANNEL.round(x)).tolist() == [[True] * 3, [False] * 3]
    assert np.isnan(INT8.round(jnp.array([np.inf, 0, 1], np.float32))).all()


def test_formats_are_found_by_name():
    assert all(number_format(name) is fmt for name, fmt in INTEGER_FORMATS.items())
    assert number_format("bf16") == float_format("bf16")
    assert [fmt.max for fmt in INTEGER_FORMATS.values()] == [127, 7, 127, 7]
    with pytest.raises(ValueError, match=r"got 'int3'\. Integer formats: int8, int4"):
        number_format("int3")
    with pytest.raises(ValueError, match="x must have 2 to 8 bits, got 16"):
        IntegerFormat("x", 16)
    with pytest.raises(ValueError, match="float32 or float64, got float16"):
        INT8.round(jnp.ones(2, jnp.float16))
