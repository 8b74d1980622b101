"""What the rows of a collapse run say in plain sentences, and never more than they show."""

import statistics
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.numbers import short
from glassesjax.report.points import Point
from glassesjax.studies.collapse.curves import Curves, Panel
from glassesjax.studies.collapse.figures import family_title
from glassesjax.studies.collapse.overview import has_exponent, is_flat, slope
from glassesjax.studies.collapse.summary import Summary, summarize
from glassesjax.trace.decay import DecayFit

FEW = 7  # runs that a sentence names one by one; of more it gives the number and the extremes


def headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the collapse study.

    Returns:
      Plain text, on decay, then for each format noise and storage, then the certificate.
    """
    curves = Curves(rows)
    finest = [curves.finest(p, f) for p in curves.positions for f in curves.families]
    wide = [summarize(curves, panel) for panel in finest if panel]
    sentences = [
        _unfinite(curves, wide),
        _closer(curves, wide),
        _equal(curves, wide),
        _exponents(curves, wide),
    ]
    for name in curves.formats:
        lines = [summarize(curves, panel) for panel in curves.panels(format=name)]
        parts = _noise(curves, name, lines), _stored(curves, name, lines)
        sentences.append(" ".join(part for part in parts if part))
    return [text for text in (*sentences, _certified(curves, wide)) if text]


def family_sentences(curves: Curves, positions: str, family: str) -> list[str]:
    """What the rows say of one family under one positional encoding.

    Args:
      curves: The run.
      positions: Which positional encoding.
      family: Which family of runs.

    Returns:
      Plain text; none where the family was not measured.
    """
    finest = curves.finest(positions, family)
    if finest is None:
        return []
    panels = curves.panels(positions=positions, family=family)
    wide, lines = summarize(curves, finest), [summarize(curves, panel) for panel in panels]
    # What is equal has no signal to lose, and float64 no arithmetic but the wide one.
    noisy = [line for line in lines if wide.resolved and line.mode]
    return [_course(curves, wide), *map(_lost, noisy), _kept(wide)]


def shown(point: Point) -> str:
    """A distance, which is no number where float64's own rounding may have made it."""
    return short(point.distance) if point.resolved else "≈ 0"


def _course(curves: Curves, line: Summary) -> str:
    kept, last = line.resolved, line.signal[-1]
    if line.unfinite:
        count = f"{line.unfinite} of {len(line.signal)} lengths"
        return f"The distance is not finite, in {count}: the two are neither equal nor different."
    if not kept:
        where = _every(line, line.signal[0].length)
        return f"The two last representations are equal {where}, to within float64's rounding."
    start = f"{short(kept[0].distance)} at n = {kept[0].length}"
    end = "" if last == kept[0] else f" and {shown(last)} at n = {last.length}"
    return f"In wide arithmetic the distance is {start}{end}{_fitted(curves.fit(line.panel))}."


def _fitted(fit: DecayFit) -> str:
    where = f"over n = {fit.first} to {fit.last}"
    if not fit.spans_decade:
        return "; it is resolved over less than a decade of n, too little for an exponent"
    if fit.law == "exponential":
        return f"; {where}, an exponential predicts it better than a power law"
    if is_flat(fit):
        return f"; no trend with n is told apart from none: slope {slope(fit)} {where}"
    if not has_exponent(fit):
        return f"; its slope is not settled {where}: {slope(fit)}"
    return f"; the exponent of its tail is {slope(fit)} {where}"


def _every(line: Summary, start: int) -> str:
    if start == line.last:
        return f"at n = {start}"
    return f"at every measured length from {start} to {line.last}"


def _lost(line: Summary) -> str:
    name, last = line.panel.format, line.last
    if line.noise_at_last is None:
        return f"In {name} the noise at n = {last} is not finite: the format's range is left."
    if line.detectable is None:
        return f"In {name} arithmetic there is no difference to detect at n = {last}."
    if line.undetectable_from is None:
        return f"In {name} arithmetic the difference is detectable at n = {last}."
    if line.undetectable_from == last:
        return f"In {name} arithmetic the difference is not detectable at n = {last}."
    where = f"from {line.undetectable_from} to {last}"
    return f"In {name} arithmetic the difference is detectable at no measured length {where}."


def _kept(line: Summary) -> str:
    if line.certified_from is None:
        return f"At n = {line.last} the margin certificate leaves open whether the answer changes."
    where = _every(line, line.certified_from)
    return f"The greedy answer cannot change between n and n + 1 {where}: the certificate holds."


def _unfinite(curves: Curves, lines: Sequence[Summary]) -> str:
    bad = [line for line in lines if line.unfinite]
    if not bad:
        return ""
    count = f"{sum(line.unfinite for line in bad)} of {sum(len(line.signal) for line in lines)}"
    named = _named([(run_name(curves, line.panel), "") for line in bad], "among them", "and")
    return f"The distance in wide arithmetic is not finite, in {count} pairs{named}."


def _closer(curves: Curves, lines: Sequence[Summary]) -> str:
    spans = {line.panel: line.resolved for line in lines if len(line.resolved) > 1}
    ends = {panel: (r[0].distance, r[-1].distance) for panel, r in spans.items()}
    ratio = {panel: last / first for panel, (first, last) in ends.items() if first and last}
    if not ratio:
        return ""
    panel = min(ratio, key=lambda panel: ratio[panel])
    ends = [f"{short(p.distance)} at n = {p.length}" for p in (spans[panel][0], spans[panel][-1])]
    nearer = sum(value < 0.5 for value in ratio.values())
    text = f"In wide arithmetic {nearer} of {_runs(curves, lines)} end less than half as far apart"
    name = run_name(curves, panel)
    return f"{text} as they start; {name} moves furthest, from {ends[0]} to {ends[1]}."


def _equal(curves: Curves, lines: Sequence[Summary]) -> str:
    equal = [line for line in lines if not line.resolved and not line.unfinite]
    if not equal:
        return ""
    named = _named([(run_name(curves, line.panel), "") for line in equal], "among them", "and")
    text = (
        "The two representations are equal at every measured length, to within float64's rounding"
    )
    return f"{text}, for {len(equal)} of {_runs(curves, lines)}{named}."


def _exponents(curves: Curves, lines: Sequence[Summary]) -> str:
    fits = {line.panel: curves.fit(line.panel) for line in lines}
    good = {panel: fit for panel, fit in fits.items() if has_exponent(fit) and not is_flat(fit)}
    if not good:
        return f"No power law with n can be read from any of {_runs(curves, lines)}."
    order = sorted(good, key=lambda panel: good[panel].exponent)
    each = [(run_name(curves, panel), slope(good[panel])) for panel in order]
    named = _named(each, "among them", "and")
    first, last = min(f.first for f in good.values()), max(f.last for f in good.values())
    text = f"A power law with n can be read from {len(good)} of {_runs(curves, lines)}"
    return f"{text}, over at least a decade between n = {first} and {last}{named}."


def _noise(curves: Curves, name: str, lines: Sequence[Summary]) -> str:
    differ = [line for line in lines if line.detectable is not None]  # else nothing to lose
    lost = {line.panel: line.undetectable_from for line in differ if line.undetectable_from}
    if not differ:
        return ""
    runs = f"{len(differ) - len(lost)} of {_runs(curves, differ)} that differ at all"
    text = f"In {name} arithmetic the difference is detectable at the longest n for {runs}"
    return f"{text}{'; not for the others' if lost else ''}{_starts(curves, lost)}."


def _stored(curves: Curves, name: str, lines: Sequence[Summary]) -> str:
    shares = sorted((line.equal, line.width) for line in lines if line.equal is not None)
    bad = len(lines) - len(shares)
    beside = f" Not finite, in {bad} of {len(lines)} runs." if bad else ""
    if not shares:
        return beside.strip()
    (few, _), (many, width) = shares[0], shares[-1]
    typical = statistics.median(equal / width for equal, width in shares)
    text = f"Rounded to {name} at the longest n, {typical:.0%} of the coordinates are equal"
    if len(shares) == 1:
        return f"{text} ({many} of {width}).{beside}"
    return f"{text} in the median run, between {few} and {many} of {width} in all.{beside}"


def _certified(curves: Curves, lines: Sequence[Summary]) -> str:
    sure = {line.panel: line.certified_from for line in lines if line.certified_from}
    text = "At the longest n the margin certificate says that the greedy answer cannot change"
    return f"{text} for {len(sure) or 'none'} of {_runs(curves, lines)}{_starts(curves, sure)}."


def _starts(curves: Curves, starts: Mapping[Panel, int]) -> str:
    """From which length on something holds at every measured length, earliest run first."""
    order = sorted(starts, key=lambda panel: starts[panel])
    each = [(run_name(curves, panel), f"from n = {starts[panel]}") for panel in order]
    return _named(each, "the earliest is", "the latest")


def _named(runs: Sequence[tuple[str, str]], first: str, last: str) -> str:
    """All runs with what is said of each if they are few; else two of them."""
    named = [f"{name} {said}".strip() for name, said in runs]
    if len(named) > FEW:
        return f": {first} {named[0]}, {last} {named[-1]}"
    return f": {'; '.join(named)}" if named else ""


def run_name(curves: Curves, panel: Panel) -> str:
    """A family's title in quotes, with the positional encoding where there are several."""
    title = f"“{family_title(panel.family)}”"
    where = panel.positions.replace("_", " ").replace("none", "no positions")
    return title if len(curves.positions) == 1 else f"{title} ({where})"


def _runs(curves: Curves, lines: Sequence[Summary]) -> str:
    several = len(curves.positions) > 1
    return f"{len(lines)} {'runs (family and positions)' if several else 'families of runs'}"
