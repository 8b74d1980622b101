"""Validity of the exponent of a fitted decay."""

import math

from glassesjax.trace.decay import DecayFit


def has_exponent(fit: DecayFit) -> bool:
    """Whether a power law may be read from a fit: its tail is stable, and no exponential."""
    return fit.stable and fit.law != "exponential"


def is_flat(fit: DecayFit) -> bool:
    """Whether a slope may be zero by its interval, or the total change is below a factor of two."""
    moved = abs(fit.exponent) * math.log(fit.last / fit.first)
    return fit.low <= 0 <= fit.high or moved < math.log(2)
