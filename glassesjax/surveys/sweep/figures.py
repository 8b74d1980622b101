"""Figures of a sweep: rows in, matplotlib figures out, nothing shown."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassesjax.report.canvas import WIDTH, color, length_axis, margins, styled
from glassesjax.studies.train.cells import Training, answered
from glassesjax.studies.train.figures import shade_training

COLUMNS, HEIGHT = 3, 1.7  # panels a row, inches


@styled
def reaches_figure(trainings: Sequence[Training]) -> Figure:
    """Right answers against the length, a panel a cell and a line a format.

    Args:
      trainings: The cells of a sweep that are done.

    Returns:
      As many panels as cells.
    """
    columns = min(COLUMNS, len(trainings))
    count = math.ceil(len(trainings) / columns)
    figure = Figure(figsize=(WIDTH, 0.8 + HEIGHT * count))
    layout = {"wspace": 0.15, "hspace": 0.45, **margins(figure, right=0.9, top=0.3, bottom=0.5)}
    panels = figure.subplots(
        count, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=layout
    )
    for axes, cell in zip(panels.flat, trainings, strict=False):
        _panel(axes, cell)
    for axes in panels.flat[len(trainings) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("right")
    for axes in panels.flat[max(0, len(trainings) - columns) : len(trainings)]:
        axes.set_xlabel("length of the item")
        axes.tick_params(labelbottom=True)
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="center right")
    return figure


def _panel(axes: Axes, cell: Training) -> None:
    lengths: set[int] = set()
    for name, curve in answered(cell).items():
        at = [point.length for point in curve]
        lengths |= set(at)
        means = [point.answers.mean for point in curve]
        axes.plot(at, means, color=color(name), marker="o", markersize=2.5, label=name)
    shade_training(axes, cell.constants)
    length_axis(axes, lengths)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(cell.name, loc="left")
