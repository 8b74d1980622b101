"""The figure of a claim: measured and bound along its ladder of sizes."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from glassesjax.report.canvas import COLORS, FAINT, INK, MUTED, OTHER, STRIP, WIDTH, margins, styled
from glassesjax.report.numbers import power_of
from proofs_numeric.verify.records import MeasurementRow

PALETTE = [COLORS[name] for name in ("f32", "bf16", "f16", "e4m3fn", "e5m2", "tf32")] + [OTHER]
NAMED = 6  # series that a legend can name; of more only the style is explained
EXTREME = 100.0  # exponent of ten beyond which a value has no place but the edge

LINE: dict[str, Any] = {"linewidth": 1.4, "marker": "o", "markersize": 3}
BOTH: dict[Literal["bound", "measured"], dict[str, Any]] = {
    "bound": LINE | {"linewidth": 1.2, "linestyle": "--", "marker": "_", "markersize": 5},
    "measured": LINE,
}

Series = dict[str, list[MeasurementRow]]


def has_ladder(rows: Sequence[MeasurementRow]) -> bool:
    """Whether there is something to draw: two steps that met their hypotheses.

    Args:
      rows: Of one claim.

    Returns:
      False also where nothing is on a ladder.
    """
    return len(_sizes(rows)) > 1


def ladder_figure(rows: Sequence[MeasurementRow], climbs: str = "n") -> Figure:
    """Measured and bound against the step of the ladder, and their ratio.

    Args:
      rows: Rows of one claim, for which ``has_ladder``.
      climbs: What the steps count.

    Returns:
      Two panels with one line for each series of settings.
    """
    return _figure(_series(rows, climbs), _sizes(rows), climbs)


@styled
def _figure(series: Series, sizes: Sequence[float], climbs: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.9))
    edges = margins(figure, bottom=0.95) | {"wspace": 0.16, "width_ratios": (3, 2)}
    values, ratios = figure.subplots(1, 2, gridspec_kw=edges)
    _value_panel(values, series)
    _ratio_panel(ratios, series)
    for axes in (values, ratios):
        _size_axis(axes, sizes)
        axes.set_xlabel(climbs)
    figure.legend(handles=_legend(series), loc="lower center", ncols=4)
    return figure


def _climbed(rows: Sequence[MeasurementRow]) -> list[MeasurementRow]:
    """Those of the ladder that met their hypotheses."""
    ladder = [row for row in rows if row.part == "ladder" and row.size is not None]
    return [row for row in ladder if row.verdict != "not_applicable"]


def _sizes(rows: Sequence[MeasurementRow]) -> list[float]:
    return sorted({_size(row) for row in _climbed(rows)})


def _series(rows: Sequence[MeasurementRow], climbs: str) -> Series:
    """Rows of the ladder whose settings differ in the step only."""
    found: Series = {}
    for row in _climbed(rows):
        found.setdefault(_name(row, climbs), []).append(row)
    return {name: sorted(mine, key=_size) for name, mine in found.items()}


def _name(row: MeasurementRow, climbs: str) -> str:
    """A setting without the step: what stands as ``climbs=step``, else the step wherever it is."""
    setting, step = row.setting, re.escape(f"{_size(row):.15g}")
    alone = rf"(?<![\w.]){step}(?![\w.])"
    rest, count = re.subn(rf",? *\b{re.escape(climbs)} ?= ?{step}(?![\w.])", "", setting)
    text = rest if count else re.sub(alone, "\N{HORIZONTAL ELLIPSIS}", setting)
    return text.strip(" ,") or "all"


def _size(row: MeasurementRow) -> float:
    return 0.0 if row.size is None else row.size


def _color(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _clipped(value: float) -> float:
    """A value's logarithm; the lowest is the strip's, the highest the edge's."""
    if not math.isfinite(value):
        return math.nan
    if value < 10.0**-EXTREME:
        return -math.inf
    return min(math.log10(value), EXTREME)


def _value_panel(axes: Axes, series: Series) -> None:
    logs = [_clipped(getattr(r, key)) for r in itertools.chain(*series.values()) for key in BOTH]
    low, high, strip = _span(logs)
    place = lambda log: low - strip / 2 if log == -math.inf else log
    for index, mine in enumerate(series.values()):
        sizes = [_size(row) for row in mine]
        for key, look in BOTH.items():
            found = [place(_clipped(getattr(row, key))) for row in mine]
            axes.plot(sizes, found, color=_color(index), **look)
    _log_axis(axes, low, high, strip)
    axes.set_title("Measured and bound")


def _span(logs: Iterable[float]) -> tuple[int, int, float]:
    """Lowest and highest labeled exponent, and the height of the strip for what has none."""
    logs = list(logs)
    finite = [log for log in logs if math.isfinite(log)] or [0.0]
    low, high = math.floor(min(finite)), math.ceil(max(finite))
    high = max(high, low + 1)
    return low, high, 0.16 * (high - low) * (-math.inf in logs)


def _log_axis(axes: Axes, low: int, high: int, strip: float) -> None:
    """Exponents are drawn and powers are named: a ladder may span more than a float does."""
    axes.set_ylim(low - strip - 0.02 * (high - low), high + 0.04 * (high - low))
    ticks = {float(e): power_of(10, e) for e in range(high, low - 1, -math.ceil((high - low) / 5))}
    if high == EXTREME:
        ticks[EXTREME] = f"≥ {ticks[EXTREME]}"
    if strip:
        axes.axhspan(low - strip, low, color=STRIP, zorder=0, linewidth=0)
        ticks = {e: name for e, name in ticks.items() if e > low} | {low - strip / 2: "≤ 0"}
    axes.yaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.yaxis.set_major_formatter(FixedFormatter(list(ticks.values())))


def _ratio_panel(axes: Axes, series: Series) -> None:
    axes.axhline(1, color=FAINT, linewidth=1, zorder=0)
    for index, mine in enumerate(series.values()):
        known = [(_size(row), row.tightness) for row in mine]
        pairs = [(size, t) for size, t in known if t is not None and math.isfinite(t)]
        axes.plot([s for s, _ in pairs], [t for _, t in pairs], color=_color(index), **LINE)
    axes.set(ylim=(-0.04, 1.1), yticks=[0, 0.5, 1])
    axes.set_title("Tightness: measured over bound")


def _size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    """A logarithmic axis that names some of the steps; linear where one of them is zero."""
    positive = sizes[0] > 0
    axes.set_xscale("log" if positive and sizes[-1] / sizes[0] > 4 else "linear")
    every = math.ceil(len(sizes) / 8)
    ticks = sizes[::-1][::every]
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(series: Series) -> list[Line2D]:
    styles = [
        Line2D([], [], color=INK, lw=1.4, marker="o", ms=3, label="measured"),
        Line2D([], [], color=MUTED, lw=1.2, ls="--", label="bound"),
    ]
    if not 1 < len(series) <= NAMED:
        return styles
    short = lambda name: name if len(name) < 40 else f"{name[:38]}…"
    named = [Line2D([], [], color=_color(i), lw=2, label=short(n)) for i, n in enumerate(series)]
    return styles + named
