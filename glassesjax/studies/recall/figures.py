"""Figures of the recall study: rows in, matplotlib figures out, nothing shown."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from glassesjax.files import Row
from glassesjax.report.canvas import COLORS, INK, STRIP, WIDTH, margins, styled
from glassesjax.report.fields import measured
from glassesjax.studies.recall.cells import UNBOUNDED, Cell, panels, read_cells, unbounded

PALETTE = [ink for ink in COLORS.values() if ink != INK]
NATS = "nats a token"


@styled
def slots_figure(rows: Sequence[Row]) -> Figure:
    """How surprising the expected answers are, against the size of the state.

    Args:
      rows: Rows of the recall study.

    Returns:
      A panel for each task and length, a line for each policy, dashed the full state.
    """
    cells = read_cells(rows)
    figure, axes = _panels(cells)
    inks = _inks(cells)
    for panel, mine in zip(axes, panels(cells).values(), strict=True):
        for name, ink in inks.items():
            line = sorted((c for c in mine if c.policy == name), key=lambda cell: cell.slots)
            at, nats = [c.slots for c in line], [c.mean("gold_nll") for c in line]
            panel.plot(at, nats, color=ink, marker="o", markersize=3.5, label=name)
        full = unbounded(mine)
        if full is not None:
            nats = full.mean("gold_nll")
            panel.axhline(nats, color=INK, linestyle="--", linewidth=1.0, label=UNBOUNDED)
        _slots_axis(panel, sorted({c.slots for c in mine if c.policy != UNBOUNDED}))
    _finish(axes, "slots")
    return figure


@styled
def depth_figure(rows: Sequence[Row]) -> Figure:
    """How surprising the expected answers are, against where they stand in the passage.

    Args:
      rows: Rows of the recall study.

    Returns:
      A panel for each task and length, a line for each policy with the fewest slots.
    """
    cells = read_cells(rows)
    figure, axes = _panels(cells)
    inks = _inks(cells) | {UNBOUNDED: INK}
    for panel, mine in zip(axes, panels(cells).values(), strict=True):
        for name, ink in inks.items():
            own = [cell for cell in mine if cell.policy == name]
            if own:
                _depth_line(panel, min(own, key=lambda cell: cell.slots), ink)
        panel.set_xlim(-0.05, 1.05)
    _finish(axes, "depth of the answer")
    return figure


def _depth_line(axes: Axes, cell: Cell, ink: str) -> None:
    depths = sorted({measured(row, "depth") for row in cell.rows})
    nats = [cell.at(depth).mean("gold_nll") for depth in depths]
    style = "--" if cell.policy == UNBOUNDED else "-"
    axes.plot(depths, nats, style, color=ink, marker="o", markersize=3.5, label=cell.name)


def _inks(cells: Sequence[Cell]) -> dict[str, str]:
    names = list(dict.fromkeys(c.policy for c in cells if c.policy != UNBOUNDED))
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def _panels(cells: Sequence[Cell]) -> tuple[Figure, list[Axes]]:
    found = panels(cells)
    figure = Figure(figsize=(WIDTH, 2.6 * len(found)))
    edges = margins(figure, right=2.2, bottom=0.5) | {"hspace": 0.35}
    grid = figure.subplots(len(found), 1, squeeze=False, gridspec_kw=edges)
    axes = list(grid[:, 0])
    for panel, (task, length) in zip(axes, found, strict=True):
        panel.set_title(f"{task}, passages of {length} tokens")
    return figure, axes


def _slots_axis(axes: Axes, slots: Sequence[int]) -> None:
    if not slots:
        axes.set_xticks([])
        return
    axes.set_xscale("log")
    axes.set_xlim(slots[0] / 1.25, slots[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(slots))
    axes.xaxis.set_major_formatter(FixedFormatter([str(number) for number in slots]))
    axes.xaxis.set_minor_locator(NullLocator())


def _finish(axes: Sequence[Axes], label: str) -> None:
    for panel in axes:
        panel.set_ylabel(NATS)
        panel.set_ylim(bottom=0)
        panel.grid(axis="y", color=STRIP, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1].set_xlabel(label)
