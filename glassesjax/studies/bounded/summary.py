"""Summary of a bounded run."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.bounded.panels import Panel, Token, distance_panels, token_panels
from glassesjax.studies.bounded.records import BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.statements import Violation, statement_violations


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsSummary:
    """One family of runs under one policy, in L2."""

    panel: Panel
    lengths: int
    """How many lengths were measured."""
    not_finite: int
    """At how many of them a pass is not finite."""
    equal_from: int | None
    """The shortest measured length from which on all are equal; None where the longest is not."""
    must_from: int | None
    """From where they must be; None where no statement says so."""
    last: int
    """The longest measured length."""
    distance: float
    """In L2 at that length; NaN where it is not finite."""


class Carried(NamedTuple):
    """Some tokens, and their share of the squared influence."""

    tokens: int
    share: float


class Kept(NamedTuple):
    """Influence of evicted tokens under one cache."""

    panel: Panel
    tokens: int
    """How many are evicted."""
    share: float
    """Of the squared influence."""


class Named(NamedTuple):
    """One token by name."""

    position: int
    text: str
    share: float
    """Of the squared influence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSummary:
    """The text under one policy."""

    panel: Panel
    tokens: int
    not_finite: int
    """How many tokens have an influence that is not finite."""
    evicted: Carried
    """Tokens that the last query sees in no layer."""
    cached: int
    """Tokens that it sees in some layer."""
    without_path: int
    """Tokens from which no path leads to the last representation."""
    by_layers: list[Carried]
    """Tokens by the share of layers in which the last query still sees them: in none, then in up to
    a quarter, half, three quarters and all of them."""
    largest: list[Named]
    """Of the tokens in no layer those with the most influence, largest first; three at most."""
    one_leads: bool
    """Whether the first of these has more influence than the second, beyond sampling error."""
    first_share: float
    """Of the squared influence, the first token's share."""
    last_share: float
    """The last one's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundedSummary:
    """Summary of a bounded run."""

    passes: Passes
    """How many rows are finite."""
    runs: list[RunsSummary]
    """In the order of the run."""
    known: int
    """How many of them have no pass that is not finite."""
    collapsed: int
    """How many of these are equal at the longest length."""
    texts: list[TextSummary]
    """In the order of the run."""
    caches: int
    """How many of these evict tokens, with finite influence only."""
    keeping: int
    """Under how many of them evicted tokens have any influence."""
    most: Kept | None
    """The cache under which evicted tokens keep most; None where none evicts."""
    least: Kept | None
    """That under which they keep least."""
    fewest_slots: int | None
    """Of the caches that evict; None where none does."""
    most_slots: int | None
    """Likewise."""
    tokens: int
    """Of the text, summed over these caches."""
    without_path: int
    """How many of them no path leads from to the last representation."""
    bounds: int
    """Tokens, over all caches, whose influence is compared with the repaired bound: none where
    norms are estimated or the pass is rounded, of which no bound is stated."""
    violations: list[Violation]
    """Statements that must hold and do not."""


def summarize(run: Run[DistanceRow | TokenRow, BoundedConstants]) -> BoundedSummary:
    """Computes the summary of a run."""
    layers = run.constants.num_layers
    runs = [
        RunsSummary(
            panel=panel,
            lengths=len(rows),
            not_finite=sum(not row.finite for row in rows),
            equal_from=first_equal(rows),
            must_from=rows[-1].equal_from,  # the same in all rows of a panel
            last=rows[-1].length,
            distance=rows[-1].distance,
        )
        for panel, rows in distance_panels(run.rows).items()
    ]
    known = [each for each in runs if not each.not_finite]
    texts = [_text(panel, mine, layers) for panel, mine in token_panels(run.rows).items()]
    # A cache that evicts nothing, or whose influence is not finite, has no share to compare.
    evicting = [each for each in texts if each.evicted.tokens and not each.not_finite]
    kept = sorted((Kept(each.panel, *each.evicted) for each in evicting), key=lambda k: -k.share)
    slots = [each.panel.slots for each in kept]
    return BoundedSummary(
        passes=passes(
            (row.finite for row in run.rows),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in run.rows),
        ),
        runs=runs,
        known=len(known),
        collapsed=sum(each.equal_from is not None for each in known),
        texts=texts,
        caches=len(kept),
        keeping=sum(each.share > 0 for each in kept),
        most=kept[0] if kept else None,
        least=kept[-1] if kept else None,
        fewest_slots=min(slots, default=None),
        most_slots=max(slots, default=None),
        tokens=sum(each.tokens for each in evicting),
        without_path=sum(each.without_path for each in evicting),
        bounds=sum(isinstance(r, TokenRow) and r.log10_repaired is not None for r in run.rows),
        violations=list(statement_violations(run)),
    )


def first_equal(rows: Sequence[DistanceRow]) -> int | None:
    """The shortest measured length from which all are equal.

    Returns:
      The length; None where the longest is not equal.
    """
    equal = None
    for row in reversed(rows):
        if not row.equal:
            break
        equal = row.length
    return equal


def _text(panel: Panel, tokens: Sequence[Token], num_layers: int) -> TextSummary:
    largest = largest_evicted(tokens)
    evicted = _carried([token for token in tokens if not token.row.cached_layers])
    return TextSummary(
        panel=panel,
        tokens=len(tokens),
        not_finite=sum(not token.row.finite for token in tokens),
        evicted=evicted,
        cached=len(tokens) - evicted.tokens,
        without_path=sum(not token.row.reaches for token in tokens),
        by_layers=by_layers(tokens, num_layers),
        largest=[Named(row.position, row.token_text, share) for row, share in largest],
        one_leads=leads([token.row for token in largest[:2]]),
        first_share=tokens[0].share,
        last_share=tokens[-1].share,
    )


def _carried(tokens: Sequence[Token]) -> Carried:
    return Carried(len(tokens), sum((token.share for token in tokens), 0.0))


def by_layers(tokens: Sequence[Token], num_layers: int) -> list[Carried]:
    """Influence by the share of layers in which the last query still sees the token.

    Returns:
      Tokens in no layer, then in up to a quarter, half, three quarters and all of them.
    """
    # Rounded up, in integers: 0 for no layer, 4 for more than three quarters.
    quarter = lambda token: -(-4 * token.row.cached_layers // num_layers)
    return [_carried([t for t in tokens if quarter(t) == wanted]) for wanted in range(5)]


def largest_evicted(tokens: Sequence[Token], most: int = 3) -> list[Token]:
    """Tokens that no layer has cached any more with the most influence, if they have any.

    Args:
      tokens: Of one panel.
      most: How many at most.
    """
    evicted = [token for token in tokens if not token.row.cached_layers and token.share > 0]
    return sorted(evicted, key=lambda token: -token.share)[:most]


def leads(rows: Sequence[TokenRow]) -> bool:
    """Whether the first of some rows has more influence than the second, beyond sampling error.

    Args:
      rows: With the most influence first; of random probes with standard errors.

    Returns:
      Whether they are apart by over two standard errors of their difference; exact norms are if
      they differ at all.
    """
    if len(rows) < 2:
        return len(rows) == 1
    # Exact norms have no error; an estimate without a finite error separates nothing.
    errors = [0.0 if row.standard_error is None else row.standard_error for row in rows[:2]]
    return rows[0].frobenius - rows[1].frobenius > 2 * math.hypot(*errors)
