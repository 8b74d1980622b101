"""Tables and large figures of the collapse page."""

import math
from collections.abc import Sequence

from glassesjax.report.markup import Markup, element, format_name, table, token
from glassesjax.report.numbers import MISSING, power_of, short
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.figures import family_title
from glassesjax.studies.collapse.sentences import shown
from glassesjax.studies.collapse.summary import Summary, summarize


def format_table(lines: Sequence[Summary]) -> Markup:
    """Where each format loses one family of runs, a line per format."""
    return table(["format", *_heads(lines)], [[_format(line), *_cells(line)] for line in lines])


def run_table(lines: Sequence[Summary]) -> Markup:
    """The same for many families: the family first, then the format."""
    found = [[family_title(ln.panel.family), _format(ln), *_cells(ln)] for ln in lines]
    return table(["family", "format", *_heads(lines)], found)


def _format(line: Summary) -> Markup:
    return Markup(format_name(line.panel.format) + element("i", line.mode))


def _heads(lines: Sequence[Summary]) -> list[str]:
    firsts, lasts = {line.signal[0].length for line in lines}, {line.last for line in lines}
    # A no-break space keeps “n = 8” on one line.
    first = f"n\u00a0=\u00a0{firsts.pop()}" if len(firsts) == 1 else "the shortest n"
    last = f"n\u00a0=\u00a0{lasts.pop()}" if len(lasts) == 1 else "the longest n"
    return [
        "u",
        f"signal {first}",
        f"signal {last}",
        f"own arithmetic {last}",
        f"error of the difference {last}",
        "not detectable from n",
        f"equal coordinates {last}",
        f"ulp apart {last}",
        f"greedy token {last}",
        "its margin",
        "certified from n",
    ]


def _cells(line: Summary) -> list[object]:
    u = line.unit_roundoff
    return [
        power_of(2, round(math.log2(u))) if u else MISSING,
        shown(line.signal[0]),
        shown(line.signal[-1]),
        short(line.own_at_last) if line.mode else MISSING,
        short(line.noise_at_last) if line.mode else MISSING,
        line.undetectable_from or MISSING,
        "not finite" if line.equal is None else f"{line.equal} of {line.width}",
        shown(line.ulp[-1]) if line.ulp else MISSING,
        token(line.token),
        short(line.margin) if line.margin is not None else MISSING,
        line.certified_from or MISSING,
    ]


def tiles(curves: Curves) -> Markup:
    """The run in large figures: each format with its own arithmetic, then the certificate."""
    own = [name for name in curves.formats if any(map(curves.mode, curves.panels(format=name)))]
    found = [_noise_tile(curves, name) for name in own]
    return element("ul", *found, _certificate_tile(curves), class_="tiles")


def _noise_tile(curves: Curves, name: str) -> Markup:
    lines = [summarize(curves, panel) for panel in curves.panels(format=name)]
    differ = [line for line in lines if line.detectable is not None]
    lost = sum(line.undetectable_from is not None for line in differ)
    said = f": not detectable at the longest n ({_runs(curves)} that differ at all)"
    return _tile(lost, len(differ), format_name(name), said)


def _certificate_tile(curves: Curves) -> Markup:
    pairs = [curves.finest(p, f) for p in curves.positions for f in curves.families]
    lines = [summarize(curves, panel) for panel in pairs if panel]
    sure = sum(line.certified_from is not None for line in lines)
    said = (
        f"{_runs(curves)} whose greedy answer cannot change from the longest n to n\u00a0+\u00a01"
    )
    return _tile(sure, len(lines), said)


def _runs(curves: Curves) -> str:
    return "families of runs" if len(curves.positions) == 1 else "runs"


def _tile(count: int, total: int, *said: object) -> Markup:
    figure = element("b", str(count), " ", element("small", f"of {total}"))
    return element("li", figure, element("span", *said))
