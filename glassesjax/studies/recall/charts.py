"""Figures of the recall page: the summary in, charts out."""

import functools
import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import policy_color
from glassesjax.report.labels import End, names_at_ends
from glassesjax.report.numbers import number, percent
from glassesjax.report.render import signed
from glassesjax.report.ticks import set_ticks, up
from glassesjax.studies.recall.cells import UNBOUNDED
from glassesjax.studies.recall.settings import TRUNCATED
from glassesjax.studies.recall.summary import (
    CellSummary,
    DepthSummary,
    PanelSummary,
    RecallSummary,
)

DASHED = (0, (4, 1.8))
LOSS = "nats a token"
BAR = 28  # pixels from one policy to the next


@charted
def loss_chart(summary: RecallSummary, *, narrow: bool = False) -> Chart:
    """The loss of the expected answers by their depth in the passage.

    Args:
      summary: Of the run.
      narrow: Whether it is for a phone.

    Returns:
      Small axes for each task and length, one a size of the cache: a line a policy, or a bar where
      all answers of the run have one depth.
    """
    bars = len(summary.depths) == 1
    # Sizes side by side, a task and length below the other; where each has one size, the tasks.
    across = 3 - narrow * (1 + bars)
    sizes = [[(panel, slots) for slots in panel.slots or [None]] for panel in summary.panels]
    if all(len(each) == 1 for each in sizes):
        sizes = [[each for (each,) in sizes]]
    lines = [each[at : at + across] for each in sizes for at in range(0, len(each), across)]
    columns = max(map(len, lines))
    width, left, label = (358, 28, 0) if narrow else (1104, 34, 104)
    height = 150 if narrow or len(lines) > 2 else 200 if len(lines) == 2 else 300
    room = 76  # for names above and ticks below
    # Names of policies are beside bars, and at the ends of lines where there is room.
    if bars:
        most = max(len(_shown(*each)) for line in lines for each in line)
        left, label = 7 * max(map(len, [UNBOUNDED, *summary.policies])) + 16, 76
        height, room = BAR * most, 52
    chart = Chart(760 if not narrow and columns == 1 else width, len(lines) * (height + room) + 6)
    step = (chart.width - 4) / columns
    for line, shown in enumerate(lines):
        for column, (panel, slots) in enumerate(shown):
            top = 44 + line * (height + room)
            axes = chart.panel(left + column * step, top, step - left - label - 10, height)
            name = f"{panel.task}, {panel.length} tokens"
            name = name if slots is None else f"{name}: {slots} slots"
            edge = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(name, (0, 1), (-left + 4, 24), fontsize=12 if narrow else 13, **edge)
            axes.annotate(LOSS, (0, 1), (-left + 4, 8), color=COLORS["soft"], fontsize=12, **edge)
            cells = _shown(panel, slots)
            if bars:
                _bars(chart, axes, panel, cells)
                continue
            _loss_axis(axes, panel)
            ends = _lines(chart, axes, panel, cells)
            if label:
                names_at_ends(chart, axes, ends)
            if line + 1 == len(lines):
                axes.set_xlabel("depth of the answer" if narrow else "depth in the passage")
    return chart


def _shown(panel: PanelSummary, slots: int | None) -> list[CellSummary]:
    """The full cache, and what was measured with one size."""
    return [cell for cell in panel.cells if cell.slots == slots or not cell.bounded]


def _bars(chart: Chart, axes: Axes, panel: PanelSummary, cells: Sequence[CellSummary]) -> None:
    """A bar a policy from zero to its loss, which is written at its end."""
    axes.set_xlim(0, _top(panel))
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    set_ticks(axes.yaxis, {at: cell.policy for at, cell in enumerate(cells)})
    axes.tick_params(axis="y", length=0, labelcolor=COLORS["ink"])
    for at, cell in enumerate(cells):
        color = COLORS[policy_color(cell.policy)]
        loss = cell.nats if math.isfinite(cell.nats) else 0.0
        text = axes.annotate(
            signed(cell.nats), (loss, at), (6, 0), textcoords="offset points", va="center",
            weight="bold", annotation_clip=False,
        )  # fmt: skip
        chart.series(cell.policy, axes.barh([at], [loss], 0.62, color=color), text)
        stop = (_top(panel), at + 0.45)
        values = _values(cell, cell.depths[0])
        chart.mark(axes, (0, at - 0.45), values, stop=stop, series=cell.policy)


@charted
def slots_chart(summary: RecallSummary, panel: PanelSummary) -> Chart:
    """The loss of the expected answers against the size of the cache."""
    chart = Chart(350, 236)
    axes = chart.panel(34, 22, 236, 168)
    _loss_axis(axes, panel)
    axes.set_xscale("log")
    axes.set_xlim(panel.slots[0] / 1.15, panel.slots[-1] * 1.15)
    set_ticks(axes.xaxis, panel.slots)
    axes.set_xlabel("slots (log scale)")
    up(axes, LOSS)
    ends = []
    for name in [UNBOUNDED, *summary.policies]:
        cells = sorted((c for c in panel.cells if c.policy == name), key=lambda c: c.slots)
        if not cells:
            continue
        at, heights = [c.slots for c in cells], [_place(panel, c.nats) for c in cells]
        ends.append(End(heights[-1], name, name, policy_color(name), name == UNBOUNDED))
        # The full cache has a size of its own, off this axis: a reference line.
        if name == UNBOUNDED:
            chart.series(name, axes.axhline(heights[0], color=COLORS["ink"], lw=1.5))
            continue
        style = {"color": COLORS[policy_color(name)], "ls": DASHED if name == TRUNCATED else "-"}
        chart.series(name, axes.plot(at, heights, "o", ms=4, lw=2, **style))
        for cell, height in zip(cells, heights, strict=True):
            text = f"{cell.name}\n{number(cell.nats)} {LOSS}\n{_exact(cell)}"
            chart.mark(axes, (cell.slots, height), text, series=name, radius=7)
    names_at_ends(chart, axes, ends, size=12.0, gap=6.0)
    return chart


def figures_of(summary: RecallSummary) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``depth``; then ``slots-TASK-LENGTH``, where several sizes were measured.
    """
    figures: dict[str, Callable[[], Chart]] = {"depth": functools.partial(loss_chart, summary)}
    for panel in summary.panels:
        if len(panel.slots) > 1:
            draw = functools.partial(slots_chart, summary, panel)
            figures[slots_name(panel)] = draw
    return figures


def slots_name(panel: PanelSummary) -> str:
    """What the figure of ``slots_chart`` is called."""
    return f"slots-{panel.task}-{panel.length}"


def _losses(panel: PanelSummary) -> list[float]:
    """All losses of a panel, those of each depth and those over all."""
    each = [d.nats for cell in panel.cells for d in cell.depths]
    return [*each, *(cell.nats for cell in panel.cells)]


def _top(panel: PanelSummary) -> float:
    """The highest finite loss."""
    # An axis of height zero cannot be drawn.
    return max((loss for loss in _losses(panel) if math.isfinite(loss)), default=1.0) or 1.0


def _place(panel: PanelSummary, loss: float) -> float:
    """Height of a loss on the axis: what is not finite, in a strip above."""
    return loss if math.isfinite(loss) else 1.24 * _top(panel)


def _loss_axis(axes: Axes, panel: PanelSummary) -> None:
    """From zero to the highest loss of the panel, whatever the size; a strip for what has none."""
    top = _top(panel)
    finite = all(map(math.isfinite, _losses(panel)))
    axes.set_ylim(0, 1.1 * top if finite else 1.36 * top)
    if not finite:
        axes.axhspan(1.12 * top, 1.36 * top, color=COLORS["wash"], zorder=0, linewidth=0)
        axes.text(
            0.02, 1.24 * top, "not finite", transform=axes.get_yaxis_transform(),
            va="center", fontsize=12, color=COLORS["soft"],
        )  # fmt: skip
    # Ticks within the finite part: none in the strip.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=3))
    ticks = [tick for tick in axes.get_yticks() if 0 <= tick <= 1.1 * top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(axis="y", color=COLORS["rule"], linewidth=1)
    axes.set_axisbelow(True)


def _lines(
    chart: Chart, axes: Axes, panel: PanelSummary, cells: Sequence[CellSummary]
) -> list[End]:
    """A line a policy against the depth, with its marks; where each line ends."""
    depths, ends = panel.depths, []
    axes.set_xlim(-0.04, 1.04)
    # Of many depths the first, the middle and the last, whose labels do not touch.
    ticks = depths if len(depths) <= 5 else [depths[0], depths[len(depths) // 2], depths[-1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    for cell in cells:
        name, token = cell.policy, policy_color(cell.policy)
        color = COLORS[token]
        at, losses = [d.depth for d in cell.depths], [d.nats for d in cell.depths]
        heights = [_place(panel, loss) for loss in losses]
        style = {"color": color, "linestyle": DASHED if name == TRUNCATED else "-"}
        wide = 1.8 if cell.bounded else 2.6
        # NaN interrupts the line where a loss is not finite; a ring in the strip above is there.
        curve = [loss if math.isfinite(loss) else math.nan for loss in losses]
        chart.series(name, axes.plot(at, curve, "o", ms=5, lw=wide, clip_on=False, **style))
        lost = [(x, y) for x, y, loss in zip(at, heights, curve, strict=True) if math.isnan(loss)]
        if lost:
            ring = {"ms": 5, "mfc": COLORS["paper"], "mec": color, "mew": 1.4}
            chart.series(name, axes.plot(*zip(*lost, strict=True), "o", ls="", **ring))
        for depth, height in zip(cell.depths, heights, strict=True):
            chart.mark(axes, (depth.depth, height), _values(cell, depth), series=name)
        ends.append(End(heights[-1], name, name, token, not cell.bounded))
    return ends


def _values(cell: CellSummary, depth: DepthSummary) -> str:
    lines = [f"{cell.name}, depth {depth.depth:g}", f"{number(depth.nats)} {LOSS}"]
    lines += [_exact(depth)]
    return "\n".join([*lines, f"{percent(depth.retained)} of the line cached"])


def _exact(each: CellSummary | DepthSummary) -> str:
    """How many answers are exact; of one alone, whether it is."""
    if each.questions == 1:
        return "exact" if each.hits else "not exact"
    return f"{each.hits} of {each.questions} exact"
