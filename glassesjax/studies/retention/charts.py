"""Figures of the retention page: cells in, charts out."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from glassesjax.report.chart import COLORS, SERIES_COLORS, Chart, charted
from glassesjax.report.numbers import decimal, percent, power_of
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.paper import PAPER_RECENT
from glassesjax.studies.retention.summary import CellSummary, ClassSummary, RetentionSummary

DASHES: Sequence[Any] = ("-", (0, (4, 1.8)), (0, (1, 2)), (0, (6, 2, 1, 2)))
BARS = 400  # of a strip at most: two pixels each
TOUCHES = 32  # places of a strip that show values
SIDE = 256  # pixels of a map at most
EARLY = 64  # positions of the curve


def slug(cell: Cell | CellSummary) -> str:
    """A name for files and series, of letters, digits and hyphens."""
    marks = str.maketrans({"+": "-plus-", "@": "-at-", "~": "-decay-", ".": "-"})
    return f"{cell.policy.translate(marks)}-{cell.slots}"


def cell_colors(cells: Sequence[Cell] | Sequence[CellSummary]) -> dict[str, str]:
    """A color token for each cell, the same for all sizes of a policy."""
    policies = list(dict.fromkeys(each.policy for each in cells))
    token = lambda name: SERIES_COLORS[policies.index(name) % len(SERIES_COLORS)]
    return {each.name: token(each.policy) for each in cells}


def blocks(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over neighbors, the first token by itself.

    Args:
      values: A number a token.
      most: Blocks behind the first token at most.
    """
    length = len(values)
    rest = np.linspace(1, length, min(length - 1, most) + 1).astype(int) if length > 1 else [1]
    edges = np.array([0, *rest])
    return edges, np.add.reduceat(values, edges[:-1]) / np.diff(edges)


@charted
def positions_chart(cells: Sequence[Cell], *, narrow: bool = False) -> Chart:
    """Which share of decisions caches each token at the end: a strip a policy and size.

    Args:
      cells: All of a run.
      narrow: Whether it is for a phone.
    """
    room = min(max((300 if narrow else 400) // len(cells), 34), 190)
    gap = 24 if narrow else 14
    left, right, top = (40, 8, 6) if narrow else (190, 196, 40)
    width = 358 if narrow else 1104
    chart = Chart(width, top + len(cells) * (room + gap) + 38)
    colors = cell_colors(cells)
    for at, cell in enumerate(cells):
        y = top + at * (room + gap) + (gap if narrow else 0)
        axes = chart.panel(left, y, width - left - right, room)
        _strip(chart, axes, cell, COLORS[colors[cell.name]], narrow=narrow)
        _strip_texts(chart, axes, cell, colors[cell.name], narrow=narrow)
        _position_ticks(axes, cell.length, last=at == len(cells) - 1)
    if not narrow:
        for x, text in ((1000, "recent"), (1104, "first token")):
            chart.text(
                x / width, 1 - 22 / chart.height, text, ha="right", va="bottom",
                fontsize=12.5, color=COLORS["soft"],
            )  # fmt: skip
    return chart


def _strip(chart: Chart, axes: Axes, cell: Cell, color: str, *, narrow: bool) -> None:
    length, wide = cell.length, max(0.012 * cell.length, 0.5)
    edges, shares = blocks(cell.cached, BARS // 2 if narrow else BARS)
    axes.axvspan(max(length - cell.slots, 1), length, color=COLORS["band"], lw=0, zorder=0)
    axes.bar(-1.5 * wide, shares[0], width=wide, color=color)
    if length > 1:
        axes.stairs(shares[1:], edges[1:], fill=True, color=color, lw=0)
    axes.set_xlim(-3 * wide, length)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0%", "100%"], fontsize=11.5)
    edges, shares = blocks(cell.cached, TOUCHES)
    for at, (start, stop) in enumerate(itertools.pairwise(edges)):
        place = f"positions {start} to {stop - 1}" if stop - start > 1 else f"position {start}"
        text = f"{cell.name}, {place}\ncached by {percent(shares[at])} of {len(cell.layers)}"
        corner = (-3 * wide, 0.0, 0.0) if at == 0 else (float(start), 0.0, float(stop))
        chart.mark(axes, corner[:2], f"{text} {cell.decisions}", stop=(corner[2], 1.0))


def _strip_texts(chart: Chart, axes: Axes, cell: Cell, token: str, *, narrow: bool) -> None:
    first = round(cell.summary.first_cached_share * len(cell.layers))
    fits = cell.length <= cell.slots
    recent = "all fit" if fits else percent(cell.summary.recent_share)
    kept = f"{first} of {len(cell.layers)}"
    left, right = axes.bbox.x0 / chart.width, axes.bbox.x1 / chart.width
    middle, upper = axes.bbox.y0 + axes.bbox.height / 2, axes.bbox.y1
    if narrow:
        place = {"y": (upper + 4) / chart.height, "va": "bottom"}
        chart.text(left, s=cell.name, weight="bold", color=COLORS[token], **place)
        short = recent if fits else f"{recent} recent"
        chart.text(right, s=f"{short}, first {kept}", ha="right", **place)
        return
    place = {"y": middle / chart.height, "va": "center"}
    chart.text(0, s=cell.policy, weight="bold", color=COLORS[token], fontsize=13.5, **place)
    size = f"{cell.slots} slots"
    chart.text(left - 52 / chart.width, s=size, ha="right", color=COLORS["soft"], **place)
    chart.text(1000 / chart.width, s=recent, ha="right", weight="bold", fontsize=13.5, **place)
    chart.text(1, s=kept, ha="right", fontsize=13.5, **place)


def _position_ticks(axes: Axes, length: int, *, last: bool) -> None:
    """The first token by name; positions where the strips end."""
    if not last:
        axes.set_xticks([])
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
    wide = max(0.012 * length, 0.5)
    inner = [tick for tick in axes.get_xticks() if 0.06 * length < tick <= length]
    axes.set_xticks([-1.5 * wide, *inner], ["0", *(f"{tick:.0f}" for tick in inner)])
    axes.set_xlabel("position of the token")


@charted
def early_chart(cells: Sequence[Cell]) -> Chart:
    """How long the first tokens live, position by position."""
    chart, axes = _small("mean lifetime, steps (log scale)", "position")
    for cell, look in _lines(cells):
        steps = cell.steps[:EARLY]
        chart.series(slug(cell), axes.plot(steps, **look))
        for at, value in enumerate(steps):
            text = f"{cell.name}, position {at}\n{decimal(value)} steps"
            chart.mark(axes, (at, value), text, radius=5, series=slug(cell))
    low, high = axes.get_ylim()
    axes.set_yscale("log")
    axes.set_ylim(max(low, 0.8), high * 1.1)
    axes.yaxis.set_major_locator(FixedLocator([1, 10, 100, 1000, 10_000]))
    axes.yaxis.set_major_formatter(FixedFormatter(["1", "10", "100", "1000", power_of(10, 4)]))
    axes.yaxis.set_minor_locator(NullLocator())
    return chart


@charted
def layers_chart(cells: Sequence[Cell], field: str) -> Chart:
    """One number of each layer, a line a cell.

    Args:
      cells: All of a run.
      field: ``recent``, ``overlap`` or ``first``.
    """
    titles = {
        "recent": "share of what is cached that is recent",
        "overlap": "overlap with the next layer",
        "first": "lifetime of the first token, steps",
    }
    chart, axes = _small(titles[field], "layer")
    if field == "recent":
        axes.axhspan(*PAPER_RECENT, color=COLORS["band"], lw=0, zorder=0)
    for cell, look in _lines(cells):
        known = {
            "recent": cell.recent_share, "overlap": cell.overlap_next, "first": cell.first_steps
        }  # fmt: skip
        chart.series(slug(cell), axes.plot(known[field], **look))
        for layer, value in enumerate(known[field]):
            if np.isfinite(value):
                shown = f"{decimal(value)} steps" if field == "first" else percent(value)
                text = f"{cell.name}, layer {layer}\n{shown}"
                chart.mark(axes, (layer, value), text, radius=5, series=slug(cell))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_ylim(bottom=0)
    if field != "first":
        axes.set_ylim(0, 1.04)
        axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    return chart


def _small(title: str, across: str) -> tuple[Chart, Axes]:
    chart = Chart(350, 236)
    axes = chart.panel(48, 24, 292, 170)
    axes.set_title(title, fontsize=12.5, color=COLORS["soft"], pad=6)
    axes.set_xlabel(across)
    return chart, axes


def _lines(cells: Sequence[Cell]) -> list[tuple[Cell, dict[str, Any]]]:
    """A color for each policy, a dash for each number of slots."""
    slots = list(dict.fromkeys(cell.slots for cell in cells))
    colors = cell_colors(cells)
    dash = lambda cell: DASHES[slots.index(cell.slots) % len(DASHES)]
    return [(c, {"color": COLORS[colors[c.name]], "ls": dash(c), "lw": 1.6}) for c in cells]


@charted
def classes_chart(cell: CellSummary, token: str) -> Chart:
    """Lifetimes of classes over the mean of all tokens, beside those of the paper's tags.

    Returns:
      A line a class of two tokens or more: a point with its interval, and a diamond with the span
      of the tags. What reaches beyond the axis ends there.
    """
    known = [each for each in cell.classes if each.tokens > 1] or cell.classes
    rows = sorted(known, key=lambda each: -each.over_mean)
    chart = Chart(350, 64 + 17 * len(rows))
    axes = chart.panel(136, 24, 206, 17 * len(rows))
    values = [value for each in rows for value in (each.over_mean, *each.paper)]
    low, high = 0.8 * min(values), 1.25 * max(values)
    axes.set_xscale("log")
    axes.axvline(1, color=COLORS["ink"], lw=1, zorder=0)
    for at, each in enumerate(rows):
        if each.paper:
            axes.plot((min(each.paper), max(each.paper)), (at, at), color=COLORS["c6"], lw=1)
            middle = sum(each.paper) / len(each.paper)
            axes.plot(middle, at, "D", mfc=COLORS["paper"], mec=COLORS["c6"], ms=5)
        if each.interval and np.isfinite(each.interval.low):
            ends = np.clip((each.interval.low, each.interval.high), low, high)
            axes.plot(ends, (at, at), color=COLORS[token], lw=2, alpha=0.5)
        axes.plot(each.over_mean, at, "o", color=COLORS[token], ms=5)
        chart.mark(axes, (each.over_mean, at), _class_text(each), radius=8)
    axes.set_yticks(range(len(rows)), [each.title for each in rows], fontsize=11.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(low, high)
    ticks = [2.0**power for power in range(-4, 8) if low <= 2.0**power <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("lifetime over the mean (log scale)")
    return chart


def _class_text(each: ClassSummary) -> str:
    lines = [f"{each.title}, {each.tokens} tokens", f"{each.over_mean:.2f} times the mean"]
    if each.interval and np.isfinite(each.interval.low):
        lines.append(f"{each.interval.low:.2f} to {each.interval.high:.2f}")
    if each.paper:
        lines.append(f"paper {min(each.paper):.2f} to {max(each.paper):.2f}")
    return "\n".join(lines)


@charted
def depth_chart(cell: Cell) -> Chart:
    """Which tokens each layer caches at the end."""
    ends = [(layer == cell.length).mean(axis=0) for layer in cell.evicted()]
    shares = np.stack([_columns(layer, SIDE) for layer in ends])
    high = min(max(7 * len(ends), 60), 260)
    chart = Chart(350, high + 62)
    axes = chart.panel(48, 22, 292, high)
    _image(axes, shares, (-0.5, cell.length - 0.5, len(ends) - 0.5, -0.5))
    axes.set_title("layer", fontsize=12.5, color=COLORS["soft"], pad=6)
    axes.set_xlabel("position of the token")
    for at, each in enumerate(cell.recent_share):
        text = f"{cell.name}, layer {at}\n{percent(each)} recent\nfirst token lives "
        steps = f"{decimal(cell.first_steps[at])} steps"
        corner = (cell.length - 0.5, at + 0.5)
        chart.mark(axes, (-0.5, at - 0.5), f"{text}{steps}", stop=corner)
    return chart


def _columns(values: np.ndarray, most: int) -> np.ndarray:
    edges = np.linspace(0, len(values), min(len(values), most) + 1).astype(int)
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


@charted
def map_chart(cell: Cell) -> Chart:
    """Which share of decisions caches each token after each step."""
    share = np.mean([coarse(layer, SIDE) for layer in cell.evicted()], axis=0)
    chart = Chart(350, 354)
    axes = chart.panel(48, 22, 292, 292)
    edge = cell.length - 0.5
    _image(axes, share, (-0.5, edge, edge, -0.5))
    axes.set_title("step", fontsize=12.5, color=COLORS["soft"], pad=6)
    axes.set_xlabel("position of the token")
    return chart


def coarse(evicted: np.ndarray, most: int) -> np.ndarray:
    """Which share of a layer's decisions caches each token after each step, in blocks of both.

    Args:
      evicted: When each decision evicted each token.
      most: Blocks on a side at most.
    """
    length = evicted.shape[1]
    edges = np.linspace(0, length, min(length, most) + 1).astype(int)
    first, end = edges[:-1, None, None], edges[1:, None, None]
    born = np.arange(length)
    steps = np.clip(np.minimum(evicted, end) - np.maximum(born, first), 0, None).mean(axis=1)
    sizes = np.diff(edges)
    return np.add.reduceat(steps, edges[:-1], axis=1) / np.outer(sizes, sizes)


def _image(axes: Axes, share: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """Pixels over the page's ground, by the root, so that a few layers show as well."""
    pixels = np.empty((*share.shape, 4))
    pixels[..., :3], pixels[..., 3] = to_rgb(COLORS["h1"]), np.sqrt(np.clip(share, 0, 1))
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))


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
    for field in ("recent", "overlap", "first"):
        figures[field] = functools.partial(layers_chart, cells, field)
    colors = cell_colors(cells)
    for cell, own in zip(cells, summary.cells, strict=True):
        name = slug(cell)
        figures[f"classes-{name}"] = functools.partial(classes_chart, own, colors[own.name])
        figures[f"layers-{name}"] = functools.partial(depth_chart, cell)
        figures[f"map-{name}"] = functools.partial(map_chart, cell)
    return figures
