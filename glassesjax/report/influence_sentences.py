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
      Plain text: first what is not finite, if anything; then on who is heard, on the rollout and
      on the two bounds.

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
    return f"{text} {stands(profiles, profiles.kinds, 'repaired')}.{_looseness(profiles)}"


def _looseness(profiles: Profiles) -> str:
    kind = profiles.kinds[0]
    printed, repaired = (typical_looseness(profiles, bound) for bound in BOUNDS)
    places = {"it": repaired, "the printed bound": printed}
    each = [f"{name} lies {_signed(at)}" for name, at in places.items() if not np.isnan(at)]
    if not each:
        return ""
    norm = f"the measured {norm_name(profiles, kind)} with {ATTENTION[kind]}"
    text = f" From {norm} at the embedding, in the median over the tokens, {', '.join(each)}"
    if profiles.is_spectral(kind) or not min(places.values()) < 0:
        return f"{text}."
    width = np.log10(float(profiles.first_row["width"] or 1)) / 2
    lower = f"the operator norm may be up to {width:.1f} decades smaller"
    return f"{text}; {lower}, so that this alone decides nothing."


def _signed(decades: float) -> str:
    return f"{abs(decades):.1f} decades {'above' if decades >= 0 else 'below'}"
