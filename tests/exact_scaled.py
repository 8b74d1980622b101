"""Formats with scales once more, value by value, with fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
from exact_numbers import binade, largest, on_grid, spacing_exponent

from glassesjax.precision import E4M3FN, FloatFormat

BITS = {np.dtype(np.float32): (24, -126, 128), np.dtype(np.float64): (53, -1022, 1024)}


def in_carrier(exact, dtype, gradual=False):
    """A fraction rounded to the carrier: subnormal numbers are zero, or kept; infinity too far."""
    precision, lowest, highest = BITS[np.dtype(dtype)]
    k = max(binade(exact), lowest) if gradual else binade(exact)
    rounded = on_grid(exact, k - precision + 1)
    if binade(rounded) >= highest:
        return None  # an infinity, which no fraction is
    return Fraction(0) if binade(rounded) < lowest and not gradual else rounded


def top_of(element):
    """The largest element."""
    if isinstance(element, FloatFormat):
        return Fraction(largest(element))
    return Fraction((1 << (element.bits - 1)) - 1, 1 << element.fraction_bits)


def nearest_element(exact, element):
    """The element nearest to a fraction, ties to even; those too large saturate."""
    is_float, top = isinstance(element, FloatFormat), top_of(element)
    k = spacing_exponent(exact, element) if is_float else -element.fraction_bits
    return max(-top, min(top, on_grid(exact, k)))


def groups(shape, scaling):
    """Lists of indices that share a scale."""
    every, size = list(np.ndindex(*shape)), scaling.block or 1
    keys = {
        "tensor": lambda at: (),
        "row": lambda at: at[:-1],
        "column": lambda at: (*at[:-2], at[-1]) if len(at) > 1 else at,
        "block": lambda at: (*at[:-1], at[-1] // size if at else 0),
    }
    key = keys[scaling.over]
    return [list(some) for _, some in itertools.groupby(sorted(every, key=key), key)]


def scaled(x, fmt):
    """What ``ScaledFormat.round`` is to return, and each value's scale (None: not finite)."""
    values, scales = np.empty_like(x), np.empty(x.shape, object)
    if fmt.scaling.over == "fixed":
        some_of = [(list(np.ndindex(*x.shape)), 1 / Fraction(fmt.scaling.factor))]
    else:
        some_of = [(some, scale_of(some, x, fmt)) for some in groups(x.shape, fmt.scaling)]
    for some, scale in some_of:
        inverse = None if scale is None else reciprocal(scale, x.dtype)
        for at in some:
            values[at], scales[at] = stored(x[at], scale, inverse, fmt), scale
    return values, scales


def stored(value, scale, inverse, fmt):
    """One value after quantization and back."""
    dtype, value = value.dtype, float(value)
    if scale is None or math.isnan(value):
        return math.nan
    if math.isinf(value):
        return math.copysign(float(top_of(fmt.element) * scale), value)
    if exact_powers(fmt):
        product = nearest_element(Fraction(value) / scale, fmt.element) * scale
        return math.copysign(float(in_carrier(product, dtype, gradual=True)), value)
    quotient = in_carrier(in_carrier(Fraction(value), dtype) * inverse, dtype)
    product = in_carrier(nearest_element(quotient, fmt.element) * scale, dtype)
    return math.copysign(math.inf if product is None else float(product), value)


def exact_powers(fmt):
    """Whether scales are powers of two, so that elements alone are rounded."""
    return fmt.scaling.over == "fixed" or fmt.scaling.stored == "power_of_two"


def reciprocal(scale, dtype):
    """One over a scale, rounded to the carrier's bits in any binade; zero for zero."""
    if scale == 0:
        return Fraction(0)
    inverse = 1 / scale
    return on_grid(inverse, binade(inverse) - BITS[np.dtype(dtype)][0] + 1)


def scale_of(some, x, fmt):
    """The scale of a group, by the rule of the format; None where it is not finite."""
    dtype, top = x.dtype, top_of(fmt.element)
    peak = peak_of((x[at] for at in some), dtype, exact_powers(fmt))
    if fmt.scaling.stored == "carrier":
        return None if peak is None else in_carrier(peak * reciprocal(top, dtype), dtype)
    if fmt.scaling.stored == "power_of_two":
        if peak is None:
            return None
        return Fraction(2) ** max(-127, min(127, binade(peak) - binade(top)))
    row = some[0][:-1]
    others = x[row] if fmt.scaling.stored == "e4m3fn_row" else x
    whole = peak_of(others.ravel(), dtype, False)
    if whole is None:
        return None
    second = in_carrier(whole * reciprocal(448 * top, dtype), dtype)
    unit = in_carrier(second * top, dtype)
    first = nearest_element(in_carrier(peak * reciprocal(unit, dtype), dtype), E4M3FN)
    return in_carrier(first * second, dtype)


def peak_of(values, dtype, gradual):
    """The largest magnitude, subnormal ones zero or kept; None where a value is not finite."""
    peak = max((abs(float(value)) for value in values), default=0.0, key=lambda v: (v != v, v))
    return in_carrier(Fraction(peak), dtype, gradual) if math.isfinite(peak) else None
