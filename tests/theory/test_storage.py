"""Borders of storage against searches and sums, at the border and beside it."""

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import (
    BF16,
    E2M1,
    E4M3FN,
    E5M2,
    F16,
    Accumulator,
    FloatFormat,
    accumulate,
    float_format,
)
from glassesjax.theory.counting import nearest
from glassesjax.theory.storage import (
    lost_share,
    lost_share_bound,
    mx_zero_border,
    nvfp4_zero_border,
    row_sum_error,
    running_limit,
    silent_length,
    stored_row_sum,
    zero_gap,
)

U = 2.0**-53
E2M3 = FloatFormat("e2m3fn", 2, 3, has_infinity=False, has_nan=False)
E3M2 = FloatFormat("e3m2fn", 3, 2, has_infinity=False, has_nan=False)
NARROW = [E2M1, E4M3FN, E5M2, F16, float_format("e3m4"), float_format("e4m2")]
by_format = pytest.mark.parametrize("fmt", NARROW, ids=lambda fmt: fmt.name)


@by_format
def test_equal_weights_are_zero_from_one_length_on(fmt):
    n = np.unique(np.r_[1:3000, 2.0 ** np.arange(26), 2.0 ** np.arange(1, 26) - 1])
    stored = np.asarray(fmt.round(jnp.asarray(1 / n)))
    silent = silent_length(fmt)
    assert np.array_equal(stored == 0, n >= silent)
    assert stored[n == silent - 1] == fmt.min_subnormal
    # The exact sums, and their bound, which the first silent row attains.
    few = [int(one) for one in n if one <= 3000] + [silent - 1, silent]
    errors = [abs(stored_row_sum(one, fmt) - 1) for one in few if one <= silent]
    bounds = [row_sum_error(one, fmt) for one in few if one <= silent]
    assert all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    assert errors[-1] == bounds[-1] == 1


def test_silent_lengths_by_hand():
    assert [silent_length(fmt) for fmt in (E2M1, E4M3FN, E5M2)] == [4, 1024, 131072]
    assert (silent_length(F16), silent_length(BF16)) == (2**25, 2**134)
    assert silent_length(E4M3FN, scale=256.0) == 2**18
    assert silent_length(E4M3FN, scale=0.3) == 308  # 0.3 / 307 is still over 2^-10
    assert stored_row_sum(1023, E4M3FN) == Fraction(1023, 512)
    assert stored_row_sum(1024, E4M3FN) == 0


@pytest.mark.parametrize(
    "order",
    [("sequential", 1), ("chunked", 3), ("chunked", 8), ("split", 3), ("split", 8)],
    ids=str,
)
@pytest.mark.parametrize("fmt", [E5M2, E4M3FN, float_format("e8m4")], ids=lambda fmt: fmt.name)
def test_running_sums_stop_at_their_limit(fmt, order):
    how, u = Accumulator(fmt, *order), 2.0 ** -(fmt.mantissa_bits + 1)
    # Numbers of the format from one binade, and a power of two.
    for term in (0.25, 0.375, 0.4375 if fmt.mantissa_bits > 2 else 0.4375 + 0.0625):
        limit = float(running_limit(term, how))
        if math.isinf(limit):
            continue
        n = int(4 * how.size / u)
        terms = jnp.asarray(np.full(n, term))
        assert float(accumulate(terms, how)) == limit
        # Once it is at the limit, and only then, nothing more is counted.
        fewer = terms.at[int(limit / term / 2) :].set(0)
        assert float(accumulate(fewer, how)) < limit


def test_limits_by_hand():
    limit = lambda fmt, *order: running_limit(1, Accumulator(fmt, *order))
    assert [limit(fmt) for fmt in (E2M1, E5M2, E4M3FN, BF16, F16)] == [4, 8, 16, 256, 2048]
    assert limit(BF16, "chunked", 64) == 64 * 256 == limit(BF16, "split", 64)
    assert limit(BF16, "chunked", 3) == 4 * 256  # three are added until the step is eight
    assert limit(BF16, "split", 3) == 3 * 256
    assert limit(BF16, "split", 1000) == 256 * 256  # and the sum of the parts stops, too
    assert limit(BF16, "pairwise") == math.inf
    assert limit(E4M3FN, "chunked", 64) == math.inf  # it overflows: 448 is less than 1024
    assert running_limit(2.0**-10, Accumulator(E4M3FN)) == 0
    assert running_limit(3 * 2.0**-11, Accumulator(E4M3FN)) == 2.0**-5


@pytest.mark.parametrize("fmt", [E4M3FN, E5M2, BF16], ids=lambda fmt: fmt.name)
def test_pairwise_sums_of_ones_err_by_one_rounding(fmt):
    most = min(int(fmt.max) // 2, 1100)
    lengths = np.arange(1, most + 1)
    ones = jnp.asarray((np.arange(2048) < lengths[:, None]).astype(np.float64))
    error = np.abs(np.asarray(accumulate(ones, Accumulator(fmt, "pairwise"))) - lengths)
    assert np.all(error <= fmt.unit_roundoff * lengths)
    tie = 2 ** (fmt.mantissa_bits + 1) + 1
    assert error[tie - 1] == 1  # the bound but for 1 / tie


@by_format
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_weight_is_zero_from_the_gap_on(fmt, scale):
    gap, spacing = zero_gap(fmt, scale), 2.0**-40
    weights = scale * np.exp(-gap + np.array([-spacing, spacing]))
    below, above = np.asarray(fmt.round(jnp.asarray(weights))).tolist()
    assert below == 0
    assert above == fmt.min_subnormal


def test_gaps_by_hand():
    gaps = [zero_gap(fmt) for fmt in (E4M3FN, E5M2, F16, BF16)]
    assert gaps == [k * math.log(2) for k in (10, 17, 25, 134)]
    assert math.isclose(zero_gap(E4M3FN, 256.0), 18 * math.log(2), rel_tol=4 * U)


def test_lost_share_of_one_sink():
    n, gap = 1025, zero_gap(E4M3FN)
    row = lambda gap: jnp.asarray(np.r_[gap, np.zeros(n - 1)])
    # A rounding of the gap decides at the gap itself: beyond it by two roundings of it.
    past = gap + 4 * gap * U
    lost = float(lost_share(row(past), E4M3FN))
    assert math.isclose(lost, lost_share_bound(n, past), rel_tol=8 * n * U)
    assert math.isclose(lost, 0.5, rel_tol=8 * n * U + 4 * gap * U)
    assert float(lost_share(row(gap - 4 * gap * U), E4M3FN)) == 0
    assert float(lost_share(row(past), E4M3FN, scale=256.0)) == 0


def test_lost_share_stays_in_its_bound_and_masks_lose_nothing():
    logits = 4 * np.random.default_rng(0).normal(size=(16, 300))
    logits[3, 40:] = -np.inf
    shares = np.asarray(lost_share(jnp.asarray(logits), E4M3FN))
    assert np.all(shares <= lost_share_bound(300, zero_gap(E4M3FN)))
    assert np.all(shares > 0)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    by_hand = np.sum(weights * (weights <= 2.0**-10), axis=1) / np.sum(weights, axis=1)
    assert np.allclose(shares, by_hand, rtol=600 * U, atol=0)


@pytest.mark.parametrize("fmt", [E2M1, E2M3, E3M2, E4M3FN, E5M2], ids=lambda fmt: fmt.name)
def test_zeros_of_an_mx_block(fmt):
    shares = {"e2m1": 4, "e2m3fn": 6, "e3m2fn": 9, "e4m3fn": 18, "e5m2": 32}
    for largest in (1.0, 1.25, 1.9375, 3e-5, 700.0):
        scale = 2.0 ** (math.floor(math.log2(largest)) - math.floor(math.log2(fmt.max)))
        border = float(mx_zero_border(largest, fmt))
        elements = np.array([border, np.nextafter(border, np.inf), largest]) / scale
        zero, least, top = np.asarray(fmt.round(jnp.asarray(elements))).tolist()
        assert (zero, least) == (0, fmt.min_subnormal)
        assert not top < fmt.max / 2  # NaN where it overflows: elements saturate
        assert 0.5 < border / (largest * 2.0 ** -shares[fmt.name]) <= 1


def test_zeros_of_an_nvfp4_block():
    whole = 6 * 448.0
    for largest in (whole, whole / 2, 100.0, 7.0, 1.0, 0.03):
        scale = float(E4M3FN.round(jnp.asarray(largest / 6)))
        border = float(nvfp4_zero_border(largest, whole))
        elements = np.array([border, np.nextafter(border, np.inf)]) / scale
        assert np.asarray(E2M1.round(jnp.asarray(elements))).tolist() == [0, 0.5]
        if scale >= 2.0**-6:
            assert abs(24 * border / largest - 1) <= 2.0**-4
    lost = whole / (448 * 1024)
    assert float(E4M3FN.round(jnp.asarray(lost / 6))) == 0
    assert nvfp4_zero_border(lost, whole) == Fraction(lost)
    assert nvfp4_zero_border(np.nextafter(lost, 1), whole) < lost


@pytest.mark.parametrize("fmt", [E4M3FN, E5M2], ids=lambda fmt: fmt.name)
def test_sums_of_stored_rows_are_those_of_the_format(fmt):
    for n in (3, 7, 100, 1000):
        assert stored_row_sum(n, fmt) == n * nearest(Fraction(1, n), fmt)
        stored = float(fmt.round(jnp.asarray(1 / n)))
        assert float(stored_row_sum(n, fmt)) == n * stored
