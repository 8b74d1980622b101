"""Axes of distances and of lengths: zeros and overflow have strips, lengths have names."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from glassesjax.report.chart import COLORS, Chart
from glassesjax.report.numbers import power_of
from glassesjax.report.points import Point
from glassesjax.report.ticks import set_ticks


class LogScale(NamedTuple):
    """A logarithmic axis of distances with a strip for exact zeros and one for overflow."""

    low: int
    """Exponent of ten of the lowest labeled value."""
    high: int
    """Exponent of ten of the highest; over ``low``."""
    zeros: bool
    """Whether there is a strip below for what is equal."""
    lost: bool
    """Whether there is a strip above for what is not finite."""

    @classmethod
    def spanning(cls, points: Iterable[Point]) -> "LogScale":
        """The scale on which all these points have a place."""
        points = list(points)
        logs = [math.log10(p.distance or 1) for p in points if p.drawable] or [0.0]
        # Whole decades, two labels at least.
        low, high = math.floor(min(logs)), math.ceil(max(logs))
        zeros = any(p.distance is not None and not p.drawable for p in points)
        return cls(low, max(high, low + 1), zeros, any(p.distance is None for p in points))

    @property
    def strip(self) -> float:
        """Height of a strip, in decades."""
        return 0.2 * (self.high - self.low)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and highest value on the axis, with the strips."""
        bottom = self.low - self.strip * self.zeros
        return 10.0**bottom, 10.0 ** (self.high + self.strip * self.lost)

    def place(self, point: Point) -> float:
        """Vertical coordinate of a point: its distance, or the center of its strip."""
        if point.distance is None:
            return 10.0 ** (self.high + self.strip / 2)
        return point.distance if point.drawable else 10.0 ** (self.low - self.strip / 2)

    def apply(self, axes: Axes) -> None:
        """Sets limits and ticks of a vertical axis, and shades the strips."""
        axes.set_yscale("log")
        axes.set_ylim(*self.bounds)
        bottom, top = self.bounds
        for edges in ((bottom, 10.0**self.low), (10.0**self.high, top)):
            axes.axhspan(*edges, color=COLORS["wash"], zorder=0, linewidth=0)
        step = math.ceil((self.high - self.low) / 4)
        # The label of an edge would touch that of the strip beside it.
        decades = range(self.high - self.lost, self.low - 1 + self.zeros, -step)
        ticks = {10.0**exponent: power_of(10, exponent) for exponent in decades}
        # A distance of zero and one of none have the center of their strip.
        strips = ((self.zeros, 0.0, "equal"), (self.lost, None, "not finite"))
        ticks |= {self.place(Point(0, gap)): name for there, gap, name in strips if there}
        set_ticks(axes.yaxis, ticks)

    def curve(
        self,
        chart: Chart,
        axes: Axes,
        points: Sequence[Point],
        series: str,
        *,
        color: str,
        open_at: Collection[int] = (),
        marker: float = 0,
        **style: Any,  # noqa: ANN401  (of a line)
    ) -> None:
        """A line of points; points without a logarithm are squares in their strip.

        Args:
          chart: Whose series it is.
          axes: With this scale.
          points: In order of length.
          series: Its name.
          color: For matplotlib.
          open_at: Lengths whose points are open circles.
          marker: Size of a dot at each point; a line of one point has a dot anyway.
          **style: Of matplotlib's line.
        """
        style = {"ls": "-", **style}
        drawn = [p for p in points if p.drawable]
        xy = lambda some: ([p.length for p in some], [self.place(p) for p in some])
        # A line of one point would not be seen.
        size = marker or 5 * (len(drawn) == 1)
        chart.series(series, axes.plot(*xy(drawn), "o", ms=size, color=color, **style))
        ring = {"ms": 5, "mfc": COLORS["paper"], "mec": color, "mew": 1.4, "zorder": 5}
        strips = [p for p in points if not p.drawable]
        for some, shape in ((strips, "s"), ([p for p in drawn if p.length in open_at], "o")):
            if some:
                chart.series(series, axes.plot(*xy(some), shape, **ring))


def length_axis(axes: Axes, lengths: Iterable[int], apart: float = 2.5) -> None:
    """A logarithmic horizontal axis that names the first and last length and the decades.

    Args:
      axes: Where to set it; those that share its axis follow.
      lengths: Measured run lengths, positive.
      apart: Least factor between a decade's label and the first and last length.
    """
    lengths = sorted(lengths) or [1]
    first, last = lengths[0], lengths[-1]
    decades = [10**e for e in range(7) if first * apart < 10**e < last / apart]
    ticks = sorted({first, *decades, last})
    axes.set_xscale("log")
    # Equal room on both sides of a logarithmic axis.
    axes.set_xlim(first / 1.25, last * 1.25)
    set_ticks(axes.xaxis, ticks)
