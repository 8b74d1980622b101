"""What the rows of an influence run say in plain sentences, and never more than they show."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glassesjax.report.markup import visible
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.influence.profiles import MEASURES, Bound
from glassesjax.studies.influence.records import Kind
from glassesjax.studies.influence.summary import (
    AttentionSummary,
    InfluenceSummary,
    Spread,
    Verdicts,
)

WEAK = 3.0  # decades; a bound that lies farther above could be wrong a thousandfold, unseen
ATTENTION: Mapping[Kind, str] = {"true": "true attention", "frozen": "attention held fixed"}


def headline(summary: InfluenceSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      Effective numbers of tokens with the first kind of attention, then how often each bound is
      exceeded.
    """
    kinds = tuple(summary.attention)
    effective = summary.attention[summary.kind].effective.items()
    each = ", ".join(f"{MEASURES[name]} {spread(numbers)}" for name, numbers in effective)
    of = f"{_passages(summary)}, {ATTENTION[summary.kind]}"
    return "; ".join(
        [
            *summary.passes.phrases(),
            f"effective number of tokens {each} of {of}",
            *(
                f"printed bound, {ATTENTION[k]}, {_exceeded(summary, (k,), 'printed')}"
                for k in kinds
            ),
            f"repaired bound {_exceeded(summary, kinds, 'repaired')}",
        ]
    )


def _exceeded(summary: InfluenceSummary, kinds: Sequence[Kind], bound: Bound) -> str:
    counts = _verdicts(summary, kinds, bound)
    return f"is exceeded at {counts.exceeded} of {counts.total}"


def influence_headlines(summary: InfluenceSummary) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      summary: Of the run.

    Returns:
      Plain text, first on what is not finite, if anything, then on the effective number of tokens,
      on the lengths of their vectors, on first and last tokens, on the rollout and on the bounds:
      how far they lie, and only then whether any is exceeded.
    """
    printed = {"true": _printed_true, "frozen": _printed_frozen}
    return [
        *summary.passes.sentences(),
        *_not_finite(summary),
        *(_effective(summary, kind) for kind in summary.attention),
        *_lengths(summary),
        *(_ends(summary, kind) for kind in summary.attention),
        _rolled(summary),
        *(printed[kind](summary) for kind in summary.attention),
        _repaired(summary),
    ]


def norm_name(attention: AttentionSummary) -> str:
    """Which norm was measured at the embedding."""
    return "operator norm" if attention.operator_norms else "Frobenius norm"


def spread(values: Spread, text: Callable[[float], str] = decimal) -> str:
    """A median, and its range where passages differ."""
    ends = text(values.low), text(values.high)
    return text(values.median) + ("" if ends[0] == ends[1] else f" ({ends[0]} to {ends[1]})")


def signed(value: float) -> str:
    """A correlation with its sign."""
    return "none" if np.isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _passages(summary: InfluenceSummary) -> str:
    lengths = sorted({passage.length for passage in summary.passages})
    tokens = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    count = summary.num_passages
    return f"{tokens} tokens" if count == 1 else f"{count} passages of {tokens} tokens"


def _not_finite(summary: InfluenceSummary) -> list[str]:
    """What comes before everything else: numbers that are none."""
    last = "The last representation itself is not finite: no derivative of it means anything."
    bad, passages = summary.last_not_finite, summary.num_passages
    where = f" In {bad} of {passages} passages." if passages > 1 else ""
    lines = [last + where] if bad else []
    norms, bounds = summary.norms_not_finite, summary.bounds_not_finite
    count = summary.numbers_not_finite
    if count:
        which = f"measured norms {norms}, bounds {bounds}"
        many = f"{count} numbers are" if count > 1 else "1 number is"
        lines.append(f"{many} not finite ({which}): there, nothing is said of any bound.")
    return lines


def _effective(summary: InfluenceSummary, kind: Kind) -> str:
    each = [f"{MEASURES[n]} {spread(x)}" for n, x in summary.attention[kind].effective.items()]
    text = f"Effective number of tokens at the embedding, {ATTENTION[kind]}, {_passages(summary)}"
    return f"{text}: {', '.join(each)} (exponential of the entropy of the shares of squares)."


def _lengths(summary: InfluenceSummary) -> list[str]:
    """How far each convention follows the lengths of the tokens' vectors."""
    if not summary.correlation:
        return []
    each = [f"{MEASURES[n]} {spread(c, signed)}" for n, c in summary.correlation.items()]
    text = f"Rank correlation with 1/|v|, the inverse length of a token's vector: {', '.join(each)}"
    return [f"{text}. Near 1, a convention orders tokens by how short their vectors are."]


def _ends(summary: InfluenceSummary, kind: Kind) -> str:
    attention = summary.attention[kind]
    each = []
    for name in summary.measures:
        first = spread(attention.first_share[name], percent)
        each.append(f"{MEASURES[name]} {first} and {spread(attention.last_share[name], percent)}")
    even = f"{percent(summary.even_first)} and {percent(summary.even_last)}"
    text = f"Shares of squares of the first token and of the last {summary.last}, {ATTENTION[kind]}"
    return f"{text}: {', '.join(each)}; an even spread would give {even}."


def _rolled(summary: InfluenceSummary) -> str:
    each = [f"{MEASURES[n]} {spread(x, percent)}" for n, x in summary.rollout_moved.items()]
    first = spread(summary.rollout_first, percent)
    text = f"Attention rollout (π) gives the first token {first}; of its weight, this much would"
    return (
        f"{text} have to move to be the shares with {ATTENTION[summary.kind]}: {', '.join(each)}."
    )


def _repaired(summary: InfluenceSummary) -> str:
    kinds = tuple(summary.attention)
    far = _far(summary, kinds, "repaired")
    text = f"Repaired bound, which lets attention depend on the input: {far}"
    return f"{text} It {_must_hold(summary, kinds, 'repaired')}."


def _printed_true(summary: InfluenceSummary) -> str:
    far = _far(summary, ("true",), "printed")
    text = f"Printed bound of Theorem 5.1, {ATTENTION['true']}: {far} It"
    text = f"{text} {_stands(summary, ('true',), 'printed')}"
    if not summary.attention["true"].bounds["printed"].verdicts.exceeded:
        promise = "presumes attention that does not depend on the input, and does not promise more"
        return f"{text}; the theorem {promise}."
    fails = "This is a hypothesis failure: the theorem presumes attention that does not depend on"
    return f"{text}{_most(summary)}. {fails} the input, and here it does."


def _printed_frozen(summary: InfluenceSummary) -> str:
    text = f"Printed bound, {ATTENTION['frozen']}, as Theorem 5.1 presumes"
    far = _far(summary, ("frozen",), "printed")
    return f"{text}: {far} It {_must_hold(summary, ('frozen',), 'printed')}."


def _far(summary: InfluenceSummary, kinds: Sequence[Kind], bound: Bound) -> str:
    """How far the bound lies from what was measured: what a verdict on it is worth."""
    distances = [summary.attention[kind].bounds[bound].distance for kind in kinds]
    known = [distance for distance in distances if not np.isnan(distance.median)]
    if not known:
        return "no finite distance."
    at = max(known, key=lambda distance: distance.embedding_median)
    least, lowest = min(x.embedding_least for x in known), min(x.least for x in known)
    first = summary.attention[kinds[0]]
    norm, median = norm_name(first), decades(at.embedding_median)
    text = f"log10 of bound over measured {norm}, at the embedding {median}"
    text = f"{text} in the median and {decades(least)} at the least, over all layers"
    text = f"{text} {decades(at.median)} and {decades(lowest)}."
    if least >= WEAK:
        text += " At the embedding that is too far for a verdict to be evidence."
    if lowest < 0 and not first.operator_norms:
        smaller = f"{summary.norm_decades:.1f} decades smaller"
        text += f" The operator norm may be {smaller} than that norm."
    return text


def decades(value: float) -> str:
    """Decades with one digit."""
    return "not finite" if np.isnan(value) else f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def _most(summary: InfluenceSummary) -> str:
    if summary.excess is None:
        return ""
    _, factor, layer, position, token = summary.excess
    most = f"most of all by a factor of {decimal(factor)} or more at layer {layer}"
    return f"; {most}, “{visible(token)}” (position {position})"


def _verdicts(summary: InfluenceSummary, kinds: Sequence[Kind], bound: Bound) -> Verdicts:
    """On the printed bound those of one kind of attention, on the repaired one of all kinds."""
    if bound == "repaired":
        return summary.repaired
    return summary.attention[kinds[0]].bounds[bound].verdicts


def _must_hold(summary: InfluenceSummary, kinds: Sequence[Kind], bound: Bound) -> str:
    wrong = _verdicts(summary, kinds, bound).exceeded
    must_not = ", which must not be: the statement or this program is wrong"
    return _stands(summary, kinds, bound) + (must_not if wrong else "")


def _stands(summary: InfluenceSummary, kinds: Sequence[Kind], bound: Bound) -> str:
    """At how many pairs a bound is exceeded, holds, or neither is known; numbers that are none."""
    counts = _verdicts(summary, kinds, bound)
    several = [*["passage"] * (summary.num_passages > 1), *["attention"] * (len(kinds) > 1)]
    pairs = f"{counts.total} cases ({', '.join([*several, 'layer'])} and token)"
    if counts.not_finite == counts.total:
        return f"has no verdict at any of {pairs}: no number is finite"
    if counts.within == counts.total:
        return f"is exceeded at 0 of {pairs}"
    # Exceeded comes last: what a caller adds speaks of it.
    heads = {
        "undecided": counts.undecided,
        "without a finite number": counts.not_finite,
        "exceeded": counts.exceeded,
    }
    parts = [f"is {head} at {count}" for head, count in heads.items() if count]
    return ", ".join([f"holds at {counts.within} of {pairs}", *parts])
