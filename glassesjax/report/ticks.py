"""Ticks: round numbers, written out, as many as there is room for; and what an axis is called."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from glassesjax.report.chart import COLORS, Number
from glassesjax.report.numbers import power_of

MOST = 300.0  # decades from 1 that an axis can show
PLAIN = 1e5  # from here on ticks are powers of ten
FINE = tuple(tuple(1 + step * n for n in range(math.ceil(9 / step))) for step in (0.01, 0.02, 0.05))
SETS = (
    *FINE,
    tuple(1 + 0.1 * n for n in range(90)),
    tuple(1 + 0.25 * n for n in range(36)),
    (1.0, 1.5, 2.0, 3.0, 5.0, 8.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
)
"""Ticks within a decade, densest first."""


class Limits(NamedTuple):
    """The ends of a logarithmic axis."""

    low: float
    high: float

    @classmethod
    def spanning(cls, values: Iterable[float]) -> "Limits":
        """The axis that has room for all that are positive and finite."""
        logs = [math.log10(v) for v in values if math.isfinite(v) and v > 0] or [0.0]
        # A little room, also where all values are equal.
        pad = max(0.06 * (max(logs) - min(logs)), 0.01)
        return cls(10.0 ** max(min(logs) - pad, -MOST), 10.0 ** min(max(logs) + pad, MOST))

    def ticks(self, most: int) -> list[float]:
        """Round numbers on the axis, from the densest set of which no more than ``most`` fit."""
        first, last = (math.floor(math.log10(end)) for end in self)
        for digits in SETS if self.high < PLAIN else ():
            every = (digit * 10.0**e for e in range(first, last + 1) for digit in digits)
            inside = [tick for tick in every if self.low <= tick <= self.high]
            if len(inside) <= most:
                return inside
        # Too many even of the coarsest set, or an axis of powers: each n-th power of ten.
        decades = range(math.ceil(math.log10(self.low)), last + 1)
        return [10.0**e for e in decades[:: -(-len(decades) // most) or 1]]


def log_axis(
    axes: Axes, side: Literal["x", "y"], limits: Limits, *, most: int, unit: str = ""
) -> None:
    """A logarithmic axis with a few round numbers."""
    ticks = limits.ticks(most)
    axes.set(**{f"{side}lim": limits})  # before the scale, which would look for limits itself
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    names = {}
    for tick in ticks:
        name = power_of(10, round(math.log10(tick)))
        if 1e-4 < tick < PLAIN:
            # Four digits undo the error of digit times power; whole from a thousand on.
            name = f"{tick:,.4g}" if tick < 1000 else f"{tick:,.0f}"
        names[tick] = f"{name}{unit}"
    set_ticks(axis, names)


def set_ticks(
    axis: Axis, ticks: Mapping[int, str] | Mapping[float, str] | Sequence[Number]
) -> None:
    """These ticks and no others.

    Args:
      axis: Its scale is set already, which would bring ticks of its own.
      ticks: Places in data, with what is written there if that is not the number.
    """
    names = ticks.values() if isinstance(ticks, Mapping) else map(str, ticks)
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter(list(names)))
    axis.set_minor_locator(NullLocator())


def doublings(low: Number, high: Number, most: int = 16) -> list[int]:
    """Powers of two from one number to another, the largest and evenly spread; one at least."""
    powers = [2**k for k in range(40) if low <= 2**k <= high] or [round(high)]
    return powers[::-1][:: max(1, -(-len(powers) // most))]


def up(axes: Axes, text: str) -> None:
    """What the vertical axis shows, written level above it, where a phone has room for it."""
    axes.set_title(text, fontsize=12.5, color=COLORS["soft"], pad=6)
