"""Formats with scales: against exact fractions, by hand, and by their specifications."""

import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from exact_numbers import finite_numbers, same_bits
from exact_scaled import scaled

from glassesjax.precision import (
    E2M1,
    E2M3,
    E3M2,
    E4M3FN,
    E5M2,
    F32,
    INT4,
    INT4_CHANNEL,
    INT8,
    INT8_CHANNEL,
    MXFP4,
    MXFP6,
    MXFP6_E3M2,
    MXFP8,
    MXFP8_E5M2,
    MXINT8,
    NVFP4,
    NVFP4_ROW,
    SCALED_FORMATS,
    Codes,
    FloatFormat,
    ScaledFormat,
    Scaling,
    number_format,
)

INTEGERS = [INT8, INT4, INT8_CHANNEL, INT4_CHANNEL]
MX = [MXFP8, MXFP8_E5M2, MXFP6, MXFP6_E3M2, MXFP4, MXINT8]
OTHERS = (
    "e4m3fn*tensor e4m3fn*row e4m3fn*column e4m3fn*block7 e4m3fn*256 e4m3fn*1 e5m2*row e5m2*0.125 "
    "f16*block5 e6m9*row e2m1*row e3m2fn*nvrow e2m3fn*nv e4m3fn*nv e5m3*mx int8*16 int2*row "
    "int3*column int2*nv int6*nv int5*mx int8*block32 int7*0.5"
)
FORMATS = [*SCALED_FORMATS.values(), *map(number_format, OTHERS.split())]
SHAPE = (3, 37)  # the last block is short, of 32, 16, 7 and 5
by_name = pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
of_integers = pytest.mark.parametrize("fmt", INTEGERS, ids=lambda fmt: fmt.name)
of_mx = pytest.mark.parametrize("fmt", MX, ids=lambda fmt: fmt.name)
carriers = pytest.mark.parametrize("dtype", [np.float32, np.float64])
rounded = jax.jit(lambda x, fmt: fmt.round(x), static_argnums=1)


def elements_of(fmt):
    """All elements from zero on."""
    if isinstance(fmt.element, FloatFormat):
        return finite_numbers(fmt.element)
    return np.arange(fmt.element.max_code + 1) / 2.0**fmt.element.fraction_bits


def midpoints(fmt, dtype):
    """Values halfway between two elements, times a power of two, each block with the largest."""
    numbers = elements_of(fmt)
    halves = np.resize((numbers[1:] + numbers[:-1])[-200:] / 2, math.prod(SHAPE)).reshape(SHAPE)
    halves[:, ::5] = numbers[-1]
    halves[:, 1::2] *= -1
    return (halves * 2.0**-3).astype(dtype)


def cases(fmt, dtype):
    """Values of every kind, of one shape."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    normal = rng.normal(size=SHAPE)
    yield normal.astype(dtype)
    yield (normal * 10.0 ** rng.integers(-4, 5, SHAPE)).astype(dtype)
    yield midpoints(fmt, dtype)
    for power in (-11, -3, 0, 3, 11):  # around the smallest normal number
        yield (normal * float(info.tiny) * 2.0**power).astype(dtype)
    yield (np.sign(normal) * rng.uniform(2.0**-9, 1, SHAPE) * float(info.max)).astype(dtype)
    yield np.where(np.arange(37) < 20, np.copysign(0, normal), normal * 1e-4).astype(dtype)
    yield np.where(np.arange(37) < 20, normal * 1e-6, normal * 1e4).astype(dtype)
    yield np.zeros(SHAPE, dtype)
    for power in (-150, -136, -127, -119, 119, 127):  # around the ends of E8M0
        yield np.ldexp(rng.uniform(0.5, 1, SHAPE), power).astype(dtype)
    bits = rng.integers(0, 1 << 63, (4, *SHAPE), np.uint64, endpoint=True)
    drawn = (bits >> (64 - 8 * np.dtype(dtype).itemsize)).astype(f"u{np.dtype(dtype).itemsize}")
    yield from np.where(np.isfinite(drawn.view(dtype)), drawn.view(dtype), dtype(1))


@by_name
@carriers
def test_rounding_is_that_of_exact_fractions(fmt, dtype):
    for x in cases(fmt, dtype):
        values, _ = scaled(x, fmt)
        assert same_bits(fmt.round(jnp.asarray(x)), values)
    # Within another program as by itself.
    assert same_bits(rounded(jnp.asarray(x), fmt), values)


@by_name
@carriers
def test_elements_and_scales_are_those_of_exact_fractions(fmt, dtype):
    size = fmt.scaling.block
    for x in (*cases(fmt, dtype),)[:7]:
        values, exact = scaled(x, fmt)
        elements, scale = map(np.asarray, fmt.quantize(jnp.asarray(x)))
        assert scale.dtype == dtype
        wide = scale if not size else np.repeat(scale, size, axis=-1)[..., : SHAPE[1]]
        wide = np.broadcast_to(wide, SHAPE)
        assert wide.tolist() == [[float(one) for one in row] for row in exact]
        if isinstance(fmt.element, Codes):
            assert elements.dtype == np.int8
            assert np.abs(elements).max() <= fmt.element.max_code
            elements = elements / 2.0**fmt.element.fraction_bits
        else:
            assert np.isin(np.abs(elements), elements_of(fmt)).all()
        products = elements.astype(dtype) * wide  # NumPy keeps subnormal products
        smallest = 0 if fmt.scaling.stored == "power_of_two" or not size else np.finfo(dtype).tiny
        kept = np.abs(products) >= smallest
        assert np.array_equal(products[kept], values[kept])


@by_name
@carriers
def test_what_shares_a_scale_with_a_nan_or_an_infinity_is_nan(fmt, dtype):
    for bad in (np.nan, np.inf, -np.inf):
        x = np.random.default_rng(1).normal(size=SHAPE).astype(dtype)
        x[1, 3] = x[2, 36] = bad
        values, _ = scaled(x, fmt)
        assert same_bits(fmt.round(jnp.asarray(x)), values)
        alone = np.isfinite(values).sum()
        match fmt.scaling.over, fmt.scaling.stored:
            case ("tensor", _) | (_, "e4m3fn"):
                assert alone == 0
            case ("row", _) | (_, "e4m3fn_row"):
                assert alone == 37
            case ("column", _):
                assert alone == 3 * 35
            case ("fixed", _):  # saturated
                assert alone == 3 * 37 - 2 * np.isnan(bad)
            case _:
                size = fmt.scaling.block
                assert alone == 3 * 37 - size - (37 - 36 // size * size)
        # No code is a NaN, so the scale has to say it.
        elements, scale = fmt.quantize(jnp.asarray(x))
        if isinstance(fmt.element, Codes) and fmt.scaling.over != "fixed":
            assert np.isfinite(scale).all() == (alone == 3 * 37)
            assert elements.dtype == jnp.int8


def some(*names):
    """A few formats, one for each way to share a scale or to compute it."""
    fmts = [number_format(name) for name in names]
    return pytest.mark.parametrize("fmt", fmts, ids=lambda fmt: fmt.name)


@some("int8", "e4m3fn*row", "int3*column", "mxfp8", "nvfp4_row", "e4m3fn*256")
def test_other_shapes(fmt):
    x = np.random.default_rng(2).normal(size=(2, 3, 10)).astype(np.float32)
    for one in (x[0, 0, 0], x[0, 0], x[:, 0], x, x[:0], x[..., :0]):
        assert same_bits(fmt.round(jnp.asarray(one)), scaled(np.asarray(one), fmt)[0])
        fmt.quantize(jnp.asarray(one))


@by_name
def test_rows_are_rounded_alike_in_any_company_where_the_format_says_so(fmt):
    x = jnp.asarray(np.random.default_rng(3).normal(size=SHAPE), jnp.float32)
    company = jnp.concatenate([x[:1], jnp.ones((2, 1), jnp.float32) * 37.3 * x[1:]])
    same = same_bits(fmt.round(x)[0], fmt.round(company)[0])
    assert same == fmt.row_wise
    mapped = jax.vmap(fmt.round)(x)
    assert same_bits(mapped, jnp.stack([fmt.round(row) for row in x]))
    if fmt.row_wise:
        assert same_bits(mapped, fmt.round(x))


@by_name
def test_derivatives_pass_unchanged(fmt):
    x = jnp.asarray(np.random.default_rng(4).normal(size=SHAPE), jnp.float32)
    tangent = jnp.full(SHAPE, 1.2345678, jnp.float32)

    @jax.jit
    def both(x):
        value, pushed = jax.jvp(fmt.round, (x,), (tangent,))
        return value, pushed, jax.vjp(fmt.round, x)[1](tangent)[0]

    value, pushed, pulled = both(x)
    assert same_bits(value, fmt.round(x))
    assert same_bits(pushed, tangent)
    assert same_bits(pulled, tangent)


@pytest.mark.slow  # each operation is a program
@some("int8_channel", "mxfp6", "nvfp4", "e5m2*0.125")
def test_operation_by_operation_as_in_one_program(fmt):
    # A compiler may write a division as a product with the reciprocal; none is left to it.
    for x in (*cases(fmt, np.float32),)[:4]:
        with jax.disable_jit():
            alone = fmt.round(jnp.asarray(x))
        assert same_bits(alone, fmt.round(jnp.asarray(x)))


def test_a_stored_value_is_the_one_that_is_added(key):
    # A product fused with the sum would leave the last bit of the product in.
    x, y = jax.random.normal(key, (2, 64, 16), jnp.float32)
    for fmt in (INT8, NVFP4_ROW, MXFP8):
        compiled = jax.jit(lambda x, y, fmt=fmt: fmt.round(x) + y)(x, y)
        assert np.array_equal(compiled, np.asarray(fmt.round(x)) + np.asarray(y))


# Integers.


def test_codes_by_hand():
    x = jnp.array([[127, 0.5, 1.5, 2.5], [-0.5, -1.5, -126.75, 3]], np.float32)
    codes, scale = INT8.quantize(x)
    assert codes.dtype == jnp.int8
    assert codes.tolist() == [[127, 0, 2, 2], [0, -2, -127, 3]]
    assert scale.tolist() == [[1]]
    codes, scale = INT4_CHANNEL.quantize(x * jnp.array([[7 / 127], [2]], np.float32))
    assert scale.tolist() == [[1], [np.float32(253.5) / 7]]
    assert codes.tolist() == [[7, 0, 0, 0], [0, 0, -7, 0]]


def formula(x, most, axis):
    """Symmetric quantization and back, as it is written in NumPy, by reciprocals."""
    one, most = x.dtype.type(1), x.dtype.type(most)
    scale = np.max(np.abs(x), axis=axis, keepdims=True) * (one / most)
    codes = np.round(x * np.where(scale == 0, 0, one / np.where(scale == 0, 1, scale)))
    return np.clip(codes, -most, most) * scale


@of_integers
@carriers
def test_integers_are_those_of_the_plain_formula(fmt, dtype):
    rng, most = np.random.default_rng(5), fmt.element.max_code
    axis = None if fmt.scaling.over == "tensor" else -1
    half = rng.integers(-2 * most, 2 * most + 1, (20, *SHAPE)) / 2  # half of them ties
    half[..., 0] = most
    plain = rng.normal(size=(20, *SHAPE))
    for x in (*plain, *(plain * 1e-20), *half, *(half * rng.uniform(1, 2, (20, 1, 1)))):
        x = x.astype(dtype)
        assert same_bits(fmt.round(jnp.asarray(x)), formula(x, most, axis))


def test_a_division_is_not_a_product_with_the_reciprocal():
    # Why the formula has reciprocals: 4 % of scales differ, and a compiler chooses.
    x = np.random.default_rng(6).uniform(1, 2, 1 << 12).astype(np.float32)
    reciprocal = np.float32(1) / np.float32(127)
    differ = np.mean(x / np.float32(127) != x * reciprocal)
    assert 0.01 < differ < 0.1
    _, scale = INT8_CHANNEL.quantize(jnp.asarray(x[:, None]))
    assert same_bits(scale[:, 0], x * reciprocal)


# Blocks, by their specifications: OCP Microscaling Formats v1.0; NVFP4 after arXiv 2509.25149.


def test_numbers_of_the_specification_of_mx():
    table = {  # emax, largest, smallest normal, largest and smallest subnormal
        E5M2: (15, 57344, 2.0**-14, 2.0**-14 * 0.75, 2.0**-16),
        E4M3FN: (8, 448, 2.0**-6, 2.0**-6 * 0.875, 2.0**-9),
        E3M2: (4, 28, 0.25, 0.1875, 0.0625),
        E2M3: (2, 7.5, 1, 0.875, 0.125),
        E2M1: (2, 6, 1, 0.5, 0.5),
    }
    for fmt, (emax, top, normal, subnormal, least) in table.items():
        assert math.frexp(fmt.max)[1] - 1 == emax
        numbers = finite_numbers(fmt)
        assert (fmt.max, fmt.min_normal, fmt.min_subnormal) == (top, normal, least)
        assert numbers[-1] == top
        assert numbers[numbers < normal][-1] == subnormal
    assert finite_numbers(E2M1).tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert MXINT8.element == Codes(8, fraction_bits=6)
    assert MXINT8.element.max == 1 + 63 / 64
    elements = [E4M3FN, E5M2, E2M3, E3M2, E2M1, Codes(8, 6)]
    assert [fmt.element for fmt in MX] == elements
    assert {fmt.scaling for fmt in MX} == {Scaling("block", 32, "power_of_two")}
    assert [fmt.bits_per_value for fmt in MX] == [8.25, 8.25, 6.25, 6.25, 4.25, 8.25]


@of_mx
def test_the_scale_of_mx_is_the_power_of_two_below_the_largest_over_that_of_the_element(fmt):
    emax = {"mxfp8": 8, "mxfp8_e5m2": 15, "mxfp6_e3m2": 4, "mxint8": 0}.get(fmt.name, 2)
    x = np.zeros((7, 32), np.float32)
    x[:, 5] = [1, 1.9999999, 2, -3, 448, 2.0**-126, 2.0**127]
    _, scale = fmt.quantize(jnp.asarray(x))
    powers = [0, 0, 1, 1, 8, -126, 127]
    expected = [2.0 ** max(-127, power - emax) for power in powers]
    assert scale.tolist() == [[one] for one in expected]
    # Each is a number of E8M0, whose range is from 2^-127 to 2^127.
    e8m0 = np.asarray(scale).astype(ml_dtypes.float8_e8m0fnu)
    assert e8m0.astype(np.float32).tolist() == scale.tolist()
    info = ml_dtypes.finfo(ml_dtypes.float8_e8m0fnu)
    assert (float(info.smallest_normal), float(info.max)) == (2.0**-127, 2.0**127)
    _, none = fmt.quantize(jnp.zeros((1, 32), jnp.float32))
    assert none.tolist() == [[2.0**-127]]


def test_a_block_of_mx_by_hand():
    # Largest 7.9: shared exponent 2, scale 1; what is beyond 6 saturates.
    block = np.array([7.9, -7, 5, 2.5, 1.75, 0.75, 0.25, 0.2], np.float32)
    found = MXFP4.round(jnp.asarray(block))
    assert found.tolist() == [6, -6, 4, 2, 2, 1, 0, 0]
    assert MXINT8.round(jnp.float32([1.999, -2 + 2**-7, 0.0079, 2**-7])).tolist() == [
        127 / 64,
        -127 / 64,
        1 / 64,
        0,
    ]
    # Above 448 times the scale of its binade a value saturates: 1.9 = 486 / 256.
    assert MXFP8.round(jnp.float32([1.9])).tolist() == [1.75]


@of_mx
def test_a_block_that_lies_on_the_grid_does_not_move(fmt):
    numbers = elements_of(fmt)
    count = -len(numbers) % 31
    numbers = np.append(numbers, np.zeros(count)).reshape(-1, 31)
    blocks = np.concatenate([numbers, np.full((len(numbers), 1), elements_of(fmt)[-1])], axis=1)
    for power in (-110, -3, 0, 40, 111):
        x = np.ldexp(blocks, power).astype(np.float32)
        found = fmt.round(jnp.asarray(x.reshape(-1)))
        assert same_bits(found, x.reshape(-1))


@pytest.mark.parametrize(
    ("fmt", "kind"),
    [
        (MXFP8, ml_dtypes.float8_e4m3fn),
        (MXFP8_E5M2, ml_dtypes.float8_e5m2),
        (MXFP6, ml_dtypes.float6_e2m3fn),
        (MXFP6_E3M2, ml_dtypes.float6_e3m2fn),
        (MXFP4, ml_dtypes.float4_e2m1fn),
        (NVFP4, ml_dtypes.float4_e2m1fn),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_elements_are_casts_of_what_is_divided_by_the_scale(fmt, kind):
    x = np.random.default_rng(7).normal(size=(40, 2 * fmt.scaling.block)).astype(np.float32)
    elements, scale = map(np.asarray, fmt.quantize(jnp.asarray(x)))
    reciprocal = np.repeat(np.float32(1) / scale, fmt.scaling.block, axis=-1)
    top = np.float32(fmt.element.max)
    assert same_bits(elements, np.clip(x * reciprocal, -top, top).astype(kind).astype(np.float32))


def test_numbers_of_nvfp4():
    assert NVFP4.element == NVFP4_ROW.element == E2M1
    assert NVFP4.scaling == Scaling("block", 16, "e4m3fn")
    assert NVFP4.bits_per_value == 4.5
    # Second scale 1 by a block with 6 * 448: block scales are then numbers of e4m3fn.
    x = np.zeros((1, 48), np.float32)
    x[0, 0], x[0, 16:20], x[0, 32] = 2688, [6, 2.4, -0.7, 0.2], 6.3
    _, scale = NVFP4.quantize(jnp.asarray(x))
    assert scale.tolist() == [[448, 1, 1]]  # 6.3 / 6 = 1.05 is nearest to 1 in e4m3fn
    found = NVFP4.round(jnp.asarray(x))
    assert found[0, 16:20].tolist() == [6, 2, -0.5, 0]
    assert (float(found[0, 0]), float(found[0, 32])) == (2688, 6)
    # 8 halves the scale's exponent: no block scale below 2^-9, half of it is zero.
    x[0, 16:32], x[0, 32:] = 6 * 2.0**-9, 6 * 2.0**-10
    _, scale = NVFP4.quantize(jnp.asarray(x))
    assert scale.tolist() == [[448, 2.0**-9, 0]]
    assert not NVFP4.round(jnp.asarray(x))[0, 32:].any()


def test_published_casts_of_six_bit_floats():
    """Examples of ONNX's page on floats of 6 bits, which follow the MX specification."""
    values = jnp.float32([25, -0.0, jnp.inf])
    casts = {"e2m3fn_sat": [7.5, -0.0, 7.5], "e3m2fn_sat": [24, -0.0, 28]}
    for name, published in casts.items():
        assert same_bits(number_format(name).round(values), np.float32(published))


def test_two_scales_of_nvfp4_by_hand():
    """As in arXiv 2509.25149: e4m3(amax_b / 6 * s) with s = 6 * 448 / amax, decoded over s."""
    x = np.zeros(32, np.float32)
    x[0], x[16:19] = 10, [3, 1.3, -0.4]
    elements, scale = NVFP4.quantize(jnp.asarray(x))
    # Of the second block 3 / 6 * 268.8 = 134.4, whose neighbors in e4m3fn are 128 and 144.
    np.testing.assert_allclose(scale, [10 / 6, 128 / 268.8], rtol=4 * F32.unit_roundoff)
    assert elements[0] == 6
    assert elements[16:19].tolist() == [6, 3, -1]  # of 6.3, 2.73 and -0.84
    # One scale by itself, without the second, is another number: 0.5 is one of e4m3fn.
    assert abs(float(scale[1]) - 0.5) > 0.02


def test_a_row_of_nvfp4_by_rows_is_a_tensor_by_itself(key):
    x = jax.random.normal(key, (3, 37), jnp.float32) * jnp.float32([[1], [10], [0.1]])
    rows = jnp.stack([NVFP4.round(row) for row in x])
    assert same_bits(NVFP4_ROW.round(x), rows)
    assert not same_bits(NVFP4.round(x), rows)


def test_a_fixed_factor_moves_the_range_of_the_format(key):
    fmt = number_format("e4m3fn*256")
    x = jnp.float32([1.75, 1.8, 2.0, -jnp.inf, 2.0**-17, 2.0**-18, 1.0])
    assert fmt.round(x).tolist() == [1.75, 1.75, 1.75, -1.75, 2.0**-17, 0, 1]
    assert np.isnan(fmt.round(jnp.float32([jnp.nan]))).all()
    plain, once = number_format("e4m3fn_sat"), number_format("e4m3fn*1")
    y = jax.random.normal(key, (64,), jnp.float32) * 200
    assert same_bits(once.round(y), plain.round(y))
    assert same_bits(fmt.round(y / 256), plain.round(y) / 256)


# Names.


def test_formats_are_found_by_name():
    assert all(number_format(name) is fmt for name, fmt in SCALED_FORMATS.items())
    assert all(number_format(fmt.name) == fmt for fmt in FORMATS)
    assert len({fmt.name for fmt in FORMATS}) == len(set(FORMATS))
    own = {
        "e4m3fn*mx": MXFP8,
        "e5m2*mx": MXFP8_E5M2,
        "e2m3fn*mx": MXFP6,
        "e3m2fn*mx": MXFP6_E3M2,
        "e2m1*mx": MXFP4,
        "int8*mx": MXINT8,
        "e2m1*nv": NVFP4,
        "e2m1*nvrow": NVFP4_ROW,
        "int8*tensor": INT8,
        "int4*row": INT4_CHANNEL,
        "e4m3fn_sat*mx": MXFP8,
    }
    assert {name: number_format(name) for name in own} == own
    assert number_format("half*row").name == "f16*row"
    assert number_format("bfloat16*1").name == "bf16*1"
    assert number_format("e4m3fn*0.5").scaling == Scaling("fixed", factor=0.5)
    assert number_format("e4m3fn*1048576").name == "e4m3fn*1048576"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("int3", r"got 'int3': did you mean 'int3\*tensor'"),
        ("mxfp9", "did you mean 'mxfp8'"),
        ("mxfp", "did you mean 'mxfp"),
        ("nvfp", "did you mean 'nvfp4'"),
        ("e4m3f*mx", r"did you mean 'e4m3fn\*mx'"),
        ("bfloat6", "did you mean 'bfloat16'"),
        ("fp8", "write e4m3fn or e5m2 for fp8"),
        ("fp8*mx", "write e4m3fn or e5m2 for fp8"),
        ("int9*row", r"e<E>m<M> or FORMAT\*SCALE; got 'int9\*row'"),
        ("e4m3fn*", r"a scale out of tensor, row, .* got 'e4m3fn\*'"),
        ("e4m3fn*block0", "a scale out of"),
        ("e4m3fn*-2", "a scale out of"),
        ("e4m3fn*3", "a power of two as the factor of a fixed scale, .* got 3"),
        ("e4m3fn*0", "a power of two"),
        ("e4m3fn*1e999", "finite"),
        ("bf16*row", "at most 6 exponent bits .* got bf16"),
        ("f64*0.5", "range of float64, got 0.5"),
        ("mxfp8*row", r"got 'mxfp8\*row'"),
        ("", "got ''"),
    ],
)
def test_what_is_no_name_is_one_line(name, said):
    with pytest.raises(ValueError, match=said) as caught:
        number_format(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Codes(9), "2 to 8 bits of a code, got 9"),
        (lambda: Codes(8, -1), "0 to 6 fraction bits of a code of 8 bits, got -1"),
        (lambda: Scaling("block"), "a block of at least 1"),
        (lambda: Scaling("row", 4), "a block of at least 1 .* got 4"),
        (lambda: Scaling("row", stored="e4m3fn"), "over='block' with stored='e4m3fn', got 'row'"),
        (lambda: Scaling("fixed", stored="power_of_two"), "stored='carrier' with over='fixed'"),
        (lambda: Scaling("row", factor=2.0), "and 1 for all others, got 2"),
        (lambda: INT8.round(jnp.ones(2, jnp.float16)), "float32 or float64, got float16"),
        (lambda: INT8.quantize(jnp.ones(2, jnp.bfloat16)), "float32 or float64, got bfloat16"),
        (lambda: number_format("bf16*0.5").round(jnp.ones(2, jnp.float32)), "use a float64"),
    ],
)
def test_settings_are_checked(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_the_carrier_is_the_narrower_that_has_all_values():
    wide = ["bf16*0.5", "e9m3*1"]
    assert [number_format(name).min_carrier.name for name in wide] == ["f64", "f64"]
    assert {fmt.min_carrier for fmt in FORMATS} == {F32}
    fmt = number_format("bf16*0.5")
    top = (2 - 2.0**-7) * 2.0**127
    x = np.array([top, 2.1 * top, 2.0**-133, 3 * 2.0**-134, 1 / 3, -np.inf])
    assert same_bits(fmt.round(jnp.asarray(x)), scaled(x, fmt)[0])


def test_bits_per_value_count_a_blocks_scale():
    assert number_format("int4*block32").bits_per_value == 5  # a float32 for 32 codes
    assert number_format("int4*nvrow").bits_per_value == 4.5
    assert INT8.bits_per_value == INT8_CHANNEL.bits_per_value == 8
    own = ScaledFormat("mine", Codes(3), Scaling("block", 8, "power_of_two"))
    assert own.bits_per_value == 4
