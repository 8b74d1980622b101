"""Figures of the collapse page: curves in, charts out."""

import functools
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.colors import family_color, series_of
from glassesjax.report.labels import End, names_at_ends
from glassesjax.report.numbers import number
from glassesjax.report.points import Point
from glassesjax.report.scales import LogScale
from glassesjax.report.ticks import doublings, set_ticks, up
from glassesjax.studies.collapse.curves import Curves, Panel
from glassesjax.studies.collapse.summary import CollapseSummary, PanelSummary, times_error
from glassesjax.tasks.sequences import FAMILIES

DASHED = (0, (4, 1.8))


def family_name(family: str) -> str:
    """A family's title; its name where the package knows none of that name."""
    return FAMILIES[family].title if family in FAMILIES else family


def lost_first(summary: CollapseSummary, most: int = 2) -> list[str]:
    """Families that differ, those first whose difference is lost earliest; ``most`` of them."""
    finest_panels = {
        each.panel.family: each for each in summary.select(format=summary.finest_format)
    }
    # Reversed, so that of several encodings the first decides.
    lost = {
        each.panel.family: each.undetectable_from
        for each in reversed(summary.select(format=summary.worst_format or ""))
        if each.undetectable_from is not None
    }
    order = sorted(finest_panels, key=lambda family: (family not in lost, lost.get(family, 0)))
    return [family for family in order if finest_panels[family].resolved][:most]


class Look:
    """What all figures of a run share: its curves, and the color of each family."""

    def __init__(self, curves: Curves, summary: CollapseSummary) -> None:
        self.curves, self.summary = curves, summary
        self.colors = {family: family_color(family) for family in curves.families}
        self.strong = lost_first(summary)
        self.format = summary.worst_format
        # Of what is stored: the same, else the finest of those that store representations.
        kept = [each for each in summary.panels if each.stored]
        kept = sorted(kept, key=lambda each: each.unit_roundoff)
        names = [each.panel.format for each in kept]
        shown = self.format or summary.finest_format
        self.stored = shown if shown in names else next(iter(names), None)

    def finest(self, positions: str, family: str) -> PanelSummary | None:
        """The panel whose signal is drawn: in the format with the smallest unit roundoff."""
        panel = self.curves.finest(positions, family)
        return None if panel is None else self.summary.of(panel)

    def error(self, positions: str, family: str, format: str) -> dict[int, float]:
        """The error of a format's own arithmetic in the difference, by length."""
        noise = self.curves.noise(Panel(positions, family, format))
        return {p.length: p.distance for p in noise if p.distance}

    def times_error(self, positions: str, family: str, length: int) -> float | None:
        """The distance over its error at a length, in the format of ``worst_format``."""
        panel = Panel(positions, family, self.format or "")
        pairs = zip(self.curves.points(panel, "signal"), self.curves.noise(panel), strict=False)
        return next((times_error(p, e) for p, e in pairs if p.length == length), None)

    def hidden(self, positions: str, family: str) -> set[int]:
        """Lengths at which the difference is not detectable in the format of ``worst_format``."""
        if self.format is None:  # no format's: an empty name would select any
            return set()
        known = self.summary.select(positions=positions, family=family, format=self.format)
        return {n for each in known[:1] for n, seen in each.detection if seen is False}

    def shown(self, positions: str) -> list[PanelSummary]:
        """The signals of one encoding, the run's first family last, so that it lies above."""
        panels = [self.finest(positions, family) for family in self.colors]
        return [panel for panel in reversed(panels) if panel]


@charted
def distance_chart(look: Look, *, narrow: bool = False) -> Chart:
    """The distances of all families under one encoding, over the errors of the formats.

    Args:
      look: Of a run of one encoding.
      narrow: Whether it is for a phone.
    """
    (positions,) = look.curves.positions
    chart = Chart(358, 400) if narrow else Chart(760, 486)
    longest = max(map(len, look.curves.formats))
    # Room for "error of" and the longest name.
    left, right, top = (52, 14, 26) if narrow else (66, max(168, 76 + 7 * longest), 14)
    height = chart.height - (76 if narrow else 62)
    axes = chart.panel(left, top, chart.width - left - right, height)
    _distances(chart, axes, look, positions, mark_all=True)
    errors = _errors(chart, axes, look, positions)
    _length_ticks(axes, look.curves.lengths, few=narrow)
    axes.set_xlabel("prompt length n (log scale)")
    label = "relative L1 distance"
    if narrow:
        up(axes, f"{label} (log scale)")
    else:
        axes.set_ylabel(f"{label} of n and n + 1 (log scale)", labelpad=4)
        ends = []
        for panel in look.shown(positions):
            family, point = panel.panel.family, panel.signal[-1]
            if point.drawable and point.distance:  # it has a place on the axis
                name = FAMILIES[family].label if family in FAMILIES else family
                token = look.colors[family]
                ends.append(End(point.distance, name, family, token, family in look.strong))
        ends += [
            End(y, f"error of {f}", f"error-{series_of(f)}", "soft") for f, y in errors.items()
        ]
        names_at_ends(chart, axes, ends, gap=14.0)
    chart.cursor(axes, look.curves.lengths)
    return chart


@charted
def encodings_chart(look: Look, *, narrow: bool = False) -> Chart:
    """The same under several encodings, a small panel each.

    Args:
      look: Of the run.
      narrow: Whether it is for a phone.
    """
    names = look.curves.positions
    columns = 2 if narrow else min(4, len(names))
    lines = -(-len(names) // columns)
    width, room, height = (358, 30, 150) if narrow else (1104, 44, 190)
    chart = Chart(width, lines * (height + 62) + 8)
    wide = (width - room - 8) / columns
    scale = _scale(look, names)
    for at, positions in enumerate(names):
        line, column = divmod(at, columns)
        left, top = room + column * wide, 28 + line * (height + 62)
        axes = chart.panel(left, top, wide - 14, height)
        _distances(chart, axes, look, positions, scale=scale)
        _errors(chart, axes, look, positions)
        _length_ticks(axes, look.curves.lengths, few=True)
        axes.set_title(positions.replace("_", " "), fontsize=12.5, pad=6)
        chart.cursor(axes, look.curves.lengths)
        if column:  # all panels share the scale
            axes.set_yticklabels([])
        if at + columns >= len(names):
            axes.set_xlabel("n")
    return chart


@charted
def family_chart(look: Look, positions: str, family: str) -> Chart:
    """One family against the error of the format in which most differences are lost.

    Returns:
      The signal in reference precision, the same in the format's own arithmetic, and its error.
    """
    panel = Panel(positions, family, look.format or look.summary.finest_format)
    signal = look.curves.points(panel, "signal")
    own, noise = look.curves.points(panel, "own"), look.curves.noise(panel)
    chart = Chart(350, 236)
    axes = chart.panel(52, 22, 288, 174)
    scale = LogScale.spanning([*signal, *own, *noise])
    scale.apply(axes)
    lengths, places = [p.length for p in noise], [scale.place(p) for p in noise]
    band = axes.fill_between(lengths, scale.bounds[0], places, color=COLORS["band"], linewidth=0)
    chart.series("error", band, axes.plot(lengths, places, color=COLORS["c6"], lw=1, ls="--"))
    color = COLORS[look.colors[family]]
    scale.curve(chart, axes, own, "own", color=COLORS["c6"], lw=1, marker=3.5)
    scale.curve(chart, axes, signal, "signal", color=color, lw=2.4, zorder=3)
    values = {p.length: p for p in signal}
    wide = look.summary.reference_dtype
    for point in own:
        texts = [f"n = {point.length}", f"{wide} {_distance(values.get(point.length))}"]
        texts += [f"in {panel.format} {_distance(point)}"]
        chart.mark(axes, (point.length, scale.place(point)), "\n".join(texts), radius=7)
    _length_ticks(axes, look.curves.lengths, few=True)
    axes.set_xlabel("n")
    up(axes, "relative L1 distance")
    return chart


@charted
def equal_chart(look: Look, positions: str) -> Chart:
    """Share of the coordinates that storing in the format makes equal."""
    chart = Chart(760, 312)
    axes = chart.panel(58, 26, 530, 238)
    ends = []
    format = look.stored or look.summary.finest_format
    for family, token in look.colors.items():
        panel = Panel(positions, family, format)
        rows = look.curves(panel, "rounded")
        share = [100 * row.equal_coordinates / look.curves.constants.model_dim for row in rows]
        lengths = [row.length for row in rows]
        chart.series(family, axes.plot(lengths, share, color=COLORS[token], lw=2))
        if share:
            ends.append(End(share[-1], _label(family), family, token))
        for n, value in zip(lengths, share, strict=True):
            text = f"{family_name(family)}, n = {n}\n{value:.0f}% of coordinates equal"
            chart.mark(axes, (n, value), text, series=family, radius=7)
    axes.set_ylim(-3, 104)
    axes.set_yticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
    _length_ticks(axes, look.curves.lengths)
    names_at_ends(chart, axes, ends, gap=14.0)
    axes.set_xlabel("prompt length n (log scale)")
    up(axes, f"coordinates equal in {format}")
    return chart


def _label(family: str) -> str:
    return FAMILIES[family].label if family in FAMILIES else family


def _scale(look: Look, names: Sequence[str]) -> LogScale:
    panels = [panel for positions in names for panel in look.shown(positions)]
    points = [point for panel in panels for point in panel.signal]
    errors = [
        Point(n, error)
        for positions in names
        for panel in look.shown(positions)
        for format in look.curves.formats
        for n, error in _shown_errors(look, panel, format).items()
    ]
    return LogScale.spanning([*points, *errors])


def _shown_errors(look: Look, panel: PanelSummary, format: str) -> dict[int, float]:
    """Errors where the two prompts differ; where they are equal, so nearly are their errors."""
    drawn = {point.length for point in panel.resolved}
    errors = look.error(panel.panel.positions, panel.panel.family, format)
    return {n: error for n, error in errors.items() if n in drawn}


def _distances(
    chart: Chart,
    axes: Axes,
    look: Look,
    positions: str,
    *,
    scale: LogScale | None = None,
    mark_all: bool = False,
) -> None:
    """The signal of each family; open circles where the format hides it.

    ``mark_all`` marks also points that are equal or not finite, and makes all marks larger.
    """
    scale = scale or _scale(look, [positions])
    scale.apply(axes)
    for panel in look.shown(positions):
        family = panel.panel.family
        token = look.colors[family]
        width = 2.6 if family in look.strong else 1.5
        scale.curve(
            chart, axes, panel.signal, family, color=COLORS[token], lw=width, zorder=2 + width / 3,
            ls=DASHED if panel.repeats_last < panel.lengths else "-",
            open_at=look.hidden(positions, family),
        )  # fmt: skip
        for point in panel.signal:
            if mark_all or point.drawable:
                title = f"{family_name(family)}, n = {point.length}"
                lines = [title, f"distance {_distance(point)}"]
                for format in look.curves.formats:
                    error = look.error(positions, family, format).get(point.length)
                    if error and point.drawable and point.distance:
                        times = number(point.distance / error)
                        lines.append(f"{times} times the error of {format}")
                place, radius = (point.length, scale.place(point)), 8 if mark_all else 6
                chart.mark(axes, place, "\n".join(lines), series=family, radius=radius)


def _distance(point: Point | None) -> str:
    if point is None or point.distance is None:
        return "not finite"
    return number(point.distance) if point.drawable else "equal, to within rounding"


def _errors(chart: Chart, axes: Axes, look: Look, positions: str) -> dict[str, float]:
    """A band a format, from its least to its largest error over the families.

    Returns:
      The lower edge of each band at its last length, where its name stands.
    """
    edges = {}
    for format in look.curves.formats:
        by_length: dict[int, list[float]] = {}
        for panel in look.shown(positions):
            for n, error in _shown_errors(look, panel, format).items():
                by_length.setdefault(n, []).append(error)
        if by_length:
            lengths = sorted(by_length)
            low, high = ([end(by_length[n]) for n in lengths] for end in (min, max))
            name = f"error-{series_of(format)}"
            look_ = {"color": COLORS["band"], "linewidth": 2, "zorder": 0.5}
            chart.series(name, axes.fill_between(lengths, low, high, **look_))
            edges[format] = low[-1]
    return edges


def _length_ticks(axes: Axes, lengths: Sequence[int], *, few: bool = False) -> None:
    """Doublings that were measured, as whole numbers; on a small panel a few of them."""
    first, last = lengths[0], lengths[-1]
    axes.set_xscale("log")
    axes.set_xlim(first / 1.15, last * 1.15)
    set_ticks(axes.xaxis, doublings(first, last, 4 if few else 40))


def first_chart(look: Look, *, narrow: bool = False) -> Chart:
    """The figure that answers the page's question.

    Args:
      look: Of the run.
      narrow: Whether it is for a phone.
    """
    draw = distance_chart if len(look.curves.positions) == 1 else encodings_chart
    return draw(look, narrow=narrow)


def figures_of(look: Look) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``distance``; then, by encoding, ``equal-ENCODING``, where a format stores representations,
      and ``ENCODING-FAMILY``, of the folds.
    """
    names = look.curves.positions
    figures: dict[str, Callable[[], Chart]] = {"distance": functools.partial(first_chart, look)}
    for positions in names:
        if look.stored is not None:
            figures[f"equal-{positions}"] = functools.partial(equal_chart, look, positions)
        for family in look.colors:
            if look.finest(positions, family):
                draw = functools.partial(family_chart, look, positions, family)
                figures[f"{positions}-{family}"] = draw
    return figures
