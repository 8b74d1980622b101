"""Names of lines at their ends, in the place of a legend."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from glassesjax.report.chart import COLORS, Chart

APART = 15.0  # pixels between two names


class End(NamedTuple):
    """Where a line ends."""

    value: float
    """In data of the vertical axis; of one that is not finite nothing is written."""
    text: str
    series: str
    """Empty for what no reader may switch off."""
    color: str
    """A token of ``COLORS``."""
    strong: bool = False


def names_at_ends(
    chart: Chart, axes: Axes, ends: Sequence[End], *, size: float = 12.5, gap: float = 8
) -> None:
    """Names at the right of the axes, pushed apart where they would lie on each other.

    Args:
      chart: Whose series they are.
      axes: Their scales and limits are set already.
      ends: In any order.
      size: Of the text, in pixels.
      gap: Between axes and text, in pixels.
    """
    known = sorted((end for end in ends if math.isfinite(end.value)), reverse=True)
    low, high = float(axes.bbox.y0), float(axes.bbox.y1)
    # Closer than APART where they would not all fit.
    apart = min(APART, (high - low) / max(len(known), 1))
    # Downwards from the highest; then up again what has left the axes at the bottom.
    heights: list[float] = []
    for end in known:
        # x = 1 has a place on a logarithmic axis, too; only the height is of use.
        at = float(axes.transData.transform((1, end.value))[1])
        heights.append(min(at, heights[-1] - apart) if heights else at)
    least = low + 3
    for at in reversed(range(len(heights))):
        heights[at] = max(heights[at], least)
        least = heights[at] + apart
    for end, height in zip(known, heights, strict=True):
        label = axes.text(
            1 + gap / axes.bbox.width, (height - low) / (high - low), end.text,
            transform=axes.transAxes, va="center", fontsize=size, clip_on=False,
            color=COLORS[end.color], weight="bold" if end.strong else "normal",
        )  # fmt: skip
        if end.series:
            chart.series(end.series, label)
