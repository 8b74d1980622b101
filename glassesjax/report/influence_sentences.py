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
      Plain text, on who is heard, then on the rollout and on the two bounds.

    Raises:
      ValueError: There is no row of the influence study.
    """
    profiles = Profiles(rows)
    printed = {"true": _printed_true, "frozen": _printed_frozen}
    return [
        _effective(profiles),
        *(_heard(profiles, kind) for kind in profiles.kinds),
        *(_ends(profiles, kind) for kind in profiles.kinds),
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
        for kind in profiles.kinds
    ]
    text = f"Attention rollout (π) gives the first token {percent(pi[0])}"
    return f"{text}; of its weight, this much would have to move: {', '.join(apart)}."


def _printed_true(profiles: Profiles) -> str:
    over, found = profiles("true", "log10_over_printed"), profiles.exceeded("true", "printed")
    where = f"of {profiles.pairs} pairs of layer and token"
    bound = "With true attention the printed bound of Theorem 5.1 is"
    if not found.any():
        promise = "presumes attention that does not depend on the input, and does not promise this"
        return f"{bound} not seen to be exceeded at any {where}; the theorem {promise}."
    text = f"{bound} exceeded at {found.sum()} {where}"
    known = np.where(found & ~np.isnan(over), over, -np.inf)
    if np.isfinite(known).any():
        layer, position = np.unravel_index(np.argmax(known), known.shape)
        factor = told(10.0 ** min(known.max(), 300.0))
        most = f"by a factor of {factor} or more at layer {layer}"
        text = f"{text}, most of all {most}, {token_name(profiles, int(position))}"
    fails = "This is a hypothesis failure: the theorem presumes attention that does not depend on"
    return f"{text}. {fails} the input, and here it does."


def _printed_frozen(profiles: Profiles) -> str:
    text = "With attention held fixed, as Theorem 5.1 presumes, its printed bound"
    return f"{text} {_stands(profiles, ('frozen',), 'printed')}."


def _repaired(profiles: Profiles) -> str:
    text = "The repaired bound, which lets attention depend on the input,"
    stands = _stands(profiles, profiles.kinds, "repaired")
    decades = [typical_looseness(profiles, bound) for bound in BOUNDS]
    least = "" if profiles.is_spectral(profiles.kinds[0]) else "at least "
    loose = f"{decades[1]:.1f} decades above the measured norm in the median"
    than = f"the printed one {_signed(decades[0])}"
    return f"{text} {stands}; at the embedding it lies {least}{loose} over the tokens, {than}."


def _signed(decades: float) -> str:
    return f"{abs(decades):.1f} {'above' if decades >= 0 else 'below'}"


def _stands(profiles: Profiles, kinds: Sequence[str], bound: str) -> str:
    count = sum(int(profiles.exceeded(kind, bound).sum()) for kind in kinds)
    pairs = f"{profiles.pairs} pairs of layer and token"
    if count:
        total = f"{count} times in {len(kinds) * profiles.pairs}"
        return f"is exceeded {total}, which must not be: the statement or this program is wrong"
    both = f", with {' and with '.join(ATTENTION[kind] for kind in kinds)}"
    return f"holds at all {pairs}{both if len(kinds) > 1 else ''}"
