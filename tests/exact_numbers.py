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
    bias = (1 << (fmt.exponent_bits - 1)) - 1
    highest = bias if fmt.has_infinity else bias + 1
    top = Fraction(2) ** (highest + 1) - Fraction(2) ** (highest - fmt.mantissa_bits)
    if fmt.has_nan and not fmt.has_infinity:
        top -= Fraction(2) ** (highest - fmt.mantissa_bits)
    beyond = math.inf if fmt.has_infinity else math.nan if fmt.has_nan else float(top)
    if math.isinf(value):
        return math.copysign(beyond, value)
    exact = abs(Fraction(value))
    exponent = math.frexp(value)[1] - 1
    quantum = Fraction(2) ** (max(exponent, 1 - bias) - fmt.mantissa_bits)
    rounded = round(exact / quantum) * quantum  # Python rounds a fraction half to even
    return math.copysign(float(rounded) if rounded <= top else beyond, value)


def same_bits(a, b):
    """Whether two arrays of one dtype hold the same bits, any NaN being as good as another."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    uint = f"u{a.dtype.itemsize}"
    either = (a.view(uint) == b.view(uint)) | (np.isnan(a) & np.isnan(b))
    return bool(either.all())
