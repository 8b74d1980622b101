"""What the rows of an influence run say in plain sentences, and never more than they show."""

from collections.abc import Callable, Sequence

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import not_finite
from glassesjax.report.markup import visible
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.influence.profiles import MEASURES, Profiles, profiles_of
from glassesjax.studies.influence.summary import InfluenceSummary, Spread, influence_summary

LAST = 8  # how many tokens are the last ones
WEAK = 3.0  # decades; a bound that lies farther above could be wrong a thousandfold, unseen
ATTENTION = {"true": "true attention", "frozen": "attention held fixed"}


def influence_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the influence study.

    Returns:
      Plain text, first on what is not finite, if anything, then on the effective number of tokens,
      on the lengths of their vectors, on first and last tokens, on the rollout and on the bounds:
      how far they lie, and only then whether any is exceeded.

    Raises:
      ValueError: There is no row of the influence study.
    """
    every, summary = profiles_of(rows), influence_summary(rows)
    kinds = every[0].kinds
    printed = {"true": _printed_true, "frozen": _printed_frozen}
    return [
        *not_finite(rows),
        *_not_finite(every),
        *(_effective(every, summary, kind) for kind in kinds),
        *_lengths(every, summary),
        *(_ends(every, kind) for kind in kinds),
        _rolled(every),
        *(printed[kind](every, summary) for kind in kinds),
        _repaired(every, summary),
    ]


def token_name(profiles: Profiles, position: int) -> str:
    """A token in quotes with its position."""
    return f"“{visible(profiles.tokens[position])}” (position {position})"


def norm_name(profiles: Profiles, kind: str) -> str:
    """Which norm was measured at the embedding."""
    return "operator norm" if profiles.is_spectral(kind) else "Frobenius norm"


def spread(values: Spread, text: Callable[[float], str] = decimal) -> str:
    """A median, and its range where passages differ."""
    ends = text(values.low), text(values.high)
    return text(values.median) + ("" if ends[0] == ends[1] else f" ({ends[0]} to {ends[1]})")


def signed(value: float) -> str:
    """A correlation with its sign."""
    return "none" if np.isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _passages(every: Sequence[Profiles]) -> str:
    lengths = sorted({profiles.length for profiles in every})
    tokens = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    count = len(every)
    return f"{tokens} tokens" if count == 1 else f"{count} passages of {tokens} tokens"


def _not_finite(every: Sequence[Profiles]) -> list[str]:
    """What comes before everything else: numbers that are none."""
    last = "The last representation itself is not finite: no derivative of it means anything."
    bad = sum(not profiles.last_is_finite for profiles in every)
    where = f" In {bad} of {len(every)} passages." if len(every) > 1 else ""
    said = [last + where] if bad else []
    norms = sum(int(x.unmeasured(kind).sum()) for x in every for kind in x.kinds)
    count = norms + sum(profiles.unbounded() for profiles in every)
    if count:
        which = f"measured norms {norms}, bounds {count - norms}"
        many = f"{count} numbers are" if count > 1 else "1 number is"
        said.append(f"{many} not finite ({which}): there, nothing is said of any bound.")
    return said


def _effective(every: Sequence[Profiles], summary: InfluenceSummary, kind: str) -> str:
    each = [
        f"{MEASURES[name]} {spread(summary.effective[kind, name])}" for name in every[0].measures
    ]
    text = f"Effective number of tokens at the embedding, {ATTENTION[kind]}, {_passages(every)}"
    return f"{text}: {', '.join(each)} (exponential of the entropy of the shares of squares)."


def _lengths(every: Sequence[Profiles], summary: InfluenceSummary) -> list[str]:
    """How far each convention follows the lengths of the tokens' vectors."""
    if not summary.correlation:
        return []
    each = [f"{MEASURES[n]} {spread(c, signed)}" for n, c in summary.correlation.items()]
    text = f"Rank correlation with 1/|v|, the inverse length of a token's vector: {', '.join(each)}"
    return [f"{text}. Near 1, a convention orders tokens by how short their vectors are."]


def _ends(every: Sequence[Profiles], kind: str) -> str:
    last = min(LAST, *(profiles.length for profiles in every))
    each = []
    for name in every[0].measures:
        shares = [x.shares(kind, name)[0] for x in every if kind in x.kinds]
        first, late = ([x[0] for x in shares], [x[-last:].sum() for x in shares])
        ends = spread(Spread.over(first), percent), spread(Spread.over(late), percent)
        each.append(f"{MEASURES[name]} {ends[0]} and {ends[1]}")
    even = (np.mean([count / profiles.length for profiles in every]) for count in (1, last))
    spread_evenly = " and ".join(percent(float(share)) for share in even)
    text = f"Shares of squares of the first token and of the last {last}, {ATTENTION[kind]}"
    return f"{text}: {', '.join(each)}; an even spread would give {spread_evenly}."


def _rolled(every: Sequence[Profiles]) -> str:
    kind, each = every[0].kinds[0], []
    rolled = [profiles(profiles.kinds[0], "pi")[0] for profiles in every]
    for name in every[0].measures:
        pairs = zip(every, rolled, strict=True)
        moved = [np.abs(pi - x.shares(x.kinds[0], name)[0]).sum() / 2 for x, pi in pairs]
        each.append(f"{MEASURES[name]} {spread(Spread.over(moved), percent)}")
    first = spread(Spread.over(float(pi[0]) for pi in rolled), percent)
    text = f"Attention rollout (π) gives the first token {first}; of its weight, this much would"
    return f"{text} have to move to be the shares with {ATTENTION[kind]}: {', '.join(each)}."


def _repaired(every: Sequence[Profiles], summary: InfluenceSummary) -> str:
    kinds = every[0].kinds
    far = _far(every, summary, kinds, "repaired")
    text = f"Repaired bound, which lets attention depend on the input: {far}"
    return f"{text} It {_must_hold(every, kinds, 'repaired')}."


def _printed_true(every: Sequence[Profiles], summary: InfluenceSummary) -> str:
    far = _far(every, summary, ("true",), "printed")
    text = f"Printed bound of Theorem 5.1, {ATTENTION['true']}: {far} It"
    text = f"{text} {_stands(every, ('true',), 'printed')}"
    if not any(profiles.exceeded("true", "printed").any() for profiles in every):
        promise = "presumes attention that does not depend on the input, and does not promise more"
        return f"{text}; the theorem {promise}."
    fails = "This is a hypothesis failure: the theorem presumes attention that does not depend on"
    return f"{text}{_most(every)}. {fails} the input, and here it does."


def _printed_frozen(every: Sequence[Profiles], summary: InfluenceSummary) -> str:
    text = f"Printed bound, {ATTENTION['frozen']}, as Theorem 5.1 presumes"
    far = _far(every, summary, ("frozen",), "printed")
    return f"{text}: {far} It {_must_hold(every, ('frozen',), 'printed')}."


def _far(
    every: Sequence[Profiles], summary: InfluenceSummary, kinds: Sequence[str], bound: str
) -> str:
    """How far the bound lies from what was measured: what a verdict on it is worth."""
    found = [summary.distance[kind, bound] for kind in kinds]
    known = [distance for distance in found if not np.isnan(distance.median)]
    if not known:
        return "no finite distance."
    at = max(known, key=lambda distance: distance.embedding_median)
    least, lowest = min(x.embedding_least for x in known), min(x.least for x in known)
    norm = norm_name(every[0], kinds[0])
    text = f"log10 of bound over measured {norm}, at the embedding {decades(at.embedding_median)}"
    text = f"{text} in the median and {decades(least)} at the least, over all layers"
    text = f"{text} {decades(at.median)} and {decades(lowest)}."
    if least >= WEAK:
        text += " At the embedding that is too far for a verdict to be evidence."
    if lowest < 0 and not every[0].is_spectral(kinds[0]):
        width = np.log10(float(every[0].first_row["width"] or 1)) / 2
        text += f" The operator norm may be {width:.1f} decades smaller than that norm."
    return text


def decades(value: float) -> str:
    """Decades with one digit."""
    return "not finite" if np.isnan(value) else f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def _most(every: Sequence[Profiles]) -> str:
    over = [
        np.where(x.exceeded("true", "printed"), x("true", "log10_over_printed"), -np.inf)
        for x in every
    ]
    largest = [float(np.nanmax(known, initial=-np.inf)) for known in over]
    index = int(np.argmax(largest))
    if not np.isfinite(largest[index]):
        return ""
    known = np.where(np.isnan(over[index]), -np.inf, over[index])
    layer, position = np.unravel_index(np.argmax(known), known.shape)
    factor = decimal(10.0 ** min(largest[index], 300.0))
    most = f"most of all by a factor of {factor} or more at layer {layer}"
    return f"; {most}, {token_name(every[index], int(position))}"


def _must_hold(every: Sequence[Profiles], kinds: Sequence[str], bound: str) -> str:
    wrong = any(x.exceeded(kind, bound).any() for x in every for kind in kinds if kind in x.kinds)
    must_not = ", which must not be: the statement or this program is wrong"
    return _stands(every, kinds, bound) + (must_not if wrong else "")


def _stands(every: Sequence[Profiles], kinds: Sequence[str], bound: str) -> str:
    """At how many pairs a bound is exceeded, holds, or neither is known; numbers that are none."""
    verdicts = "exceeded", "within", "undecided", "not_a_number"
    those = [(x, kind) for x in every for kind in kinds if kind in x.kinds]
    counts = [sum(int(x.judged(kind, bound, v).sum()) for x, kind in those) for v in verdicts]
    exceeded, within, undecided, unknown = counts
    total = sum(counts)
    what = [*["passage"] * (len(every) > 1), *["attention"] * (len(kinds) > 1), "layer"]
    pairs = f"{total} cases ({', '.join(what)} and token)"
    if unknown == total:
        return f"has no verdict at any of {pairs}: no number is finite"
    if within == total:
        return f"is exceeded at 0 of {pairs}"
    # Exceeded comes last: what a caller adds speaks of it.
    heads = {"undecided": undecided, "without a finite number": unknown, "exceeded": exceeded}
    parts = [f"is {head} at {count}" for head, count in heads.items() if count]
    return ", ".join([f"holds at {within} of {pairs}", *parts])
