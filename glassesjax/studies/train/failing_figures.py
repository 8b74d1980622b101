"""Figures of failing lengths: rows in, matplotlib figures out, nothing shown."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

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
from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.failing_cells import (
    FACTOR,
    Failing,
    failing,
    is_bound,
    pair_curves,
)
from glassesjax.studies.train.figures import shade_training
from glassesjax.studies.train.records import FailureLengths, PairRow
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


def failing_figures(trainings: Sequence[Training]) -> dict[str, Callable[[], Figure]]:
    """What draws both figures, by name; none where nothing is predicted.

    Args:
      trainings: One or more.

    Returns:
      ``failing`` and ``signals``.
    """
    if not any(cell.lengths for training in trainings for cell in failing(training)):
        return {}
    return {
        "failing": lambda: failing_figure(trainings),
        "signals": lambda: signals_figure(trainings),
    }


@styled
def failing_figure(trainings: Sequence[Training]) -> Figure:
    """Observed against predicted failing length, a panel a setting and a color a format.

    Args:
      trainings: One or more.

    Returns:
      Panels with the identity and twice and half of it. Open markers: a length is only known to
      lie at or below the shortest, or beyond the longest measured pair.
    """
    cells = _predicted(trainings)
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    colors = palette([cell.format for cell in cells])
    # Formats that stand in one place show as rings.
    sizes = dict(zip(colors, np.linspace(10, 4, len(colors)).tolist(), strict=True))
    figure, panels = _grid(max(len(settings), 1), bottom=0.55)
    ends = _ends([cell.lengths for cell in cells if cell.lengths])
    for axes, setting in zip(panels, settings, strict=False):
        _identity(axes, ends)
        for cell in cells:
            if cell.setting == setting and cell.lengths:
                _cell(axes, cell.lengths, colors[cell.format], sizes[cell.format])
        _title(axes, setting)
        axes.set_xlabel("predicted failing length")
    panels[0].set_ylabel("observed failing length")
    _legend(figure, colors)
    return figure


def _predicted(trainings: Sequence[Training]) -> list[Failing]:
    return [cell for training in trainings for cell in failing(training) if cell.lengths]


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


def _ends(cells: Sequence[FailureLengths]) -> tuple[float, float]:
    low = min((lengths.least for lengths in cells), default=1)
    return low / 1.3, BEYOND * 1.3 * max((lengths.reach for lengths in cells), default=10)


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


def _cell(axes: Axes, lengths: FailureLengths, color: str, size: float) -> None:
    place = lambda length: _placed(lengths, length)
    x, y = place(lengths.predicted), place(lengths.observed)
    bound = any(is_bound(lengths, n) for n in (lengths.predicted, lengths.observed))
    ends = [place(lengths.predicted_low), place(lengths.predicted_high)]
    axes.plot(ends, [y, y], color=color, linewidth=0.9)
    look = {"markeredgecolor": color, "markerfacecolor": "white" if bound else color}
    axes.plot([x], [y], "o", markersize=size, markeredgewidth=1.3, zorder=3, **look)


def _placed(lengths: FailureLengths, length: int | None) -> float:
    return lengths.reach * BEYOND if length is None else float(length)


def _legend(figure: Figure, colors: dict[str, str]) -> None:
    axes = figure.axes[0]
    edge = max(panel.get_position().x1 for panel in figure.axes)
    marks = [axes.plot([], [], "o", color=ink, markersize=5)[0] for ink in colors.values()]
    figure.legend(
        marks, list(colors), loc="center left", bbox_to_anchor=(edge, 0.5), handletextpad=0.2
    )


@styled
def signals_figure(trainings: Sequence[Training]) -> Figure:
    """What tells n from n + 1 in wide arithmetic, and each format's noise, against n.

    Args:
      trainings: One or more.

    Returns:
      A panel a decoder: dots are the change of the lead from n to n + 1, the pale line is the
      distance of the two representations, each format's noise is a dashed line that ends where the
      last pair is told apart in that format. The lengths of the training are shaded.
    """
    curves = {
        (training.name, seed): (training, mine)
        for training in trainings
        for seed, mine in pair_curves(training).items()
        if WIDE in mine
    }
    applicable = {(c.setting, c.seed, c.format): c for c in _predicted(trainings)}
    colors = palette([name for _, mine in curves.values() for name in mine if name != WIDE])
    figure, panels = _grid(max(len(curves), 1), bottom=0.5)
    for axes, ((setting, seed), (training, mine)) in zip(panels, curves.items(), strict=False):
        _signal(axes, training, mine[WIDE])
        for name in [name for name in mine if name != WIDE]:
            if lengths := applicable[setting, seed, name].lengths:
                _noise(axes, lengths, colors[name])
        seeds = {other for where, other in curves if where == setting}
        _title(axes, setting if len(seeds) == 1 else f"{setting}, seed {seed}")
        axes.set_xlabel("n")
    panels[0].set_ylabel("change of the lead from n to n + 1")
    _legend(figure, colors)
    return figure


def _signal(axes: Axes, training: Training, pairs: Sequence[PairRow]) -> None:
    lengths = [row.length for row in pairs]
    distances, signals = [row.l2 or math.nan for row in pairs], [row.signal for row in pairs]
    axes.plot(lengths, distances, color=FAINT, linewidth=1.6)
    axes.plot(lengths, [x or math.nan for x in signals], "o", color=INK, markersize=2.2)
    shade_training(axes, training.constants)
    log_values(axes)
    length_axis(axes, lengths)


def _noise(axes: Axes, lengths: FailureLengths, color: str) -> None:
    level, end = lengths.noise, _placed(lengths, lengths.observed)
    if math.isfinite(level) and level > 0:
        axes.plot([lengths.least, end], [level, level], "--", color=color, linewidth=1)
        axes.plot([end], [level], "|", color=color, markersize=8)
