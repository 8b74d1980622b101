"""The logarithmic scale of the grounds that the tokens of a text stand on."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

DECADES = 3  # what the color spans at most


class Depth(NamedTuple):
    """The logarithmic scale of the ground, from a share that has none to the strongest."""

    low: float
    high: float

    @classmethod
    def spanning(cls, shares: Iterable[np.ndarray]) -> "Depth":
        """The scale of all these shares, no more than three decades of them."""
        every = np.concatenate([values.ravel() for values in shares])
        positive = every[np.isfinite(every) & (every > 0)]
        if not len(positive):
            return cls(1.0, 1.0)
        high = float(positive.max())
        return cls(max(float(positive.min()), high * 10.0**-DECADES), high)

    def place(self, share: float) -> float:
        """Where a share stands, from 0 to 1; one that is no positive number at 0."""
        if not share > 0:
            return 0.0
        if self.high == self.low:
            return 1.0
        place = math.log(share / self.low) / math.log(self.high / self.low)
        return min(max(place, 0.0), 1.0)
