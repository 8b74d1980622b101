"""Formats with scales: small numbers or integers times a scale that several values share."""

import dataclasses
import math
from fractions import Fraction
from typing import Literal

from glassesjax.arrays import Array, DType, Float, Int8
from glassesjax.borders import border, check_fields, require
from glassesjax.precision.formats import (
    E2M1,
    E2M3,
    E3M2,
    E4M3FN,
    E5M2,
    F32,
    F64,
    FloatFormat,
    carrier_format,
)

MX_BLOCK, NV_BLOCK = 32, 16
SCALE_BITS = {"carrier": F32.bits, "power_of_two": 8, "e4m3fn": 8, "e4m3fn_row": 8}
"""Width of a stored scale; one of the carrier is taken as float32."""
_MOST_EXPONENT_BITS = 6  # scales up to 2^-33 max|x|: far from the carrier's subnormal numbers


@dataclasses.dataclass(frozen=True)
class Codes:
    """Symmetric integers in [-(2^(bits - 1) - 1), 2^(bits - 1) - 1], in units of 2^-fraction_bits.

    The most negative pattern is not used.
    """

    bits: int
    """Width of a code, from 2 to 8."""
    fraction_bits: int = 0
    """Of a binary point that the codes imply, from 0 to ``bits - 2``; 6 in MXINT8."""

    def __post_init__(self) -> None:
        check_fields(self)
        require(2 <= self.bits <= 8, "2 to 8 bits of a code", self.bits)
        most = self.bits - 2  # so that there is a code for 1
        wanted = f"0 to {most} fraction bits of a code of {self.bits} bits"
        require(0 <= self.fraction_bits <= most, wanted, self.fraction_bits)

    @property
    def name(self) -> str:
        """``int8`` and the like."""
        return f"int{self.bits}"

    @property
    def max_code(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1

    @property
    def max(self) -> float:
        """Largest value."""
        return math.ldexp(self.max_code, -self.fraction_bits)

    @property
    def min_subnormal(self) -> float:
        """Smallest positive value."""
        return math.ldexp(1, -self.fraction_bits)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Which values share a scale, and how the scale is computed and stored."""

    over: Literal["tensor", "row", "column", "block", "fixed"]
    """All values; the last axis; the axis before it, for each index of the last one (of a vector,
    each value by itself); ``block`` values that follow each other on the last axis, the last block
    perhaps fewer; or none: ``factor`` is given."""
    block: int = 0
    """Values of a block; 0 where there are no blocks."""
    stored: Literal["carrier", "power_of_two", "e4m3fn", "e4m3fn_row"] = "carrier"
    """``carrier``: max abs x over the element's largest number. ``power_of_two``: 2^(floor(log2
    max abs x) - emax), emax that of the element's largest number, as E8M0, so that the exponent is
    clipped to [-127, 127]. ``e4m3fn``: that number times a second scale of the whole tensor,
    max abs x over 448 times the element's largest, in the carrier; ``e4m3fn_row``: the second scale
    is one of each row of the last axis."""
    factor: float = 1.0
    """Of ``fixed``: a power of two, by which values are multiplied before they are stored and
    divided after it."""

    def __post_init__(self) -> None:
        check_fields(self)
        blocks = self.over == "block"
        wanted = "a block of at least 1 with over='block', and of 0 without"
        require(1 <= self.block < 2**31 if blocks else self.block == 0, wanted, self.block)
        plain = self.stored in ("carrier", "power_of_two")
        require(plain or blocks, f"over='block' with stored={self.stored!r}", repr(self.over))
        fixed = self.over == "fixed"
        wanted = "stored='carrier' with over='fixed'"
        require(not fixed or self.stored == "carrier", wanted, repr(self.stored))
        power = self.factor > 0 and math.frexp(self.factor)[0] == 0.5
        wanted = "a power of two as the factor of a fixed scale, and 1 for all others"
        require(power if fixed else self.factor == 1, wanted, self.factor)

    @property
    def name(self) -> str:
        """The word for it behind the ``*`` of a format's name."""
        if self.over == "fixed":
            return f"{int(self.factor) if self.factor >= 1 else self.factor}"
        known = {scaling: name for name, scaling in NAMED_SCALINGS.items()}
        if self in known:
            return known[self]
        words = [f"{self.over}{self.block or ''}", *([self.stored] * (self.stored != "carrier"))]
        return "_".join(words)


NAMED_SCALINGS: dict[str, Scaling] = {
    "tensor": Scaling("tensor"),
    "row": Scaling("row"),
    "column": Scaling("column"),
    "mx": Scaling("block", MX_BLOCK, "power_of_two"),
    "nv": Scaling("block", NV_BLOCK, "e4m3fn"),
    "nvrow": Scaling("block", NV_BLOCK, "e4m3fn_row"),
}


@dataclasses.dataclass(frozen=True)
class ScaledFormat:
    """Elements of a few bits times a scale that several values share; elements saturate.

    All arithmetic is in the carrier, the dtype of the values, each operation rounded to nearest: a
    scale is max abs x times the rounded reciprocal of the element's largest number, an element the
    nearest one, ties to even, to x times the rounded reciprocal of the scale, a value the product
    of the two. With powers of two nothing but the element is rounded. Elsewhere numbers, scales and
    products below the carrier's smallest normal number count as zero, on every backend.
    """

    name: str
    element: FloatFormat | Codes
    scaling: Scaling

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.element, FloatFormat) and self.scaling.over != "fixed":
            most = _MOST_EXPONENT_BITS
            wanted = f"an element of at most {most} exponent bits for a scale of the values"
            got = f"{self.element.name}, whose range needs none"
            require(self.element.exponent_bits <= most, wanted, got)
        wanted = f"a factor with which {self.element.name} stays in the range of float64"
        require(self._fits(F64), wanted, f"{self.scaling.factor:g}")

    def _fits(self, carrier: FloatFormat) -> bool:
        """Whether all values before and after the factor are numbers of the carrier."""
        if isinstance(self.element, FloatFormat) and not carrier.contains(self.element):
            return False
        factor = Fraction(self.scaling.factor)
        least, most = Fraction(self.element.min_subnormal), Fraction(self.element.max)
        return least / factor >= carrier.min_subnormal and most / factor <= carrier.max

    @property
    def min_carrier(self) -> FloatFormat:
        """The narrower of float32 and float64 that can carry it."""
        return F32 if self._fits(F32) else F64

    @property
    def row_wise(self) -> bool:
        """Whether a row along the last axis is rounded alike in any company."""
        alone = self.scaling.stored != "e4m3fn"
        return self.scaling.over in ("row", "block", "fixed") and alone

    @property
    def bits_per_value(self) -> float:
        """Stored bits, with a block's share of its scale.

        Scales of a tensor, a row or a column are not counted: their share depends on the shape.
        """
        share = SCALE_BITS[self.scaling.stored] / self.scaling.block if self.scaling.block else 0.0
        return self.element.bits + share

    def _check_carrier(self, dtype: DType) -> None:
        if not self._fits(carrier_format(dtype)):
            raise ValueError(f"{self.name} does not fit into {dtype}: use a float64 carrier.")

    @border()
    def quantize(
        self, x: Float[Array, "*shape"]
    ) -> tuple[Int8[Array, "*shape"] | Float[Array, "*shape"], Float[Array, "..."]]:
        """Elements and their scale; their product is what ``round`` returns.

        Args:
          x: float32 or float64 values; not differentiable.

        Returns:
          Codes (int8) or the elements' values, and the scale with as many axes as ``x``, of size
          one where it is shared; for blocks one scale for each along the last axis. Of codes with
          fraction bits the product is that with ``codes * 2^-fraction_bits``. Where an infinity or
          a NaN shares a scale, that scale is not finite and the product NaN. Scales of zeros are
          zero, or with powers of two 2^-127.

        Raises:
          ValueError: The dtype of ``x`` does not hold this format.
        """
        from glassesjax.precision.scales import quantized

        self._check_carrier(x.dtype)
        return quantized(x, self)

    @border()
    def round(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Values after quantization and back ("fake quantization"), in the dtype of the argument.

        The derivative is defined as the identity, as for ``FloatFormat.round``; the scale's
        dependence on the largest value is left out as well.

        Args:
          x: float32 or float64 values. An infinity or a NaN makes all values that share its scale
            NaN; with a fixed factor infinities become the largest number.

        Returns:
          The multiples of the scale that are nearest to the values; zeros for zeros.

        Raises:
          ValueError: The dtype of ``x`` does not hold this format.

        Example:
          >>> import jax.numpy as jnp
          >>> from glassesjax.precision import NVFP4
          >>> NVFP4.round(jnp.float32([6.0, 2.4, 0.1]))
          Array([6., 2., 0.], dtype=float32)
        """
        from glassesjax.precision.bits import straight_through
        from glassesjax.precision.scales import nearest

        self._check_carrier(x.dtype)
        return straight_through(lambda x: nearest(x, self), x)


def _named(name: str, element: FloatFormat | Codes, scale: str) -> ScaledFormat:
    return ScaledFormat(name, element, NAMED_SCALINGS[scale])


INT8 = _named("int8", Codes(8), "tensor")
INT4 = _named("int4", Codes(4), "tensor")
INT8_CHANNEL = _named("int8_channel", Codes(8), "row")
INT4_CHANNEL = _named("int4_channel", Codes(4), "row")
MXFP8 = _named("mxfp8", E4M3FN, "mx")
MXFP8_E5M2 = _named("mxfp8_e5m2", E5M2, "mx")
MXFP6 = _named("mxfp6", E2M3, "mx")
MXFP6_E3M2 = _named("mxfp6_e3m2", E3M2, "mx")
MXFP4 = _named("mxfp4", E2M1, "mx")
MXINT8 = _named("mxint8", Codes(8, fraction_bits=6), "mx")
NVFP4 = _named("nvfp4", E2M1, "nv")
NVFP4_ROW = _named("nvfp4_row", E2M1, "nvrow")

_INTEGERS = (INT8, INT4, INT8_CHANNEL, INT4_CHANNEL)
_MX = (MXFP8, MXFP8_E5M2, MXFP6, MXFP6_E3M2, MXFP4, MXINT8)
SCALED_FORMATS: dict[str, ScaledFormat] = {
    fmt.name: fmt for fmt in (*_INTEGERS, *_MX, NVFP4, NVFP4_ROW)
}

NumberFormat = FloatFormat | ScaledFormat
