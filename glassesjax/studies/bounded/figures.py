"""Figures of the bounded study: rows in, matplotlib figures out, nothing shown."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassesjax.report.canvas import (
    INK,
    MUTED,
    STRIP,
    WIDTH,
    LogScale,
    draw_points,
    length_axis,
    log_values,
    margins,
    styled,
)
from glassesjax.report.points import Point
from glassesjax.studies.bounded.panels import Panel, Token
from glassesjax.studies.bounded.records import DistanceRow

POLICY_COLORS = ("#1f2430", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINES = ("-", "--", ":", "-.")  # one for each capacity
PANEL = 1.9  # inches


@styled
def collapse_bounded_figure(runs: Mapping[Panel, Sequence[DistanceRow]]) -> Figure:
    """Distance of runs of n and n + 1 by policy: a row per encoding, a column per family.

    Args:
      runs: Rows of one norm by panel, in order of length.

    Returns:
      Panels that share their axes.
    """
    encodings = list(dict.fromkeys(panel.positions for panel in runs))
    families = list(dict.fromkeys(panel.family for panel in runs))
    figure = Figure(figsize=(WIDTH, PANEL * len(encodings) + 0.9))
    edges = margins(figure, right=1.5, bottom=0.5) | {"hspace": 0.3, "wspace": 0.08}
    grid = figure.subplots(
        len(encodings), len(families), sharex=True, sharey=True, squeeze=False, gridspec_kw=edges
    )
    points = {panel: [_point(row) for row in mine] for panel, mine in runs.items()}
    scale = LogScale.spanning([point for curve in points.values() for point in curve])
    for line, positions in zip(grid, encodings, strict=True):
        for axes, family in zip(line, families, strict=True):
            here = {
                p: c for p, c in points.items() if (p.positions, p.family) == (positions, family)
            }
            _panel(axes, here, runs, scale)
            axes.set_title(f"{positions}, {family}")
    scale.apply(grid[0, 0])
    length_axis(grid[0, 0], {point.length for curve in points.values() for point in curve})
    for axes in grid[-1]:
        axes.set_xlabel("run length n")
    grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return figure


def _point(row: DistanceRow) -> Point:
    gap = row.distance if math.isfinite(row.distance) else None
    return Point(row.length, gap, not row.equal)


def _panel(
    axes: Axes,
    curves: Mapping[Panel, list[Point]],
    runs: Mapping[Panel, Sequence[DistanceRow]],
    scale: LogScale,
) -> None:
    scale.shade(axes)
    names = list(dict.fromkeys(panel.policy for panel in curves))
    sizes = sorted({panel.slots for panel in curves if panel.policy != "full"})
    for slots in sizes:
        axes.axvline(slots, color=MUTED, linewidth=0.7, linestyle="--")
    for panel, curve in curves.items():
        ink = POLICY_COLORS[names.index(panel.policy) % len(POLICY_COLORS)]
        style = LINES[sizes.index(panel.slots) % len(LINES) if panel.slots in sizes else 0]
        draw_points(axes, curve, scale, color=ink, linewidth=1.2, linestyle=style)
        axes.lines[-1].set_label("_")
        axes.plot([], [], color=ink, linestyle=style, label=panel.state)
        least = runs[panel][-1].equal_from
        if least is not None:
            axes.axvline(least, color=ink, linewidth=0.8, linestyle=":")


@styled
def influence_figure(texts: Mapping[Panel, Sequence[Token]]) -> Figure:
    """Influence by position, and which tokens are still cached: a panel for each policy.

    Args:
      texts: Tokens by panel, in order of position.

    Returns:
      Panels that share their axes.
    """
    figure = Figure(figsize=(WIDTH, 1.35 * len(texts) + 0.8))
    edges = margins(figure, bottom=0.5) | {"hspace": 0.45}
    grid = figure.subplots(
        len(texts), 1, sharex=True, sharey=True, squeeze=False, gridspec_kw=edges
    )
    for axes, (panel, tokens) in zip(grid[:, 0], texts.items(), strict=True):
        _influence(axes, tokens)
        axes.set_title(f"{panel.positions}, {panel.state}")
    grid[-1, 0].set_xlabel("position")
    return figure


def _influence(axes: Axes, tokens: Sequence[Token]) -> None:
    position = np.array([float(token.row.position) for token in tokens])
    share = np.array([token.share for token in tokens])
    rollout = np.array([token.row.rollout for token in tokens])
    cached = np.array([token.row.cached_layers > 0 for token in tokens])
    known = lambda values: np.where(values > 0, values, math.nan)
    axes.plot(position, known(rollout), color=MUTED, linewidth=0.9)
    axes.plot(position, known(share), color=POLICY_COLORS[1], linewidth=0.8)
    dots = {"linestyle": "", "marker": "o", "markersize": 3.2, "markeredgewidth": 0.7}
    for mask, face in ((cached, POLICY_COLORS[1]), (~cached, "white")):
        dots |= {"markeredgecolor": POLICY_COLORS[1], "markerfacecolor": face}
        axes.plot(position[mask], known(share)[mask], **dots)  # pyrefly: ignore[bad-argument-type]
    log_values(axes)
    axes.grid(axis="y", color=STRIP, linewidth=0.8)
    axes.tick_params(which="minor", left=False, labelleft=False)
    axes.set_ylabel("share", color=INK)
