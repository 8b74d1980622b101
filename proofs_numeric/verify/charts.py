"""The first figure of the ledger: every ratio to its bound, by topic."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.numbers import number
from proofs_numeric.claim import Claim
from proofs_numeric.verify.discovery import TOPICS, Topic
from proofs_numeric.verify.summary import ClaimRows, VerifySummary, ratio_of

Spot = tuple[float, float]
LEAST = 7e-3  # left end of the axis of ratios


class Layout(NamedTuple):
    """Pixel coordinates of the first figure."""

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
        """Horizontal pixel of a ratio."""
        decades = math.log10(self.most / LEAST)
        return self.axis + (self.end - self.axis) * math.log10(ratio / LEAST) / decades


WIDE = Layout(1104, 164, 238, 950, 996, 1e4, 52, 0, 8.8, 42)
NARROW = Layout(358, 6, 44, 250, 274, 1e2, 70, 18, 6.4, 50)


class Dot(NamedTuple):
    """A mark of the first figure."""

    series: Literal["claims", "counter-cases", "wrong"]
    claim: str
    ratio: float | None
    text: str


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
        middle = top + at.head + (at.row - at.head - 3) / 2  # measurements lie below
        _draw(chart, axes, at, middle, list(_dots(mine, summary, rows)))
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
    if summary.counter_cases == 1:
        verb = "fails" if narrow else "counter-case fails, as it must"
    met = f"Hypotheses met:{space}{_share(summary.held, summary.decided)} hold"
    dropped = f"{name} dropped:{space}{_share(summary.failing, summary.counter_cases)} {verb}"
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
    holding = [row for rows in claims for row in rows.measured if row.verdict == "holds"]
    ratios = [ratio for ratio in map(ratio_of, holding) if ratio is not None]
    places = sorted({round(2 * at.across(min(max(r, LEAST), 1.0))) / 2 for r in ratios})
    base = top + at.row - 2
    xs = [x for place in places for x in (place, place, math.nan)]
    ys = [y for _ in places for y in (base, base - 8, math.nan)]
    chart.series("measurements", axes.plot(xs, ys, color=COLORS["h1"], lw=1, zorder=2))


def _share(count: int, of: int) -> str:
    return f"{count}" if of == 1 else f"{count:,} of {of:,}"


def _dots(
    claims: Iterable[Claim], summary: VerifySummary, rows: Mapping[str, ClaimRows]
) -> Iterator[Dot]:
    """A dot a claim, at its closest inequality, a counter-case, and what is not as it must be."""
    for claim in claims:
        name, mine = f"{claim.title} ({claim.name})", summary.claims[claim.name]
        near = "equalities or bounds of zero: no ratio"
        if mine.closest is not None:
            near = f"closest: {mine.closest.tightness:.3g} of its bound"
        text = f"{name}\n{near}\nmeasurements that hold: {_share(mine.held, mine.decided)}"
        ratio = None if mine.closest is None else min(mine.closest.tightness, 1.0)
        yield Dot("claims", claim.name, ratio, text)
        for row in rows[claim.name].measured:
            ratio = ratio_of(row)
            text = (
                f"{name}\n{row.setting}\nmeasured {number(row.measured)}, bound {number(row.bound)}"
            )
            if ratio is not None:
                text += f": {number(ratio)} times"
            if row.counter_case == "fails":
                yield Dot("counter-cases", claim.name, ratio, f"Counter-case of {text}")
            elif row.counter_case or row.verdict == "violated":
                kind = "Does not fail" if row.counter_case else "Violated"
                yield Dot("wrong", claim.name, ratio, f"{kind}: {text}")


def _draw(chart: Chart, axes: Axes, at: Layout, middle: float, dots: Sequence[Dot]) -> None:
    """Dots at their ratios, hollow ones in the strips; crosses where they are, above all."""
    size = at.gap - 1.4
    for series, away, token, full, hollow, start, stop in (
        ("claims", -1, "c1", "o", "s", at.left, at.axis - 8),
        ("counter-cases", 1, "c2", "o", "o", at.strip, at.width - 12),
        ("wrong", 0, "ink", "x", "x", at.end, at.strip),
    ):
        mine = [dot for dot in dots if dot.series == series]
        known = [(dot, dot.ratio) for dot in mine if dot.ratio is not None]
        blank = [dot for dot in mine if dot.ratio is None]
        xs = [at.across(min(max(r, LEAST), 1.3 * at.most)) + 0.62 * size * away for _, r in known]
        spots = _swarm(xs, at, away) if away else [(x, 0.0) for x in xs]
        strip = _block(len(blank), int((stop - start) / at.gap), at, start + at.gap)
        far = [ratio > at.most for _, ratio in known]
        near, beyond = (
            [s for s, f in zip(spots, far, strict=True) if f is e] for e in (False, True)
        )
        color, paper = COLORS[token], COLORS["paper"]
        for some, marker, fill, edge in (
            (near, full, color, 1.0 if away else 2.4),
            (beyond, ">", color, 1.0),
            (strip, hollow, paper, 1.4 if away else 2.4),
        ):
            if some:
                xs, ys = zip(*((x, middle + y) for x, y in some), strict=True)
                look = {"color": fill, "mec": color, "mew": edge, "zorder": 5}
                chart.series(series, axes.plot(xs, ys, marker, ms=size, **look))
        for (x, y), dot in zip([*spots, *strip], [*(d for d, _ in known), *blank], strict=True):
            go = f"claim-{dot.claim}"
            chart.mark(axes, (x, middle + y), dot.text, radius=0.62 * at.gap, series=series, go=go)


def _block(count: int, columns: int, at: Layout, left: float) -> list[Spot]:
    """Marks line by line, about the middle of their row."""
    lines = -(-count // columns)
    return [
        (left + k % columns * at.gap, (k // columns - (lines - 1) / 2) * at.gap)
        for k in range(count)
    ]


def _swarm(xs: Sequence[float], at: Layout, away: int) -> list[Spot]:
    """Shifts marks up and down within their row, then away from the bound, until all are seen."""
    tall = int((at.row - at.head - 14) / at.gap)
    shifts = [at.gap * ((k + 1) // 2) * (-1 if k % 2 else 1) for k in range(tall)]
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
