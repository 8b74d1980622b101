"""Symmetric integer formats: a code of a few bits times a scale computed from the values."""

import dataclasses
from typing import Literal

from glassesjax.arrays import Array, Float, Int8
from glassesjax.borders import border, check_fields
from glassesjax.precision.formats import FloatFormat, float_format


@dataclasses.dataclass(frozen=True)
class IntegerFormat:
    """Integers in [-(2^(bits - 1) - 1), 2^(bits - 1) - 1] with a scale and zero at zero.

    Both the quotient ``x / scale`` and the product ``code * scale`` are rounded in the carrier, the
    floating-point dtype of the values.
    """

    name: str
    bits: int
    """Width of a code, from 2 to 8."""
    granularity: Literal["tensor", "channel"] = "tensor"
    """One scale for all values, or one for each row along the last axis: an output channel of a
    weight [out, in], a token of an activation [seq, dim]."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 2 <= self.bits <= 8:
            raise ValueError(f"{self.name} must have 2 to 8 bits, got {self.bits}.")

    @property
    def max(self) -> int:
        """Largest code; the range is symmetric, so the most negative pattern is not used."""
        return (1 << (self.bits - 1)) - 1

    @border()
    def quantize(
        self, x: Float[Array, "*shape"]
    ) -> tuple[Int8[Array, "*shape"], Float[Array, "*ones"]]:
        """Integer codes and their scale; ``codes * scale`` is what ``round`` returns.

        Args:
          x: Finite values in any floating-point dtype; not differentiable.

        Returns:
          Codes, nearest with ties to even, and the scale ``max |x| / max`` with as many axes as
          ``x``, of size one where it is shared. Where all values are zero, so is the scale.
        """
        from glassesjax.precision.quantization import quantized

        return quantized(self, x)

    @border()
    def round(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Values after quantization and back ("fake quantization"), in the dtype of the argument.

        The derivative is defined as the identity, as for ``FloatFormat.round``; the scale's
        dependence on the largest value is left out as well.

        Args:
          x: Finite float32 or float64 values. An infinity or a NaN makes all values that share
            its scale NaN.

        Returns:
          The integer multiples of the scale that are nearest to the values; zeros for zeros.

        Raises:
          ValueError: The dtype of ``x`` is another one.
        """
        from glassesjax.precision.bits import straight_through
        from glassesjax.precision.quantization import nearest

        return straight_through(lambda x: nearest(self, x), x)


INT8 = IntegerFormat("int8", 8)
INT4 = IntegerFormat("int4", 4)
INT8_CHANNEL = IntegerFormat("int8_channel", 8, "channel")
INT4_CHANNEL = IntegerFormat("int4_channel", 4, "channel")

INTEGER_FORMATS: dict[str, IntegerFormat] = {
    fmt.name: fmt for fmt in (INT8, INT4, INT8_CHANNEL, INT4_CHANNEL)
}

NumberFormat = FloatFormat | IntegerFormat


@border()
def number_format(name: str) -> NumberFormat:
    """The float or integer format of this name.

    Args:
      name: A key of ``FORMATS`` or ``INTEGER_FORMATS``, or a name such as ``e5m10``.

    Returns:
      The format.

    Raises:
      ValueError: There is no such format.
    """
    if name in INTEGER_FORMATS:
        return INTEGER_FORMATS[name]
    try:
        return float_format(name)
    except ValueError as error:
        raise ValueError(f"{error} Integer formats: {', '.join(INTEGER_FORMATS)}.") from None
