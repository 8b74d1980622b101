"""The figure of formats on the perplexity page: each against the first, on the same tokens."""

import math
from typing import Any

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import format_color, series_of
from glassesjax.report.ticks import Limits, log_axis
from glassesjax.studies.perplexity.format_summary import FormatCell
from glassesjax.studies.perplexity.numbers import perplexity_text, times_text
from glassesjax.studies.perplexity.summary import PerplexitySummary
from glassesjax.studies.perplexity.totals import FULL, CellName

LINE, TOP, BOTTOM = 40, 52, 46  # heights


def cell_title(cell: CellName) -> str:
    """A policy and its size in words."""
    return "full cache" if cell.policy == FULL else f"{cell.policy}, {cell.slots} slots"


@charted
def formats_chart(summary: PerplexitySummary, *, narrow: bool = False) -> Chart:
    """Perplexity over that of the first format: a panel a policy and size, a line a format.

    Args:
      summary: Of a run of several formats.
      narrow: Whether it is for a phone.

    Returns:
      Panels of one axis; a format whose passes are not finite has a text and no dot.
    """
    names = [each.format for each in summary.formats]
    left = min(max(7.8 * max(map(len, names)), 60), 150 if narrow else 300) + 14
    width, panel = 358 if narrow else 1104, TOP + LINE * len(names) + BOTTOM
    chart = Chart(width, panel * len(summary.compared))
    known = [each.of(cell) for each in summary.formats for cell in summary.compared]
    ends = [end for each in known if each and each.ratio for end in each.ratio]
    limits = Limits.spanning([1.0, *filter(math.isfinite, ends)])
    unit = "\N{MULTIPLICATION SIGN}"
    for at, cell in enumerate(summary.compared):
        axes = chart.panel(left, TOP + at * panel, width - left - 110, LINE * len(names))
        log_axis(axes, "x", limits, most=4 if narrow else 9, unit=unit)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), names, fontsize=13.5, color=COLORS["ink"])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.axvline(1, color=COLORS["ink"], lw=1.2, zorder=1)
        axes.set_title(cell_title(cell), fontsize=14, weight="bold", pad=22)
        axes.set_xlabel(f"perplexity over that in {names[0]} (log scale)")
        for line, each in enumerate(summary.formats):
            if (found := each.of(cell)) is not None:
                _line(chart, axes, each.format, found, line)
    return chart


def _line(chart: Chart, axes: Any, format: str, cell: FormatCell, at: int) -> None:  # noqa: ANN401  (matplotlib's)
    """A dot for all tokens, a bar for its interval, and the perplexity behind them."""
    name, color = series_of(format), COLORS[format_color(format)]
    ratio = cell.ratio.value if cell.ratio else 1.0
    text = f"{format}, perplexity {perplexity_text(cell.perplexity.value)}"
    if cell.ratio and cell.finite and math.isfinite(ratio):
        text += f"\n{times_text(ratio, close=True)} times"
        if all(map(math.isfinite, cell.ratio)):
            low, high = (times_text(end, close=True) for end in cell.ratio[1:])
            text += f"\n95% interval {low} to {high}"
            bar = axes.plot(cell.ratio[1:], [at, at], color=color, lw=6, alpha=0.4, zorder=2)
            chart.series(name, bar)
    if cell.finite and math.isfinite(ratio):
        dot = axes.plot([ratio], [at], "o", ms=11, color=color, mec=COLORS["paper"], zorder=4)
        chart.series(name, dot)
        chart.mark(axes, (ratio, at), text, radius=10, series=name)
    place: dict[str, Any] = {"xy": (1, at), "xycoords": ("axes fraction", "data")}
    look: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
    label = axes.annotate(
        perplexity_text(cell.perplexity.value), **place, **look, fontsize=13, weight="bold"
    )
    chart.series(name, label)
