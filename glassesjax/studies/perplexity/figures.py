"""Figures of the perplexity study: summary in, matplotlib figures out, nothing shown."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from glassesjax.cache.policies import SHORT
from glassesjax.report.canvas import COLORS, INK, MUTED, STRIP, WIDTH, margins, styled
from glassesjax.report.numbers import power_of
from glassesjax.studies.perplexity.sentences import PLAIN
from glassesjax.studies.perplexity.summary import PerplexitySummary
from glassesjax.studies.perplexity.totals import FULL

# A color for each score; what a name adds to it shows in the line.
SCORES = {
    FULL: INK,
    SHORT: MUTED,
    "window": COLORS["e5m2"],
    "h2o": COLORS["f32"],
    "h2o_mean": COLORS["tf32"],
    "tova": COLORS["bf16"],
}
TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # of each decade, if there is room
LAST = 300.0  # decades that an axis can show
ENDING = re.compile("-head|-layer")  # that a name has where it is not the plain one
NAMED = 9  # ticks of a vertical axis at most


def perplexity_figures(summary: PerplexitySummary) -> Mapping[str, Callable[[], Figure]]:
    """What draws each figure of a run.

    Args:
      summary: Of the run.

    Returns:
      ``slots`` and ``positions``, by name.
    """
    return {"slots": lambda: slots_figure(summary), "positions": lambda: positions_figure(summary)}


@styled
def slots_figure(summary: PerplexitySummary) -> Figure:
    """Perplexity against the size of the state, a line for each policy.

    Args:
      summary: Of the run.

    Returns:
      One panel, both axes logarithmic; the full state is a horizontal line.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(gridspec_kw=margins(figure, bottom=0.5, right=1.5))
    axes.set_title("Perplexity against the slots of the state")
    seen = []
    for name in summary.policies:
        sizes = [slots for slots in summary.slots if (name, slots) in summary]
        values = [summary.of(name, slots).perplexity for slots in sizes]
        seen += values
        axes.plot(sizes, _drawable(values), label=name, **_look(name), **_marks(name))
    if summary.full is not None:
        seen.append(summary.full.perplexity)
        axes.axhline(summary.full.perplexity, label=FULL, **_look(FULL))
    _slots_axis(axes, summary.slots)
    _perplexity_axis(axes, seen)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def positions_figure(summary: PerplexitySummary) -> Figure:
    """Perplexity by where in its window a token stands, a panel for each size of the state.

    Args:
      summary: Of the run.

    Returns:
      Panels with the same axes; a step is one stretch of positions.
    """
    sizes = summary.slots or [summary.window_tokens]
    across = min(len(sizes), 3)
    down = -(-len(sizes) // across)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * down))
    edges = margins(figure, bottom=0.5, right=1.5) | {"hspace": 0.42, "wspace": 0.1}
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False, gridspec_kw=edges)
    panels, seen = list(grid.flat), []
    for axes, slots in zip(panels, sizes, strict=False):
        axes.set_title(f"{slots} slots" if summary.slots else "")
        seen += _position_panel(axes, summary, slots)
    for axes in panels[len(sizes) :]:
        axes.set_visible(False)
    for axes in panels[max(len(sizes) - across, 0) : len(sizes)]:
        axes.set_xlabel("position in the window")
        axes.xaxis.set_tick_params(labelbottom=True)
    _position_axis(panels[0], summary.window_tokens)
    _perplexity_axis(panels[0], seen)
    for axes in panels:
        axes.grid(axis="y", color=STRIP, linewidth=0.8)
        axes.set_axisbelow(True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right")
    return figure


def _position_panel(axes: Axes, summary: PerplexitySummary, slots: int) -> list[float]:
    here = [name for name in summary.policies if (name, slots) in summary]
    cells = [summary.of(name, slots) for name in here]
    seen = []
    for each in (*cells, *([summary.full] if summary.full else [])):
        name, values = each.cell.policy, [at.perplexity for at in each.by_position]
        # The last stretch ends at the window's; a step holds from its first position on.
        edges = [max(at.start, 1) for at in each.by_position] + [summary.window_tokens]
        ends = _drawable([*values, values[-1]])
        axes.plot(edges, ends, drawstyle="steps-post", label=name, **_look(name))
        seen += values
    return seen


def _look(name: str) -> dict[str, Any]:
    score = re.split(r"[-+@]", name)[0]
    style = "--" if ENDING.search(name) else ":" if "+" in name else "-." if "@" in name else "-"
    style = (0, (5, 2, 1, 2, 1, 2)) if name == SHORT else style
    return {"color": SCORES.get(score, COLORS["e4m3fn"]), "linestyle": style, "linewidth": 1.5}


def _marks(name: str) -> dict[str, Any]:
    return {
        "marker": "s" if "+" in name else "^" if ENDING.search(name) else "o",
        "markersize": 3.4,
    }


def _drawable(values: Iterable[float]) -> list[float]:
    """Values with gaps where there is no number to draw."""
    return [value if math.isfinite(value) else math.nan for value in values]


def _slots_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xlabel("slots")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FixedFormatter([str(size) for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    if sizes:
        axes.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)


def _position_axis(axes: Axes, last: int) -> None:
    first = min(32, max(last // 2, 1))
    powers = [2**e for e in range(5, 40) if 2**e < last / 1.5]
    ticks = sorted({*powers[:: max(-(-len(powers) // 5), 1)], last})
    axes.set_xscale("log", base=2)
    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def _perplexity_axis(axes: Axes, values: Iterable[float]) -> None:
    """A logarithmic axis with round numbers, as many as there is room for."""
    logs = [math.log10(value) for value in values if math.isfinite(value) and value > 0] or [0.0]
    pad = max(0.04 * (max(logs) - min(logs)), 0.01)
    low, high = max(min(logs) - pad, -LAST), min(max(logs) + pad, LAST)
    axes.set_ylim(10.0**low, 10.0**high)  # before the scale, which would look for limits itself
    axes.set_yscale("log")
    ticks = _ticks(10.0**low, 10.0**high)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([_tick_name(tick) for tick in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("perplexity")
    axes.grid(axis="y", color=STRIP, linewidth=0.8)
    axes.set_axisbelow(True)


def _tick_name(tick: float) -> str:
    exponent = round(math.log10(tick))
    return f"{tick:,.4g}" if tick < PLAIN else power_of(10, exponent)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends: the finest of a few sets that leaves room."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [
        tuple(1 + step * n for n in range(math.ceil(9 / step))) for step in (0.05, 0.1, 0.25, 0.5)
    ]
    wide = high >= PLAIN  # there, powers of ten alone have short names
    for digits in () if wide else (*fine, TICKS, (1.0, 2.0, 5.0), (1.0, 3.0)):
        ticks = [digit * 10.0**e for e in decades for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= NAMED:
            return inside
    return [10.0**e for e in decades[:: -(-len(decades) // NAMED)] if low <= 10.0**e <= high]
