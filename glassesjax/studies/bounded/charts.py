"""Figures of the bounded page: rows in, charts out."""

import functools
import math
from collections.abc import Callable

import numpy as np
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import policy_color
from glassesjax.report.numbers import number, percent, power_of
from glassesjax.report.points import Point
from glassesjax.report.scales import LogScale, length_axis
from glassesjax.report.ticks import set_ticks, up
from glassesjax.report.tokens import visible
from glassesjax.runs.run import Run
from glassesjax.studies.bounded.panels import Panel, distance_panels, token_panels
from glassesjax.studies.bounded.records import BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.summary import BoundedSummary, TextSummary

LINES = ("-", (0, (4, 1.8)), (0, (1, 1.6)), (0, (6, 1.6, 1, 1.6)))  # one for each capacity
LINE = 24  # pixels of a cache in the first figure
TOUCHED = 12  # texts whose tokens can be pointed at


class Look:
    """What all figures of a run share: its rows by panel, and the look of each cache."""

    def __init__(
        self, run: Run[DistanceRow | TokenRow, BoundedConstants], summary: BoundedSummary
    ) -> None:
        self.summary = summary
        self.distances, self.tokens = distance_panels(run.rows), token_panels(run.rows)
        every = [*self.tokens, *self.distances]
        self.positions = list(dict.fromkeys(panel.positions for panel in every))
        self.families = list(dict.fromkeys(panel.family for panel in self.distances))
        self.states = {panel.state: panel for panel in every}
        self._slots = sorted({p.slots for p in every if p.policy != "full"})

    def dashes(self, panel: Panel) -> object:
        """A line for each number of slots."""
        at = self._slots.index(panel.slots) if panel.policy != "full" else 0
        return LINES[at % len(LINES)]

    def caches(self, positions: str) -> list[TextSummary]:
        """The caches of one encoding that are bounded, in the order of the run."""
        texts = [each for each in self.summary.texts if each.panel.policy != "full"]
        return [each for each in texts if each.panel.positions == positions]


def series(panel: Panel) -> str:
    """The name of a cache's series."""
    return f"{panel.policy}-{panel.slots}"


@charted
def kept_chart(look: Look, *, narrow: bool = False) -> Chart:
    """What evicted tokens keep of the influence, beside how many there are.

    Args:
      look: Of a run with texts.
      narrow: Whether it is for a phone.
    """
    shown = [(name, look.caches(name)) for name in look.positions if look.caches(name)]
    columns = 1 if narrow or len(shown) == 1 else min(3, len(shown))
    most = max(len(caches) for _, caches in shown)
    room, height = (112, most * LINE) if narrow else (116, most * max(LINE, 34 - 3 * len(shown)))
    lines = -(-len(shown) // columns)
    chart = Chart(358 if narrow else 760 if columns == 1 else 1104, lines * (height + 66) + 6)
    width = chart.width / columns
    for at, (positions, caches) in enumerate(shown):
        line, column = divmod(at, columns)
        left, top = column * width + room, 26 + line * (height + 66)
        axes = chart.panel(left, top, width - room - 52, height)
        axes.set(xlim=(0, 100), ylim=(len(caches) - 0.5, -0.5))
        axes.set_xticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_yticks(range(len(caches)), [each.panel.state for each in caches])
        axes.tick_params(axis="y", length=0)
        for row, each in enumerate(caches):
            name, evicted = series(each.panel), each.evicted.tokens / each.tokens
            band = axes.barh(row, 100 * evicted, 0.8, color=COLORS["band"])
            lost = bool(each.not_finite)
            kept = 0.0 if lost else each.evicted.share
            label = "not finite" if lost else percent(kept)
            bar = axes.barh(row, 100 * kept, 0.42, color=COLORS["c2"])
            # The label is right of both bars, so that neither crosses it.
            beside = 100 * max(kept, evicted) + 1.5, row
            text = axes.text(*beside, label, va="center", weight="bold", color=COLORS["c2"])
            chart.series(name, *band)
            chart.series(name, *bar, text)
            tip = f"{each.panel.state}, {positions}\n{each.evicted.tokens} of {each.tokens}"
            tip += f" tokens evicted ({percent(evicted)})\nthey keep {label} of the influence"
            chart.mark(axes, (0, row - 0.5), tip, stop=(100, row + 0.5), series=name)
        if len(shown) > 1:
            axes.set_title(positions.replace("_", " "), fontsize=12.5, pad=6)
        if at + columns >= len(shown):
            axes.set_xlabel("share of influence and of tokens")
    return chart


@charted
def distance_chart(look: Look, positions: str, family: str, *, width: float = 350) -> Chart:
    """Distances of runs of n and n + 1 under each cache."""
    chart = Chart(width, 236 if width < 400 else 320)
    axes = chart.panel(58, 24, width - 70, chart.height - 68)
    mine = {
        panel: rows
        for panel, rows in look.distances.items()
        if (panel.positions, panel.family) == (positions, family)
    }
    points = {
        panel: [
            Point(row.length, row.distance if math.isfinite(row.distance) else None, not row.equal)
            for row in rows
        ]
        for panel, rows in mine.items()
    }
    every = [point for curve in points.values() for point in curve]
    scale = LogScale.spanning(every)
    scale.apply(axes)
    length_axis(axes, {point.length for point in every})
    for panel, curve in points.items():
        name, color = series(panel), COLORS[policy_color(panel.policy)]
        scale.curve(chart, axes, curve, name, color=color, ls=look.dashes(panel), lw=1.8)
        for point in curve:
            value = "not finite" if point.distance is None else number(point.distance)
            text = f"{panel.state}, n = {point.length}\n" + (value if point.resolved else "equal")
            chart.mark(axes, (point.length, scale.place(point)), text, series=name, radius=6)
        # Dotted: from here on the statement on pruned attention makes the two equal.
        must = mine[panel][-1].equal_from
        if must is not None:
            line = axes.axvline(must, color=color, linewidth=1, linestyle=":")
            chart.series(name, line)
    axes.set_xlabel("n (log scale)")
    up(axes, "L2 distance (log scale)")
    return chart


@charted
def tokens_chart(look: Look, panel: Panel) -> Chart:
    """Influence by position under one cache, and which tokens are still cached."""
    tokens = look.tokens[panel]
    chart = Chart(350, 206)
    axes = chart.panel(58, 10, 284, 150)
    share = np.array([token.share for token in tokens], np.float64)
    rollout = np.array([token.row.rollout for token in tokens], np.float64)
    known = np.concatenate([each[np.isfinite(each) & (each > 0)] for each in (share, rollout)])
    # The decade of the least positive share; an axis without any has one decade.
    low = math.floor(math.log10(known.min())) if len(known) else -1
    floor = 10.0 ** (low - 0.25 * max(1, -low))
    # Zero has a place of its own below the axis; NaN has none.
    place = lambda values: np.where(values > 0, values, np.where(np.isnan(values), np.nan, floor))
    # At most five labels; the lowest place is a strip for shares of zero.
    decades = range(0, low - 1, -max(1, -low) // 4)
    label = lambda e: f"{100 * 10.0**e:g}%" if e > -5 else f"{power_of(10, e + 2)}%"
    axes.set(yscale="log", ylim=(floor / 10 ** (0.15 * max(1, -low)), 1.6))
    axes.set_xlim(-0.7, len(tokens) - 0.3)
    set_ticks(axes.yaxis, {floor: "none", **{10.0**e: label(e) for e in decades}})
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.plot(place(rollout), color=COLORS["c3"], linewidth=1.1)
    cached = np.array([token.row.cached_layers > 0 for token in tokens])
    at, size = np.arange(len(tokens)), 5 if len(tokens) <= 100 else 3
    for mask, face in ((cached, COLORS["c1"]), (~cached, COLORS["paper"])):
        ink = COLORS["c1"] if face == COLORS["c1"] else COLORS["c2"]
        look_ = {"ms": size, "mfc": face, "mec": ink, "mew": 1.2, "ls": ""}
        axes.plot(at[mask], place(share)[mask], marker="o", **look_)
    if len(look.tokens) <= TOUCHED:  # of many texts the marks would outweigh the page
        for token, value in zip(tokens, place(share).tolist(), strict=True):
            if not math.isnan(value):
                row, share_text = token.row, percent(token.share)
                lines = [f"{visible(row.token_text)}, position {row.position}"]
                lines += [f"{share_text} of the influence"]
                lines += [f"layers that cache it: {row.cached_layers}"]
                lines += [] if row.reaches else ["no path"]
                chart.mark(axes, (row.position, value), "\n".join(lines), radius=6)
    axes.set_xlabel("position in the text")
    return chart


def figures_of(look: Look) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``kept`` where a cache is bounded, ``distance-ENCODING-FAMILY`` and
      ``tokens-ENCODING-POLICY-SLOTS``.
    """
    figures: dict[str, Callable[[], Chart]] = {}
    if any(look.caches(positions) for positions in look.positions):
        figures["kept"] = functools.partial(kept_chart, look)
    for positions, family in dict.fromkeys((p.positions, p.family) for p in look.distances):
        draw = functools.partial(distance_chart, look, positions, family)
        figures[f"distance-{positions}-{family}"] = draw
    for panel in look.tokens:
        name = f"tokens-{panel.positions}-{series(panel)}"
        figures[name] = functools.partial(tokens_chart, look, panel)
    return figures
