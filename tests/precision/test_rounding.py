import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import finite_numbers

from glassesjax.precision import (
    BF16,
    E2M1,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    FloatFormat,
    bitwise_equal,
    first_collision,
    last_distinct,
    same_numbers,
    ulp_distance,
    ulps_apart,
)


@pytest.mark.parametrize("fmt", [E2M1, E4M3FN, E5M2], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("carrier", [np.float32, np.float64])
def test_distance_is_the_difference_of_places(fmt, carrier):
    numbers = finite_numbers(fmt)
    line = np.concatenate([-numbers[::-1], numbers]).astype(carrier)  # both zeros in the middle
    place = np.concatenate([-np.arange(len(numbers))[::-1], np.arange(len(numbers))])
    a, b = np.repeat(line, len(line)), np.tile(line, len(line))
    found = ulp_distance(jnp.asarray(a), jnp.asarray(b), fmt)
    assert found.dtype == (jnp.uint32 if carrier == np.float32 else jnp.uint64)
    expected = np.abs(np.repeat(place, len(line)) - np.tile(place, len(line)))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("fmt", [BF16, F16], ids=lambda fmt: fmt.name)
def test_neighbors_are_one_step_apart(fmt):
    numbers = jnp.asarray(finite_numbers(fmt).astype(np.float32))
    assert np.all(ulp_distance(numbers[1:], numbers[:-1], fmt) == 1)
    assert np.array_equal(ulp_distance(numbers, -numbers, fmt), 2 * np.arange(len(numbers)))


@pytest.mark.parametrize(("fmt", "dtype"), [(F32, np.float32), (F64, np.float64)])
def test_the_longest_distances_do_not_overflow(fmt, dtype):
    top, infinity = dtype(fmt.max), dtype(np.inf)
    a = jnp.asarray(np.array([infinity, infinity, top, np.nan, infinity], dtype))
    b = jnp.asarray(np.array([-infinity, top, -top, 1, np.nan], dtype))
    infinite = int(np.asarray(infinity).view(f"u{infinity.itemsize}"))  # steps from zero
    nowhere = 2 ** (8 * infinity.itemsize) - 1
    found = [int(n) for n in np.asarray(ulp_distance(a, b, fmt))]
    assert found == [2 * infinite, 1, 2 * infinite - 2, nowhere, nowhere]


@pytest.mark.parametrize("fmt", [E2M1, E4M3FN, BF16, F32], ids=lambda fmt: fmt.name)
def test_ulps_apart_is_the_quotient_where_the_spacing_is_no_subnormal(fmt):
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 500)).astype(np.float32) * np.float32(1e-3)
    expected = np.abs(b - a) / np.asarray(fmt.ulp(jnp.maximum(jnp.abs(a), jnp.abs(b))))
    found = ulps_apart(jnp.asarray(a), jnp.asarray(b), fmt)
    np.testing.assert_array_equal(found, expected)  # a power of two rounds nothing
    assert np.max(found) <= 2.0 ** (fmt.mantissa_bits + 2)


def ulps_of_few(a, b, fmt):
    """Repeated to the length of the test above, whose operations are compiled."""
    rows = [jnp.asarray(np.resize(np.asarray(x, np.float32), 500)) for x in (a, b)]
    return np.asarray(ulps_apart(*rows, fmt))[: len(a)]


def test_ulps_apart_of_zeros_subnormal_numbers_and_what_is_not_finite():
    a = np.array([0, -0.0, 1e-40, np.inf, np.nan], np.float32)
    b = np.array([0, 0.0, 0, 1, 1], np.float32)
    steps = float(np.float32(1e-40)) / 2.0**-149
    np.testing.assert_array_equal(ulps_of_few(a, b, F32), [0, 0, steps, np.nan, np.nan])
    with pytest.raises(ValueError, match="same dtype"):
        ulps_apart(jnp.asarray(a), jnp.asarray(b.astype(np.float64)), F32)


def test_ulps_apart_is_nan_just_where_a_value_is_no_finite_number():
    coarse = FloatFormat("e2m20", exponent_bits=2, mantissa_bits=20)
    a = np.array([3e38, 3e38, 3e38, 2.0, np.inf, np.nan, 0], np.float32)
    b = np.array([2e38, 3e38, -3e38, 1.5, np.inf, 1, -np.inf], np.float32)
    # Spacings beyond the range are those of the largest number: too many of them for float32.
    expected = [np.inf, 0, np.inf, 0.5 * 2.0**19, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(ulps_of_few(a, b, coarse), expected)


def test_same_numbers_tells_subnormal_ones_apart():
    a = jnp.array([0.0, 1e-320, 1e-320, 1.0, np.nan])
    b = jnp.array([-0.0, 0.0, 1e-320, 1.0, np.nan])
    assert same_numbers(a, b).tolist() == [True, False, True, True, False]


def test_values_are_rounded_before_they_are_counted():
    a, b = jnp.array([1.003, 1e6, 7, 500], np.float32), jnp.array([1.004, 65504, 5, 1], np.float32)
    assert ulp_distance(a[:1], b[:1], BF16).tolist() == [1]
    assert ulp_distance(a[1:2], b[1:2], F16).tolist() == [1]  # infinity is next to the largest
    assert ulp_distance(a[2:3], b[2:3], E2M1).tolist() == [1]  # 7 saturates at 6, 5 ties to 4
    assert ulp_distance(a[3:], b[3:], E4M3FN).tolist() == [2**32 - 1]  # NaN


def test_distance_without_float64():
    with jax.enable_x64(False):
        assert int(ulp_distance(jnp.float32(-np.inf), jnp.float32(np.inf), F32)) == 2 * 0x7F800000


def test_bits_are_compared():
    for dtype in (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn):
        a = jnp.asarray([0.0, 1.0, np.nan, 1.0], dtype)
        b = jnp.asarray([-0.0, 1.0, np.nan, 1.25], dtype)
        assert bitwise_equal(a, b).tolist() == [False, True, True, False]
    subnormal = jnp.asarray(np.array([2.0**-140, 0], np.float32))
    assert bitwise_equal(subnormal, jnp.zeros(2, jnp.float32)).tolist() == [False, True]


def test_dtypes_must_agree():
    for compare in (bitwise_equal, lambda a, b: ulp_distance(a, b, BF16)):
        with pytest.raises(ValueError, match="same dtype, got float32 and float64"):
            compare(jnp.float32(1), jnp.float64(1))


# Format, then the first n with rd(1/n) = rd(1/(n + 1)), the same for 1 + 1/n, the last n where the
# latter differ, and the first integer whose successor is not a number of the format.
TABLE = [
    (BF16, 190, 14, 255, 256),
    (F16, 1464, 36, 2047, 2048),
    (E4M3FN, 14, 4, 15, 16),
    (E5M2, 6, 3, 7, 8),
    (F32, 11864338, 2947, 16777215, 2**24),
]


@pytest.mark.parametrize(
    ("fmt", "inverse", "sum_first", "sum_last", "integer"),
    TABLE,
    ids=lambda x: getattr(x, "name", ""),
)
def test_collisions(fmt, inverse, sum_first, sum_last, integer):
    one_plus_inverse = lambda n: (n + 1) / n
    stop = 2 * integer  # beyond, 1 + 1/n rounds to 1, as its distance from 1 is below u
    assert first_collision(lambda n: 1 / n, fmt, 1, stop) == inverse
    assert first_collision(one_plus_inverse, fmt, 1, stop) == sum_first
    assert last_distinct(one_plus_inverse, fmt, 1, stop) == sum_last
    assert first_collision(lambda n: n, fmt, 1, stop) == integer


def test_float32_separates_once_more_further_down():
    assert last_distinct(lambda n: (n + 1) / n, F32, 5_000_000, 16_777_215) == 5_592_405


@pytest.mark.parametrize(("fmt", "count"), [(BF16, 23), (F16, 64)])
def test_values_that_one_plus_an_inverse_takes(fmt, count):
    n = np.arange(1.0, 10_000)
    assert len(np.unique(fmt.round(jnp.asarray((n + 1) / n)))) == count


def test_bounds_of_a_search():
    halves = lambda n: n // 2
    assert first_collision(halves, F64, 1, 100) == 2
    assert first_collision(halves, F64, 3, 4) is None
    assert last_distinct(halves, F64, 2, 3) is None
    assert last_distinct(halves, F64, 2, 4) == 3
    # Neither the neighbors across two chunks nor those at the end are left out.
    plateau = lambda n: np.where((n == 2**18) | (n == 2**18 + 1), 0, n)
    assert first_collision(plateau, F64, 1, 2**19) == 2**18
    assert first_collision(plateau, F64, 1, 2**18) is None
    step = lambda n: np.where(n <= 2**18, 0.0, 1.0)
    assert last_distinct(step, F64, 1, 2**19) == 2**18


def test_a_sequence_is_evaluated_between_its_bounds_only():
    def checked(n):
        assert n.min() >= 5
        assert n.max() <= 9
        return n

    assert first_collision(checked, F64, 5, 9) is None


def test_searches_work_without_float64():
    with jax.enable_x64(False):
        assert first_collision(lambda n: 1 / n, BF16, 1, 1000) == 190
