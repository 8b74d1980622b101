"""Perplexities and their ratios as text."""

import math

from glassesjax.report.numbers import number

LARGE = 1e6  # from here on numbers are written with their power of ten


def perplexity_text(value: float) -> str:
    """A perplexity with two digits behind the point, fewer where it is large.

    Args:
      value: Positive; infinite or NaN where it is not finite.
    """
    if not math.isfinite(value):
        return "not finite"
    if value >= LARGE:
        return number(value)
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def times_text(ratio: float, *, close: bool = False) -> str:
    """A ratio of perplexities.

    Args:
      ratio: Positive; infinite or NaN where it is not finite.
      close: Whether ratios below ten get three decimals, for pairs that differ by about a
        thousandth.
    """
    if not math.isfinite(ratio):
        return "not finite"
    if ratio >= LARGE:
        return number(ratio)
    if ratio >= 10:
        return f"{ratio:,.0f}"
    return f"{ratio:.3f}" if close else f"{ratio:.2f}"
