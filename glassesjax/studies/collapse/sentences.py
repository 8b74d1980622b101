"""What the rows of a collapse run say in plain sentences, and never more than they show."""

from collections.abc import Mapping, Sequence

from glassesjax.report.numbers import short
from glassesjax.report.points import Point
from glassesjax.studies.collapse.curves import Panel
from glassesjax.studies.collapse.figures import family_title
from glassesjax.studies.collapse.fits import has_exponent, is_flat, slope
from glassesjax.studies.collapse.summary import (
    CollapseSummary,
    FormatSummary,
    PanelSummary,
    ReferenceSummary,
    finest,
)
from glassesjax.trace.decay import DecayFit

FEW = 7  # runs that a sentence names one by one; of more it gives the number and the extremes


def headline(summary: CollapseSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      How many runs of tokens come closer, and for how many each format hides that they differ.
    """
    whole = summary.reference
    closer = f"{whole.nearer} of {_runs(summary, whole.runs)} end less than half as far apart"
    hidden = [
        f"{each.format} hides {each.num_undetectable} of {each.differing}"
        for each in summary.formats
        if each.differing
    ]
    lost = f"not finite, in {whole.pairs_not_finite} of {whole.pairs} pairs of prompts"
    return "; ".join([*([lost] if whole.pairs_not_finite else []), closer, *hidden])


def headlines(summary: CollapseSummary) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      summary: Of the run, or of one of its encodings.

    Returns:
      Plain text, on decay, then for each format noise and storage, then the certificate.
    """
    whole = summary.reference
    sentences = [
        _unfinite(summary, whole),
        _closer(summary, whole),
        _equal(summary, whole),
        _exponents(summary, whole),
    ]
    for each in summary.formats:
        parts = _noise(summary, each), _stored(each, summary)
        sentences.append(" ".join(part for part in parts if part))
    return [text for text in (*sentences, _certified(summary, whole)) if text]


def family_sentences(summary: CollapseSummary, positions: str, family: str) -> list[str]:
    """What the rows say of one family under one positional encoding.

    Args:
      summary: Of the run.
      positions: Which positional encoding.
      family: Which family of runs.

    Returns:
      Plain text; none where the family was not measured.
    """
    lines = summary.select(positions=positions, family=family)
    if not lines:
        return []
    (wide,) = finest(lines)
    # What is equal has no signal to lose, and float64 no arithmetic but the reference one.
    noisy = [line for line in lines if wide.resolved and line.mode]
    return [_course(wide), *map(_lost, noisy), _kept(wide)]


def shown(point: Point) -> str:
    """A distance, which is no number where float64's own rounding may have made it."""
    return short(point.distance) if point.resolved else "≈ 0"


def _course(line: PanelSummary) -> str:
    kept, last = line.resolved, line.signal[-1]
    if line.unfinite:
        count = f"{line.unfinite} of {line.lengths} lengths"
        return f"The distance is not finite, in {count}: the two are neither equal nor different."
    if not kept:
        where = _every(line, line.signal[0].length)
        return f"The two last representations are equal {where}, to within float64's rounding."
    start = f"{short(kept[0].distance)} at n = {kept[0].length}"
    end = "" if last == kept[0] else f" and {shown(last)} at n = {last.length}"
    return f"In wide arithmetic the distance is {start}{end}{_fitted(line.fit)}."


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


def _every(line: PanelSummary, start: int) -> str:
    if start == line.last:
        return f"at n = {start}"
    return f"at every measured length from {start} to {line.last}"


def _lost(line: PanelSummary) -> str:
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


def _kept(line: PanelSummary) -> str:
    if line.certified_from is None:
        return f"At n = {line.last} the margin certificate leaves open whether the answer changes."
    where = _every(line, line.certified_from)
    return f"The greedy answer cannot change between n and n + 1 {where}: the certificate holds."


def _unfinite(summary: CollapseSummary, whole: ReferenceSummary) -> str:
    if not whole.pairs_not_finite:
        return ""
    bad = [each.panel for each in finest(summary.panels) if each.unfinite]
    named = _named([(run_name(summary, panel), "") for panel in bad], "among them", "and")
    count = f"{whole.pairs_not_finite} of {whole.pairs}"
    return f"The distance in wide arithmetic is not finite, in {count} pairs{named}."


def _closer(summary: CollapseSummary, whole: ReferenceSummary) -> str:
    if whole.furthest is None:
        return ""
    kept = summary.of(whole.furthest).resolved
    ends = [f"{short(p.distance)} at n = {p.length}" for p in (kept[0], kept[-1])]
    name = run_name(summary, whole.furthest)
    count = f"{whole.nearer} of {_runs(summary, whole.runs)}"
    text = f"In wide arithmetic {count} end less than half as far apart"
    return f"{text} as they start; {name} moves furthest, from {ends[0]} to {ends[1]}."


def _equal(summary: CollapseSummary, whole: ReferenceSummary) -> str:
    if not whole.equal:
        return ""
    named = _named([(run_name(summary, panel), "") for panel in whole.equal], "among them", "and")
    text = (
        "The two representations are equal at every measured length, to within float64's rounding"
    )
    return f"{text}, for {whole.num_equal} of {_runs(summary, whole.runs)}{named}."


def _exponents(summary: CollapseSummary, whole: ReferenceSummary) -> str:
    if not whole.power_laws:
        return f"No power law with n can be read from any of {_runs(summary, whole.runs)}."
    each = [(run_name(summary, p), slope(summary.of(p).fit)) for p in whole.power_laws]
    named = _named(each, "among them", "and")
    count = f"{whole.num_power_laws} of {_runs(summary, whole.runs)}"
    where = f"between n = {whole.tail_first} and {whole.tail_last}"
    return f"A power law with n can be read from {count}, over at least a decade {where}{named}."


def _noise(summary: CollapseSummary, each: FormatSummary) -> str:
    if not each.differing:  # nothing to lose
        return ""
    starts = {panel: summary.of(panel).undetectable_from or 0 for panel in each.undetectable}
    count = f"{each.num_detectable} of {_runs(summary, each.differing)}"
    text = f"In {each.format} arithmetic the difference is detectable at the longest n for {count}"
    rest = "; not for the others" if starts else ""
    return f"{text} that differ at all{rest}{_starts(summary, starts)}."


def _stored(each: FormatSummary, summary: CollapseSummary) -> str:
    bad = f" Not finite, in {each.not_finite} of {each.runs} runs." if each.not_finite else ""
    if each.equal_median is None:
        return bad.strip()
    width = summary.panels[0].model_dim
    share = f"{each.equal_median:.0%} of the coordinates are equal"
    text = f"Rounded to {each.format} at the longest n, {share}"
    if each.runs - each.not_finite == 1:
        return f"{text} ({each.equal_most} of {width}).{bad}"
    between = f"between {each.equal_least} and {each.equal_most} of {width}"
    return f"{text} in the median run, {between} in all.{bad}"


def _certified(summary: CollapseSummary, whole: ReferenceSummary) -> str:
    sure = {panel: summary.of(panel).certified_from or 0 for panel in whole.certified}
    text = "At the longest n the margin certificate says that the greedy answer cannot change"
    count = f"{whole.num_certified or 'none'} of {_runs(summary, whole.runs)}"
    return f"{text} for {count}{_starts(summary, sure)}."


def _starts(summary: CollapseSummary, starts: Mapping[Panel, int]) -> str:
    """From which length on something holds at every measured length, earliest run first."""
    each = [(run_name(summary, panel), f"from n = {start}") for panel, start in starts.items()]
    return _named(each, "the earliest is", "the latest")


def _named(runs: Sequence[tuple[str, str]], first: str, last: str) -> str:
    """All runs with what is said of each if they are few; else two of them."""
    named = [f"{name} {said}".strip() for name, said in runs]
    if len(named) > FEW:
        return f": {first} {named[0]}, {last} {named[-1]}"
    return f": {'; '.join(named)}" if named else ""


def run_name(summary: CollapseSummary, panel: Panel) -> str:
    """A family's title in quotes, with the positional encoding where there are several."""
    title = f"“{family_title(panel.family)}”"
    where = panel.positions.replace("_", " ").replace("none", "no positions")
    return f"{title} ({where})" if several_encodings(summary) else title


def several_encodings(summary: CollapseSummary) -> bool:
    """Whether a run has more than one positional encoding."""
    return len({each.panel.positions for each in summary.panels}) > 1


def _runs(summary: CollapseSummary, count: int) -> str:
    kind = "runs (family and positions)" if several_encodings(summary) else "families of runs"
    return f"{count} {kind}"
