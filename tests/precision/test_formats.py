import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from exact_numbers import finite_numbers, nearest, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glassesjax.precision import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    FORMATS,
    TF32,
    FloatFormat,
    float_format,
)

NARROW = [BF16, F16, E4M3FN, E5M2, E2M1]
SIX_BITS = {E3M2: ml_dtypes.float6_e3m2fn, E2M3: ml_dtypes.float6_e2m3fn}  # not types of JAX
STORED = {fmt: fmt.dtype.type for fmt in NARROW} | SIX_BITS
SATURATING = [float_format(f"{fmt.name}_sat") for fmt in (F16, E4M3FN, E5M2)]
SMALL = [
    E4M3FN,
    E5M2,
    E3M2,
    E2M3,
    E2M1,
    *SATURATING[1:],
    FloatFormat("e3m2", 3, 2),
    FloatFormat("e3m2fn", 3, 2, False),
]
CARRIERS = [np.float32, np.float64]
by_name = pytest.mark.parametrize("fmt", STORED, ids=lambda fmt: fmt.name)


def cast(x, fmt):
    """Rounding as NumPy and ml_dtypes do it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(STORED[fmt]).astype(x.dtype)


def signed(x):
    return np.concatenate([x, -x])


@pytest.mark.parametrize("fmt", [F64, F32, *STORED], ids=lambda fmt: fmt.name)
def test_constants_are_those_of_the_native_type(fmt):
    info = ml_dtypes.finfo(STORED.get(fmt, fmt.dtype))
    assert fmt.bits == info.bits
    assert fmt.epsilon == 2 * fmt.unit_roundoff == float(info.eps)
    assert fmt.max == float(info.max)
    assert fmt.min_normal == float(info.smallest_normal)
    assert fmt.min_subnormal == float(info.smallest_subnormal)


def test_constants_of_tf32():
    assert (TF32.bits, TF32.dtype) == (19, None)
    assert TF32.max == (2 - 2**-10) * 2.0**127
    assert TF32.min_subnormal == 2.0**-136


@by_name
@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_pattern_is_a_fixed_point(fmt, carrier):
    kind = np.dtype(STORED[fmt])
    codes = np.arange(1 << fmt.bits, dtype=f"u{kind.itemsize}")
    with np.errstate(invalid="ignore"):  # NumPy warns of signaling NaNs
        values = codes.view(kind).astype(carrier)
    rounded = np.asarray(fmt.round(jnp.asarray(values)))
    assert same_bits(rounded, values)
    assert not np.signbit(rounded[0])
    assert np.signbit(rounded[1 << (fmt.bits - 1)])


@pytest.mark.parametrize("fmt", [*STORED, *SATURATING], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_at_and_beside_every_midpoint(fmt, carrier):
    numbers = finite_numbers(fmt)
    low, high = numbers, np.append(numbers[1:], 2 * numbers[-1] - numbers[-2])
    after = np.append(numbers[1:], nearest(np.inf, fmt))
    middle = ((low + high) / 2).astype(carrier)
    assert np.array_equal(middle, (low + high) / 2)
    even = np.where(np.arange(len(numbers)) % 2 == 0, low, after)
    below, above = np.nextafter(middle, carrier(0)), np.nextafter(middle, carrier(np.inf))
    found = fmt.round(jnp.asarray(signed(np.concatenate([below, middle, above]))))
    assert same_bits(found, signed(np.concatenate([low, even, after]).astype(carrier)))


@by_name
def test_equals_the_cast_of_any_float32(fmt):
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, dtype=np.uint32)
    in_range = np.random.default_rng(1).normal(size=1 << 16).astype(np.float32) * 4
    x = np.concatenate([bits.view(np.float32), in_range, np.array([np.inf, -np.inf], np.float32)])
    x = x[~np.isnan(x)]
    assert same_bits(fmt.round(jnp.asarray(x)), cast(x, fmt))


def test_float16_from_float64_is_rounded_once():
    bits = np.random.default_rng(2).integers(0x3E00 << 48, 0x4110 << 48, 1 << 16, dtype=np.uint64)
    near_ties = 1 + (2 * np.arange(1024) + 1) * 2.0**-11 + 2.0**-45
    x = np.concatenate([bits.view(np.float64), near_ties])
    assert same_bits(F16.round(jnp.asarray(x)), cast(x, F16))


def test_e4m3_overflow():
    x = jnp.float32([448, 464, np.nextafter(np.float32(464), np.float32(500)), np.inf])
    assert same_bits(E4M3FN.round(x), np.array([448, 448, np.nan, np.nan], np.float32))


def test_conversions_of_the_specification_of_8_bits():
    # OCP 8-bit Floating Point Specification v1.0: largest 448 and 57344, and what is beyond.
    saturating = {name: float_format(f"{name}_sat") for name in ("e4m3fn", "e5m2")}
    assert [fmt.max for fmt in saturating.values()] == [E4M3FN.max, E5M2.max] == [448, 57344]
    x = np.array([464, 465, 1e5, np.inf, np.nan], np.float32)
    y = np.array([61439, 61440, 1e38, np.inf, np.nan], np.float32)  # 61440 is the midpoint
    for fmt, values, top, beyond in ((E4M3FN, x, 448, np.nan), (E5M2, y, 57344, np.inf)):
        plain = [top, *[beyond] * 3, np.nan]
        both = np.array([plain, np.copysign(plain, -1)], np.float32)
        signs = np.stack([values, -values])
        assert same_bits(fmt.round(jnp.asarray(signs)), both)
        limits = np.array([*[top] * 4, np.nan], np.float32)
        found = saturating[fmt.name].round(jnp.asarray(signs))
        assert same_bits(found, np.stack([limits, -limits]))


def test_a_saturating_format_differs_in_overflow_alone():
    x = np.random.default_rng(8).integers(0, 1 << 32, 1 << 14, np.uint32).view(np.float32)
    x[:2] = np.inf, -np.inf
    for fmt in (BF16, F16, E4M3FN, E5M2, F32):
        sat = float_format(f"{fmt.name}_sat")
        for name in ("max", "bits", "dtype", "min_carrier", "min_subnormal"):
            assert getattr(sat, name) == getattr(fmt, name)
        assert sat.contains(fmt)
        assert fmt.contains(sat)
        plain, limited = (np.asarray(one.round(jnp.asarray(x))) for one in (fmt, sat))
        over = ~np.isfinite(plain) & ~np.isnan(x)
        top = np.copysign(np.float32(fmt.max), x)
        assert same_bits(limited, np.where(over, top, plain))
        assert over.any()


def test_nan_survives_where_the_format_has_none():
    assert same_bits(
        E2M1.round(jnp.array([np.nan, np.inf, -7], np.float32)),
        np.array([np.nan, 6, -6], np.float32),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    exponent_bits=st.integers(2, 11),
    mantissa_bits=st.integers(1, 52),
    kind=st.sampled_from(
        [(True, True), (False, True), (False, False), (True, True, True), (False, True, True)]
    ),
    wide=hnp.arrays(np.float64, 16, elements=st.floats(allow_nan=True)),
    offsets=hnp.arrays(np.float64, 16, elements=st.floats(-4, 4)),
    data=st.data(),
)
def test_any_format_equals_exact_arithmetic(
    exponent_bits, mantissa_bits, kind, wide, offsets, data
):
    exponent_bits = min(exponent_bits, 11 if kind[0] else 10)
    fmt = FloatFormat("any", exponent_bits, mantissa_bits, *kind)
    anchors = [1.0, fmt.max, fmt.min_normal, fmt.min_subnormal]
    anchor = data.draw(st.sampled_from(anchors))
    with np.errstate(over="ignore"):
        near = anchor + offsets * max(anchor * fmt.epsilon, fmt.min_subnormal)
        x = np.concatenate([wide, near])
        carried = [x, x.astype(np.float32)] if F32.contains(fmt) else [x]
    for x in carried:
        expected = np.array([nearest(value, fmt) for value in x.tolist()], x.dtype)
        with jax.disable_jit():  # each format would be compiled anew
            assert same_bits(fmt.round(jnp.asarray(x)), expected)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
def test_slow_rounding_finds_the_nearest_number_of_the_list(fmt):
    numbers = finite_numbers(fmt)
    for x in np.linspace(0, float(fmt.max), 301):
        distance = np.abs(numbers - x)
        closest = np.flatnonzero(distance == distance.min())
        assert nearest(x, fmt) == numbers[min(closest, key=lambda code: code % 2)]


@pytest.mark.parametrize("dtype", CARRIERS)
def test_the_carrier_itself_is_left_as_it_is(dtype):
    bits = np.random.default_rng(3).integers(0, 1 << 63, 4096, dtype=np.uint64)
    x = jnp.asarray(bits.view(dtype))
    fmt = F32 if dtype == np.float32 else F64
    uint = np.uint32 if dtype == np.float32 else np.uint64
    assert np.array_equal(np.asarray(fmt.round(x)).view(uint), np.asarray(x).view(uint))


def test_compiled_and_mapped_are_the_same_and_nothing_is_elided(key):
    x = jax.random.normal(key, (8, 16), jnp.float32)
    eager = BF16.round(x)
    assert same_bits(jax.jit(BF16.round)(x), eager)
    assert same_bits(jax.vmap(BF16.round)(x), eager)
    # (x + 1) - 1 within one program: a rounding left out would show in the difference.
    residue = jax.jit(lambda x: BF16.round(x + 1) - x - 1)
    with_numpy = cast(np.asarray(x) + np.float32(1), BF16) - np.asarray(x) - np.float32(1)
    assert same_bits(residue(x), with_numpy)
    assert np.abs(with_numpy).max() > BF16.unit_roundoff / 2


def test_subnormal_numbers_survive_in_compiled_code():
    exponents = np.array([-133, -133, -134, -149, -130])
    x = np.ldexp(np.array([1, 1.5, 1, 1, -1], np.float32), exponents)
    expected = np.ldexp(np.array([1, 2, 0, 0, -1], np.float32), exponents)
    assert same_bits(jax.jit(BF16.round)(jnp.asarray(x)), expected)


def test_derivatives_pass_unchanged(key):
    x = jax.random.normal(key, (5,), jnp.float32)
    tangent = jnp.full(5, 1.2345678, jnp.float32)
    value, pushed = jax.jvp(E5M2.round, (x,), (tangent,))
    (pulled,) = jax.jit(lambda x, t: jax.vjp(E5M2.round, x)[1](t))(x, tangent)
    assert same_bits(value, E5M2.round(x))
    assert same_bits(pushed, tangent)
    assert same_bits(pulled, tangent)
    assert np.array_equal(jax.jacrev(E5M2.round)(x), np.eye(5))


# One program a shape; test_rounding.py calls it operation by operation.
ulp = jax.jit(lambda x, fmt: fmt.ulp(x), static_argnums=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_ulp_is_numpys_spacing(dtype):
    fmt = {4: F32, 8: F64, 2: F16}[np.dtype(dtype).itemsize]
    bits = np.random.default_rng(4).integers(0, 1 << 62, 4096, dtype=np.uint64)
    x = np.abs(bits.view(dtype))
    x = np.append(x[np.isfinite(x)], dtype([0, 1]))
    carrier = np.float64 if fmt is F64 else np.float32
    assert same_bits(ulp(jnp.asarray(x.astype(carrier)), fmt), np.spacing(x).astype(carrier))


@by_name
def test_ulp_is_the_step_to_the_next_number(fmt):
    numbers = finite_numbers(fmt).astype(np.float32)
    steps = np.diff(numbers)
    expected = np.tile(np.append(steps, steps[-1]), 2)
    assert same_bits(ulp(jnp.asarray(signed(numbers)), fmt), expected)
    outside = ulp(jnp.asarray(np.float32([np.inf, np.nan, np.finfo(np.float32).max])), fmt)
    assert same_bits(outside, np.array([np.nan, np.nan, steps[-1]], np.float32))


def test_one_format_contains_another_exactly_if_its_numbers_do():
    kinds = [(True, True), (False, True), (False, False)]
    formats = [
        FloatFormat("x", e, m, *kind) for e in (2, 3, 4) for m in (1, 2, 3) for kind in kinds
    ]
    numbers = {fmt: set(finite_numbers(fmt).tolist()) for fmt in formats}
    for a in formats:
        for b in formats:
            assert a.contains(b) == (numbers[b] <= numbers[a])
    assert [fmt.name for fmt in FORMATS.values() if fmt.min_carrier != F32] == ["f64"]


def test_formats_are_found_by_name():
    assert all(float_format(name) is fmt and fmt.name == name for name, fmt in FORMATS.items())
    custom = float_format("e5m10")
    assert (custom.max, custom.dtype) == (F16.max, F16.dtype)
    assert float_format("e4m3").max == 240  # IEEE-like: the topmost exponent is infinity's
    assert [float_format(name).name for name in ("half", "bfloat16", "fp32")] == [
        "f16",
        "bf16",
        "f32",
    ]
    with pytest.raises(
        ValueError, match=r"a number format: f64, f32, .* got 'hlf': did you mean 'half'"
    ):
        float_format("hlf")
    for name in ("fp8", "fp8_sat"):
        with pytest.raises(ValueError, match=f"got '{name}': write e4m3fn or e5m2"):
            float_format(name)
    own = float_format("e5m7_sat")
    assert (own.name, own.saturating, own.max) == ("e5m7_sat", True, float_format("e5m7").max)
    assert float_format("half_sat").name == "f16_sat"
    with pytest.raises(ValueError, match="2 to 11 exponent bits"):
        float_format("e12m3")
    with pytest.raises(ValueError, match="must have NaN"):
        FloatFormat("x", 4, 3, True, False)


def test_a_compiled_rounding_is_found_again():
    # Its static argument holds a NaN, which is equal to itself only as the same object.
    assert E4M3FN.grid == E4M3FN.grid
    assert hash(E4M3FN.grid) == hash(E4M3FN.grid)


def test_the_carrier_is_checked():
    with pytest.raises(ValueError, match="float32 or float64, got bfloat16"):
        F16.round(jnp.ones(2, jnp.bfloat16))
    with pytest.raises(ValueError, match="f64 does not fit into float32"):
        F64.round(jnp.ones(2, jnp.float32))
    with pytest.raises(ValueError, match="e9m3 does not fit"):
        float_format("e9m3").ulp(jnp.ones(2, jnp.float32))
