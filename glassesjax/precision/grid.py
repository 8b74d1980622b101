"""The representable numbers of a format: the targets of a rounding."""

import math
from typing import NamedTuple


class Grid(NamedTuple):
    """The representable numbers of a format, a subset of a carrier dtype's."""

    mantissa_bits: int
    min_exponent: int
    """Exponent of the smallest normal number; the spacing does not shrink below it."""
    largest: float
    """Largest finite number."""
    beyond: float
    """Result of an overflow: infinity, NaN or ``largest``. A NaN is the object ``math.nan``: it
    equals itself in a tuple, so ``jit`` reuses its compilation."""

    @property
    def steps(self) -> int:
        """Number of positive finite numbers."""
        fraction, exponent = math.frexp(self.largest)  # the fraction lies in [1/2, 1)
        binades = exponent - 1 - self.min_exponent
        return (binades << self.mantissa_bits) + int(math.ldexp(fraction, self.mantissa_bits + 1))
