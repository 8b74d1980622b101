"""Figures for pages: SVG drawn once by matplotlib and colored by the page's style sheet.

In a figure's file a color of ``COLORS`` is written as it is; in the page it is a variable of the
style sheet, so that one drawing serves light, dark and print. A series is what a script can switch;
a mark has a value to show.
"""

import functools
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, ParamSpec

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# As the style sheet has them in the light; each differs from all others, since text is searched.
COLORS: Mapping[str, str] = {
    "ink": "#191c21", "soft": "#545b66", "rule": "#d9dde3", "wash": "#f3f4f6", "band": "#e4e7ec",
    "paper": "#fefefe", "c1": "#0a5a9e", "c2": "#b0400a", "c3": "#00705a", "c4": "#96397a",
    "c5": "#775a00", "c6": "#59626f", "h1": "#5b97cc", "h2": "#b58a17", "h3": "#a83c06",
}  # fmt: skip
SERIES_COLORS = ("c1", "c2", "c3", "c4", "c5", "c6")
"""Tokens of series, in the order in which they are given out."""
DOTS = 72  # units of the drawing an inch, so that a point of type is a pixel
STYLE = {
    "font.family": "sans-serif", "font.size": 12.5, "axes.labelsize": 12.5, "axes.linewidth": 1,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "axes.edgecolor": COLORS["c6"], "axes.labelcolor": COLORS["soft"], "text.color": COLORS["ink"],
    "axes.titlelocation": "left", "axes.titlesize": 13, "axes.titlecolor": COLORS["ink"],
    "xtick.color": COLORS["c6"], "ytick.color": COLORS["c6"],
    "xtick.labelcolor": COLORS["soft"], "ytick.labelcolor": COLORS["soft"],
    "xtick.major.size": 4, "ytick.major.size": 4, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "lines.solid_capstyle": "round", "legend.frameon": False,
    "svg.fonttype": "none",  # the page's own font
    "svg.hashsalt": "glassesjax",  # the same rows give the same bytes
}  # fmt: skip

P = ParamSpec("P")
Number = int | float
"""Pixels or data, whole or not."""


class Mark(NamedTuple):
    """A place that shows values when a reader points at it."""

    axes: Axes
    start: tuple[Number, Number]
    """In the axes' data."""
    stop: tuple[Number, Number] | None
    """The opposite corner of a rectangle; none for a circle."""
    radius: Number
    text: str
    series: str
    go: str
    """Id of the record of a table that a click opens; empty for none."""
    row: str = ""
    """Key of the values that a slider gives it; empty for none."""


class Chart(Figure):
    """A matplotlib figure in the page's units, with series that a reader may switch off.

    Args:
      width: In pixels.
      height: Likewise.
    """

    def __init__(self, width: Number, height: Number) -> None:
        super().__init__(figsize=(width / DOTS, height / DOTS), dpi=DOTS, facecolor="none")
        self.width, self.height = width, height
        self.marks: list[Mark] = []
        self._cursors: list[tuple[Axes, Sequence[Number]]] = []
        self._named = 0
        self._drawn: list[str] = []

    def panel(self, left: Number, top: Number, width: Number, height: Number) -> Axes:
        """Axes at a place of their own.

        Args:
          left: From the left edge, in pixels, as the others are.
          top: From the top edge.
          width: Of what is inside the axes.
          height: Likewise.
        """
        # Matplotlib counts fractions from the lower edge.
        bottom = 1 - (top + height) / self.height
        box = (left / self.width, bottom, width / self.width, height / self.height)
        return self.add_axes(box)

    def series(self, name: str, *artists: Artist | Iterable[Artist]) -> None:
        """What belongs to one series.

        Args:
          name: Letters, digits, and ``-+_``.
          *artists: Lines, areas, texts, or lists of them.
        """
        for artist in artists:
            for each in [artist] if isinstance(artist, Artist) else artist:
                self._named += 1  # ids are unique; ``drawing`` cuts the number off again
                each.set_gid(f"series--{name}--{self._named}")

    def mark(
        self,
        axes: Axes,
        start: tuple[Number, Number],
        text: str,
        *,
        stop: tuple[Number, Number] | None = None,
        radius: Number = 8,
        series: str = "",
        go: str = "",
        row: str = "",
    ) -> None:
        """A place that shows a text on hover, tap and arrow keys.

        Args:
          axes: Where.
          start: In data.
          text: Lines of the values; of one with a ``row`` which neighbors it is of, from which the
            script makes the text.
          stop: The opposite corner of a rectangle; without it the place is a circle.
          radius: Of a circle, in pixels.
          series: What it goes with, if with anything.
          go: Id of the record that a click opens.
          row: Key of the values that a slider gives it.
        """
        self.marks.append(Mark(axes, start, stop, radius, text, series, go, row))

    def cursor(self, axes: Axes, values: Sequence[Number]) -> None:
        """A line in some axes that the slider moves.

        Args:
          axes: Axes that it spans, from the lower edge to the upper one.
          values: Horizontal data coordinates, one for each step of the slider.
        """
        self._cursors.append((axes, values))

    def drawn(self, axes: Axes, style: str, *, low: Number = 0, **names: object) -> None:
        """A shape that the script draws of the data at the slider.

        When that leaves its first place, it takes the place of a series named ``still``.

        Args:
          axes: Where; their scales and limits are set already.
          style: Of the shape, its colors as tokens.
          low: The least that has a place on a logarithmic axis; what is less is drawn at a third.
          **names: What the script must know: ``shape``, which it is, and what that needs.
        """
        unit, decade = (1, 10) if axes.get_yscale() == "log" else (0, 1)
        # Pixels of the scale's unit, from which the script maps data without matplotlib.
        (x, y), (right, up) = self.place(axes, 0, unit), self.place(axes, 1, decade)
        names |= {"map": f"{x:.2f} {right - x:.6g} {y:.2f} {up - y:.6g} {low:g}"}
        data = "".join(f' data-{name}="{value}"' for name, value in names.items())
        self._drawn.append(f'<path class="drawn needs-js"{data} style="{style}"/>')

    def place(self, axes: Axes, x: Number, y: Number) -> tuple[float, float]:
        """Pixel coordinates of a data point, from the upper left corner."""
        # Display units are pixels, since the figure has DOTS dots an inch.
        across, up = axes.transData.transform((x, y))
        return float(across), self.height - float(up)

    def touches(self) -> str:
        """The marks, the cursors and what else a slider moves as SVG."""
        moved, hits = [], []
        for axes, values in self._cursors:
            # Any height on the axes' scale gives the same x; 1 has a place on a logarithmic one.
            xs = [f"{self.place(axes, value, 1)[0]:.1f}" for value in values]
            ends = (self.height - edge for edge in (axes.bbox.y0, axes.bbox.y1))
            y1, y2 = (f"{float(edge):.1f}" for edge in ends)
            line = f'<line class="cursor needs-js" data-xs="{",".join(xs)}" x1="{xs[-1]}"'
            moved.append(f'{line} x2="{xs[-1]}" y1="{y1}" y2="{y2}"/>')
        for mark in self.marks:
            x, y = self.place(mark.axes, *mark.start)
            names = {"data-series": mark.series, "data-go": mark.go, "data-row": mark.row}
            names["data-span" if mark.row else "data-tip"] = mark.text
            # A line break in an attribute would be read as a blank.
            data = "".join(
                f' {name}="{html.escape(value)}"'.replace("\n", "&#10;")
                for name, value in names.items()
                if value
            )
            if mark.stop is None:
                hits.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{mark.radius:g}"{data}/>')
                continue
            # SVG has no negative sizes, and an axis may run either way.
            end, bottom = self.place(mark.axes, *mark.stop)
            at = f'x="{min(x, end):.1f}" y="{min(y, bottom):.1f}"'
            size = f'width="{abs(end - x):.1f}" height="{abs(bottom - y):.1f}"'
            hits.append(f"<rect {at} {size}{data}/>")
        return f'{"".join([*moved, *self._drawn])}<g class="hits">{"".join(hits)}</g>'


def charted(draw: Callable[P, Chart]) -> Callable[P, Chart]:
    """The same drawing in the page's style, which is set for its duration only."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Chart:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


class Drawing(NamedTuple):
    """A figure as text."""

    file: str
    """A whole SVG file."""
    inline: str
    """The ``svg`` element of a page, whose colors are tokens."""


def drawing(chart: Chart, prefix: str) -> Drawing:
    """A figure as a file and as a part of a page, out of one drawing.

    Args:
      chart: What to write; the same one gives the same text.
      prefix: Put before each id that is referred to; different for each figure of a page.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(STYLE):
        chart.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    # Without the XML prolog and the metadata, which a page must not have within it.
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="series--([^"]+?)--\d+"', r' data-series="\1"', text)
    # Ids are short, differ between the figures of a page, and only those referred to are kept.
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', text))
    ids = {name: f"{prefix}-{at}" for at, name in enumerate(used)}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{ids[m[1]]}"' if m[1] in ids else "", text)
    text = re.sub(r'(href="|url\()#([^")]+)', lambda m: f"{m[1]}#{ids[m[2]]}", text)
    # The page has a font of its own.
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = _shortened(text)
    inline = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    # The style sheet sets the colors, and the width follows that of the page.
    for name, color in COLORS.items():
        inline = inline.replace(color, f"var(--{name})")
    style = f'<svg aria-hidden="true" style="max-width:{chart.width * 1.05:.0f}px" '
    inline = inline.replace("<svg ", style, 1)
    # A file may be shown on a dark ground, as by a forge's page; its own is light.
    ground = f'<svg font-family="sans-serif" style="background:{COLORS["paper"]}" '
    file = text.replace("<svg ", ground, 1)
    return Drawing(file, inline.replace("</svg>", f"{chart.touches()}</svg>"))


def _shortened(text: str) -> str:
    """An SVG without what draws nothing: decimals, blanks, turns by no angle, plain groups."""
    path = lambda match: re.sub(r" ?([A-Za-z]) ?", r"\1", match[1]).strip()

    def short(match: re.Match[str]) -> str:
        tag = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", match[0])
        tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)
        tag = re.sub(r"\s+", " ", tag).replace(": ", ":").replace("; ", ";")
        return re.sub(r' d="([^"]*)"', lambda match: f' d="{path(match)}"', tag)

    kept: list[bool] = []  # of each group that is open: whether it has an attribute

    def group(match: re.Match[str]) -> str:
        if match[0] == "</g>":
            return match[0] if kept.pop() else ""
        kept.append(match[0] != "<g>")
        return match[0] if kept[-1] else ""

    # Decimals are cut within tags only: the texts of a figure keep their digits.
    text = re.sub(r">\s+<", "><", re.sub(r"<[^>]+>", short, text))
    return re.sub(r"<g(?: [^>]*[^/])?>|</g>", group, text)
