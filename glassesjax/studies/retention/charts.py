"""Figures of the retention page: cells in, charts out."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import policy_color
from glassesjax.report.maps import SIDE, eviction_image, share_image
from glassesjax.report.numbers import number, percent
from glassesjax.report.ticks import Limits, log_axis, set_ticks, up
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.paper import PAPER_RECENT
from glassesjax.studies.retention.summary import CellSummary, RetentionSummary

DASHES: Sequence[Any] = ("-", (0, (4, 1.8)), (0, (1, 2)), (0, (6, 2, 1, 2)))
BARS = 120  # blocks of neighbors in a strip
TOUCHES = 128  # places of all strips that show values; a quarter at most of one
EARLY = 64  # positions of the curve
BY_LAYER: Mapping[str, tuple[str, Callable[[Cell], np.ndarray]]] = {
    "recent": ("share of what is cached that is recent", lambda cell: cell.recent_share),
    "overlap": ("overlap with the next layer", lambda cell: cell.overlap_next),
    "first": ("lifetime of the first token, steps", lambda cell: cell.first_steps),
}
"""Numbers of each layer, with what their axis says."""


def slug(cell: Cell | CellSummary) -> str:
    """A name for files and series, of letters, digits and hyphens."""
    marks = str.maketrans({"+": "-plus-", "@": "-at-", "~": "-decay-", ".": "-"})
    return f"{cell.policy.translate(marks)}-{cell.slots}"


def block_edges(length: int) -> np.ndarray:
    """Where blocks of neighbors start and the last ends, the first token by itself.

    Args:
      length: Tokens of the text; where they are few, each is a block.
    """
    most = min(length - 1, BARS)  # the script of the page divides in the same way
    return np.array([0, *(1 + (length - 1) * at // max(most, 1) for at in range(most + 1))])


def block_counts(cell: Cell, layer: int | None) -> list[int]:
    """How many tokens of each block are cached at the end, over all decisions.

    Args:
      cell: Its rows.
      layer: Whose decisions; None for all.
    """
    # (groups, seq) a layer -> (decisions, seq)
    evicted = np.concatenate(cell.evicted()) if layer is None else cell.evicted()[layer]
    # A step of eviction at the length: never evicted. (decisions, seq) -> (seq,)
    cached = (evicted == cell.length).sum(axis=0)
    # (seq,) -> (blocks,)
    return np.add.reduceat(cached, block_edges(cell.length)[:-1]).tolist()


@charted
def positions_chart(cells: Sequence[Cell], *, narrow: bool = False) -> Chart:
    """Which share of decisions caches each token at the end: a strip a policy and size.

    Args:
      cells: All of a run.
      narrow: Whether it is for a phone.
    """
    room, left = min(max((300 if narrow else 340) // len(cells), 34), 190), 44
    width, gap = (358 if narrow else 740), 26
    chart = Chart(width, len(cells) * (room + gap) + 44)
    for at, cell in enumerate(cells):
        token = policy_color(cell.policy)
        axes = chart.panel(left, gap + at * (room + gap), width - left - 8, room)
        length, wide = cell.length, max(0.012 * cell.length, 0.5)
        edges, color = block_edges(length), COLORS[token]
        shares = block_counts(cell, None) / np.diff(edges) / len(cell.layers)
        axes.set(xlim=(-3 * wide, length), ylim=(0, 1))
        axes.axvspan(max(length - cell.slots, 1), length, color=COLORS["band"], lw=0, zorder=0)
        # What all layers cache; in its place the script draws what the layer of the slider does.
        chart.series("still", axes.bar(-1.5 * wide, shares[0], width=wide, color=color))
        if length > 1:
            bars = axes.stairs(shares[1:], edges[1:], fill=True, color=color, lw=0)
            chart.series("still", bars)
        chart.drawn(axes, f"fill:var(--{token})", shape="bars", row=slug(cell), length=length)
        set_ticks(axes.yaxis, {0.0: "0%", 1.0: "100%"})
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        inner = [tick for tick in axes.get_xticks() if 0.06 * length < tick <= length]
        set_ticks(axes.xaxis, {-1.5 * wide: "0", **{tick: f"{tick:.0f}" for tick in inner}})
        touches = min(len(edges) - 2, TOUCHES // max(len(cells), 4))
        steps = np.linspace(1, len(edges) - 1, touches + 1).astype(int).tolist()
        for first, end in itertools.pairwise([0, *steps]):
            # The first token by itself, left of the others, where it has a bar of its own.
            start, stop = (float(edges[first]) if first else -3 * wide, 0), (float(edges[end]), 1)
            stop = stop if first else (0, 1)
            chart.mark(axes, start, f"{first} {end}", stop=stop, row=slug(cell))
        title = {"fontsize": 12.5, "weight": "bold", "color": color}
        axes.set_title(cell.name, pad=5, **title)
        if at < len(cells) - 1:
            axes.set_xticks([])
        else:
            axes.set_xlabel("position of the token")
    return chart


@charted
def early_chart(cells: Sequence[Cell]) -> Chart:
    """How long the first tokens live, position by position."""
    chart, axes = _small("mean lifetime, steps (log scale)", "position")
    lives = [cell.steps[:EARLY] for cell in cells]
    log_axis(axes, "y", Limits.spanning(np.concatenate(lives)), most=6)
    _curves(chart, axes, cells, lives, number)
    return chart


@charted
def layers_chart(cells: Sequence[Cell], field: str) -> Chart:
    """One number of each layer, a line a cell.

    Args:
      cells: All of a run.
      field: Of ``BY_LAYER``.
    """
    title, values = BY_LAYER[field]
    chart, axes = _small(title, "layer")
    if field == "first":
        axes.set_ylim(0, 1.06 * cells[0].length)
    else:
        axes.set_ylim(0, 1.04)
        set_ticks(axes.yaxis, {0.0: "0%", 0.5: "50%", 1.0: "100%"})
    if field == "recent":
        # The range over the paper's cache sizes.
        axes.axhspan(*PAPER_RECENT, color=COLORS["band"], lw=0, zorder=0)
    _curves(chart, axes, cells, [*map(values, cells)], number if field == "first" else percent)
    return chart


def _curves(
    chart: Chart,
    axes: Axes,
    cells: Sequence[Cell],
    curves: Sequence[np.ndarray],
    text: Callable[[float], str],
) -> None:
    """A line a cell, a color for each policy and a dash for each number of slots; marks of all."""
    slots = list(dict.fromkeys(cell.slots for cell in cells))
    low, high = axes.get_ylim()
    for cell, values in zip(cells, curves, strict=True):
        dash = DASHES[slots.index(cell.slots) % len(DASHES)]
        line = axes.plot(values, color=COLORS[policy_color(cell.policy)], ls=dash, lw=1.6)
        chart.series(slug(cell), line)
    for at, values in enumerate(zip(*curves, strict=True)):
        known = [
            f"{c.policy} {c.slots}: {text(v)}" for c, v in zip(cells, values, strict=True) if v == v
        ]
        if known:
            lines = "\n".join([f"{axes.get_xlabel()} {at}", *known])
            chart.mark(axes, (at - 0.5, low), lines, stop=(at + 0.5, high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def _small(title: str, across: str) -> tuple[Chart, Axes]:
    chart = Chart(350, 236)
    axes = chart.panel(48, 24, 292, 170)
    up(axes, title)
    axes.set_xlabel(across)
    return chart, axes


@charted
def classes_chart(cell: CellSummary) -> Chart:
    """Lifetimes of classes over the mean of all tokens, beside those of the paper's tags.

    Returns:
      A line a class of two tokens or more: a point with its interval, and a diamond with the span
      of the tags. What reaches beyond the axis ends there.
    """
    # The mean of one token is no class's; a text of such classes alone is drawn all the same.
    known = [each for each in cell.classes if each.tokens > 1] or cell.classes
    rows = sorted(known, key=lambda each: -each.over_mean)
    chart = Chart(350, 64 + 17 * len(rows))
    axes = chart.panel(136, 24, 206, 17 * len(rows))
    values = [value for each in rows for value in (each.over_mean, *each.paper)]
    low, high = 0.8 * min(values), 1.25 * max(values)
    axes.set_xscale("log")
    axes.axvline(1, color=COLORS["ink"], lw=1, zorder=0)
    intervals, spans, middles = [], [], []
    color = COLORS[policy_color(cell.policy)]
    for at, each in enumerate(rows):
        gap = (math.nan, at)  # a line breaks at NaN
        texts = [f"{each.title}, {each.tokens} tokens", f"{each.over_mean:.2f} times the mean"]
        if each.interval and np.isfinite(each.interval.low):
            texts.append(f"{each.interval.low:.2f} to {each.interval.high:.2f}")
            ends = np.clip((each.interval.low, each.interval.high), low, high)
            intervals += [(ends[0], at), (ends[1], at), gap]
        if each.paper:
            spans += [(min(each.paper), at), (max(each.paper), at), gap]
            middles.append((sum(each.paper) / len(each.paper), at))
            texts.append(f"paper {min(each.paper):.2f} to {max(each.paper):.2f}")
        chart.mark(axes, (each.over_mean, at), "\n".join(texts))
    drawn = lambda places, style, **look: axes.plot(
        *np.array(places).reshape(-1, 2).T, style, **look
    )
    drawn(spans, "-", c=COLORS["c6"], lw=1)
    drawn(middles, "D", mfc=COLORS["paper"], mec=COLORS["c6"], ms=5)
    drawn(intervals, "-", c=color, lw=2, alpha=0.5)
    drawn([(each.over_mean, at) for at, each in enumerate(rows)], "o", c=color, ms=5)
    axes.set_yticks(range(len(rows)), [each.title for each in rows], fontsize=11.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(low, high)
    ticks = [2.0**power for power in range(-4, 8) if low <= 2.0**power <= high]
    set_ticks(axes.xaxis, {tick: f"{tick:g}" for tick in ticks})
    axes.set_xlabel("lifetime over the mean (log scale)")
    return chart


@charted
def depth_chart(cell: Cell) -> Chart:
    """Which tokens each layer caches at the end."""
    edges = np.linspace(0, cell.length, min(cell.length, SIDE) + 1).astype(int)
    shares = np.array([(layer == cell.length).mean(axis=0) for layer in cell.evicted()])
    # (layers, seq) -> (layers, blocks), which the image has no more of.
    shares = np.add.reduceat(shares, edges[:-1], axis=1) / np.diff(edges)
    high = min(max(7 * len(shares), 60), 260)
    chart = Chart(350, high + 62)
    axes = chart.panel(48, 22, 292, high)
    share_image(axes, shares, (-0.5, cell.length - 0.5, len(shares) - 0.5, -0.5))
    axes.set_xlabel("position of the token")
    up(axes, "layer")
    return chart


@charted
def map_chart(cell: Cell) -> Chart:
    """Which share of decisions caches each token after each step."""
    chart = Chart(350, 354)
    axes = chart.panel(48, 22, 292, 292)
    eviction_image(axes, np.concatenate(cell.evicted()))
    return chart


def figures_of(cells: Sequence[Cell], summary: RetentionSummary) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``positions``, ``early``, ``recent``, ``overlap`` and ``first``; then, for each cell,
      ``classes-CELL``, ``layers-CELL`` and ``map-CELL``.
    """
    figures: dict[str, Callable[[], Chart]] = {
        "positions": functools.partial(positions_chart, cells),
        "early": functools.partial(early_chart, cells),
    }
    for field in BY_LAYER:
        figures[field] = functools.partial(layers_chart, cells, field)
    for cell, own in zip(cells, summary.cells, strict=True):
        name = slug(cell)
        figures[f"classes-{name}"] = functools.partial(classes_chart, own)
        figures[f"layers-{name}"] = functools.partial(depth_chart, cell)
        figures[f"map-{name}"] = functools.partial(map_chart, cell)
    return figures
