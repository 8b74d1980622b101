"""All runs at a glance: small multiples of the wide signal, each with its fitted decay."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassesjax.report.canvas import (
    COLORS,
    INK,
    MUTED,
    STRIP,
    WIDTH,
    LogScale,
    draw_points,
    length_axis,
    margins,
    styled,
)
from glassesjax.report.points import Point
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.run import Run
from glassesjax.studies.collapse.curves import Curves, Panel
from glassesjax.studies.collapse.figures import collapse_figure, family_title
from glassesjax.studies.collapse.fits import has_exponent, is_flat, slope
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.trace.decay import DecayFit

SIGNAL = COLORS["f32"]


@styled
def overview_figure(curves: Curves) -> Figure:
    """The wide signal of every family under every positional encoding, with its fitted decay.

    Args:
      curves: The run.

    Returns:
      One small panel per family, or a grid of families and encodings where there are several
      encodings. Gray panels: the pairs of prompts do not meet Theorem 4.2's hypothesis.
    """
    several = len(curves.positions) > 1
    columns = len(curves.positions) if several else min(4, len(curves.families))
    panels = [curves.finest(p, f) for f in curves.families for p in curves.positions]
    lines = math.ceil(len(panels) / columns)
    height = 1.25 if several else 1.75
    figure = Figure(figsize=(WIDTH, 0.9 + lines * height))
    edges = margins(figure, left=1.2 if several else 0.85, top=0.4, bottom=0.55)
    edges |= {"wspace": 0.2 if several else 0.08, "hspace": 0.12 if several else 0.4}
    shape = lines, columns
    grid = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False, gridspec_kw=edges)
    measured = [panel for panel in panels if panel]
    scale = LogScale.spanning(p for panel in measured for p in curves.points(panel, "signal"))
    scale.apply(grid[0, 0])
    length_axis(grid[0, 0], curves.lengths, apart=6.0 if several else 2.5)
    for axes in grid.flat:
        axes.set_visible(False)
    for panel, axes in zip(panels, grid.flat, strict=False):
        _overview_panel(axes, curves, panel, scale)
    _name_panels(grid, curves, several=several)
    figure.supxlabel("run length n", color=MUTED)
    figure.supylabel("relative L1 distance of n and n + 1, in float64", color=MUTED)
    return figure


def collapse_figures(run: Run[CollapseRow, ModelConstants]) -> dict[str, Callable[[], Figure]]:
    """What draws each figure of a run.

    Args:
      run: Of the collapse study.

    Returns:
      ``overview``, and ``collapse-ENCODING`` for each encoding, by name.
    """
    curves = Curves(run)
    return {
        "overview": lambda: overview_figure(curves),
        **{
            f"collapse-{positions}": functools.partial(collapse_figure, curves, positions)
            for positions in curves.positions
        },
    }


def _overview_panel(axes: Axes, curves: Curves, panel: Panel | None, scale: LogScale) -> None:
    axes.set_visible(True)
    scale.shade(axes)
    if panel is None:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
        return
    points, fit = curves.points(panel, "signal"), curves.fit(panel)
    if not all(row.repeats_last for row in curves(panel, "signal")):
        axes.set_facecolor(STRIP)
    draw_points(axes, points, scale, color=SIGNAL, linewidth=1.7)
    if has_exponent(fit):
        _fit_line(axes, points, fit)
    words = fit_words(fit, points)
    # Decays leave the lower left corner free.
    corner = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(words, (0.04, 10.0**scale.low), (0, 2), va="bottom", size=7, **corner)


def _fit_line(axes: Axes, points: Sequence[Point], fit: DecayFit) -> None:
    """A least-squares line passes through the mean of the logarithms of the tail."""
    kept = [
        (math.log(p.length), math.log(p.distance))
        for p in points
        if p.drawable and p.distance and p.length >= fit.first
    ]
    x, y = (math.fsum(side) / len(kept) for side in zip(*kept, strict=True))
    ends = (fit.first, fit.last)
    line = [math.exp(y + fit.exponent * (math.log(n) - x)) for n in ends]
    axes.plot(ends, line, color=INK, linewidth=0.8, linestyle="--")


def fit_words(fit: DecayFit, points: Sequence[Point]) -> str:
    """What a fit says, or why it says nothing, in two short lines.

    Args:
      fit: Of the resolved points.
      points: The whole curve.

    Returns:
      The tail's exponent with its interval and range; else the reason why there is none.
    """
    where = f"n {fit.first}\N{EN DASH}{fit.last}"
    if fit.points == 0:
        if any(p.distance is None for p in points):
            return "not finite"
        equal = all(p.distance == 0 for p in points)
        return "equal" if equal else "equal to within\nfloat64's rounding"
    if not fit.spans_decade:
        return f"no slope: {where} is\nunder a decade"
    if fit.law == "exponential":
        return f"an exponential\nis closer, {where}"
    note = "no trend, " if is_flat(fit) else "" if fit.stable else "not settled, "
    return f"{slope(fit)}\n{note}{where}"


def _name_panels(grid: np.ndarray, curves: Curves, *, several: bool) -> None:
    if not several:
        for family, axes in zip(curves.families, grid.flat, strict=False):
            axes.set_title(family_title(family, 24))
        return
    for name, axes in zip(curves.positions, grid[0], strict=True):
        axes.set_title(name.replace("_", " ").replace("query key", "\nin q, k"))
    for family, line in zip(curves.families, grid, strict=True):
        line[0].set_ylabel(family_title(family, 15), color=INK, size="small")
