"""Figures of failing lengths: rows in, matplotlib figures out, nothing shown."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from glassesjax.files import Row
from glassesjax.report.canvas import (
    COLORS,
    FAINT,
    INK,
    MUTED,
    STRIP,
    WIDTH,
    length_axis,
    log_values,
    margins,
    styled,
)
from glassesjax.report.fields import integer, measured
from glassesjax.studies.train.failing_cells import (
    FACTOR,
    Failing,
    failing,
    pair_curves,
)
from glassesjax.studies.train.figures import shade_training
from glassesjax.studies.train.twin_rows import WIDE

COLUMNS, HEIGHT = 3, 3.0  # panels a row, inches
ALONE = 0.62  # of the width: a panel that is alone
BEYOND = 1.35  # where a length beyond the reach stands, in units of the reach
# Formats that have no color of their own take these in turn.
SPARE = ("#7A5195", "#5C8001", "#B5485D", "#2F7F86", "#A36A00", "#4A5FC1", "#8A8F98")


def palette(names: Sequence[str]) -> dict[str, str]:
    """A color for each format, where it has none of its own one of the spare ones.

    Args:
      names: Formats, with places or without.

    Returns:
      Colors by name.
    """
    spare = [name for name in dict.fromkeys(names) if name not in COLORS]
    taken = {name: SPARE[at % len(SPARE)] for at, name in enumerate(spare)}
    return {name: COLORS.get(name) or taken[name] for name in dict.fromkeys(names)}


def failing_figures(rows: Sequence[Row]) -> dict[str, Figure]:
    """Both figures, by name; none where nothing is predicted.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      ``failing`` and ``signals``.
    """
    if not any(cell.applies for cell in failing(rows)):
        return {}
    return {"failing": failing_figure(rows), "signals": signals_figure(rows)}


@styled
def failing_figure(rows: Sequence[Row]) -> Figure:
    """Observed against predicted failing length, a panel a setting and a color a format.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Panels with the identity and twice and half of it. Open markers: a length is only known to
      lie at or below the shortest, or beyond the longest measured pair.
    """
    cells = [cell for cell in failing(rows) if cell.applies]
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    colors = palette([cell.format for cell in cells])
    # Formats that stand in one place show as rings.
    sizes = dict(zip(colors, np.linspace(10, 4, len(colors)).tolist(), strict=True))
    figure, panels = _grid(max(len(settings), 1), bottom=0.55)
    ends = _ends(cells)
    for axes, setting in zip(panels, settings, strict=False):
        _identity(axes, ends)
        for cell in cells:
            if cell.setting == setting:
                _cell(axes, cell, colors[cell.format], sizes[cell.format])
        _title(axes, setting)
        axes.set_xlabel("predicted failing length")
    panels[0].set_ylabel("observed failing length")
    _legend(figure, colors)
    return figure


def _grid(count: int, bottom: float) -> tuple[Figure, list[Axes]]:
    """So many panels that share both axes, and room for a legend on their right."""
    columns = min(COLUMNS, count)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 0.8 + HEIGHT * lines))  # a narrower one would be magnified
    right = 1.5 + (0 if columns > 1 else (1 - ALONE) * WIDTH)
    layout = margins(figure, right=right, top=0.45, bottom=bottom)
    layout |= {"hspace": 0.5, "wspace": 0.12}
    panels = figure.subplots(
        lines, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=layout
    )
    for axes in panels.flat[count:]:
        axes.set_visible(False)
    for axes in panels.flat:
        axes.tick_params(labelbottom=True)
    return figure, list(panels.flat[:count])


def _title(axes: Axes, setting: str) -> None:
    """In two lines, so that it stays over its own panel."""
    axes.set_title(setting.replace(", ", "\n", 1), fontsize=8)


def _ends(cells: Sequence[Failing]) -> tuple[float, float]:
    low = min((measured(cell.row, "least") for cell in cells), default=1)
    return low / 1.3, BEYOND * 1.3 * max(
        (measured(cell.row, "reach") for cell in cells), default=10
    )


def _identity(axes: Axes, ends: tuple[float, float]) -> None:
    line = np.asarray(ends)
    axes.fill_between(line, line / FACTOR, line * FACTOR, color=STRIP, linewidth=0, zorder=0)
    axes.plot(line, line, color=MUTED, linewidth=0.8, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)


def _cell(axes: Axes, cell: Failing, color: str, size: float) -> None:
    place = lambda name: _placed(cell, name)
    x, y = place("predicted"), place("observed")
    bound = cell.is_bound("predicted") or cell.is_bound("observed")
    axes.plot([place("predicted_low"), place("predicted_high")], [y, y], color=color, linewidth=0.9)
    look = {"markeredgecolor": color, "markerfacecolor": "white" if bound else color}
    axes.plot([x], [y], "o", markersize=size, markeredgewidth=1.3, zorder=3, **look)


def _placed(cell: Failing, name: str) -> float:
    length = cell.length(name)
    return measured(cell.row, "reach") * BEYOND if length is None else float(length)


def _legend(figure: Figure, colors: dict[str, str]) -> None:
    axes = figure.axes[0]
    edge = max(panel.get_position().x1 for panel in figure.axes)
    marks = [axes.plot([], [], "o", color=ink, markersize=5)[0] for ink in colors.values()]
    figure.legend(
        marks, list(colors), loc="center left", bbox_to_anchor=(edge, 0.5), handletextpad=0.2
    )


@styled
def signals_figure(rows: Sequence[Row]) -> Figure:
    """What tells n from n + 1 in wide arithmetic, and each format's noise, against n.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      A panel a decoder: dots are the change of the lead from n to n + 1, the pale line is the
      distance of the two representations, each format's noise is a dashed line that ends where the
      last pair is told apart in that format. The lengths of the training are shaded.
    """
    curves = {key: mine for key, mine in pair_curves(rows).items() if WIDE in mine}
    applicable = {(c.setting, c.seed, c.format): c for c in failing(rows) if c.applies}
    colors = palette([name for mine in curves.values() for name in mine if name != WIDE])
    figure, panels = _grid(max(len(curves), 1), bottom=0.5)
    for axes, ((setting, seed), mine) in zip(panels, curves.items(), strict=False):
        _signal(axes, mine[WIDE])
        for name in [name for name in mine if name != WIDE]:
            _noise(axes, applicable[setting, seed, name], colors[name])
        seeds = {other for where, other in curves if where == setting}
        _title(axes, setting if len(seeds) == 1 else f"{setting}, seed {seed}")
        axes.set_xlabel("n")
    panels[0].set_ylabel("change of the lead from n to n + 1")
    _legend(figure, colors)
    return figure


def _signal(axes: Axes, pairs: Sequence[Row]) -> None:
    lengths = [integer(row, "length") for row in pairs]
    positive = lambda name: [measured(row, name) or math.nan for row in pairs]
    axes.plot(lengths, positive("l2"), color=FAINT, linewidth=1.6)
    axes.plot(lengths, positive("signal"), "o", color=INK, markersize=2.2)
    shade_training(axes, pairs[0])
    log_values(axes)
    length_axis(axes, lengths)


def _noise(axes: Axes, cell: Failing, color: str) -> None:
    level, end = measured(cell.row, "noise"), _placed(cell, "observed")
    if math.isfinite(level) and level > 0:
        axes.plot(
            [measured(cell.row, "least"), end], [level, level], "--", color=color, linewidth=1
        )
        axes.plot([end], [level], "|", color=color, markersize=8)
