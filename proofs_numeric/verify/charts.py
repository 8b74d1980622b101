"""Figures of the ledger: every ratio to its bound by topic, and the ladder of a claim."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from glassesjax.report.chart import COLORS, SERIES_COLORS, Chart, charted
from glassesjax.report.numbers import power_of
from glassesjax.report.render import number
from proofs_numeric.claim import Claim
from proofs_numeric.verify.discovery import TOPICS, Topic
from proofs_numeric.verify.records import MeasurementRow
from proofs_numeric.verify.summary import ClaimRows, VerifySummary, ratio_of

Spot = tuple[float, float]
LEAST = 7e-3  # left end of the axis of ratios
NAMED = 6  # series of a ladder that a legend can name
EXTREME = 100.0  # exponent of ten beyond which a value has no place but the edge


class Layout(NamedTuple):
    """Where things are on the first figure, in pixels."""

    width: float
    left: float
    """Where the names of topics end."""
    axis: float
    """Where the axis of ratios begins."""
    end: float
    """Where it ends."""
    strip: float
    """Where the strip of counter-cases without a ratio begins."""
    most: float
    """The ratio at the end of the axis."""
    row: float
    """Height of a topic."""
    head: float
    """Height of the topic's name within the row."""
    gap: float
    """Between two marks."""
    top: float

    def across(self, ratio: float) -> float:
        """Where a ratio stands."""
        decades = math.log10(self.most / LEAST)
        return self.axis + (self.end - self.axis) * math.log10(ratio / LEAST) / decades


WIDE = Layout(1104, 164, 238, 950, 996, 1e4, 52, 0, 8.8, 42)
NARROW = Layout(358, 6, 44, 250, 274, 1e2, 70, 18, 6.4, 50)


def full_name(claim: Claim) -> str:
    """A claim's title and name."""
    return f"{claim.title} ({claim.name})"


@charted
def ratios_chart(
    summary: VerifySummary,
    rows: Mapping[str, ClaimRows],
    claims: Sequence[Claim],
    *,
    narrow: bool = False,
) -> Chart:
    """Each measurement's ratio to its bound, by topic; claims and counter-cases as marks.

    Args:
      summary: Of the ledger.
      rows: By claim.
      claims: Those with rows.
      narrow: Whether it is for a phone.

    Returns:
      One panel in pixels, with a series of claims, of measurements, of counter-cases, and of what
      is not as it must be.
    """
    at = NARROW if narrow else WIDE
    of = lambda topic: [each for each in claims if summary.claims[each.name].topic == topic.name]
    topics = [(topic, of(topic)) for topic in TOPICS if of(topic)]
    below = at.top + at.row * len(topics)
    chart = Chart(at.width, below + 48)
    axes = chart.panel(0, 0, chart.width, chart.height)
    axes.set(xlim=(0, chart.width), ylim=(chart.height, 0))
    axes.axis("off")
    _frame(axes, at, below, summary, narrow=narrow)
    for line, (topic, mine) in enumerate(topics):
        top = at.top + line * at.row
        _topic(axes, at, top, topic, len(mine), narrow=narrow)
        _measurements(chart, axes, at, top, [rows[each.name] for each in mine])
        middle = top + at.head + (at.row - at.head - 9) / 2
        _claims(chart, axes, at, middle, mine, summary)
        _cases(chart, axes, at, middle, mine, rows)
    return chart


def _frame(axes: Axes, at: Layout, below: float, summary: VerifySummary, *, narrow: bool) -> None:
    one, right = at.across(1), at.width - 2
    axes.fill_between([at.left, one], at.top, below, color=COLORS["wash"], lw=0, zorder=0)
    for x in (at.axis - 4, at.strip):
        axes.plot([x, x], [at.top, below], color=COLORS["rule"], lw=1, zorder=1)
    axes.plot([one, one], [at.top - 4, below], color=COLORS["ink"], lw=1.6, zorder=3)
    axes.plot([at.left, right], [below, below], color=COLORS["c6"], lw=1)
    soft = {"color": COLORS["soft"], "fontsize": 12.5, "va": "top"}
    for exponent in range(math.ceil(math.log10(LEAST)), round(math.log10(at.most)) + 1):
        x = at.across(10.0**exponent)
        axes.plot([x, x], [below, below + 4], color=COLORS["c6"], lw=1)
        text = "1 = bound" if exponent == 0 else f"{10.0**exponent:,.10g}"
        if not narrow or exponent >= -1:
            axes.text(x, below + 7, text, ha="center", **soft)
    axes.text((at.axis + at.end) / 2, below + 26, "measured over bound (log scale)", ha="center",
              **soft)  # fmt: skip
    axes.text(at.left + 2, below + 7, "no ratio", ha="left", **soft)
    axes.text(at.strip + 6, below + 7, "no ratio", ha="left", **soft)
    bold = {"weight": "bold", "fontsize": 11.5 if narrow else 13.5, "va": "bottom"}
    space, name = ("\n", "A hypothesis") if narrow else (" ", "One hypothesis")
    verb = "fail" if narrow else "counter-cases fail, as they must"
    met = f"Hypotheses met:{space}{summary.held:,} of {summary.decided:,} hold"
    dropped = f"{name} dropped:{space}{summary.failing} of {summary.counter_cases} {verb}"
    axes.text(one - 6, at.top - 8, met, color=COLORS["c1"], ha="right", **bold)
    axes.text(one + 8, at.top - 8, dropped, color=COLORS["c2"], ha="left", **bold)


def _topic(axes: Axes, at: Layout, top: float, topic: Topic, count: int, *, narrow: bool) -> None:
    axes.plot([at.left, at.width - 2], [top, top], color=COLORS["rule"], lw=0.8, zorder=1)
    counted = f"{count} claims" if count > 1 else "one claim"
    if narrow:
        axes.text(at.left + 2, top + 3, topic.title, fontsize=12.5, weight="bold", va="top")
        return
    axes.text(at.left - 8, top + 20, topic.title, fontsize=13.5, weight="bold", ha="right")
    text = ", ".join(filter(None, (counted, topic.about)))
    axes.text(at.left - 8, top + 36, text, fontsize=11.5, ha="right", color=COLORS["soft"])


def _measurements(
    chart: Chart, axes: Axes, at: Layout, top: float, claims: Iterable[ClaimRows]
) -> None:
    """Each measurement that holds as a line at its ratio; one for those at the same pixel."""
    held = [row for rows in claims for row in rows.measured if row.verdict == "holds"]
    ratios = [ratio for ratio in map(ratio_of, held) if ratio is not None]
    places = sorted({round(2 * at.across(min(max(r, LEAST), 1.0))) / 2 for r in ratios})
    base = top + at.row - 2
    xs = [x for place in places for x in (place, place, math.nan)]
    ys = [y for _ in places for y in (base, base - 8, math.nan)]
    chart.series("measurements", axes.plot(xs, ys, color=COLORS["h1"], lw=1, zorder=2))


def _claims(
    chart: Chart,
    axes: Axes,
    at: Layout,
    middle: float,
    claims: Sequence[Claim],
    summary: VerifySummary,
) -> None:
    """A mark a claim, at its closest inequality; a square in the strip where none has a ratio."""
    size, points, blank = at.gap - 1.4, [], []
    for claim in claims:
        near = summary.claims[claim.name].closest
        if near is None:
            blank.append(claim)
        else:
            ratio = min(max(near.tightness, LEAST), 1.0)
            points.append((at.across(ratio) - 0.62 * size, claim))
    spots = _swarm([x for x, _ in points], at, -1)
    columns = int((at.axis - 8 - at.left) / at.gap)
    squares = _block(len(blank), columns, at, at.left + at.gap)
    look = {"markeredgecolor": COLORS["c1"], "color": COLORS["c1"], "zorder": 5}
    _draw(chart, axes, "claims", "o", spots, middle, size, **look)
    look |= {"color": COLORS["paper"], "markeredgewidth": 1.5}
    _draw(chart, axes, "claims", "s", squares, middle, size - 1.4, **look)
    for (x, y), claim in zip([*spots, *squares], [*(c for _, c in points), *blank], strict=True):
        mine = summary.claims[claim.name]
        near = "equalities or bounds of zero: no ratio"
        if mine.closest is not None:
            near = f"closest: {mine.closest.tightness:.3g} of its bound"
        counted = f"{mine.held} of {mine.decided} measurements hold"
        _mark(chart, axes, (x, middle + y), "claims", claim, (full_name(claim), near, counted), at)


def _cases(
    chart: Chart,
    axes: Axes,
    at: Layout,
    middle: float,
    claims: Sequence[Claim],
    rows: Mapping[str, ClaimRows],
) -> None:
    """A mark a counter-case, and a cross for each row that is not as it must be."""
    size = at.gap - 1.4
    every = [(claim, row) for claim in claims for row in rows[claim.name].measured]
    fails = [(c, r, ratio_of(r)) for c, r in every if r.counter_case == "fails"]
    drawn = [(c, r, ratio) for c, r, ratio in fails if ratio is not None]
    blank = [(c, r) for c, r, ratio in fails if ratio is None]
    wrong = [
        (c, r) for c, r in every if r.verdict == "violated" or r.counter_case == "does_not_fail"
    ]
    clip = lambda ratio: min(ratio, 1.3 * at.most)
    spots = _swarm([at.across(clip(ratio)) + 0.62 * size for *_, ratio in drawn], at, 1)
    columns = int((at.width - 4 - at.strip) / at.gap) - 1
    rings = _block(len(blank), columns, at, at.strip + at.gap)
    beyond = [ratio > at.most for *_, ratio in drawn]
    pick = lambda want: [s for s, far in zip(spots, beyond, strict=True) if far is want]
    look = {"color": COLORS["c2"], "markeredgecolor": COLORS["c2"], "zorder": 5}
    _draw(chart, axes, "counter-cases", "o", pick(False), middle, size, **look)
    _draw(chart, axes, "counter-cases", ">", pick(True), middle, size, **look)
    look |= {"color": COLORS["paper"], "markeredgewidth": 1.4}
    _draw(chart, axes, "counter-cases", "o", rings, middle, size - 1, **look)
    held = [(c, r) for c, r, _ in drawn]
    for (x, y), (claim, row) in zip([*spots, *rings], [*held, *blank], strict=True):
        lines = (f"Counter-case of {full_name(claim)}", row.setting, _values(row))
        _mark(chart, axes, (x, middle + y), "counter-cases", claim, lines, at)
    clip = lambda row: at.across(min(max(ratio_of(row) or LEAST, LEAST), at.most))
    crosses = [(clip(row), 0.0) for _, row in wrong]
    look = {"color": COLORS["ink"], "markeredgewidth": 2.4, "zorder": 7}
    _draw(chart, axes, "wrong", "x", crosses, middle, size + 3, **look)
    for (x, _), (claim, row) in zip(crosses, wrong, strict=True):
        kind = "Violated" if row.verdict == "violated" else "A counter-case that does not fail"
        lines = (f"{kind}: {full_name(claim)}", row.setting, _values(row))
        _mark(chart, axes, (x, middle), "wrong", claim, lines, at)


def _values(row: MeasurementRow) -> str:
    text = f"measured {number(row.measured)}, bound {number(row.bound)}"
    ratio = ratio_of(row)
    return f"{text}: {number(ratio)} times" if ratio is not None else text


def _mark(
    chart: Chart,
    axes: Axes,
    spot: Spot,
    series: str,
    claim: Claim,
    lines: Sequence[str],
    at: Layout,
) -> None:
    text, radius = "\n".join(lines), 0.62 * at.gap
    chart.mark(axes, spot, text, radius=radius, series=series, go=f"claim-{claim.name}")


def _draw(
    chart: Chart,
    axes: Axes,
    series: str,
    marker: str,
    spots: Sequence[Spot],
    middle: float,
    size: float,
    **look: object,
) -> None:
    if spots:
        xs, ys = zip(*spots, strict=True)
        line = axes.plot(xs, [middle + y for y in ys], marker, ms=size, **look)  # pyrefly: ignore
        chart.series(series, line)


def _block(count: int, columns: int, at: Layout, left: float) -> list[Spot]:
    """Marks line by line, about the middle of their row."""
    lines = -(-count // columns)
    return [
        (left + k % columns * at.gap, (k // columns - (lines - 1) / 2) * at.gap)
        for k in range(count)
    ]


def _swarm(xs: Sequence[float], at: Layout, away: Literal[-1, 1]) -> list[Spot]:
    """Shifts marks up and down within their row, then away from the bound, until all are seen."""
    tall = int((at.row - at.head - 14) / at.gap)
    shifts = [at.gap * ((k + 1) // 2) * (1 if k % 2 else -1) for k in range(tall)]
    placed: dict[int, Spot] = {}
    for index in sorted(range(len(xs)), key=lambda i: xs[i] * away):
        for step in itertools.count():
            x = xs[index] + away * step * at.gap / 2
            free = lambda y, x=x: all(
                math.hypot(x - a, y - b) >= 0.97 * at.gap for a, b in placed.values()
            )
            y = next(filter(free, shifts), None)
            if y is not None:
                placed[index] = (x, y)
                break
    return [placed[index] for index in range(len(xs))]


# The ladder of a claim.

Series = dict[str, list[MeasurementRow]]
Line = Sequence[MeasurementRow | None]
BOTH: Mapping[Literal["bound", "measured"], Mapping[str, object]] = {
    "bound": {"lw": 1.2, "ls": "--", "marker": "_", "ms": 5},
    "measured": {"lw": 1.4, "marker": "o", "ms": 3},
}


def has_ladder(rows: Sequence[MeasurementRow]) -> bool:
    """Whether there is something to draw: two steps that met their hypotheses.

    Args:
      rows: Of one claim.

    Returns:
      False also where nothing is on a ladder.
    """
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
    """A setting without the step: what stands as ``climbs=step``, else the step wherever it is."""
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
