"""What all figures share: type, colors, a logarithmic axis that shows zeros, and SVG text."""

import functools
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from glassesjax.report.numbers import power_of
from glassesjax.report.points import Point

INK, MUTED, FAINT, STRIP = "#1f2430", "#667085", "#d5d9e0", "#eef0f4"

# Okabe and Ito's palette, which readers with any color vision can tell apart.
COLORS = {
    "f64": "#1f2430",
    "f32": "#0072B2",
    "bf16": "#D55E00",
    "f16": "#009E73",
    "tf32": "#56B4E9",
    "e4m3fn": "#CC79A7",
    "e5m2": "#E69F00",
    "e2m1": "#8C6D1F",
}
WIDTH = 10.0  # inches: a figure fills the page's column

OTHER = "#7A5195"  # any (exponent, mantissa) that has no color of its own

STYLE = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # the page's own font; paths would make it several times larger
    "svg.hashsalt": "glassesjax",  # the same rows give the same bytes
}


P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The same drawing in our style, which is set for its duration only."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def color(format: str) -> str:
    """The color of a number format, the same in all figures.

    Args:
      format: Its name; one that has no color of its own shares ``OTHER``.

    Returns:
      As ``#RRGGBB``.
    """
    return COLORS.get(format, OTHER)


def margins(
    figure: Figure,
    *,
    left: float = 0.85,
    right: float = 0.12,
    top: float = 0.3,
    bottom: float = 0.8,
) -> dict[str, float]:
    """Edges of a grid of panels, given in inches, as a grid wants them.

    Known margins take half the time of a solved layout, which a page of 200 panels feels.

    Args:
      figure: Whose size counts.
      left: Inches from the figure's edge to the panels, as the others are.
      right: Likewise.
      top: Likewise.
      bottom: Likewise.

    Returns:
      The four edges as shares of the figure's width or height, by these names.
    """
    width, height = figure.get_size_inches()
    across = {"left": left / width, "right": 1 - right / width}
    return across | {"bottom": bottom / height, "top": 1 - top / height}


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
        """Where a point stands: at its distance, or in its strip."""
        if point.distance is None:
            return 10.0 ** (self.high + self.strip / 2)
        return point.distance if point.drawable else 10.0 ** (self.low - self.strip / 2)

    def apply(self, axes: Axes) -> None:
        """Sets limits and ticks of a vertical axis, and of those that share it."""
        axes.set_yscale("log")
        axes.set_ylim(*self.bounds)
        step = math.ceil((self.high - self.low) / 4)
        # The label of an edge would touch that of the strip beside it.
        decades = range(self.high - self.lost, self.low - 1 + self.zeros, -step)
        ticks = {10.0**exponent: power_of(10, exponent) for exponent in decades}
        strips = ((self.zeros, 0.0, "equal"), (self.lost, None, "not finite"))
        ticks |= {self.place(Point(0, gap)): name for there, gap, name in strips if there}
        axes.yaxis.set_major_locator(FixedLocator(list(ticks)))
        axes.yaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
        axes.yaxis.set_minor_locator(NullLocator())

    def shade(self, axes: Axes) -> None:
        """Draws the strips."""
        bottom, top = self.bounds
        for edges in ((bottom, 10.0**self.low), (10.0**self.high, top)):
            axes.axhspan(*edges, color=STRIP, zorder=0, linewidth=0)


def log_values(axes: Axes) -> None:
    """A logarithmic vertical axis, where what was drawn has a positive number to stand on it.

    Args:
      axes: With all lines drawn; lines of NaN only stay on a linear axis.
    """
    drawn = [np.asarray(line.get_ydata(), np.float64) for line in axes.lines]
    if any(np.any(np.isfinite(values) & (values > 0)) for values in drawn):
        axes.set_yscale("log")


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
    axes.set_xlim(first / 1.25, last * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def draw_points(
    axes: Axes,
    points: Sequence[Point],
    scale: LogScale,
    *,
    color: str,
    linewidth: float,
    linestyle: str = "-",
    marker: str = "",
    hollow: bool = False,
) -> None:
    """A curve whose line breaks where a point has no logarithm, and whose points all show.

    Args:
      axes: Where to draw.
      points: In order of length.
      scale: The axis with its strips.
      color: Of line and markers.
      linewidth: In points.
      linestyle: As in matplotlib.
      marker: Of drawable points; those in a strip always have one.
      hollow: Whether markers are outlines.
    """
    ns = [p.length for p in points]
    curve = [scale.place(p) if p.drawable else math.nan for p in points]
    face = "white" if hollow else color
    look: dict[str, Any] = {
        "color": color,
        "markeredgecolor": color,
        "markersize": 2.8,
        "markeredgewidth": 0.7,
    }
    # One point alone has no line: without a marker it would not be seen.
    alone = "o" if sum(p.drawable for p in points) == 1 else ""
    shape = {"linewidth": linewidth, "linestyle": linestyle, "marker": marker or alone}
    axes.plot(ns, curve, markerfacecolor=face, **shape, **look)
    look |= {"linestyle": "", "marker": marker or "o"}
    for resolved, inside in ((True, face), (False, "white")):
        strip = [p for p in points if not p.drawable and p.resolved == resolved]
        if strip:
            placed = [scale.place(p) for p in strip]
            axes.plot([p.length for p in strip], placed, markerfacecolor=inside, **look)


def to_svg(figure: Figure, prefix: str) -> str:
    """A figure as one ``svg`` element that may stand in a page beside others.

    Args:
      figure: What to write; the same figure gives the same text.
      prefix: Put before each id that is referred to; different for each figure of a page.

    Returns:
      The element, with no prolog and no metadata; it is also a whole SVG file.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    keep = lambda match: f' id="{prefix}-{match[1]}"' if match[1] in used else ""
    text = re.sub(r' id="([^"]+)"', keep, text)
    return re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", text)


def svg_files(figures: Mapping[str, Callable[[], Figure]]) -> dict[str, str]:
    """The figures of a run folder.

    Args:
      figures: What draws each, by its name.

    Returns:
      The text of each file, by its path.
    """
    return {f"figures/{name}.svg": to_svg(draw(), name) for name, draw in figures.items()}
