"""Arrays of a format as memory has them: codes or bit patterns in integers, scales beside them.

Integers on purpose: a backend may flush or widen narrow floats as it moves them, integers never.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Integer, Num, UInt

from glassesjax.borders import COUNT, border
from glassesjax.precision.bits import LAYOUTS, magnitude_bits, split, steps_from_zero, times_power
from glassesjax.precision.formats import FloatFormat, carrier_format
from glassesjax.precision.scaled import Codes, NumberFormat, ScaledFormat
from glassesjax.precision.scales import elements_of, grouped, product, ungrouped

_E8M0_BIAS, _E8M0_NAN = 127, 255


class Packed(NamedTuple):
    """Values of a format; ``unpack`` gives what the format's ``round`` returns, bit for bit."""

    elements: Integer[Array, "*rows bytes"]
    """Of codes over 4 bits int8, of floats their bit patterns, unsigned; NaN is one pattern, all
    ones. Of 4 bits and less two to a byte, the first half of a row in the low bits. The most
    negative pattern, which is no code, stands for the zero with a sign."""
    scale: Num[Array, "*rows scales"] | None
    """One for each row or block: a power of two as E8M0 (uint8), others in the carrier, so that of
    two-level scales it is the product. None where the format has none to store."""


@border()
def can_pack(fmt: NumberFormat, carrier: FloatFormat) -> bool:
    """Whether rows of a format can be packed, and are then smaller than in the carrier.

    Args:
      fmt: The format.
      carrier: F32 or F64.

    Returns:
      False for formats whose rows share scales, and for those without a pattern for NaN unless a
      scale can be NaN in its place.
    """
    element = fmt.element if isinstance(fmt, ScaledFormat) else fmt
    scaled = isinstance(fmt, ScaledFormat) and fmt.scaling.over != "fixed"
    nan = scaled or (isinstance(element, FloatFormat) and element.has_nan)
    alone = not isinstance(fmt, ScaledFormat) or fmt.row_wise
    return alone and nan and _width(element) < carrier.bits


@border(count=COUNT)
def packed_shapes(
    fmt: NumberFormat, count: int, carrier: DTypeLike
) -> tuple[tuple[int, np.dtype], tuple[int, np.dtype] | None]:
    """Length and type of what a packed row has.

    Args:
      fmt: A format that ``can_pack``.
      count: Values of a row.
      carrier: float32 or float64.

    Returns:
      Of the elements, and of the scales if there are any.
    """
    element = fmt.element if isinstance(fmt, ScaledFormat) else fmt
    width = _width(element)
    kind = "int8" if width == 8 and isinstance(element, Codes) else f"uint{max(width, 8)}"
    elements = (-(-count // 2) if width == 4 else count, np.dtype(kind))
    if not isinstance(fmt, ScaledFormat) or fmt.scaling.over == "fixed":
        return elements, None
    scales = -(-count // min(fmt.scaling.block, count)) if fmt.scaling.block else 1
    power = fmt.scaling.stored == "power_of_two"
    return elements, (scales, np.dtype("uint8" if power else carrier))


@border()
def pack(x: Float[Array, "*rows count"], fmt: NumberFormat) -> Packed:
    """Values as a format stores them.

    Args:
      x: float32 or float64, which need not be numbers of the format.
      fmt: A format that ``can_pack``.

    Returns:
      Elements and scales, of the shapes and types of ``packed_shapes``.

    Raises:
      ValueError: The dtype of ``x`` does not hold the format.
    """
    if isinstance(fmt, FloatFormat):
        return Packed(_pattern(fmt.round(x), fmt), None)
    elements, scale, exponent = elements_of(x, fmt)
    if isinstance(fmt.element, FloatFormat):
        patterns = _pattern(elements, fmt.element)
    else:
        patterns = _code(elements, fmt.element)
    if _width(fmt.element) == 4:
        patterns = _halved(patterns)
    if fmt.scaling.over == "fixed":
        return Packed(patterns, None)
    if exponent is not None:
        scale = jnp.where(jnp.isnan(scale), _E8M0_NAN, exponent + _E8M0_BIAS).astype(jnp.uint8)
    return Packed(patterns, scale)


@border()
def unpack(
    packed: Packed, fmt: NumberFormat, count: int, carrier: DTypeLike
) -> Float[Array, "*rows count"]:
    """The values of a packed array.

    Args:
      packed: From ``pack``.
      fmt: Its format.
      count: Values of a row.
      carrier: float32 or float64, that of the values that were packed.

    Returns:
      What ``fmt.round`` made of them, bit for bit, but for the bits of NaNs.
    """
    carrier = jnp.dtype(carrier)
    if isinstance(fmt, FloatFormat):
        return _value(packed.elements, fmt, carrier)
    patterns = packed.elements
    if _width(fmt.element) == 4:
        patterns = jnp.concatenate([patterns & 15, patterns >> 4], axis=-1)[..., :count]
    if isinstance(fmt.element, FloatFormat):
        elements = _value(patterns, fmt.element, carrier)
    else:
        elements = _decoded(patterns, fmt.element, carrier)
    if packed.scale is None:
        power = jnp.asarray(1 - math.frexp(fmt.scaling.factor)[1], jnp.int32)
        return times_power(elements, power)
    # (..., count) -> (..., blocks, size) where there are blocks; (..., blocks) -> (..., blocks, 1)
    values = grouped(elements, fmt.scaling)
    scale = packed.scale[..., None] if fmt.scaling.block else packed.scale
    if fmt.scaling.stored != "power_of_two":
        return ungrouped(product(values, scale), elements, fmt.scaling)
    values = times_power(values, scale.astype(jnp.int32) - _E8M0_BIAS)
    return ungrouped(jnp.where(scale == _E8M0_NAN, jnp.nan, values), elements, fmt.scaling)


def _width(element: FloatFormat | Codes) -> int:
    """Bits that an element takes: 4, or a whole number of bytes that integers have."""
    return next(width for width in (4, 8, 16, 32, 64) if element.bits <= width)


def _code(elements: Float[Array, "*shape"], codes: Codes) -> Integer[Array, "*shape"]:
    """Codes of elements; zero of NaNs, whose scale is not finite."""
    low = -(1 << (_width(codes) - 1))
    sign = split(elements).sign != 0
    code = elements * 2.0**codes.fraction_bits
    code = jnp.where(jnp.isnan(code), 0, code).astype(jnp.int8)
    return jnp.where(sign & (code == 0), jnp.asarray(low, jnp.int8), code)


def _decoded(
    patterns: Integer[Array, "*shape"], codes: Codes, carrier: np.dtype
) -> Float[Array, "*shape"]:
    width = _width(codes)
    # Two's complement of four bits: the upper half of the patterns is negative.
    code = patterns.astype(jnp.int8)
    code = jnp.where(code > 7, code - 16, code).astype(jnp.int8) if width == 4 else code
    elements = code.astype(carrier) * (1 / 2.0**codes.fraction_bits)
    return jnp.where(code == -(1 << (width - 1)), jnp.asarray(-0.0, carrier), elements)


def _halved(patterns: Integer[Array, "*rows count"]) -> UInt[Array, "*rows bytes"]:
    """Two patterns of four bits to a byte."""
    low = patterns.astype(jnp.uint8) & 15
    odd = low.shape[-1] % 2
    low = jnp.pad(low, [(0, 0)] * (low.ndim - 1) + [(0, odd)])
    half = low.shape[-1] // 2
    return low[..., :half] | (low[..., half:] << 4)


def _pattern(x: Float[Array, "*shape"], fmt: FloatFormat) -> UInt[Array, "*shape"]:
    """Bit patterns of numbers of a format: their steps from zero, and the sign."""
    layout, top = LAYOUTS[x.dtype], fmt.bits - 1
    steps = steps_from_zero(x, fmt.grid)
    # An element without a NaN is zero there, and its scale is not finite: the product is NaN.
    nan = (1 << top) - 1 if fmt.has_nan else 0
    steps = jnp.where(magnitude_bits(x) > layout.infinity, nan, steps)
    sign = split(x).sign >> (carrier_format(x.dtype).bits - 1)
    return (steps | (sign << top)).astype(f"uint{max(_width(fmt), 8)}")


def _value(
    patterns: UInt[Array, "*shape"], fmt: FloatFormat, carrier: np.dtype
) -> Float[Array, "*shape"]:
    """Numbers of bit patterns."""
    layout, top, grid = LAYOUTS[carrier], fmt.bits - 1, fmt.grid
    bits = patterns.astype(layout.uint)
    steps = bits & ((1 << top) - 1)
    sign = (bits >> top) << (carrier_format(carrier).bits - 1)
    shifted = steps << (layout.mantissa_bits - grid.mantissa_bits)
    bias = layout.bias + grid.min_exponent - 1  # what the exponents differ by
    if bias == 0:  # bfloat16: the upper half of a float32, infinity and NaN too
        return jax.lax.bitcast_convert_type(sign | shifted, carrier)
    magnitude = shifted + (bias << layout.mantissa_bits)
    # Exact and normal in the carrier, however small in the format.
    small = steps.astype(carrier) * fmt.min_subnormal
    small = jax.lax.bitcast_convert_type(small, layout.uint)
    magnitude = jnp.where(steps >> grid.mantissa_bits == 0, small, magnitude)
    beyond = layout.infinity if fmt.has_infinity else layout.infinity + 1
    magnitude = jnp.where(steps == grid.steps + 1, beyond, magnitude)
    magnitude = jnp.where(steps > grid.steps + 1, layout.infinity + 1, magnitude)
    return jax.lax.bitcast_convert_type(sign | magnitude.astype(layout.uint), carrier)
