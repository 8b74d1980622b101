"""Where a carrier keeps its bits, and the subsets of its numbers that one rounds to."""

import math
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Where a carrier keeps sign, exponent and fraction: the two IEEE 754 formats that we use."""

    dtype: str
    uint: str
    mantissa_bits: int
    bias: int

    @property
    def infinity(self) -> int:
        """Bit pattern of infinity; larger magnitudes are NaN."""
        return (2 * self.bias + 1) << self.mantissa_bits

    def pattern(self, value: float) -> int:
        """Bit pattern of a non-negative number."""
        return int(np.asarray(value, self.dtype).view(self.uint))


LAYOUTS = {
    np.dtype(layout.dtype): layout
    for layout in (Layout("float32", "uint32", 23, 127), Layout("float64", "uint64", 52, 1023))
}


class Grid(NamedTuple):
    """The numbers that one may round to, as a subset of a carrier."""

    mantissa_bits: int
    min_exponent: int
    """Exponent of the smallest normal number; the spacing does not shrink below it."""
    largest: float
    """Largest finite number."""
    beyond: float
    """What stands for numbers that round to more than ``largest``: infinity, NaN or ``largest``.
    A NaN is ``math.nan`` itself: one object equals itself in a tuple, so ``jit`` finds its work."""

    @property
    def steps(self) -> int:
        """How many positive finite numbers there are."""
        fraction, exponent = math.frexp(self.largest)  # the fraction lies in [1/2, 1)
        binades = exponent - 1 - self.min_exponent
        return (binades << self.mantissa_bits) + int(math.ldexp(fraction, self.mantissa_bits + 1))
