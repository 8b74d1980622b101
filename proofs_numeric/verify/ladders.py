"""The figure of a claim: measured and bound along its ladder of sizes."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from glassesjax.report.chart import COLORS, SERIES_COLORS, Chart, charted
from glassesjax.report.numbers import power_of
from proofs_numeric.verify.records import MeasurementRow

NAMED = 6  # series that have room for their names
EXTREME = 100.0  # exponent of ten beyond which a value has no place but the edge

Series = dict[str, list[MeasurementRow]]
Line = Sequence[MeasurementRow | None]
BOTH: Mapping[Literal["bound", "measured"], Mapping[str, object]] = {
    "bound": {"lw": 1.2, "ls": "--", "marker": "_", "ms": 5},
    "measured": {"lw": 1.4, "marker": "o", "ms": 3},
}


def has_ladder(rows: Sequence[MeasurementRow]) -> bool:
    """Whether there is something to draw: two steps that met their hypotheses."""
    return len(_sizes(rows)) > 1


@charted
def ladder_chart(rows: Sequence[MeasurementRow], climbs: str = "n") -> Chart:
    """Measured and bound against the step of the ladder, and their ratio.

    Args:
      rows: Rows of one claim, for which ``has_ladder``.
      climbs: What the steps count.

    Returns:
      Two panels with one line for each series of settings.
    """
    series, sizes = _series(rows, climbs), _sizes(rows)
    names = list(series) if 1 < len(series) <= NAMED else []
    chart = Chart(760, 292 + 18 * len(names))
    values, ratios = chart.panel(66, 30, 380, 210), chart.panel(508, 30, 236, 210)
    lines = list(series.values()) if names else [_joined(series)]
    _value_panel(values, lines)
    _ratio_panel(ratios, lines)
    for axes in (values, ratios):
        _size_axis(axes, sizes)
        axes.set_xlabel(climbs)
    for at, name in enumerate(names):
        place = {"x": 66 / chart.width, "y": (8 + 18 * at) / chart.height}
        chart.text(s=name, color=_color(at), fontsize=12.5, weight="bold", **place)
    return chart


def _joined(series: Series) -> Line:
    """Series in one line with a gap between two: too many for names, they are one drawing."""
    return [each for mine in series.values() for each in (None, *mine)][1:]


def _climbed(rows: Sequence[MeasurementRow]) -> list[MeasurementRow]:
    """Those of the ladder that met their hypotheses."""
    ladder = [row for row in rows if row.part == "ladder" and row.size is not None]
    return [row for row in ladder if row.verdict != "not_applicable"]


def _sizes(rows: Sequence[MeasurementRow]) -> list[float]:
    return sorted({_size(row) for row in _climbed(rows)})


def _series(rows: Sequence[MeasurementRow], climbs: str) -> Series:
    """Rows of the ladder whose settings differ in the step only."""
    series: Series = {}
    for row in _climbed(rows):
        series.setdefault(_name(row, climbs), []).append(row)
    return {name: sorted(mine, key=_size) for name, mine in series.items()}


def _name(row: MeasurementRow, climbs: str) -> str:
    """A setting without the step: without ``climbs=step``, else without the step's number."""
    setting, step = row.setting, re.escape(f"{_size(row):.15g}")
    alone = rf"(?<![\w.]){step}(?![\w.])"
    rest, count = re.subn(rf",? *\b{re.escape(climbs)} ?= ?{step}(?![\w.])", "", setting)
    text = rest if count else re.sub(alone, "\N{HORIZONTAL ELLIPSIS}", setting)
    return text.strip(" ,") or "all"


def _size(row: MeasurementRow | None) -> float:
    return math.nan if row is None else 0.0 if row.size is None else row.size


def _color(index: int) -> str:
    return COLORS[SERIES_COLORS[index % len(SERIES_COLORS)]]


def _exponent(value: float) -> float:
    """A value's logarithm; the lowest is the strip's, the highest the edge's."""
    if not math.isfinite(value):
        return math.nan
    if value < 10.0**-EXTREME:
        return -math.inf
    return min(math.log10(value), EXTREME)


def _value_panel(axes: Axes, lines: Sequence[Line]) -> None:
    value = lambda row, key: math.nan if row is None else getattr(row, key)
    logs = {key: [[_exponent(value(row, key)) for row in line] for line in lines] for key in BOTH}
    every = [*itertools.chain(*logs["bound"], *logs["measured"])]
    finite = [log for log in every if math.isfinite(log)] or [0.0]
    low, high = math.floor(min(finite)), math.ceil(max(finite))
    high = max(high, low + 1)
    strip = 0.16 * (high - low) * (-math.inf in every)
    place = lambda log: low - strip / 2 if log == -math.inf else log
    for at, line in enumerate(lines):
        sizes = [_size(row) for row in line]
        for key, look in BOTH.items():
            heights = [place(log) for log in logs[key][at]]
            axes.plot(sizes, heights, color=_color(at), **look)  # pyrefly: ignore
    _log_axis(axes, low, high, strip)
    _title(axes, "measured (solid), bound (dashed), log scale")


def _title(axes: Axes, text: str) -> None:
    axes.text(0, 1.04, text, transform=axes.transAxes, color=COLORS["soft"])


def _log_axis(axes: Axes, low: int, high: int, strip: float) -> None:
    """Exponents are drawn and powers are named: a ladder may span more than a float does."""
    axes.set_ylim(low - strip - 0.02 * (high - low), high + 0.04 * (high - low))
    ticks = {float(e): power_of(10, e) for e in range(high, low - 1, -math.ceil((high - low) / 5))}
    if high == EXTREME:
        ticks[EXTREME] = f"≥ {ticks[EXTREME]}"
    if strip:
        axes.axhspan(low - strip, low, color=COLORS["band"], zorder=0, linewidth=0)
        ticks = {e: name for e, name in ticks.items() if e > low} | {low - strip / 2: "≤ 0"}
    axes.yaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.yaxis.set_major_formatter(FixedFormatter(list(ticks.values())))


def _ratio_panel(axes: Axes, lines: Sequence[Line]) -> None:
    axes.axhline(1, color=COLORS["ink"], linewidth=1, zorder=0)
    for at, line in enumerate(lines):
        ratios = [math.nan if row is None else row.tightness for row in line]
        known = [(row, t) for row, t in zip(line, ratios, strict=True) if t is not None]
        sizes = [_size(row) for row, _ in known]
        axes.plot(sizes, [t for _, t in known], color=_color(at), **BOTH["measured"])  # pyrefly: ignore
    axes.set(ylim=(-0.04, 1.1), yticks=[0, 0.5, 1])
    _title(axes, "measured over bound")


def _size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    """A logarithmic axis that names some of the steps; linear where one of them is zero."""
    wide = sizes[0] > 0 and sizes[-1] / sizes[0] > 4
    axes.set_xscale("log" if wide else "linear")
    place = (lambda size: math.log(size)) if wide else (lambda size: size)
    ticks, room = [sizes[-1]], (place(sizes[-1]) - place(sizes[0])) / 6
    for size in sizes[-2::-1]:
        if place(ticks[-1]) - place(size) >= 0.99 * room:
            ticks.append(size)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
