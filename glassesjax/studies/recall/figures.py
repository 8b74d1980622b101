"""Figures of the recall study: rows in, matplotlib figures out, nothing shown."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from glassesjax.report.canvas import COLORS, INK, STRIP, WIDTH, margins, styled
from glassesjax.studies.recall.cells import UNBOUNDED
from glassesjax.studies.recall.summary import CellSummary, PanelSummary, RecallSummary

PALETTE = [ink for ink in COLORS.values() if ink != INK]
NATS = "nats a token"


@styled
def slots_figure(summary: RecallSummary) -> Figure:
    """How surprising the expected answers are, against the size of the state.

    Args:
      summary: Of the run.

    Returns:
      A panel for each task and length, a line for each policy, dashed the full state.
    """
    figure, axes = _panels(summary.panels)
    inks = _inks(summary.panels)
    for panel, mine in zip(axes, summary.panels, strict=True):
        for name, ink in inks.items():
            line = [cell for cell in mine.cells if cell.policy == name]
            line.sort(key=lambda cell: cell.slots)
            at, nats = [cell.slots for cell in line], [cell.nats for cell in line]
            panel.plot(at, nats, color=ink, marker="o", markersize=3.5, label=name)
        if mine.full is not None:
            nats = mine.full.nats
            panel.axhline(nats, color=INK, linestyle="--", linewidth=1.0, label=UNBOUNDED)
        _slots_axis(panel, sorted({cell.slots for cell in mine.cells if cell.bounded}))
    _finish(axes, "slots")
    return figure


@styled
def depth_figure(summary: RecallSummary) -> Figure:
    """How surprising the expected answers are, against where they stand in the passage.

    Args:
      summary: Of the run.

    Returns:
      A panel for each task and length, a line for each policy with the fewest slots.
    """
    figure, axes = _panels(summary.panels)
    inks = _inks(summary.panels) | {UNBOUNDED: INK}
    for panel, mine in zip(axes, summary.panels, strict=True):
        for name, ink in inks.items():
            own = [cell for cell in mine.cells if cell.policy == name]
            if own:
                _depth_line(panel, min(own, key=lambda cell: cell.slots), ink)
        panel.set_xlim(-0.05, 1.05)
    _finish(axes, "depth of the answer")
    return figure


def _depth_line(axes: Axes, cell: CellSummary, ink: str) -> None:
    depths, nats = zip(*cell.depths, strict=True)
    style = "-" if cell.bounded else "--"
    axes.plot(depths, nats, style, color=ink, marker="o", markersize=3.5, label=cell.name)


def _inks(panels: Sequence[PanelSummary]) -> dict[str, str]:
    bounded = (cell.policy for panel in panels for cell in panel.cells if cell.bounded)
    return {
        name: PALETTE[index % len(PALETTE)] for index, name in enumerate(dict.fromkeys(bounded))
    }


def _panels(panels: Sequence[PanelSummary]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, 2.6 * len(panels)))
    edges = margins(figure, right=2.2, bottom=0.5) | {"hspace": 0.35}
    grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw=edges)
    axes = list(grid[:, 0])
    for each, panel in zip(axes, panels, strict=True):
        each.set_title(panel.name)
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
