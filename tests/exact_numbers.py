"""Formats once more, slow and obvious: every number from its code, rounding with fractions."""

import math
from fractions import Fraction

import numpy as np


def finite_numbers(fmt):
    """All non-negative finite numbers in order, as exact float64: place i has code i."""
    codes = np.arange(1 << (fmt.exponent_bits + fmt.mantissa_bits))
    exponent, fraction = codes >> fmt.mantissa_bits, codes & ((1 << fmt.mantissa_bits) - 1)
    bias = (1 << (fmt.exponent_bits - 1)) - 1
    significand = fraction + np.where(exponent > 0, 1 << fmt.mantissa_bits, 0)
    values = np.ldexp(
        significand.astype(np.float64), np.maximum(exponent, 1) - bias - fmt.mantissa_bits
    )
    if fmt.has_infinity:
        return values[exponent < (1 << fmt.exponent_bits) - 1]
    return values[:-1] if fmt.has_nan else values


def nearest(value, fmt):
    """The number of the format nearest to a float, by exact arithmetic; ties to even."""
    if math.isnan(value):
        return math.nan
    top = Fraction(largest(fmt))
    beyond = math.inf if fmt.has_infinity else math.nan if fmt.has_nan else float(top)
    beyond = float(top) if fmt.saturating else beyond
    if math.isinf(value):
        return math.copysign(beyond, value)
    rounded = on_grid(abs(Fraction(value)), spacing_exponent(Fraction(value), fmt))
    return math.copysign(float(rounded) if rounded <= top else beyond, value)


def largest(fmt):
    """The largest finite number."""
    bias = (1 << (fmt.exponent_bits - 1)) - 1
    highest = bias if fmt.has_infinity else bias + 1
    top = Fraction(2) ** (highest + 1) - Fraction(2) ** (highest - fmt.mantissa_bits)
    if fmt.has_nan and not fmt.has_infinity:
        top -= Fraction(2) ** (highest - fmt.mantissa_bits)
    return float(top)


def spacing_exponent(exact, fmt):
    """The k of the spacing 2^k in the binade of a fraction, going on beyond the largest number."""
    bias = (1 << (fmt.exponent_bits - 1)) - 1
    return max(binade(exact), 1 - bias) - fmt.mantissa_bits


def on_grid(exact, k):
    """The multiple of 2^k nearest to a fraction, ties to even. Integers, for fractions are slow."""
    above, below = exact.numerator, exact.denominator
    above, below = (above, below << k) if k > 0 else (above << -k, below)
    steps, rest = divmod(abs(above), below)
    steps += 2 * rest + (steps & 1) > below
    steps = steps if above >= 0 else -steps
    return Fraction(steps << k) if k > 0 else Fraction(steps, 1 << -k)


def binade(exact):
    """The k for which a fraction's magnitude is in [2^k, 2^(k + 1)); far below all for zero."""
    above, below = abs(exact.numerator), exact.denominator
    if above == 0:
        return -(1 << 12)
    k = above.bit_length() - below.bit_length()
    return k - ((below << k > above) if k > 0 else (below > above << -k))


def same_bits(a, b):
    """Whether two arrays of one dtype hold the same bits, any NaN being as good as another."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    uint = f"u{a.dtype.itemsize}"
    either = (a.view(uint) == b.view(uint)) | (np.isnan(a) & np.isnan(b))
    return bool(either.all())
