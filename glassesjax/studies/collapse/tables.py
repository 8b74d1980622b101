"""Tables and large figures of the collapse page."""

import math
from collections.abc import Sequence

from glassesjax.report.markup import Markup, element, format_name, table, token
from glassesjax.report.numbers import MISSING, power_of, short
from glassesjax.studies.collapse.figures import family_title
from glassesjax.studies.collapse.sentences import several_encodings, shown
from glassesjax.studies.collapse.summary import CollapseSummary, FormatSummary, PanelSummary


def format_table(lines: Sequence[PanelSummary]) -> Markup:
    """Where each format loses one family of runs, a line per format."""
    return table(["format", *_heads(lines)], [[_format(line), *_cells(line)] for line in lines])


def run_table(lines: Sequence[PanelSummary]) -> Markup:
    """The same for many families: the family first, then the format."""
    found = [[family_title(ln.panel.family), _format(ln), *_cells(ln)] for ln in lines]
    return table(["family", "format", *_heads(lines)], found)


def _format(line: PanelSummary) -> Markup:
    return Markup(format_name(line.panel.format) + element("i", line.mode))


def _heads(lines: Sequence[PanelSummary]) -> list[str]:
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


def _cells(line: PanelSummary) -> list[object]:
    u = line.unit_roundoff
    return [
        power_of(2, round(math.log2(u))),
        shown(line.signal[0]),
        shown(line.signal[-1]),
        short(line.own_at_last) if line.mode else MISSING,
        short(line.noise_at_last) if line.mode else MISSING,
        line.undetectable_from or MISSING,
        "not finite" if line.equal is None else f"{line.equal} of {line.model_dim}",
        shown(line.ulp[-1]) if line.ulp else MISSING,
        token(line.token or ""),
        short(line.margin) if line.margin is not None else MISSING,
        line.certified_from or MISSING,
    ]


def tiles(summary: CollapseSummary) -> Markup:
    """The run in large figures: each format with its own arithmetic, then the certificate."""
    own = {each.panel.format for each in summary.panels if each.mode}
    noise = [_noise_tile(summary, each) for each in summary.formats if each.format in own]
    return element("ul", *noise, _certificate_tile(summary), class_="tiles")


def _noise_tile(summary: CollapseSummary, each: FormatSummary) -> Markup:
    said = f": not detectable at the longest n ({_runs(summary)} that differ at all)"
    return _tile(each.num_undetectable, each.differing, format_name(each.format), said)


def _certificate_tile(summary: CollapseSummary) -> Markup:
    what = "whose greedy answer cannot change from the longest n to n\u00a0+\u00a01"
    whole = summary.reference
    return _tile(whole.num_certified, whole.runs, f"{_runs(summary)} {what}")


def _runs(summary: CollapseSummary) -> str:
    return "runs" if several_encodings(summary) else "families of runs"


def _tile(count: int, total: int, *said: object) -> Markup:
    figure = element("b", str(count), " ", element("small", f"of {total}"))
    return element("li", figure, element("span", *said))
