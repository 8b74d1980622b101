"""What the rows of an influence run say in plain sentences, and never more than they show."""

from collections.abc import Sequence

import numpy as np

from glassesjax.records import Row
from glassesjax.report.influence_profiles import BOUNDS, Profiles, effective_number
from glassesjax.report.markup import visible
from glassesjax.report.sentences import short

LAST = 8  # how many tokens are the last ones
NAMED = 5  # how many tokens a sentence names
ATTENTION = {"true": "true attention", "frozen": "attention held fixed"}


def influence_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the influence study.

    Returns:
      Plain text, first on what is not finite, if anything, then on who is heard, on the rollout
      and on the two bounds.

    Raises:
      ValueError: There is no row of the influence study.
    """
    profiles = Profiles(rows)
    printed = {"true": _printed_true, "frozen": _printed_frozen}
    shared = _with_shares(profiles)
    return [
        *_not_finite(profiles),
        _effective(profiles),
        *(_heard(profiles, kind) for kind in shared),
        *(_ends(profiles, kind) for kind in shared),
        _rolled(profiles),
        *(printed[kind](profiles) for kind in profiles.kinds),
        _repaired(profiles),
    ]


def percent(share: float) -> str:
    """A share in percent: whole from ten on, with one digit below, and never a false zero."""
    if np.isnan(share):
        return "not finite"
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def told(value: float) -> str:
    """A number in two digits, or that it is not one."""
    return short(float(value) if np.isfinite(value) else None)


def token_name(profiles: Profiles, position: int) -> str:
    """A token in quotes with its position."""
    return f"“{visible(profiles.tokens[position])}” (position {position})"


def typical_looseness(profiles: Profiles, bound: str) -> float:
    """Decades between bound and norm at the embedding, in the median over the tokens."""
    decades = profiles.looseness(profiles.kinds[0], bound)[0]
    known = decades[~np.isnan(decades)]
    return float(np.median(known)) if len(known) else float("nan")


def norm_name(profiles: Profiles, kind: str) -> str:
    """Which norm was measured at the embedding."""
    return "operator norm" if profiles.is_spectral(kind) else "Frobenius norm"


def _with_shares(profiles: Profiles) -> list[str]:
    return [kind for kind in profiles.kinds if not np.isnan(profiles.shares(kind)[0]).any()]


def _not_finite(profiles: Profiles) -> list[str]:
    """What comes before everything else: numbers that are none."""
    last = "The last representation itself is not finite: no derivative of it means anything."
    said = [] if profiles.last_is_finite else [last]
    norms = sum(int(profiles.unmeasured(kind).sum()) for kind in profiles.kinds)
    count = norms + profiles.unbounded()
    if count:
        which = f"measured norms {norms}, bounds {count - norms}"
        many = f"{count} numbers are" if count > 1 else "1 number is"
        said.append(f"{many} not finite ({which}): there, nothing is said of any bound.")
    return said


def _effective(profiles: Profiles) -> str:
    each = [
        f"{told(effective_number(profiles.shares(kind)[0]))} with {ATTENTION[kind]}"
        for kind in profiles.kinds
    ]
    text = f"Of {profiles.length} tokens at the embedding, the last representation hears"
    return f"{text} in effect {' and '.join(each)} (so many equal shares have the same entropy)."


def _heard(profiles: Profiles, kind: str) -> str:
    shares = profiles.shares(kind)[0]
    order = np.argsort(-shares, kind="stable")[:NAMED]
    each = [f"{token_name(profiles, int(at))} {percent(shares[at])}" for at in order]
    return f"With {ATTENTION[kind]} it hears most of all {', '.join(each)} of the influence."


def _ends(profiles: Profiles, kind: str) -> str:
    shares, last = profiles.shares(kind)[0], min(LAST, profiles.length)
    even = percent(1 / profiles.length), percent(last / profiles.length)
    first, late = percent(shares[0]), percent(shares[-last:].sum())
    text = f"With {ATTENTION[kind]} the first token has {first} of the influence, and the last"
    return f"{text} {last} have {late}; an even spread would give {even[0]} and {even[1]}."


def _rolled(profiles: Profiles) -> str:
    pi = profiles(profiles.kinds[0], "pi")[0]
    apart = [
        f"{percent(np.abs(pi - profiles.shares(kind)[0]).sum() / 2)} from {ATTENTION[kind]}"
        for kind in _with_shares(profiles)
    ]
    text = f"Attention rollout (π) gives the first token {percent(pi[0])}"
    moved = f"; of its weight, this much would have to move: {', '.join(apart)}" if apart else ""
    return f"{text}{moved}."


def _repaired(profiles: Profiles) -> str:
    text = "The repaired bound, which lets attention depend on the input,"
    return f"{text} {_must_hold(profiles, profiles.kinds, 'repaired')}.{_looseness(profiles)}"


def _looseness(profiles: Profiles) -> str:
    kind = profiles.kinds[0]
    printed, repaired = (typical_looseness(profiles, bound) for bound in BOUNDS)
    places = {"it": repaired, "the printed bound": printed}
    each = [f"{name} lies {_signed(at)}" for name, at in places.items() if not np.isnan(at)]
    if not each:
        return ""
    norms = f"the measured {norm_name(profiles, kind)}", "that norm"
    said = " and ".join(f"{lies} {norm}" for lies, norm in zip(each, norms, strict=False))
    median = "in the median over the tokens at the embedding"
    text = f" With {ATTENTION[kind]}, {median}, {said}"
    if profiles.is_spectral(kind) or not (repaired < 0 or printed < 0):
        return f"{text}."
    width = np.log10(float(profiles.first_row["width"] or 1)) / 2
    lower = f"the operator norm may be {width:.1f} decades smaller, or more for an estimate"
    return f"{text}; {lower}, so that this alone decides nothing."


def _signed(decades: float) -> str:
    return f"{abs(decades):.1f} decades {'above' if decades >= 0 else 'below'}"


def _printed_true(profiles: Profiles) -> str:
    stands = _stands(profiles, ("true",), "printed")
    text = f"With true attention the printed bound of Theorem 5.1 {stands}"
    if not profiles.exceeded("true", "printed").any():
        promise = "presumes attention that does not depend on the input, and does not promise more"
        return f"{text}; the theorem {promise}."
    fails = "This is a hypothesis failure: the theorem presumes attention that does not depend on"
    return f"{text}{_most(profiles)}. {fails} the input, and here it does."


def _most(profiles: Profiles) -> str:
    over, found = profiles("true", "log10_over_printed"), profiles.exceeded("true", "printed")
    known = np.where(found & ~np.isnan(over), over, -np.inf)
    if not np.isfinite(known).any():
        return ""
    layer, position = np.unravel_index(np.argmax(known), known.shape)
    factor = told(10.0 ** min(known.max(), 300.0))
    most = f"most of all by a factor of {factor} or more at layer {layer}"
    return f"; {most}, {token_name(profiles, int(position))}"


def _printed_frozen(profiles: Profiles) -> str:
    text = "With attention held fixed, as Theorem 5.1 presumes, its printed bound"
    return f"{text} {_must_hold(profiles, ('frozen',), 'printed')}."


def _must_hold(profiles: Profiles, kinds: Sequence[str], bound: str) -> str:
    wrong = any(profiles.exceeded(kind, bound).any() for kind in kinds)
    must_not = ", which must not be: the statement or this program is wrong"
    return _stands(profiles, kinds, bound) + (must_not if wrong else "")


def _stands(profiles: Profiles, kinds: Sequence[str], bound: str) -> str:
    """At how many pairs a bound is exceeded, holds, or neither is known; numbers that are none."""
    verdicts = "exceeded", "within", "undecided", "not_a_number"
    counts = [sum(int(profiles.judged(k, bound, v).sum()) for k in kinds) for v in verdicts]
    exceeded, within, undecided, unknown = counts
    total = sum(counts)
    pairs = f"{total} pairs of layer and token"
    if len(kinds) > 1:
        pairs = f"{total} triples of attention, layer and token"
    if unknown == total:
        return f"has no verdict at any of {pairs}: no number is finite"
    if within == total:
        return f"holds at all {pairs}"
    # Exceeded comes last: what a caller adds speaks of it.
    heads = {"undecided": undecided, "without a finite number": unknown, "exceeded": exceeded}
    parts = [f"is {head} at {count}" for head, count in heads.items() if count]
    return ", ".join([f"holds at {within} of {pairs}", *parts])
