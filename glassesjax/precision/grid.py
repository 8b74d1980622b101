"""The numbers of a format, as what one rounds to."""

import math
from typing import NamedTuple


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
