"""Charts of trained decoders, which the pages of a training and of a sweep share."""

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from glassesjax.report.chart import COLORS, SERIES_COLORS, Chart, Number, charted
from glassesjax.report.numbers import percent, power_of, short
from glassesjax.report.tokens import visible
from glassesjax.studies.train.cells import TrainedDecoder, Training, decoders_of, losses
from glassesjax.studies.train.failure_cells import FACTOR, is_bound
from glassesjax.studies.train.influence_cells import MEASURES, Places, influence_cells
from glassesjax.studies.train.pair_rows import REFERENCE
from glassesjax.studies.train.records import AnswersRow, FailureLengths, PairRow

STATES = (
    ("h1", 0.8, "both right"),
    ("h2", 0.46, "wrong, but different"),
    ("h3", 0.8, "collision: one answer for both"),
)  # a color, a height and a meaning of a bar
MOST_PANELS = 4  # decoders that have a panel each; of more, a format has one
MOST_DECODERS = 24  # that are drawn; the table has all
INK = COLORS["ink"]
BEYOND = 1.35  # where a length beyond the reach stands, in units of the reach


def state_of(row: PairRow) -> int:
    """Which of ``STATES`` a pair is in."""
    return 2 if row.collision else 0 if row.correct else 1


def series_of(format: str) -> str:
    """A format as the name of a series: what a format may have beside letters is replaced."""
    return re.sub(r"[^\w+-]", "_", format)


def format_colors(decoders: Sequence[TrainedDecoder]) -> dict[str, str]:
    """A color token for each format that rounds, the same again after the last one."""
    every = (name for one in decoders for name in (*one.answers, *one.pairs) if name != REFERENCE)
    return {
        name: SERIES_COLORS[at % len(SERIES_COLORS)] for at, name in enumerate(dict.fromkeys(every))
    }


class Line(NamedTuple):
    """A line of bars: one decoder in one format."""

    label: str
    format: str
    decoder: TrainedDecoder


class Panel(NamedTuple):
    """Lines on one axis."""

    title: str
    lines: Sequence[Line]


def panels_of(decoders: Sequence[TrainedDecoder], what: str) -> list[Panel]:
    """What stands together: the formats of a decoder; of many decoders, those in one format.

    Args:
      decoders: Of a page.
      what: ``pairs`` or ``answers``.
    """
    some = [one for one in decoders if getattr(one, what)][:MOST_DECODERS]
    if len(some) <= MOST_PANELS:
        lines = lambda one: [Line(name, name, one) for name in getattr(one, what)]
        return [Panel(one.label, lines(one)) for one in some]
    formats = dict.fromkeys(name for one in some for name in getattr(one, what))
    return [Panel(name, [Line(one.label, name, one) for one in some]) for name in formats]


@charted
def pairs_chart(decoders: Sequence[TrainedDecoder], *, narrow: bool = False) -> Chart:
    """Each pair n, n + 1 as a bar, and the predicted failure length below, a line a format."""
    return _bars(panels_of(decoders, "pairs"), "pairs", _pair_bars, narrow)


@charted
def accuracy_chart(decoders: Sequence[TrainedDecoder], *, narrow: bool = False) -> Chart:
    """The share of right answers at each length as the height of a bar, a line a format."""
    return _bars(panels_of(decoders, "answers"), "answers", _accuracy_bars, narrow)


class _Layout:
    """Where panels stand: two beside each other, or on a phone one."""

    def __init__(self, panels: Sequence[Panel], *, narrow: bool) -> None:
        self.names = [[line.label for line in panel.lines] for panel in panels]
        self.columns = 1 if narrow or len(panels) == 1 else 2
        most = max(map(len, self.names))
        letters = max(len(label) for labels in self.names for label in labels)
        self.above_bar = narrow and letters > 14  # a label has a line of its own
        self.stride = 2 if self.above_bar else 1
        self.line = 27 if most <= 6 else 17
        self.alike = all(labels == self.names[0] for labels in self.names)  # named at the left only
        self.room = 14 if self.above_bar else min(14 + 6.8 * letters, 330)
        self.top = 36 if any(panel.title for panel in panels) else 22
        self.tall = self.top + self.line * most * self.stride + 40
        lines = -(-len(panels) // self.columns)
        self.chart = Chart(358 if narrow else 1104, self.tall * lines + 12)
        self.between = 24 if self.alike else self.room
        gaps = self.between * (self.columns - 1)
        self.width = (self.chart.width - 16 - self.room - gaps) / self.columns

    def panel(self, at: int) -> Axes:
        """The axes of a panel, with its lines named."""
        line, column = divmod(at, self.columns)
        labels = self.names[at]
        left = self.room + column * (self.width + self.between)
        height = self.line * len(labels) * self.stride
        axes = self.chart.panel(left, self.top + line * self.tall, self.width, height)
        axes.set_ylim(self.stride * (len(labels) - 1) + 0.65, 0.35 - self.stride)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        if not self.above_bar:
            room = int((self.room - 10) / 6.2)
            shown = ["" if column and self.alike else _cut(label, room) for label in labels]
            axes.set_yticks(range(len(labels)), shown)
            return axes
        axes.set_yticks([])
        look = {
            "va": "center",
            "fontsize": 11.5,
            "zorder": 9,
            "transform": axes.get_yaxis_transform(),
        }
        for number, label in enumerate(labels):
            axes.text(0, 2 * number - 1, _cut(label, int(self.width / 6.4)), **look)
        return axes


def _bars(
    panels: Sequence[Panel],
    what: str,
    draw: Callable[[Chart, Axes, int, Line], None],
    narrow: bool,
) -> Chart:
    layout = _Layout(panels, narrow=narrow)
    rows = [row for p in panels for line in p.lines for row in _rows(line, what)]
    lengths = sorted({row.length for row in rows})
    for at, panel in enumerate(panels):
        axes = layout.panel(at)
        _length_axis(axes, lengths, few=narrow or layout.columns > 1)
        _training(axes, panel, what)
        for number, line in enumerate(panel.lines):
            if _rows(line, what):
                draw(layout.chart, axes, layout.stride * number, line)
        axes.set_title(panel.title, fontsize=13, weight="bold", pad=18)
        if at + layout.columns >= len(panels):
            axes.set_xlabel("n (log scale)" if what == "pairs" else "length n (log scale)")
    return layout.chart


def _rows(line: Line, what: str) -> Sequence[PairRow | AnswersRow]:
    """The rows of a line; none where its decoder has none in that format."""
    return getattr(line.decoder, what).get(line.format, ())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _training(axes: Axes, panel: Panel, what: str) -> None:
    """The trained lengths, and the line where they end; none where the lines differ in that."""
    low, high = axes.get_xlim()
    ends = {_trained_up_to(rows) for line in panel.lines if (rows := _rows(line, what))}
    if len(ends) != 1 or not (end := min(ends.pop(), high)):
        return
    axes.axvspan(low, end, color=COLORS["wash"], linewidth=0, zorder=0)
    axes.axvline(end, color=INK, linewidth=1, linestyle=(0, (2, 2)), zorder=6)
    axes.text(
        math.sqrt(low * end), axes.get_ylim()[1] - 0.07, "trained lengths",
        color=COLORS["soft"], ha="center", va="bottom", fontsize=11.5,
    )  # fmt: skip


def _trained_up_to(rows: Sequence[PairRow | AnswersRow]) -> float:
    """The edge of the last bar within the training; 0 where there is none."""
    count = sum(row.in_training for row in rows)
    return _edges([row.length for row in rows])[count] if count else 0.0


def _edges(lengths: Sequence[int]) -> list[float]:
    """Where bars meet: the geometric mean of each length and the next."""
    between = [math.sqrt(a * b) for a, b in itertools.pairwise(lengths)]
    first = lengths[0] ** 2 / between[0] if between else lengths[0] / 1.2
    last = lengths[-1] ** 2 / between[-1] if between else lengths[-1] * 1.2
    return [first, *between, last]


def _pair_bars(chart: Chart, axes: Axes, at: int, line: Line) -> None:
    """Neighbors in the same state are one bar."""
    rows = line.decoder.pairs[line.format]
    edges = _edges([row.length for row in rows])
    lengths, name = line.decoder.lengths.get(line.format), series_of(line.format)
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop < len(rows) and state_of(rows[stop]) == state_of(rows[start]):
            continue
        token, height, _ = STATES[state_of(rows[start])]
        _bar(chart, axes, (edges[start], edges[stop]), (at, height), token, name)
        text = _pair_text(line, rows[start:stop], lengths)
        corners = (edges[start], at - 0.45), (edges[stop], at + 0.45)
        chart.mark(axes, corners[0], text, stop=corners[1], series=name)
        start = stop
    if lengths is not None and line.format != REFERENCE:
        _prediction(chart, axes, at, lengths, name)


def _bar(
    chart: Chart,
    axes: Axes,
    ends: tuple[Number, Number],
    middle: tuple[Number, Number],
    token: str,
    series: str,
) -> None:
    at, height = middle
    look = {"facecolor": COLORS[token], "edgecolor": COLORS["paper"], "linewidth": 0.6}
    box = Rectangle((ends[0], at - height / 2), ends[1] - ends[0], height, zorder=2, **look)
    chart.series(series, axes.add_patch(box))


def _prediction(chart: Chart, axes: Axes, at: int, lengths: FailureLengths, series: str) -> None:
    """The predicted failure length and its interval; an arrow where it is beyond the reach."""
    last = axes.get_xlim()[1]
    place = lambda n: last if n is None else min(n, last)
    ends = [place(n) for n in (lengths.predicted_low, lengths.predicted_high)]
    beyond = lengths.predicted is None
    look = {"color": INK, "clip_on": False, "zorder": 7}
    line = axes.plot(ends, [at + 0.47] * 2, linewidth=1.6, **look)
    mark = axes.plot(
        [place(lengths.predicted)], [at + 0.47], ">" if beyond else "D",
        ms=5.5, mfc=COLORS["paper"], mec=INK, mew=1.3, **look,
    )  # fmt: skip
    chart.series(series, line, mark)


def _pair_text(line: Line, rows: Sequence[PairRow], lengths: FailureLengths | None) -> str:
    first, last = rows[0], rows[-1]
    where = f"n = {first.length}" if len(rows) == 1 else f"n = {first.length} to {last.length}"
    texts = [", ".join(filter(None, [line.decoder.label, line.format, where]))]
    texts.append(STATES[state_of(first)][2])
    if len(rows) == 1:
        given, correct = (first.answer, first.next_answer), (first.target, first.next_target)
        two = lambda tokens: " and ".join(map(visible, tokens))
        texts += [f"answers {two(given)}, correct {two(correct)}"]
    if lengths is not None:
        if line.format != REFERENCE:
            low, high = (length_text(lengths, n) for n in _interval(lengths))
            texts.append(f"predicted failure {length_text(lengths, lengths.predicted)}")
            texts[-1] += f" ({low} to {high})"
        texts.append(f"observed failure {length_text(lengths, lengths.observed)}")
    return "\n".join(texts)


def _interval(lengths: FailureLengths) -> tuple[int | None, int | None]:
    return lengths.predicted_low, lengths.predicted_high


def length_text(lengths: FailureLengths, length: int | None) -> str:
    """A length as text, with a sign where it is only a bound: 32, ≤ 2 or > 511."""
    if length is None:
        return f"> {lengths.reach}"
    return f"≤ {length}" if length == lengths.least else str(length)


def _accuracy_bars(chart: Chart, axes: Axes, at: int, line: Line) -> None:
    rows = line.decoder.answers[line.format]
    edges, name = _edges([row.length for row in rows]), series_of(line.format)
    chart.series(name, axes.plot([edges[0], edges[-1]], [at + 0.4] * 2, lw=1, color=COLORS["rule"]))
    for number, row in enumerate(rows):
        height = 0.8 * row.exact_match
        ends = edges[number], edges[number + 1]
        if height:
            _bar(chart, axes, ends, (at + 0.4 - height / 2, height), "h1", name)
        left, right = (chart.place(axes, end, at)[0] for end in ends)
        if right - left >= (38 if math.isfinite(row.loss) else 60):
            look = {"ha": "center", "va": "center", "fontsize": 11.5}
            chart.series(name, axes.text(row.length, at, _accuracy_text(row), **look))
        where = ", ".join(filter(None, [line.decoder.label, line.format, f"n = {row.length}"]))
        text = f"{where}\n{_accuracy_text(row)} of {row.examples} answers right"
        text += f"\nsmallest logit margin {_number(row.logit_margin)}"
        chart.mark(axes, (ends[0], at - 0.45), text, stop=(ends[1], at + 0.45), series=name)


def _share(share: float) -> str:
    """A share in percent, without decimals where it is none."""
    return percent(share) if share else "0%"


def _accuracy_text(row: AnswersRow) -> str:
    return _share(row.exact_match) if math.isfinite(row.loss) else "not finite"


def _number(value: float) -> str:
    return short(value if math.isfinite(value) else None)


def _length_axis(axes: Axes, lengths: Sequence[int], *, few: bool) -> None:
    """Powers of two on a logarithmic axis, as whole numbers."""
    edges = _edges(lengths)
    axes.set(xscale="log", xlim=(edges[0], edges[-1]))
    _doublings(axes.xaxis, (edges[0], edges[-1]), 10 if few else 16)


def _doublings(axis: Axis, ends: tuple[Number, Number], most: int = 16) -> None:
    doublings = [2**k for k in range(40) if ends[0] <= 2**k <= ends[1]] or [round(ends[1])]
    ticks = doublings[:: max(1, -(-len(doublings) // most))]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


@charted
def failure_chart(decoders: Sequence[TrainedDecoder]) -> Chart:
    """Observed against predicted failure length; open where a length is only a bound."""
    chart = Chart(560, 420)
    axes = chart.panel(74, 30, 470, 340)
    known = list(_predicted(decoders))
    ends = min(e.least for *_, e in known) / 1.2, max(e.reach for *_, e in known) * BEYOND * 1.1
    band = np.array(ends)
    axes.fill_between(band, band / FACTOR, band * FACTOR, color=COLORS["band"], lw=0, zorder=0)
    axes.plot(band, band, color=COLORS["c6"], lw=1, zorder=1)
    colors = format_colors(decoders)
    sizes = dict(zip(colors, np.linspace(11, 5, len(colors)).tolist(), strict=True))
    for one, name, lengths in known:
        place = lambda n, lengths=lengths: lengths.reach * BEYOND if n is None else n
        x, y = place(lengths.predicted), place(lengths.observed)
        bound = any(is_bound(lengths, n) for n in (lengths.predicted, lengths.observed))
        color, series = COLORS[colors[name]], series_of(name)
        reach = [place(n) for n in _interval(lengths)]
        look = {"color": color, "mec": color, "mfc": COLORS["paper"] if bound else color}
        drawn = axes.plot(reach, [y, y], color=color, lw=1)
        # Formats that stand in one place show as rings.
        drawn += axes.plot([x], [y], "o", ms=sizes[name], mew=1.3, zorder=3, **look)
        chart.series(series, drawn)
        text = ", ".join(filter(None, [one.label, name]))
        text += f"\npredicted {length_text(lengths, lengths.predicted)}"
        text += f"\nobserved {length_text(lengths, lengths.observed)}"
        chart.mark(axes, (x, y), text, series=series)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        _doublings(axis, ends)
    axes.set_xlabel("predicted failure length (log scale)")
    axes.set_title("observed failure length (log scale)", fontsize=12.5, color=COLORS["soft"])
    return chart


def _predicted(
    decoders: Iterable[TrainedDecoder],
) -> Iterator[tuple[TrainedDecoder, str, FailureLengths]]:
    for one in decoders:
        for name, lengths in one.lengths.items():
            if name != REFERENCE:
                yield one, name, lengths


@charted
def signal_chart(decoder: TrainedDecoder, colors: Mapping[str, str]) -> Chart:
    """Change of the logit margin from n to n + 1, the distance, and the noise of each format."""
    chart = Chart(350, 240)
    axes = chart.panel(50, 24, 290, 174)
    rows = decoder.pairs[REFERENCE]
    at = [row.length for row in rows]
    axes.plot(at, [row.l2 or math.nan for row in rows], color=COLORS["h1"], lw=1.6)
    axes.plot(at, [row.signal or math.nan for row in rows], "o", color=INK, ms=2.4)
    for name, lengths in decoder.lengths.items():
        if name != REFERENCE and math.isfinite(lengths.noise) and lengths.noise > 0:
            end = lengths.observed or lengths.reach * BEYOND
            color = COLORS[colors[name]]
            axes.plot(
                [lengths.least, end], [lengths.noise] * 2, ls=(0, (4, 2)), color=color, lw=1.4
            )
    for row in rows:
        text = f"n = {row.length}\nchange of the logit margin {_number(row.signal)}"
        text += f"\ndistance {_number(row.l2)}"
        if row.signal > 0:
            chart.mark(axes, (row.length, row.signal), text, radius=5)
    _length_axis(axes, at, few=True)
    _log_values(axes)
    axes.axvline(decoder.training.constants.longest, color=INK, lw=1, ls=(0, (2, 2)))
    axes.set_xlabel("n")
    axes.set_title("change from n to n + 1", fontsize=12, color=COLORS["soft"], pad=6)
    return chart


def _log_values(axes: Axes) -> None:
    """A logarithmic vertical axis, where something positive was drawn."""
    values = [np.asarray(line.get_ydata(), np.float64) for line in axes.lines]
    if any(np.any(np.isfinite(each) & (each > 0)) for each in values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        power = FuncFormatter(lambda value, _: power_of(10, round(math.log10(value))))
        axes.yaxis.set_major_formatter(power)
        axes.yaxis.set_minor_locator(NullLocator())


INFLUENCE_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "influence": {"color": COLORS["c2"], "ls": "-"},
    "rollout": {"color": COLORS["c1"], "ls": (0, (5, 2))},
    "bound": {"color": COLORS["c6"], "ls": (0, (1, 1.5))},
}


@charted
def influence_chart(cell: Places) -> Chart:
    """Accuracy by position beside influence, rollout and bound, each in units of its largest."""
    chart = Chart(350, 220)
    axes = chart.panel(44, 14, 296, 158)
    at = cell.values("position")
    for name, look in INFLUENCE_LOOKS.items():
        values = np.array(cell.values(name))
        axes.plot(at, values / (values.max() or 1), lw=1.8, label=name, **look)
    axes.plot(at, cell.values("accuracy"), "o", color=INK, ms=4, label="accuracy")
    for row in cell.places:
        values = [f"{MEASURES[name]} {_number(getattr(row, name))}" for name in INFLUENCE_LOOKS]
        text = [f"position {row.position}", f"accuracy {_share(row.accuracy)}", *values]
        chart.mark(axes, (row.position, row.accuracy), "\n".join(text), radius=7)
    axes.set_ylim(-0.04, 1.06)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("position in the item")
    return chart


@charted
def loss_chart(training: Training) -> Chart:
    """The loss against the step, a line a seed."""
    chart = Chart(760, 260)
    axes = chart.panel(60, 26, 680, 180)
    for seed, (steps, values) in losses(training).items():
        axes.plot(steps, values, "o-", color=COLORS["c1"], lw=1.2, ms=2, alpha=0.8)
        for step, value in zip(steps, values, strict=True):
            if value > 0:
                text = f"seed {seed}, step {step}\nloss {_number(value)}"
                chart.mark(axes, (step, value), text, radius=5)
    _log_values(axes)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("step")
    axes.set_title("nats a token (log scale)", fontsize=12.5, color=COLORS["soft"], pad=6)
    return chart


HERO: Mapping[str, Callable[..., Chart]] = {"pairs": pairs_chart, "accuracy": accuracy_chart}
"""The first of these that a page has is the figure that answers."""


def figures_of(trainings: Sequence[Training]) -> dict[str, Callable[[], Chart]]:
    """What draws the figures that both pages have.

    Returns:
      ``pairs``, ``accuracy``, ``failure``, ``signal-NUMBER`` and ``influence-NUMBER``, each where
      there are such rows.
    """
    decoders = decoders_of(trainings)
    figures: dict[str, Callable[[], Chart]] = {}
    for name, field in (("pairs", "pairs"), ("accuracy", "answers")):
        if any(getattr(one, field) for one in decoders):
            figures[name] = functools.partial(HERO[name], decoders)
    if next(_predicted(decoders), None):
        figures["failure"] = functools.partial(failure_chart, decoders)
    colors = format_colors(decoders)
    for at, one in signals_of(decoders):
        figures[f"signal-{at}"] = functools.partial(signal_chart, one, colors)
    for at, cell in enumerate(influences_of(trainings)):
        figures[f"influence-{at}"] = functools.partial(influence_chart, cell)
    return figures


def signals_of(decoders: Sequence[TrainedDecoder]) -> list[tuple[int, TrainedDecoder]]:
    """Decoders whose pairs have a chart, each with its number."""
    return list(enumerate([one for one in decoders if REFERENCE in one.pairs][:MOST_DECODERS]))


def influences_of(trainings: Sequence[Training]) -> list[Places]:
    """What has a chart of influence by position."""
    return [cell for training in trainings for cell in influence_cells(training)][:MOST_DECODERS]
