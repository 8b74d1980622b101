"""Perplexities, their ratios and sizes as text."""

import math

from glassesjax.report.numbers import short

LARGE = 1e6  # from here on numbers are written with their power of ten


def perplexity_text(value: float) -> str:
    """A perplexity with two digits behind the point, fewer where it is large.

    Args:
      value: Positive; infinite or NaN where it is not finite.
    """
    if not math.isfinite(value):
        return "not finite"
    if value >= LARGE:
        return short(value)
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def times_text(ratio: float, *, close: bool = False) -> str:
    """A ratio of perplexities.

    Args:
      ratio: Positive; infinite or NaN where it is not finite.
      close: Whether small ratios get three decimals, for pairs that differ by about a
        thousandth.
    """
    if not math.isfinite(ratio):
        return "not finite"
    if ratio >= LARGE:
        return short(ratio)
    if ratio >= 10:
        return f"{ratio:,.0f}"
    return f"{ratio:.3f}" if close and ratio < 2 else f"{ratio:.2f}"


def size_text(num_bytes: int) -> str:
    """Bytes in the unit in which they are read."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
