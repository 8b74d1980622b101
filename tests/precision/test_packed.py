"""What is packed comes back as the format rounds it, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import (
    BF16,
    E2M1,
    E3M2,
    F32,
    F64,
    TF32,
    can_pack,
    number_format,
    pack,
    packed_shapes,
    unpack,
)

NAMES = (
    *("bf16", "f16", "e4m3fn", "e5m2", "e4m3fn_sat", "e4m3fn*256", "bf16*4"),
    *("int8*row", "int4*row", "int4*block16", "int8*block5", "e4m3fn*row", "e2m1*row"),
    *("mxfp8", "mxfp8_e5m2", "mxfp6", "mxfp6_e3m2", "mxfp4", "mxint8", "nvfp4_row"),
)
WIDTHS = (1, 7, 48)
packed_as = jax.jit(pack, static_argnums=1)
read_back = jax.jit(unpack, static_argnums=(1, 2, 3))


def drawn(dtype, width):
    """Rows of all magnitudes: of one spread, of all bit patterns, special ones."""
    rng = np.random.default_rng(width)
    uint = {4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    top = np.iinfo(uint).max
    bits = rng.integers(0, top, (60, width), uint, endpoint=True).view(dtype)
    normal = rng.standard_normal((60, width)) * 10.0 ** rng.integers(-42, 36, (60, 1))
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    special = rng.choice([0.0, -0.0, 1.0, -1e-3, tiny, -tiny, huge], (40, width))
    broken = rng.choice([0.0, -2.0, np.nan, np.inf, -np.inf], (40, width))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([bits, *(x.astype(dtype) for x in (normal, special, broken))])


def same_bits(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    nan = np.isnan(other)
    assert np.array_equal(np.isnan(one), nan)
    assert one[~nan].tobytes() == other[~nan].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_it_comes_back_as_the_format_rounds(name, dtype):
    fmt = number_format(name)
    for width in WIDTHS:
        x = jnp.asarray(drawn(dtype, width))
        packed = packed_as(x, fmt)
        back = read_back(packed, fmt, width, dtype)
        same_bits(back, jax.jit(fmt.round)(x))
        elements, scales = packed_shapes(fmt, width, dtype)
        assert (packed.elements.shape[1:], packed.elements.dtype) == ((elements[0],), elements[1])
        assert (packed.scale is None) == (scales is None)
        if scales is not None:
            assert (packed.scale.shape[1:], packed.scale.dtype) == ((scales[0],), scales[1])


def test_bit_patterns_are_those_of_narrow_dtypes():
    for name in ("e4m3fn", "e5m2", "f16", "bf16"):
        fmt = number_format(name)
        kind = f"uint{fmt.bits}"
        patterns = np.arange(1 << fmt.bits).astype(kind)
        with np.errstate(invalid="ignore"):  # signaling NaNs
            values = patterns.view(fmt.dtype).astype(np.float64)
        packed = packed_as(jnp.asarray(values), fmt)
        found = read_back(packed, fmt, len(values), "float64")
        same_bits(found, values)
        number = ~np.isnan(values)
        assert np.array_equal(np.asarray(packed.elements)[number], patterns[number])


def test_a_zero_keeps_its_sign_among_codes():
    x = jnp.asarray(np.array([[-0.001, 0.001, 1.0]]))
    for name in ("int8*row", "int4*row"):
        fmt = number_format(name)
        back = read_back(packed_as(x, fmt), fmt, 3, "float64")
        assert np.signbit(back).tolist() == [[True, False, False]]


def test_what_can_be_packed():
    assert all(can_pack(number_format(name), F32) for name in NAMES)
    # No pattern for NaN, scales that rows share, and nothing to gain.
    for fmt in (E2M1, E3M2, number_format("int8"), number_format("int8*column"), TF32, F32):
        assert not can_pack(fmt, F32)
    assert not can_pack(number_format("e2m1*4"), F32)
    assert can_pack(F32, F64)
    assert can_pack(BF16, F64)
