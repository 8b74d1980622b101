"""The phase diagram as a figure: measured errors as shades, predicted borders as bars."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from phase_cells import CHUNKS, ORDERS, STORE, STORES, SUMS, borders, crossing
from phase_rows import Measured

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.maps import opacity_image

LEAST = 1e-4  # relative error of an empty cell; a full one is one or more
WIDE = (len(SUMS) - 1, len(CHUNKS) - 1)  # the sum while stores are compared: 23 bits, chunks of 512
STORED = STORES.index(STORE)
LEVEL = 0.25  # the relative error that a border is of: more than any single rounding makes
LINE, PANEL, LEFT, GAP, TOP, BETWEEN = 14, 196, 84, 16, 54, 58
LOW, HIGH = 4, 20  # the axis of lengths, in powers of two

Cell = tuple[int, int, int, int]


def stores(order: int) -> list[tuple[str, Cell]]:
    """A line for each store of weights, summed wide."""
    return [(store.name, (i, order, *WIDE)) for i, store in enumerate(STORES)]


def sums(order: int) -> list[tuple[str, Cell]]:
    """A line for each running sum of weights in bf16's bits."""
    return [
        (f"{fmt.mantissa_bits} bits, {chunk}", (STORED, order, i, j))
        for i, fmt in enumerate(SUMS)
        for j, chunk in enumerate(CHUNKS)
    ]


COLUMNS: Sequence[tuple[str, Callable[[int], list[tuple[str, Cell]]], int]] = (
    ("weights, normalized store", stores, ORDERS.index("normalized")),
    ("weights, fused store", stores, ORDERS.index("fused")),
    ("running sum, normalized", sums, ORDERS.index("normalized")),
    ("running sum, fused", sums, ORDERS.index("fused")),
)


@charted
def phase_figure(kinds: Sequence[Measured]) -> Chart:
    """Median errors over rows: a line of panels for each kind of logits.

    Args:
      kinds: Measured errors.

    Returns:
      The figure.
    """
    tall = LINE * len(STORES)
    left = [LEFT, LEFT + PANEL + GAP, 2 * LEFT + 2 * PANEL + 2 * GAP]
    left.append(left[2] + PANEL + GAP)
    chart = Chart(left[3] + PANEL + GAP, TOP + len(kinds) * (tall + BETWEEN))
    for row, kind in enumerate(kinds):
        top = TOP + row * (tall + BETWEEN)
        for column, (title, lines, order) in enumerate(COLUMNS):
            axes = chart.panel(left[column], top, PANEL, tall)
            _panel(axes, kind, lines(order), named=column % 2 == 0)
            if row == len(kinds) - 1:
                axes.set_xlabel("tokens n")
            if row == 0:
                axes.text(0, 1.2, title, transform=axes.transAxes, fontsize=13)
            if column == 0:
                axes.text(0, 1.07, kind.name, transform=axes.transAxes, color=COLORS["soft"])
    return chart


def _panel(axes: Axes, kind: Measured, lines: list[tuple[str, Cell]], *, named: bool) -> None:
    errors = np.stack(
        [np.median(kind.errors[(slice(None), slice(None), *cell)], axis=1) for _, cell in lines]
    )  # (lines, lengths)
    shades = np.log(np.maximum(np.nan_to_num(errors, nan=1.0), LEAST) / LEAST) / -math.log(LEAST)
    # Lengths are half an octave apart: each is the middle of its cell.
    first, last = (math.log2(kind.lengths[i]) for i in (0, -1))
    opacity_image(axes, np.clip(shades, 0, 1), (first - 0.25, last + 0.25, len(lines) - 0.5, -0.5))
    if last + 1 < HIGH:
        axes.axvspan(last + 0.25, HIGH + 0.25, color=COLORS["band"], linewidth=0)
    for i, (_, cell) in enumerate(lines):
        where = math.log2(min(borders()[cell]))
        if LOW <= where <= last + 0.25:
            axes.plot([where] * 2, [i - 0.5, i + 0.5], color=COLORS["c2"], linewidth=2.5)
        # Of rows that are spread, also where the mean speed of the running sum has this error.
        if kind.expected is not None and cell[0] == STORED and cell[2:] != WIDE:
            means = np.median(kind.expected[(slice(None), slice(None), *cell[2:])], axis=1)
            where = math.log2(crossing(np.asarray(kind.lengths), means, LEVEL))
            if where <= HIGH:
                axes.plot([where] * 2, [i - 0.5, i + 0.5], color=COLORS["c3"], linewidth=2.5)
    axes.set(xlim=(LOW - 0.25, HIGH + 0.25), ylim=(len(lines) - 0.5, -0.5))
    ticks = range(LOW, HIGH + 1, 4)
    superscript = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    axes.set_xticks(list(ticks), [f"2{str(k).translate(superscript)}" for k in ticks])
    axes.set_yticks(range(len(lines)), [name if named else "" for name, _ in lines], fontsize=10.5)
    axes.tick_params(axis="y", length=0)
