"""Figures of the perplexity page: summary in, charts out."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import policy_color
from glassesjax.report.labels import End, names_at_ends
from glassesjax.report.numbers import size_text
from glassesjax.report.ticks import Limits, doublings, log_axis, set_ticks, up
from glassesjax.studies.perplexity.format_chart import formats_chart
from glassesjax.studies.perplexity.numbers import perplexity_text, times_text
from glassesjax.studies.perplexity.summary import (
    AtPosition,
    CellSummary,
    PerplexitySummary,
    SizeSummary,
)
from glassesjax.studies.perplexity.totals import FULL

FEW = 5  # policies whose lines are far apart; sizes side by side
LINEAR = 100  # factor between two values that a linear axis shows


def by_cost(summary: PerplexitySummary) -> list[str]:
    """The policies, those of highest perplexity at the smallest size first."""
    # What is not finite first: the highest cost.
    size = lambda policy: min(c.cell.slots for c in summary.cells if c.cell.policy == policy)
    rank = {name: summary.of(name, size(name)).perplexity for name in summary.policies}
    return sorted(rank, key=lambda name: -rank[name] if math.isfinite(rank[name]) else -math.inf)


@charted
def ratios_chart(
    summary: PerplexitySummary, *, narrow: bool = False, linear: bool = False
) -> Chart:
    """Perplexity over that of the full cache: a panel a size, a line a policy.

    Args:
      summary: Of the run.
      narrow: Whether it is for a phone.
      linear: Whether the axis is linear, not logarithmic.

    Returns:
      Panels of one axis, whose reference line is the full cache; without a full cache the axis is
      perplexity itself.
    """
    # Lines are in one order in all panels, and closer where they are many.
    policies = by_cost(summary) or [FULL]
    slots = summary.slots or [summary.cells[0].cell.slots]
    columns = 1 if narrow else min(len(slots), FEW)
    lines, line = -(-len(slots) // columns), 46 if len(policies) <= FEW else 29
    left = min(max(7.6 * max(map(len, policies)), 60), 130 if narrow else 190) + 14
    width, right, panel = 358 if narrow else 1104, 76, 52 + line * len(policies) + 26
    chart = Chart(width, lines * panel + 26)
    # One axis for all panels, so that sizes can be compared by eye.
    values = [value for value in _values(summary) if math.isfinite(value)]
    limits = Limits.spanning(values)
    wide = (width - left) / columns
    most = min(max(int((wide - right) / 46), 2), 9)  # ticks that there is room for
    unit = "\N{MULTIPLICATION SIGN}" if summary.full else ""
    for at, size in enumerate(slots):
        down, across = divmod(at, columns)
        place = left + across * wide, 52 + down * panel
        axes = chart.panel(*place, wide - right, line * len(policies))
        if linear:
            low, high = min(values, default=0.0), max(values, default=1.0)
            pad = 0.06 * (high - low) or 1.0
            axes.set_xlim(low - pad, high + pad)
            ticks = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
            inside = [float(tick) for tick in ticks if low - pad <= tick <= high + pad]
            set_ticks(axes.xaxis, {tick: f"{tick:,.10g}{unit}" for tick in inside})
        else:
            log_axis(axes, "x", limits, most=most, unit=unit)
        # In narrow columns the full cache is named once, in the first panel.
        _panel(chart, axes, summary, size, policies, name_full=columns <= 2 or at == 0)
        names = policies if not across else [""] * len(policies)
        axes.set_yticks(range(len(policies)), names, fontsize=13.5, color=COLORS["ink"])
        axes.tick_params(axis="y", length=0)
    label = "perplexity over that of the full cache" if summary.full else "perplexity"
    label += "" if linear else " (log scale)"
    middle = 0.5 if narrow else (left + (width - left - right) / 2) / width
    chart.text(middle, 5 / chart.height, label, ha="center", color=COLORS["soft"])
    return chart


def has_linear(summary: PerplexitySummary) -> bool:
    """Whether small values are distinguishable on a linear axis, too."""
    values = [value for value in _values(summary) if math.isfinite(value)]
    return bool(values) and max(values) < LINEAR * min(values)


def _value(summary: PerplexitySummary, cell: CellSummary) -> float:
    if summary.full is None:
        return cell.perplexity
    return cell.over_full.ratio.value if cell.over_full else 1.0


def _segment(at: AtPosition) -> float:
    return at.perplexity if at.over_full is None else at.over_full


def _values(summary: PerplexitySummary) -> list[float]:
    """All that has a place on the axis."""
    cells = summary.cells
    segments = [_segment(at) for cell in cells for at in cell.evicted]
    ends = [end for cell in cells if cell.over_full for end in cell.over_full.ratio]
    full = [1.0] if summary.full else []
    return [*full, *(_value(summary, cell) for cell in cells), *segments, *ends]


def _panel(
    chart: Chart,
    axes: Axes,
    summary: PerplexitySummary,
    slots: int,
    policies: Sequence[str],
    *,
    name_full: bool,
) -> None:
    """Title, reference line, and a line a policy with its perplexity behind it."""
    # Policies that keep their own numbers beside keys and values take more bytes a slot.
    sizes = sorted(cell.bytes for cell in summary.cells if cell.cell.slots == slots)
    low, high = size_text(sizes[0]), size_text(sizes[-1])
    unit = high.rpartition(" ")[2]
    span = high if low == high else f"{low.removesuffix(f' {unit}')} to {high}"
    title = f"{slots} slots, {span}"
    axes.set_title(title, fontsize=14, weight="bold", pad=26)
    soft: dict[str, Any] = {"fontsize": 12, "color": COLORS["soft"], "va": "bottom"}
    soft["textcoords"] = "offset points"
    if summary.full and name_full:
        text = f"full cache, {perplexity_text(summary.full.perplexity)}"
        place = {"xy": (1, 1), "xycoords": ("data", "axes fraction")}
        low, high = axes.get_xlim()
        # On the side where the reference line leaves more room.
        at_one, *ends = (float(axes.transData.transform((x, 0))[0]) for x in (1, low, high))
        side = "left" if 2 * at_one < sum(ends) else "right"
        axes.annotate(text, xytext=(0, 5), ha=side, **place, **soft)
    place = {"xy": (1, 1), "xycoords": "axes fraction", "xytext": (6, 5)}
    axes.annotate("perplexity", **place, **soft)
    axes.set_ylim(len(policies) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    start = 1.0 if summary.full else axes.get_xlim()[0]
    if summary.full:
        axes.axvline(1, color=COLORS["ink"], lw=1.2, zorder=1)
    for at, policy in enumerate(policies):
        if (policy, slots) in summary:
            cell = summary.of(policy, slots)
            _line(chart, axes, summary, cell, at, start)
            text = perplexity_text(cell.perplexity)
            place = {"xy": (1, at), "xycoords": ("axes fraction", "data"), "xytext": (9, 0)}
            look = {"va": "center", "fontsize": 13, "weight": "bold"}
            label = axes.annotate(text, textcoords="offset points", **place, **look)
            chart.series(policy, label)


def _line(
    chart: Chart, axes: Axes, summary: PerplexitySummary, cell: CellSummary, at: int, start: float
) -> None:
    """A dot for all tokens, a bar for its interval, and a tick a segment."""
    policy, value = cell.cell.policy, _value(summary, cell)
    color = COLORS[policy_color(policy)]
    name = f"{policy}, {cell.cell.slots} slots"
    unit = " times the full cache" if summary.full else ""
    # What is not finite is written at the end of the line, and has no place on the axis.
    if math.isfinite(value):
        axes.plot([start, value], [at, at], color=COLORS["rule"], lw=2, zorder=1)
        dot = axes.plot([value], [at], "o", ms=11, color=color, mec=COLORS["paper"], zorder=4)
        chart.series(policy, dot)
    ends = cell.over_full.ratio[1:] if cell.over_full else ()
    interval = ""
    if ends and all(map(math.isfinite, ends)):
        bar = axes.plot(ends, [at, at], color=color, lw=5, alpha=0.4, zorder=2)
        chart.series(policy, bar)
        interval = f"\n95% interval {times_text(ends[0])} to {times_text(ends[1])}"
    for part in cell.evicted:
        ratio = _segment(part)
        if math.isfinite(ratio):
            look: dict[str, Any] = {"ms": 14, "mew": 1.5, "color": color, "zorder": 3}
            chart.series(policy, axes.plot([ratio], [at], "|", **look))
            text = f"{name}\ntokens {part.start} to {part.last}\n{times_text(ratio)}{unit}"
            chart.mark(axes, (ratio, at), text, radius=6, series=policy)
    if math.isfinite(value):
        text = f"{name}\nperplexity {perplexity_text(cell.perplexity)}"
        text += f"\n{times_text(value)}{unit}{interval}" if summary.full else ""
        chart.mark(axes, (value, at), text, radius=10, series=policy)


@charted
def positions_chart(summary: PerplexitySummary, slots: int) -> Chart:
    """Perplexity by the position of a token in its window, for one size of the cache."""
    chart = Chart(350, 262)
    names = [*by_cost(summary), FULL]
    here = [c for c in summary.cells if c.cell.slots == slots or c.cell.policy == FULL]
    cells = sorted(here, key=lambda cell: names.index(cell.cell.policy))
    room = 7.2 * max(len(cell.cell.policy) for cell in cells) + 10
    axes = chart.panel(46, 26, 350 - 46 - min(room, 110), 190)
    values = [at.perplexity for cell in summary.cells for at in cell.by_position]
    log_axis(axes, "y", Limits.spanning(values), most=6)
    parts = cells[0].by_position
    # From position 32 on, or from the middle of a shorter first segment; 0 has no logarithm.
    first, last = max(min(32, parts[0].last // 2), 1), parts[-1].last + 1
    axes.set_xlim(first, last)
    axes.set_xscale("log")
    between = doublings(32, last / 2.5, most=3) if last >= 80 else []
    set_ticks(axes.xaxis, [*between, last])
    axes.set_xlabel("position in the window (log scale)")
    # Where the cache is full, and eviction begins.
    if first < slots < last:
        axes.axvline(slots, color=COLORS["c6"], lw=1, ls=(0, (2, 2)))
    for cell in cells:
        policy, parts = cell.cell.policy, cell.by_position
        # The last segment ends at the window's; a step holds from its first position on.
        edges = [*(max(part.start, first) for part in parts), parts[-1].last + 1]
        heights = [
            part.perplexity if math.isfinite(part.perplexity) else math.nan for part in parts
        ]
        look: dict[str, Any] = {"color": COLORS[policy_color(policy)], "lw": 1.8}
        steps = axes.plot(edges, [*heights, heights[-1]], drawstyle="steps-post", **look)
        chart.series(policy, steps)
        for part, height in zip(parts, heights, strict=True):
            middle = math.sqrt(max(part.start, first) * (part.last + 1))  # of a logarithmic axis
            text = f"{policy}, tokens {part.start} to {part.last}"
            if math.isfinite(height):
                text += f"\nperplexity {perplexity_text(height)}"
                chart.mark(axes, (middle, height), text, series=policy)
    name = lambda cell: (cell.cell.policy, cell.cell.policy, policy_color(cell.cell.policy))
    ends = [End(cell.by_position[-1].perplexity, *name(cell)) for cell in cells]
    names_at_ends(chart, axes, ends, size=12.0, gap=6.0)
    up(axes, "perplexity (log scale)")
    return chart


def sizes_drawn(summary: PerplexitySummary) -> list[SizeSummary]:
    """Sizes of which positions are drawn: those where something is evicted."""
    return [size for size in summary.sizes if size.evicts]


def figures_of(summary: PerplexitySummary) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      Of several formats ``formats``; then, of the first format, ``ratios``, and ``positions-SLOTS``
      for each size at which something is evicted.
    """
    several = {"formats": functools.partial(formats_chart, summary)}
    figures: dict[str, Callable[[], Chart]] = several if len(summary.formats) > 1 else {}
    figures["ratios"] = functools.partial(ratios_chart, summary)
    for size in sizes_drawn(summary):
        draw = functools.partial(positions_chart, summary, size.slots)
        figures[f"positions-{size.slots}"] = draw
    return figures
