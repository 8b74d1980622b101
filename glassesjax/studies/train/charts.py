"""Charts of trained decoders, which the pages of a training and of a sweep share."""

import functools
import itertools
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, SERIES_COLORS, Chart, Number, charted
from glassesjax.report.colors import format_color, series_of
from glassesjax.report.labels import End, names_at_ends
from glassesjax.report.numbers import number, percent
from glassesjax.report.ticks import Limits, doublings, log_axis, set_ticks, up
from glassesjax.report.tokens import visible
from glassesjax.studies.train.cells import (
    Influences,
    TrainedDecoder,
    Training,
    decoders_of,
    influences_of,
)
from glassesjax.studies.train.failure_cells import FACTOR, is_bound
from glassesjax.studies.train.influence_rows import ORDERED
from glassesjax.studies.train.pair_rows import REFERENCE
from glassesjax.studies.train.records import AnswersRow, FailureLengths, PairRow, StepRow

STATES = (
    ("h1", 0.8, "both right"),
    ("h2", 0.46, "wrong, but different"),
    ("h3", 0.8, "collision: one answer for both"),
)  # a color, a height and a meaning of a bar
MOST_PANELS = 4  # decoders that have a panel each; of more, a format has one
MOST_DECODERS = 24  # that are drawn; the table has all
INK = COLORS["ink"]
BEYOND = 1.35  # where a length beyond the reach stands, in units of the reach
FEW = 6  # lines of a panel that have room for texts, or seeds for a color each
MEASURES = {name: {"bound": "printed bound"}.get(name, name) for name in ORDERED}


def state_of(row: PairRow) -> int:
    """Which of ``STATES`` a pair is in."""
    return 2 if row.collision else 0 if row.correct else 1


def format_colors(decoders: Sequence[TrainedDecoder]) -> dict[str, str]:
    """A color token for each format that rounds."""
    every = (name for one in decoders for name in (*one.answers, *one.pairs) if name != REFERENCE)
    return {name: format_color(name) for name in every}


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
    """What is drawn together: the formats of a decoder; of many decoders, those in one format.

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
def pairs_chart(
    decoders: Sequence[TrainedDecoder], *, narrow: bool = False, linear: bool = False
) -> Chart:
    """Each pair n, n + 1 as a bar, and the predicted failure length, a line a format."""
    return _bars(panels_of(decoders, "pairs"), "pairs", narrow=narrow, linear=linear)


@charted
def accuracy_chart(
    decoders: Sequence[TrainedDecoder], *, narrow: bool = False, linear: bool = False
) -> Chart:
    """The share of right answers at each length as the height of a bar, a line a format."""
    return _bars(panels_of(decoders, "answers"), "answers", narrow=narrow, linear=linear)


def _bars(panels: Sequence[Panel], what: str, *, narrow: bool, linear: bool) -> Chart:
    """Panels of lines of bars: two beside each other, or on a phone one.

    Args:
      panels: All with the same lengths.
      what: ``pairs`` or ``answers``.
      narrow: Whether it is for a phone.
      linear: Whether the axis of lengths is linear; else each doubling has the same width.
    """
    names = [[line.label for line in panel.lines] for panel in panels]
    columns = 1 if narrow or len(panels) == 1 else 2
    most, letters = max(map(len, names)), max(len(name) for each in names for name in each)
    alike = all(each == names[0] for each in names)  # named at the left only
    room = min(14 + 6.8 * letters, 330)
    stride, height = 1, 17 if most > FEW else 27 if what == "pairs" else 38
    if narrow and letters > 14:  # a label has a line of its own
        stride, height, room = 2, 17, 14
    top = 36 if any(panel.title for panel in panels) else 22
    # A panel with its title above and its ticks below.
    tall = top + height * most * stride + 40
    chart = Chart(358 if narrow else 1104, tall * -(-len(panels) // columns) + 12)
    between = 24 if alike else room
    width = (chart.width - 16 - room - between * (columns - 1)) / columns
    # One axis of lengths for all panels.
    rows = [row for panel in panels for line in panel.lines for row in _rows(line, what)]
    edges = _edges(sorted({row.length for row in rows}), linear)
    for at, panel in enumerate(panels):
        down, across = divmod(at, columns)
        tallest = height * len(panel.lines) * stride
        axes = chart.panel(room + across * (width + between), top + down * tall, width, tallest)
        axes.set_ylim(stride * (len(panel.lines) - 1) + 0.65, 0.35 - stride)
        axes.spines["left"].set_visible(False)
        _length_axis(axes, (edges[0], edges[-1]), 10 if narrow or columns > 1 else 16, linear)
        _names(axes, names[at] if not (across and alike) else [], stride, room, width)
        _training(axes, panel, what, linear)
        draw = _pair_bars if what == "pairs" else _accuracy_bars
        for place, line in enumerate(panel.lines):
            if mine := _rows(line, what):
                places = _edges([row.length for row in mine], linear)
                draw(chart, axes, stride * place, line, places, height)
        axes.set_title(panel.title, fontsize=13, weight="bold", pad=18)
        if at + columns >= len(panels):
            label = "n" if what == "pairs" else "length n"
            axes.set_xlabel(label if linear else f"{label} (log scale)")
    return chart


def _names(axes: Axes, names: Sequence[str], stride: int, room: Number, width: Number) -> None:
    """What each line is called, at its left or above it."""
    cut = lambda name, most: name if len(name) <= most else name[: most - 1] + "…"
    if stride == 1:
        set_ticks(axes.yaxis, {at: cut(n, int((room - 10) / 6.2)) for at, n in enumerate(names)})
        axes.tick_params(axis="y", length=0)
        return
    axes.set_yticks([])
    look = {"va": "center", "fontsize": 11.5, "zorder": 9, "transform": axes.get_yaxis_transform()}
    for at, name in enumerate(names):
        axes.text(0, stride * at - 1, cut(name, int(width / 6.4)), **look)


def _rows(line: Line, what: str) -> Sequence[PairRow | AnswersRow]:
    """The rows of a line; none where its decoder has none in that format."""
    return getattr(line.decoder, what).get(line.format, ())


def _training(axes: Axes, panel: Panel, what: str, linear: bool) -> None:
    """What is within the training, and the line where it ends; none where lines differ in that."""
    low, high = axes.get_xlim()
    ends = set()
    for rows in filter(None, (_rows(line, what) for line in panel.lines)):
        count = sum(row.in_training for row in rows)
        ends.add(_edges([row.length for row in rows], linear)[count] if count else 0.0)
    # Of lines of different trainings, or where nothing is in the training, none is drawn.
    if len(ends) != 1 or not (end := min(ends.pop(), high)):
        return
    axes.axvspan(low, end, color=COLORS["wash"], linewidth=0, zorder=0)
    axes.axvline(end, color=INK, linewidth=1, linestyle=(0, (2, 2)), zorder=6)
    look = {"color": COLORS["soft"], "va": "bottom", "fontsize": 11.5}
    text = "n and n + 1 trained" if what == "pairs" else "trained lengths"
    axes.text(low, axes.get_ylim()[1] - 0.07, text, **look)


def _edges(lengths: Sequence[int], linear: bool) -> list[float]:
    """Where bars meet: the middle of each length and the next, on a logarithmic axis too."""
    to, back = (float, float) if linear else (math.log, math.exp)
    at = [to(length) for length in lengths]
    between = [(a + b) / 2 for a, b in itertools.pairwise(at)]
    # Outer bars are symmetric; one alone ends at a distance, or at a factor, of 1.2.
    first = at[0] - (between[0] - at[0] if between else to(1.2))
    last = at[-1] + (at[-1] - between[-1] if between else to(1.2))
    return [back(edge) for edge in (first, *between, last)]


def _length_axis(axes: Axes, ends: tuple[Number, Number], most: int, linear: bool = False) -> None:
    """Powers of two on a logarithmic axis, or whole numbers on a linear one."""
    axes.set_xlim(ends)
    if linear:
        axes.xaxis.set_major_locator(MaxNLocator(most // 2, integer=True, steps=[1, 2, 5, 10]))
        return
    axes.set_xscale("log")
    set_ticks(axes.xaxis, doublings(*ends, most))


def _pair_bars(
    chart: Chart, axes: Axes, at: int, line: Line, edges: Sequence[float], height: Number
) -> None:
    """Neighbors in the same state are one bar; on them the prediction with its interval."""
    del height
    rows, lengths = line.decoder.pairs[line.format], line.decoder.lengths.get(line.format)
    name, start = series_of(line.format), 0
    for _, same in itertools.groupby(rows, state_of):
        part = list(same)
        stop = start + len(part)
        token, tall, meaning = STATES[state_of(part[0])]
        ends = edges[start], edges[stop]
        _bar(chart, axes, ends, (at - tall / 2, tall), token, name)
        where = f"n = {part[0].length}"
        where += "" if len(part) == 1 else f" to {part[-1].length}"
        texts = [", ".join(filter(None, [line.decoder.label, line.format, where])), meaning]
        if len(part) == 1:
            two = lambda *tokens: " and ".join(map(visible, tokens))
            given = two(part[0].answer, part[0].next_answer)
            texts.append(f"answers {given}, correct {two(part[0].target, part[0].next_target)}")
        if lengths is not None and line.format != REFERENCE:
            low, high = (length_text(lengths, n) for n in _interval(lengths))
            predicted = f"predicted failure {length_text(lengths, lengths.predicted)}"
            texts.append(f"{predicted} ({low} to {high})")
        if lengths is not None:
            texts.append(f"observed failure {length_text(lengths, lengths.observed)}")
        text = "\n".join(texts)
        chart.mark(axes, (ends[0], at - 0.45), text, stop=(ends[1], at + 0.45), series=name)
        start = stop
    if lengths is None or line.format == REFERENCE:
        return
    last = axes.get_xlim()[1]
    place = lambda n: last if n is None else min(n, last)
    shape = ">" if lengths.predicted is None else "D"  # an arrow where it is beyond the reach
    look = {"clip_on": False, "zorder": 7}
    mark = {"ms": 6.5, "mfc": COLORS["paper"], "mec": INK, "mew": 1.4}
    interval = [place(n) for n in (lengths.predicted_low, lengths.predicted_high)]
    drawn = []
    for color, wide in ((COLORS["paper"], 4.5), (INK, 1.8)):  # an edge, for it lies on bars
        drawn += axes.plot(interval, [at, at], color=color, linewidth=wide, **look)
    drawn += axes.plot([place(lengths.predicted)], [at], shape, **mark, **look)
    chart.series(name, drawn)


def _bar(
    chart: Chart,
    axes: Axes,
    ends: tuple[Number, Number],
    tall: tuple[Number, Number],
    token: str,
    series: str,
) -> None:
    """A bar from one length to another; its upper edge and its height are ``tall``."""
    look = {"facecolor": COLORS[token], "edgecolor": COLORS["paper"], "linewidth": 0.6}
    box = Rectangle((ends[0], tall[0]), ends[1] - ends[0], tall[1], zorder=2, **look)
    chart.series(series, axes.add_patch(box))


def _interval(lengths: FailureLengths) -> tuple[int | None, int | None]:
    return lengths.predicted_low, lengths.predicted_high


def length_text(lengths: FailureLengths, length: int | None) -> str:
    """A length as text, with a sign where it is only a bound: 32, ≤ 2 or > 511."""
    if length is None:
        return f"> {lengths.reach}"
    return f"≤ {length}" if length == lengths.least else str(length)


def _accuracy_bars(
    chart: Chart, axes: Axes, at: int, line: Line, edges: Sequence[float], height: Number
) -> None:
    """A bar a length, with its share above it where there is room."""
    full = 1 - (16 + 5) / height if height > 30 else 0.8  # of a bar: the text has 16 pixels
    base, name = at + 0.5 - 3 / height, series_of(line.format)
    chart.series(name, axes.plot([edges[0], edges[-1]], [base] * 2, lw=1, color=COLORS["rule"]))
    for row, ends in zip(line.decoder.answers[line.format], itertools.pairwise(edges), strict=True):
        tall = full * row.exact_match
        share = _share(row.exact_match) if math.isfinite(row.loss) else "not finite"
        if tall:
            _bar(chart, axes, ends, (base - tall, tall), "h1", name)
        # In pixels: a text is written where its bar is wide and its line high enough.
        left, right = (chart.place(axes, end, at)[0] for end in ends)
        if height > 30 and right - left >= (36 if math.isfinite(row.loss) else 60):
            middle = axes.transData.inverted().transform(((left + right) / 2, 0))[0]
            look = {"ha": "center", "va": "bottom", "fontsize": 11.5}
            chart.series(name, axes.text(middle, base - tall - 2 / height, share, **look))
        where = ", ".join(filter(None, [line.decoder.label, line.format, f"n = {row.length}"]))
        text = f"{where}\n{share} of {row.examples} answers right"
        text += f"\nsmallest logit margin {number(row.logit_margin)}"
        chart.mark(axes, (ends[0], at - 0.45), text, stop=(ends[1], at + 0.45), series=name)


def _share(share: float) -> str:
    """A share in percent, without decimals where it is none."""
    return percent(share) if share else "0%"


@charted
def failure_chart(decoders: Sequence[TrainedDecoder]) -> Chart:
    """Observed against predicted failure length; open where a length is only a bound."""
    chart = Chart(560, 420)
    axes = chart.panel(74, 30, 470, 340)
    known = list(_predicted(decoders))
    every = [n for *_, e in known for n in (e.observed, *_interval(e)) if n]
    ends = min(every) / 1.5, max(e.reach for *_, e in known) * BEYOND * 1.1
    band = np.array(ends)  # predictions within a factor of what is observed
    axes.fill_between(band, band / FACTOR, band * FACTOR, color=COLORS["band"], lw=0, zorder=0)
    axes.plot(band, band, color=COLORS["c6"], lw=1, zorder=1)
    colors = format_colors(decoders)
    # Formats that stand in one place show as rings.
    largest = min(2 + 3.2 * len(colors), 24)
    sizes = dict(zip(colors, np.linspace(largest, 5, len(colors)).tolist(), strict=True))
    for at, (name, token) in enumerate(reversed(colors.items())):
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
        key = axes.annotate(name, (1, 0), (-6, 8 + 16 * at), color=COLORS[token], **place)
        chart.series(series_of(name), key)
    for one, name, lengths in known:
        place = lambda n, lengths=lengths: lengths.reach * BEYOND if n is None else n
        x, y = place(lengths.predicted), place(lengths.observed)
        bound = any(is_bound(lengths, n) for n in (lengths.predicted, lengths.observed))
        color, series = COLORS[colors[name]], series_of(name)
        look = {"color": color, "mec": color, "mfc": COLORS["paper"] if bound else color}
        drawn = axes.plot([place(n) for n in _interval(lengths)], [y, y], color=color, lw=1)
        drawn += axes.plot([x], [y], "o", ms=sizes[name], mew=1.3, zorder=3, **look)
        chart.series(series, drawn)
        text = ", ".join(filter(None, [one.label, name]))
        text += f"\npredicted {length_text(lengths, lengths.predicted)}"
        text += f"\nobserved {length_text(lengths, lengths.observed)}"
        chart.mark(axes, (x, y), text, series=series)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        set_ticks(axis, doublings(*ends))
    axes.set_xlabel("predicted failure length (log scale)")
    up(axes, "observed failure length (log scale)")
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
    rows, values = decoder.pairs[REFERENCE], []
    at = [row.length for row in rows]
    axes.plot(at, [row.l2 or math.nan for row in rows], color=COLORS["h1"], lw=1.6)
    axes.plot(at, [row.signal or math.nan for row in rows], "o", color=INK, ms=2.4)
    for name, lengths in decoder.lengths.items():
        if name != REFERENCE and math.isfinite(lengths.noise) and lengths.noise > 0:
            ends = [lengths.least, lengths.observed or lengths.reach * BEYOND]
            look = {"ls": (0, (4, 2)), "color": COLORS[colors[name]], "lw": 1.4}
            line = axes.plot(ends, [lengths.noise] * 2, **look)
            chart.series(series_of(name), line)
            values.append(lengths.noise)
    for row in rows:
        text = f"n = {row.length}\nchange of the logit margin {number(row.signal)}"
        text += f"\ndistance {number(row.l2)}"
        if row.signal > 0:  # zero has no place on a logarithmic axis
            chart.mark(axes, (row.length, row.signal), text, radius=5)
        values += [row.signal, row.l2]
    edges = _edges(at, False)
    _length_axis(axes, (edges[0], edges[-1]), 10)
    log_axis(axes, "y", Limits.spanning(values), most=6)
    axes.axvline(decoder.training.constants.longest, color=INK, lw=1, ls=(0, (2, 2)))
    axes.set_xlabel("n (log scale)")
    up(axes, "change from n to n + 1 (log scale)")
    return chart


INFLUENCE_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "influence": {"color": COLORS["c2"], "ls": "-"},
    "rollout": {"color": COLORS["c1"], "ls": (0, (5, 2))},
    "bound": {"color": COLORS["c6"], "ls": (0, (1, 1.5))},
}


@charted
def influence_chart(cell: Influences) -> Chart:
    """Accuracy by position beside influence, rollout and bound, each in units of its largest."""
    chart = Chart(350, 220)
    axes = chart.panel(44, 14, 296, 158)
    at = [row.position for row in cell.positions]
    for name, look in INFLUENCE_LOOKS.items():
        values = np.array([getattr(row, name) for row in cell.positions])
        # Each in units of its largest: only their order over positions is compared.
        axes.plot(at, values / (values.max() or 1), lw=1.8, label=name, **look)
    accuracy = [row.accuracy for row in cell.positions]
    axes.plot(at, accuracy, "o", color=INK, ms=4, label="accuracy")
    for row in cell.positions:
        values = [f"{MEASURES[name]} {number(getattr(row, name))}" for name in INFLUENCE_LOOKS]
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
    axes = chart.panel(60, 26, 620, 180)
    curves: dict[int, dict[int, float]] = {}
    for row in training.of(StepRow):
        curves.setdefault(row.seed, {})[row.step] = row.loss
    ends = []
    for at, (seed, curve) in enumerate(sorted(curves.items())):
        token = SERIES_COLORS[at % len(SERIES_COLORS)]
        steps, values = zip(*sorted(curve.items()), strict=True)
        name = f"seed-{seed}"
        chart.series(name, axes.plot(steps, values, "o-", color=COLORS[token], lw=1.2, ms=2))
        ends.append(End(values[-1], f"seed {seed}", name, token))
        for step, value in zip(steps, values, strict=True):
            if value > 0:
                text = f"seed {seed}, step {step}\nloss {number(value)}"
                chart.mark(axes, (step, value), text, radius=5, series=name)
    log_axis(axes, "y", Limits.spanning(v for c in curves.values() for v in c.values()), most=6)
    if 1 < len(ends) <= 2 * FEW:
        names_at_ends(chart, axes, ends)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("step")
    up(axes, "nats a token (log scale)")
    return chart


HERO: Mapping[str, Callable[..., Chart]] = {"pairs": pairs_chart, "accuracy": accuracy_chart}
"""The first of these that a page has is the figure that answers."""


def hero_of(figures: Container[str]) -> str | None:
    """The name of the figure that answers, of those that a page has."""
    return next((name for name in HERO if name in figures), None)


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
    # Numbered as ``signals_of`` and ``influences_of`` have them, by which pages find them.
    for at, one in enumerate(signals_of(decoders)):
        figures[f"signal-{at}"] = functools.partial(signal_chart, one, colors)
    for at, cell in enumerate(influences_of(trainings)[:MOST_DECODERS]):
        figures[f"influence-{at}"] = functools.partial(influence_chart, cell)
    return figures


def signals_of(decoders: Sequence[TrainedDecoder]) -> list[TrainedDecoder]:
    """Decoders whose pairs have a chart."""
    return [one for one in decoders if REFERENCE in one.pairs][:MOST_DECODERS]
