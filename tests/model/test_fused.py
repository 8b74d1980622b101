"""Fused attention: against exact rationals, the normalized order, and the sum of its weights."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import attention as model_attention
from glassesjax.model.fused import fused_average
from glassesjax.model.layers import exact
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F16,
    F32,
    F64,
    Accumulator,
    RoundingPlan,
    float_format,
)


def nearest(value, fmt):
    """The number of a format nearest to a fraction, ties to even; no overflow here."""
    value = Fraction(value)
    if value == 0:
        return value
    size, bias = abs(value), (1 << (fmt.exponent_bits - 1)) - 1
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    quantum = Fraction(2) ** (max(exponent, 1 - bias) - fmt.mantissa_bits)
    return round(value / quantum) * quantum


def slow(logits, value, plan):
    """One head and one query, tile by tile, in fractions; exponentials are the carrier's own."""
    to = lambda number: nearest(number, plan.product_sum.fmt)
    exp = lambda x, most: (
        Fraction(0) if x == -math.inf else Fraction(float(jnp.exp(jnp.float64(x - most))))
    )
    starts = list(range(0, len(logits), plan.tile or len(logits)))
    most, total, mean = -math.inf, Fraction(0), [Fraction(0)] * value.shape[1]
    for start in starts if plan.tile_order == "forward" else starts[::-1]:
        keys = range(start, min(start + (plan.tile or len(logits)), len(logits)))
        before, most = most, max(most, *(logits[key] for key in keys))
        factor = exp(before, most)
        exps = [exp(logits[key], most) for key in keys]
        new = Fraction(0)
        for each in exps:
            new = to(new + each)
        total = to(to(factor * total) + new)
        stored = [nearest(each, plan.attn_exp) for each in exps]
        for column in range(value.shape[1]):
            new = Fraction(0)
            for each, key in zip(stored, keys, strict=True):
                new = to(new + each * Fraction(float(value[key, column])))
            mean[column] = to(to(factor * mean[column]) + new)
    # The pass divides in the carrier, which may be a product with the inverse: then it is stored.
    return [float(nearest(each / total, F32)) for each in mean]


def flash(**fields):
    sums = dict.fromkeys(("product_sum", "softmax_sum"), Accumulator(F32))
    given = {"attn_exp": BF16, "mode": "simulated", "carrier": F64} | sums | fields
    return RoundingPlan(**given)


def drawn(key, length, width=3):
    """Logits of one query, some masked, and values of bfloat16."""
    first, second = jax.random.split(key)
    logits = 3 * jax.random.normal(first, (length,), jnp.float64)
    logits = jnp.where(jnp.arange(length) % 7 == 3, -jnp.inf, logits)
    return logits, BF16.round(jax.random.normal(second, (length, width), jnp.float64))


@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize("tile", [0, 4, 5])
@pytest.mark.parametrize("fmt", [BF16, E4M3FN])
def test_a_head_equals_the_same_order_in_exact_rationals(key, fmt, tile, order):
    logits, value = drawn(key, 17)
    plan = flash(attn_exp=fmt, tile=tile, tile_order=order)
    mean, _ = fused_average(logits[None, None], value[None], plan)
    assert F32.round(mean)[0, 0].tolist() == slow(np.asarray(logits), np.asarray(value), plan)


def test_rounding_sums_to_bfloat16_is_another_number(key):
    logits, value = drawn(key, 17)
    narrow = dict.fromkeys(("product_sum", "softmax_sum"), Accumulator(BF16))
    plans = flash(tile=4), flash(tile=4, **narrow)
    one, other = (fused_average(logits[None, None], value[None], plan)[0] for plan in plans)
    assert F32.round(other)[0, 0].tolist() == slow(np.asarray(logits), np.asarray(value), plans[1])
    assert not np.array_equal(one, other)


def unrounded(**fields):
    """A fused plan whose format is the carrier: only the order differs from the softmax."""
    return RoundingPlan(attn_exp=F64, mode="simulated", carrier=F64, **fields)


@pytest.mark.parametrize("tile", [0, 1, 6])
def test_without_rounding_it_is_the_softmax_average_and_so_is_its_derivative(key, tile):
    logits, value = drawn(key, 13)

    def fused(logits, value):
        mean, weights = fused_average(logits[None, None], value[None], unrounded(tile=tile))
        return mean, weights

    def normalized(logits, value):
        weights = model_attention.softmax(logits)[None, None]
        return exact("kns,ksh->knh", weights, value[None], F64.dtype), weights

    # Some twenty roundings of float64 lie between the two, of numbers below 4.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=100 * 2.0**-53)
    for one, other in zip(*(jax.jit(f)(logits, value) for f in (fused, normalized)), strict=True):
        close(one, other)
    slopes = [
        jax.jit(jax.jacrev(lambda *x, f=f: f(*x)[0], argnums=(0, 1)))(logits, value)
        for f in (fused, normalized)
    ]
    for one, other in zip(*slopes, strict=True):
        assert np.isfinite(one).all()
        close(one, other)


@pytest.mark.parametrize("fmt", [E4M3FN, BF16, F16])
def test_equal_weights_sum_to_one_in_the_fused_order_and_not_when_normalized(fmt):
    length = 2000
    logits, value = jnp.zeros((1, 1, length), jnp.float32), jnp.ones((1, length, 1), jnp.float32)
    plan = RoundingPlan(attn_exp=fmt, mode="simulated", carrier=F32)
    mean, weights = fused_average(logits, value, plan)
    assert mean.item() == 1
    assert abs(float(weights.sum()) - 1) < length * F32.unit_roundoff
    normalized = fmt.round(jnp.full(length, 1 / length, jnp.float32)).sum()
    if fmt == E4M3FN:
        assert normalized == 0  # 1 / 2000 is less than half of the least subnormal number, 2^-9
        row = E4M3FN.round(jnp.full(1000, 1 / 1000, jnp.float32))
        assert row.sum() == 1000 * 2.0**-9  # 1.95: each weight is rounded up to the least number


def test_a_running_maximum_without_the_sink_keeps_what_one_tile_loses():
    # arXiv 2606.06521: with the sink in the last tile the others were stored beside smaller maxima.
    logits = jnp.float32([8.0] + [0.0] * 255)[None, None]
    value = jnp.ones((1, 256, 1), jnp.float32)
    lost = []
    for order in ("forward", "reverse"):
        plan = RoundingPlan(
            attn_exp=E4M3FN, tile=64, tile_order=order, mode="simulated", carrier=F32
        )
        lost.append(1 - float(fused_average(logits, value, plan)[0].item()))
    share = 255 * math.exp(-8) / (1 + 255 * math.exp(-8))
    assert lost[0] == pytest.approx(share, rel=1e-4)  # exp(-8) < 2^-10: all of them are zero
    # In reverse only the keys of the sink's own tile are.
    assert lost[1] == pytest.approx(share * 63 / 255, rel=1e-4)


def test_a_scale_moves_the_border_of_zero():
    logits, value = jnp.float32([[[8.0, 0.0]]]), jnp.float32([[[0.0], [1.0]]])
    mean = lambda fmt: fused_average(
        logits, value, RoundingPlan(attn_exp=fmt, mode="simulated", carrier=F32)
    )[0].item()
    assert mean(E4M3FN) == 0
    assert mean(float_format("e8m3")) > 0
