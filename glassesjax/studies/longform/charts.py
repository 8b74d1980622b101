"""The figure of the longform page: a dot a text."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import policy_color
from glassesjax.report.numbers import number, percent
from glassesjax.report.ticks import Limits, log_axis
from glassesjax.studies.longform.records import LongformRow
from glassesjax.studies.longform.summary import (
    CellSummary,
    LongformSummary,
    by_cell,
    full_perplexity,
    repetition,
)

LINE = 27  # pixels from one policy and size to the next


class Measure(NamedTuple):
    """What a panel shows of each text."""

    title: str
    value_of: Callable[[LongformRow], float]
    mean: Callable[[CellSummary], float]
    text: Callable[[float], str]


COMMON = Measure(
    "tokens as the full cache’s",  # noqa: RUF001
    lambda row: float(row.common_prefix) if row.policy != "full" else math.nan,
    lambda cell: cell.common_prefix if cell.bounded else math.nan,
    number,
)
REPETITION = Measure(
    "4-grams that stood there before", repetition, lambda cell: cell.repetition, percent
)
PERPLEXITY = Measure(
    "perplexity, full model (log scale)", full_perplexity, lambda cell: cell.perplexity, number
)


@charted
def texts_chart(
    rows: Sequence[LongformRow], summary: LongformSummary, *, narrow: bool = False
) -> Chart:
    """What a text shares with the full cache's, its repetition and its perplexity.

    Args:
      rows: Of the longform study.
      summary: Of the same run.
      narrow: Whether it is for a phone.

    Returns:
      Three panels with a line a policy and size: a dot a text, a bar for the mean of all, and a
      reference line at the full cache's mean.
    """
    names = [cell.name.removesuffix(" slots").replace(" with ", ", ") for cell in summary.cells]
    left = min(max(7.4 * max(map(len, names)), 50), 150 if narrow else 220) + 12
    columns, width, gap = (1, 358, 14) if narrow else (3, 1104, 26)
    height = LINE * len(names)
    chart = Chart(width, (3 if narrow else 1) * (height + 66))
    wide = (width - left - gap) / columns
    # Three columns side by side, or one below the other on a phone.
    for at, measure in enumerate((COMMON, REPETITION, PERPLEXITY)):
        down, across = divmod(at, columns)
        place = left + across * wide, 34 + down * (height + 66)
        axes = chart.panel(*place, wide - gap, height)
        if measure is PERPLEXITY:
            most = int((wide - gap) / 60)  # ticks that there is room for
            log_axis(axes, "x", Limits.spanning(map(full_perplexity, rows)), most=most)
        elif measure is REPETITION:
            # A little beyond the ends, so that dots at 0 and 1 are whole.
            axes.set_xlim(-0.03, 1.03)
            shares = (0.0, 0.25, 0.5, 0.75, 1.0)
            axes.set_xticks(shares, [f"{share:.0%}" for share in shares])
        else:
            longest = max((row.length for row in rows), default=0) or 1  # no axis of length 0
            axes.set_xlim(-0.03 * longest, 1.03 * longest)
        # The mean of the full cache as a line across all policies.
        if summary.full and math.isfinite(reference := measure.mean(summary.full)):
            axes.axvline(reference, color=COLORS["ink"], lw=1.2, zorder=1)
        for line, (cell, texts) in enumerate(
            zip(summary.cells, by_cell(rows).values(), strict=True)
        ):
            axes.axhline(line, color=COLORS["rule"], lw=1, zorder=0)
            look: dict[str, Any] = {"color": COLORS[policy_color(cell.policy)]}
            # What is not finite has no place on the axis.
            for row in texts:
                if math.isfinite(value := measure.value_of(row)):
                    dot = axes.plot([value], [line], "o", ms=7, mew=0, alpha=0.75, zorder=3, **look)
                    chart.series(cell.policy, dot)
                    text = f"{cell.name}, text {row.sample}\n{measure.text(value)}: {measure.title}"
                    chart.mark(axes, (value, line), text, radius=7, series=cell.policy)
            if math.isfinite(mean := measure.mean(cell)):
                bar = axes.plot([mean], [line], "|", ms=19, mew=2.2, zorder=4, **look)
                chart.series(cell.policy, bar)
        axes.set_ylim(len(names) - 0.4, -0.6)  # the first policy at the top
        axes.set_yticks(range(len(names)), [""] * len(names) if across else names)
        axes.tick_params(axis="y", length=0, labelcolor=COLORS["ink"])
        axes.spines["left"].set_visible(False)
        axes.set_title(measure.title, pad=10)
    return chart
