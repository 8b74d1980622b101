"""Figures of the collapse study: rows in, matplotlib figures out, nothing shown."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glassesjax.report.canvas import (
    FAINT,
    INK,
    MUTED,
    WIDTH,
    LogScale,
    color,
    draw_points,
    length_axis,
    margins,
    styled,
)
from glassesjax.report.numbers import power_of
from glassesjax.report.points import Point
from glassesjax.studies.collapse.curves import CurveName, Curves, Panel
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.tasks.sequences import FAMILIES

NOISE = "#8a93a3"


@styled
def collapse_figure(curves: Curves, positions: str, *families: str) -> Figure:
    """Signal, noise floor and what rounding leaves against run length, a panel per format.

    Args:
      curves: The run.
      positions: Which positional encoding.
      families: Which families of runs, one row of panels each; all if none is named.

    Returns:
      The figure, in relative L1 distance. Exact zeros stand in a strip at the bottom.
    """
    names = families or curves.families
    height = 1.1 + (1.9 if len(names) == 1 else 1.45 * len(names))
    figure = Figure(figsize=(WIDTH, height))
    edges = margins(figure) | {"wspace": 0.06, "hspace": 0.14}
    shape = len(names), len(curves.formats)
    grid = figure.subplots(*shape, sharex=True, sharey="row", squeeze=False, gridspec_kw=edges)
    for family, line in zip(names, grid, strict=True):
        panels = [Panel(positions, family, name) for name in curves.formats]
        scale = LogScale.spanning(point for c in panels for point in _all_points(curves, c))
        scale.apply(line[0])
        for panel, axes in zip(panels, line, strict=True):
            _collapse_panel(axes, curves, panel, scale)
        line[0].set_ylabel("relative L1 distance" if len(names) == 1 else family_title(family, 18))
    for name, axes in zip(curves.formats, grid[0], strict=True):
        axes.set_title(_format_title(curves, name), color=color(name))
    for axes in grid[-1]:
        axes.set_xlabel("run length n")
    length_axis(grid[0, 0], curves.lengths)
    figure.legend(handles=_collapse_legend(), loc="lower center", ncols=5)
    return figure


def _all_points(curves: Curves, panel: Panel) -> list[Point]:
    names: tuple[CurveName, ...] = ("signal", "own", "rounded")
    return curves.noise(panel) + [point for name in names for point in curves.points(panel, name)]


def _collapse_panel(axes: Axes, curves: Curves, panel: Panel, scale: LogScale) -> None:
    signal, own, rounded = (curves.points(panel, name) for name in ("signal", "own", "rounded"))
    noise = curves.noise(panel)
    scale.shade(axes)
    if not signal:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
        return
    floor = [scale.place(point) for point in noise]
    axes.fill_between(
        [p.length for p in noise], scale.bounds[0], floor, color=NOISE, alpha=0.16, linewidth=0
    )
    draw_points(axes, noise, scale, color=NOISE, linestyle="--", linewidth=1.1)
    draw_points(axes, own, scale, color=color(panel.format), linewidth=0.7, marker="o", hollow=True)
    draw_points(axes, rounded, scale, color=INK, linestyle=":", linewidth=1.0, marker="D")
    draw_points(axes, signal, scale, color=color(panel.format), linewidth=2.0)


def _collapse_legend() -> list[Line2D | Patch]:
    thin = {"color": MUTED, "markersize": 3.5, "markeredgewidth": 0.8}
    noise = Patch(
        facecolor="#e9ebee", edgecolor=NOISE, linestyle="--", label="error of the difference"
    )
    return [
        Line2D([], [], color=MUTED, linewidth=2, label="signal, wide arithmetic"),
        Line2D([], [], lw=0.8, marker="o", mfc="white", label="signal, own arithmetic", **thin),
        noise,
        Line2D([], [], color=INK, lw=1, ls=":", marker="D", ms=3, label="rounded to storage"),
    ]


def _format_title(curves: Curves, name: str) -> str:
    panel = curves.panels(format=name)[0]
    roundoff = curves(panel, "signal")[0].unit_roundoff
    title = f"{name} {curves.mode(panel)}".strip()
    return f"{title}, u = {power_of(2, round(math.log2(roundoff)))}"


def family_title(family: str, width: int = 1000) -> str:
    """A family's title in lines of at most this many characters."""
    return textwrap.fill(FAMILIES[family].title if family in FAMILIES else family, width)


@styled
def equality_figure(curves: Curves, positions: str, family: str) -> Figure:
    """What storage makes of two representations: share of equal coordinates, distance in ulp.

    Args:
      curves: The run.
      positions: Which positional encoding.
      family: Which family of runs.

    Returns:
      The figure, one line per format in each of two panels.
    """
    figure = Figure(figsize=(WIDTH, 2.8))
    share, ulp = figure.subplots(1, 2, gridspec_kw=margins(figure) | {"wspace": 0.16})
    panels = curves.panels(positions=positions, family=family)
    _share_panel(share, curves, panels)
    _ulp_panel(ulp, curves, panels)
    for axes in (share, ulp):
        length_axis(axes, curves.lengths)
        axes.set_xlabel("run length n")
    looks = [Line2D([], [], color=color(c.format), lw=2, label=c.format) for c in panels]
    figure.legend(handles=looks, loc="lower center", ncols=max(len(looks), 1))
    return figure


def _share_panel(axes: Axes, curves: Curves, panels: Sequence[Panel]) -> None:
    axes.set_title("Equal coordinates after rounding")
    axes.set(ylim=(-0.04, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticklabels(["0 %", "25 %", "50 %", "75 %", "all"])
    axes.axhline(1, color=FAINT, linewidth=0.8, zorder=0)
    for panel in panels:
        rows, width = curves(panel, "rounded"), curves.constants.model_dim
        lengths, share = [row.length for row in rows], [equal_share(row, width) for row in rows]
        axes.plot(lengths, share, color=color(panel.format), lw=1.8, marker="o", ms=3)


def equal_share(row: CollapseRow, width: int) -> float:
    """Share of coordinates that are equal; NaN where a distance is not finite."""
    return row.equal_coordinates / width if math.isfinite(row.distance) else math.nan


def _ulp_panel(axes: Axes, curves: Curves, panels: Sequence[Panel]) -> None:
    apart = {panel: curves.points(panel, "signal", "ulp") for panel in panels}
    scale = LogScale.spanning([Point(0, 1.0), *(p for points in apart.values() for p in points)])
    scale.apply(axes)
    scale.shade(axes)
    axes.set_title("Largest difference of a coordinate, in ulp")
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=":")
    said, where = "above 1 ulp, within range: never equal", ("axes fraction", "data")
    axes.annotate(said, (0.01, 1), xycoords=where, va="bottom")
    for panel, points in apart.items():
        draw_points(axes, points, scale, color=color(panel.format), linewidth=1.8, marker="o")
