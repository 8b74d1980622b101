"""Figure of what is heard of each place: rows in, a matplotlib figure out, nothing shown."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassesjax.report.canvas import INK, MUTED, WIDTH, margins, styled
from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.heard_cells import MEASURES, Places, heard_cells

COLUMNS, HEIGHT = 3, 2.2  # panels a row, inches
BROAD = 46  # letters of a title over its own panel
# Two of Okabe and Ito's colors and a gray, apart from each other in dashes as well.
LINES = {"influence": ("#D55E00", "-"), "rollout": ("#0072B2", "--"), "bound": ("#8A8F98", ":")}


@styled
def heard_figure(trainings: Sequence[Training]) -> Figure:
    """Accuracy by place (points) beside influence, rollout and bound (lines), a panel a length.

    Args:
      trainings: Some with influences by position.

    Returns:
      Panels in the order of the rows; each measure in units of its largest value.

    Raises:
      ValueError: Nothing was heard.
    """
    cells = [cell for training in trainings for cell in heard_cells(training)]
    if not cells:
        raise ValueError("Wanted rows of what is heard of each place; found none.")
    down = -(-len(cells) // COLUMNS)
    figure = Figure(figsize=(WIDTH, HEIGHT * down + 0.7))
    grid = {"hspace": 0.75, "wspace": 0.2, **margins(figure, left=0.5, top=0.8, bottom=0.45)}
    panels = figure.subplots(down, COLUMNS, squeeze=False, gridspec_kw=grid).ravel()
    for axes, cell in zip(panels, cells, strict=False):
        _panel(axes, cell)
    for axes in panels[len(cells) :]:
        axes.remove()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper right", ncols=4)
    return figure


def _panel(axes: Axes, cell: Places) -> None:
    at = cell.values("position")
    for name, (color, dashes) in LINES.items():
        values = np.array(cell.values(name))
        top = values.max()
        label = f"{MEASURES[name]}, of its largest"
        axes.plot(at, values / (top or 1), color=color, linestyle=dashes, label=label)
    axes.plot(
        at, cell.values("accuracy"), "o", color=INK, markersize=3, label="share of right answers"
    )
    setting, layers, seed = cell.name.rsplit(", ", 2)
    lines = [*textwrap.wrap(setting, BROAD), f"{layers}, {seed}, length {cell.length}"]
    axes.set_title("\n".join(lines), fontsize=7)
    axes.set_ylim(-0.04, 1.06)
    axes.set_xlabel("place in the item", color=MUTED)
