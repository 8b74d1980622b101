"""The arithmetic of formats with scales: which values share one, scales, elements and products."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8

from glassesjax.precision.bits import (
    LAYOUTS,
    leading_bit,
    magnitude_bits,
    nearest_multiple,
    peak_exponent,
    round_to,
    split,
    times_power,
)
from glassesjax.precision.formats import E4M3FN, FloatFormat
from glassesjax.precision.grid import Grid
from glassesjax.precision.scaled import Codes, ScaledFormat, Scaling

_E8M0 = 127  # largest exponent of a scale that is stored as a power of two


@functools.partial(jax.jit, static_argnames="fmt")
def quantized(
    x: Float[Array, "*shape"], fmt: ScaledFormat
) -> tuple[Int8[Array, "*shape"] | Float[Array, "*shape"], Float[Array, "..."]]:
    """Elements and their scale, as in ``ScaledFormat.quantize``.

    Args:
      x: float32 or float64.
      fmt: The format.

    Returns:
      Codes or values of the elements, and the scale.
    """
    elements, scale, _ = elements_of(x, fmt)
    if isinstance(fmt.element, Codes):
        codes = elements * 2.0**fmt.element.fraction_bits
        return jnp.where(jnp.isnan(codes), 0, codes).astype(jnp.int8), scale
    return elements, scale


def elements_of(
    x: Float[Array, "*shape"], fmt: ScaledFormat
) -> tuple[Float[Array, "*shape"], Float[Array, "..."], Int[Array, "..."] | None]:
    """Values of the elements, and their scale.

    Args:
      x: float32 or float64.
      fmt: The format.

    Returns:
      The elements, those of codes too as floats; the scale; its exponent where it is a power of
      two, which holds where the scale is not NaN.
    """
    values, exponent = grouped(x, fmt.scaling), None
    if _exact(fmt.scaling):
        exponent, scale = _power(values, fmt)
        elements = times_power(_multiples(values, exponent, fmt.element), -exponent)
        elements = jnp.where(jnp.isnan(scale), scale, elements)
    else:
        elements, scale = _elements(_normal(values), fmt)
    if fmt.scaling.over == "block":  # (..., blocks, 1) -> (..., blocks)
        scale, exponent = scale[..., 0], None if exponent is None else exponent[..., 0]
    return ungrouped(elements, x, fmt.scaling), scale, exponent


def product(elements: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Elements times their scale, a number of the carrier that no compiler fuses with a sum.

    Args:
      elements: Values of the elements.
      scale: Not a power of two; of a shape that broadcasts.

    Returns:
      The products, subnormal ones as zeros.
    """
    # A compiler fuses a product with a later sum, and then the stored value is not the one
    # added; an optimization barrier does not stop it. Passing through the bits does.
    return _normal(elements * scale)


@functools.partial(jax.jit, static_argnames="fmt")
def nearest(x: Float[Array, "*shape"], fmt: ScaledFormat) -> Float[Array, "*shape"]:
    """Values after quantization and back, as ``ScaledFormat.round`` without its derivative.

    Args:
      x: float32 or float64.
      fmt: The format.

    Returns:
      The values.
    """
    values = grouped(x, fmt.scaling)
    if _exact(fmt.scaling):
        exponent, scale = _power(values, fmt)
        values = _multiples(values, exponent, fmt.element)
        values = jnp.where(jnp.isnan(scale), scale, values)
    else:
        elements, scale = _elements(_normal(values), fmt)
        values = product(elements, scale)
    return ungrouped(values, x, fmt.scaling)


def grouped(x: Float[Array, "*shape"], scaling: Scaling) -> Float[Array, "..."]:
    """The same values, with an axis of blocks before the last one where there are blocks."""
    if scaling.over != "block":
        return x
    x = x if x.ndim else x[None]
    size = max(1, min(scaling.block, x.shape[-1]))
    # (..., n) -> (..., blocks, size), with zeros behind, which are no maximum of any block
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % size)])
    return padded.reshape(*x.shape[:-1], padded.shape[-1] // size, size)


def ungrouped(
    values: Float[Array, "..."], x: Float[Array, "*shape"], scaling: Scaling
) -> Float[Array, "*shape"]:
    """The values of ``grouped`` x, in the shape of x."""
    if scaling.over != "block":
        return values
    length = x.shape[-1] if x.ndim else 1
    joined = values.reshape(*x.shape[:-1], values.shape[-2] * values.shape[-1])
    return joined[..., :length].reshape(x.shape)


def _axes(scaling: Scaling, ndim: int) -> tuple[int, ...]:
    """The axes over which values share a scale."""
    match scaling.over:
        case "tensor":
            return tuple(range(ndim))
        case "column":
            return (-2,) if ndim > 1 else ()
        case _:
            return (-1,) if ndim else ()


def _exact(scaling: Scaling) -> bool:
    """Whether scales are powers of two, so that elements alone are rounded."""
    return scaling.over == "fixed" or scaling.stored == "power_of_two"


def _power(
    x: Float[Array, "..."], fmt: ScaledFormat
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """The exponent of each scale that is a power of two, and the scale; NaN of what is not finite.

    The range of float32's subnormal numbers is below that of E8M0, so that a largest number among
    them may be flushed.
    """
    if fmt.scaling.over == "fixed":
        power = 1 - math.frexp(fmt.scaling.factor)[1]  # the scale is one over the factor
        exponent = jnp.full((1,) * x.ndim, power, jnp.int32)
        return exponent, times_power(jnp.ones_like(exponent, x.dtype), exponent)
    peak = _peak(x, _axes(fmt.scaling, x.ndim))
    exponent = peak_exponent(peak, ()) - (math.frexp(fmt.element.max)[1] - 1)
    none = magnitude_bits(peak) >> LAYOUTS[x.dtype].mantissa_bits == 0
    exponent = jnp.clip(jnp.where(none, -_E8M0, exponent), -_E8M0, _E8M0)
    scale = times_power(jnp.ones_like(peak), exponent)
    return exponent, jnp.where(jnp.isfinite(peak), scale, jnp.nan)


def _multiples(
    x: Float[Array, "..."], exponent: Int[Array, "..."], element: FloatFormat | Codes
) -> Float[Array, "..."]:
    """The nearest elements times 2^exponent, ties to even, saturated; NaN stays.

    As ``round_to`` on a grid that the exponent moves, so that nothing is multiplied: subnormal
    numbers are exact, too.
    """
    layout, parts, grid = LAYOUTS[x.dtype], split(x), _grid(element)
    # Subnormal numbers have a binade of their own below that of their exponent.
    binade = leading_bit(parts, layout) + parts.exponent.astype(jnp.int32)
    lowest = exponent + (grid.min_exponent + layout.bias)
    coarser = jnp.maximum(binade, lowest) - parts.exponent.astype(jnp.int32)
    shift = coarser + (layout.mantissa_bits - grid.mantissa_bits)
    # Nothing is finer than the carrier; two bits more than the significand are below half a step.
    shift = jnp.clip(shift, 0, layout.mantissa_bits + 2).astype(layout.uint)
    steps = nearest_multiple(parts.significand, shift)
    magnitude = ((parts.exponent - 1) << layout.mantissa_bits) + (steps << shift)
    largest = times_power(jnp.full(exponent.shape, element.max, x.dtype), exponent)
    magnitude = jnp.minimum(jnp.where(steps == 0, 0, magnitude), magnitude_bits(largest))
    rounded = jax.lax.bitcast_convert_type(parts.sign | magnitude, x.dtype)
    return jnp.where(jnp.isnan(x), x, rounded)


def _elements(
    x: Float[Array, "..."], fmt: ScaledFormat
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The elements nearest to x over its scale, and the scale, in carrier arithmetic."""
    scale = _carrier_scale(_peak(x, _axes(fmt.scaling, x.ndim)), fmt)
    # A quarter of large scales, whose reciprocals would else be subnormal at the end of the range.
    quarter = jnp.where(scale < 1, 1, 0.25).astype(x.dtype)
    quotient = x * _reciprocal(scale * quarter) * quarter
    if isinstance(fmt.element, Codes):
        unit, most = 2.0**fmt.element.fraction_bits, fmt.element.max_code
        return jnp.clip(jnp.round(quotient * unit), -most, most) * (1 / unit), scale
    return round_to(quotient, _grid(fmt.element)), scale


def _carrier_scale(peak: Float[Array, "..."], fmt: ScaledFormat) -> Float[Array, "..."]:
    """The scale of each group in the carrier, perhaps a stored one times a second one."""
    largest, stored = fmt.element.max, fmt.scaling.stored
    if stored == "carrier":
        return _normal(peak * _inverse(largest, peak))
    # (..., blocks, 1) -> one for all, or for all blocks of a row
    whole = _peak(peak, (-2, -1) if stored == "e4m3fn_row" else tuple(range(peak.ndim)))
    second = _normal(whole * _inverse(largest * E4M3FN.max, peak))
    first = round_to(peak * _reciprocal(second * largest), _grid(E4M3FN))
    return _normal(first * second)


def _grid(element: FloatFormat | Codes) -> Grid:
    """The elements; what is beyond them is the largest."""
    if isinstance(element, FloatFormat):
        return dataclasses.replace(element, saturating=True).grid
    # Equally spaced, as subnormal numbers are.
    bits, top = element.bits - 1, element.max
    return Grid(bits, bits - element.fraction_bits, top, top)


def _peak(x: Float[Array, "..."], axes: tuple[int, ...]) -> Float[Array, "..."]:
    """The largest magnitude; NaN if there is one, zero of no values."""
    # XLA's maximum loses NaNs of larger arrays on CPUs (measured with 100 rows of 48).
    lost = jnp.any(jnp.isnan(x), axis=axes, keepdims=True)
    return jnp.where(lost, jnp.nan, jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0))


def _normal(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The numbers, with signed zeros in place of subnormal ones, on every backend."""
    layout, size = LAYOUTS[x.dtype], magnitude_bits(x)
    bits = jax.lax.bitcast_convert_type(x, layout.uint)
    kept = jnp.where(size >> layout.mantissa_bits == 0, bits ^ size, bits)
    return jax.lax.bitcast_convert_type(kept, x.dtype)


def _inverse(number: float, like: Float[Array, "..."]) -> Float[np.ndarray, ""]:
    """The rounded reciprocal of a constant.

    Compilers write a division by a constant, or by a number that several values share, as a
    product with the reciprocal. Written out it is that on every backend.
    """
    return np.asarray(np.ones((), like.dtype) / np.asarray(number, like.dtype))


def _reciprocal(scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """The rounded reciprocals of scales; zero for zero."""
    return jnp.where(scale == 0, 0, 1 / jnp.where(scale == 0, 1, scale))
