"""Figures of the retention study: rows in, matplotlib figures out, nothing shown."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from glassesjax.report.canvas import COLORS, INK, MUTED, STRIP, WIDTH, log_values, margins, styled
from glassesjax.report.numbers import percent
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.summary import paper_relative
from glassesjax.studies.retention.words import PAPER_RECENT
from glassesjax.tasks.word_classes import CLASSES

INKS = (COLORS["f32"], COLORS["bf16"], COLORS["f16"], COLORS["e4m3fn"], COLORS["e2m1"], INK)
STYLES = ("-", "--", ":", "-.")
FAMILIES = {"mark": COLORS["bf16"], "closed": COLORS["tf32"], "open": STRIP, "other": INK}
FAMILY_OF = {row.name: row.family for row in CLASSES}
ACROSS = 6  # small maps beside each other
COLUMNS = 4  # panels of classes beside each other
LARGE, SMALL = 512, 160  # pixels of a map at most
EARLY = 64  # positions of the curve
GROUND = "#f6f7f9"  # between maps


def retention_figures(cells: Sequence[Cell]) -> dict[str, Callable[[], Figure]]:
    """What draws each figure of a run.

    Args:
      cells: All of a run.

    Returns:
      ``positions``, ``classes`` and ``layers``, and for each cell ``map-POLICY-SLOTS`` and
      ``maps-POLICY-SLOTS``, by name.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "positions": lambda: position_figure(cells),
        "classes": lambda: classes_figure(cells),
        "layers": lambda: layers_figure(cells),
    }
    for cell in cells:
        name = f"{cell.policy.replace('+', '-plus-').replace('@', '-at-')}-{cell.slots}"
        figures[f"map-{name}"] = functools.partial(overview_figure, cell)
        figures[f"maps-{name}"] = functools.partial(maps_figure, cell)
    return figures


def coarse(evicted: np.ndarray, most: int) -> np.ndarray:
    """Which share of a layer's decisions holds each token after each step, in blocks of both.

    Args:
      evicted: When each decision evicted each token.
      most: Blocks on a side at most.

    Returns:
      Means over the blocks, a row for steps, a column for tokens.
    """
    length = evicted.shape[1]
    edges = np.linspace(0, length, min(length, most) + 1).astype(int)
    first, end = edges[:-1, None, None], edges[1:, None, None]
    born = np.arange(length)
    steps = np.clip(np.minimum(evicted, end) - np.maximum(born, first), 0, None).mean(axis=1)
    sizes = np.diff(edges)
    return np.add.reduceat(steps, edges[:-1], axis=1) / np.outer(sizes, sizes)


def _maps(cell: Cell, most: int) -> list[np.ndarray]:
    return [coarse(layer, most) for layer in cell.evicted()]


@styled
def overview_figure(cell: Cell) -> Figure:
    """The map of all layers together, with the tokens' families on top.

    Args:
      cell: One policy with one number of slots.

    Returns:
      An image, a strip and a legend.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    edges = margins(figure, left=0.75, right=2.6, bottom=0.5, top=0.15)
    strip, axes = figure.subplots(
        2, 1, sharex=True, gridspec_kw=edges | {"height_ratios": (1, 28), "hspace": 0.02}
    )
    share = np.mean(_maps(cell, LARGE), axis=0)
    _image(axes, share, cell.length)
    axes.set_ylabel("step")
    axes.set_xlabel("token")
    names = [FAMILY_OF[title] for title in cell.titles]
    order = list(FAMILIES)
    numbers = np.array([order.index(name) for name in names])[None]
    extent = (-0.5, cell.length - 0.5, 0, 1)
    look: dict[str, Any] = {
        "interpolation": "none",
        "aspect": "auto",
        "vmin": -0.5,
        "vmax": len(order) - 0.5,
    }
    strip.imshow(numbers, cmap=ListedColormap([FAMILIES[n] for n in order]), extent=extent, **look)
    strip.set_axis_off()
    _families_legend(axes)
    return figure


def _families_legend(axes: Axes) -> None:
    said = {"mark": "marks, line ends", "closed": "words of grammar", "open": "other words"}
    said["other"] = "first token, space"
    marks = [
        Line2D([], [], marker="s", linestyle="", color=FAMILIES[n], label=said[n]) for n in FAMILIES
    ]
    for share in (1.0, 0.5, 0.1):
        shade = _shade(share)
        label = f"held by {share:.0%} of layers"
        marks.append(Line2D([], [], marker="s", linestyle="", color=shade, label=label))
    axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _shades() -> ListedColormap:
    return ListedColormap([_shade(level) for level in np.linspace(0, 1, 256)], bad=GROUND)


def _shade(share: float) -> str:
    """White for none, the ink's blue for all; by the root, so that a few layers show as well."""
    share = math.sqrt(share)
    red, green, blue = ((1 - share) + share * part for part in to_rgb(COLORS["f32"]))
    return to_hex((red, green, blue))


def _image(axes: Axes, share: np.ndarray, length: int) -> None:
    """A picture as pixels: as paths it would be a million."""
    extent = (-0.5, length - 0.5, length - 0.5, -0.5)
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "none"}
    axes.imshow(share, cmap=_shades(), extent=extent, **look)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


@styled
def maps_figure(cell: Cell) -> Figure:
    """A small map for each layer.

    Args:
      cell: One policy with one number of slots.

    Returns:
      One picture, the first layer at the top left.
    """
    maps = _maps(cell, SMALL)
    across, side = min(ACROSS, len(maps)), len(maps[0])
    gap = max(side // 10, 1)  # between two maps; above them as much again, for a title
    down = math.ceil(len(maps) / across)
    height, width = side + 2 * gap, side + gap
    whole = np.full((down * height, across * width - gap), np.nan)
    figure = Figure(figsize=(WIDTH, WIDTH * whole.shape[0] / whole.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for layer, share in enumerate(maps):
        top, left = layer // across * height + 2 * gap, layer % across * width
        whole[top : top + side, left : left + side] = share
        title = f"layer {layer}, {percent(cell.recent_share[layer])} recent"
        axes.text(left, top - gap / 2, title, fontsize=7.5)
    axes.imshow(whole, cmap=_shades(), vmin=0, vmax=1, aspect="auto", interpolation="none")
    return figure


def _looks(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A color for each policy, a dash for each number of slots."""
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    slots = list(dict.fromkeys(cell.slots for cell in cells))
    ink = lambda cell: INKS[policies.index(cell.policy) % len(INKS)]
    dash = lambda cell: STYLES[slots.index(cell.slots) % len(STYLES)]
    return [{"color": ink(cell), "linestyle": dash(cell), "label": cell.name} for cell in cells]


@styled
def position_figure(cells: Sequence[Cell]) -> Figure:
    """How long the first tokens live, position by position.

    Args:
      cells: All of a run.

    Returns:
      One panel with a line for each cell, and a window's lifetime for each number of slots.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(gridspec_kw=margins(figure, left=0.75, right=1.9, bottom=0.5, top=0.15))
    for cell, look in zip(cells, _looks(cells), strict=True):
        steps = cell.steps[:EARLY]
        axes.plot(steps, linewidth=1.3, marker="o", markersize=2.2, **look)
    for slots in dict.fromkeys(cell.slots for cell in cells if cell.slots + 1 < cell.length):
        axes.axhline(slots + 1, color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
    log_values(axes)
    axes.set_xlabel("position")
    axes.set_ylabel("steps, mean")
    axes.grid(axis="y", color=STRIP, linewidth=0.8)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def classes_figure(cells: Sequence[Cell]) -> Figure:
    """Lifetimes by class, beside those of the paper's tags.

    Args:
      cells: All of a run.

    Returns:
      A panel for each cell, classes by name, on one scale of multiples of the mean.
    """
    names = [row.name for row in CLASSES if any(row.name in c.classes for c in cells)][1:]
    down = math.ceil(len(cells) / COLUMNS)
    figure = Figure(figsize=(WIDTH, down * (0.9 + 0.19 * len(names))))
    edges = margins(figure, left=1.75, right=0.1, bottom=0.5, top=0.3)
    across = min(COLUMNS, len(cells))
    grid = edges | {"wspace": 0.08, "hspace": 0.3}
    panels = figure.subplots(
        down, across, squeeze=False, sharex=True, sharey=True, gridspec_kw=grid
    )
    for axes in panels.flat[len(cells) :]:
        axes.set_axis_off()
    for axes, cell, look in zip(panels.flat, cells, _looks(cells), strict=False):
        _class_panel(axes, cell, names, look["color"])
        axes.set_xlabel("steps over the mean of all tokens")
    counts = {name: max(_count(cell, name) for cell in cells) for name in names}
    labels = [f"{name} ({counts[name]})" for name in names]
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(names)), labels)
    panels[0, 0].invert_yaxis()
    return figure


def _count(cell: Cell, name: str) -> int:
    return cell.classes[name].tokens if name in cell.classes else 0


def _class_panel(axes: Axes, cell: Cell, names: Sequence[str], ink: str) -> None:
    axes.set_title(cell.name)
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=0)
    axes.grid(axis="x", color=STRIP, linewidth=0.8)
    axes.set_axisbelow(True)
    for at, name in enumerate(names):
        theirs = paper_relative(cell, name)
        if theirs:
            axes.plot((min(theirs), max(theirs)), (at, at), color=INK, linewidth=0.9)
            middle = float(np.mean(theirs))
            axes.plot(middle, at, "D", color="white", markeredgecolor=INK, markersize=4)
        if name in cell.classes:
            error = cell.classes[name].standard_error
            # One token has no spread: no bar, which NaN gives.
            wide = 2 * (math.nan if error is None else error) / cell.summary.steps
            axes.errorbar(cell.relative(name), at, xerr=wide, fmt="o", color=ink, markersize=4)


@styled
def layers_figure(cells: Sequence[Cell]) -> Figure:
    """Recency, agreement with the next layer, and the first token's fate, layer by layer.

    Args:
      cells: All of a run.

    Returns:
      Three panels over the layers.
    """
    figure = Figure(figsize=(WIDTH, 5.6))
    edges = margins(figure, left=0.75, right=1.9, bottom=0.5) | {"hspace": 0.3}
    panels = figure.subplots(3, 1, sharex=True, gridspec_kw=edges)
    panels[0].axhspan(*PAPER_RECENT, color=STRIP, zorder=0)
    drawn: dict[str, Callable[[Cell], np.ndarray]] = {
        "Recent share of what is held": lambda cell: cell.recent_share,
        "Held by this layer and the next, of what either holds": lambda cell: cell.overlap_next,
        "Steps of the first token": lambda cell: cell.first_steps,
    }
    for axes, (title, values) in zip(panels, drawn.items(), strict=True):
        axes.set_title(title)
        for cell, look in zip(cells, _looks(cells), strict=True):
            axes.plot(values(cell), linewidth=1.2, marker="o", markersize=2.6, **look)
    for axes in panels[:2]:
        axes.set_ylim(0, 1.03)
    panels[2].set_ylim(bottom=0)
    panels[2].set_xlabel("layer")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
