"""Which token a full state forgets: a policy is a score, and what it never lets go."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from glassesjax.arrays import Array, Float, Int
from glassesjax.borders import NON_NEGATIVE, POSITIVE_SHARE, border, check_fields
from glassesjax.errors import BadInput

Spacing = Literal["true", "compressed", "consecutive"]
PrefillMode = Literal["exact", "one_shot", "chunked"]  # how a prompt is read: see ``prefill``
SHORT = "short"  # the baseline whose state is emptied as a whole where it is full; no policy


class Candidates(NamedTuple):
    """What a policy looks at: the places of one decision, once the current query has attended.

    A decision is a layer's, or one key-value head's for a head-wise policy.
    """

    position: Int[Array, " places"]
    """Absolute position of the token in each place; -1 in an empty one."""
    weight: Float[Array, " places"]
    """Attention that the current query pays, the mean over the decision's query heads."""
    mass: Float[Array, " places"]
    """The same summed over all queries so far, the current one included."""
    now: Int[Array, ""]
    """Position of the current token."""


Score = Callable[[Candidates], Float[Array, " places"]]


def order_score(places: Candidates) -> Float[Array, " places"]:
    """Nobody before anybody: ties go to the smallest position, so that the oldest is dropped.

    Args:
      places: What is in the places.

    Returns:
      Zeros.
    """
    import jax.numpy as jnp  # here: a policy is named and checked without JAX

    return jnp.zeros_like(places.weight)


def weight_score(places: Candidates) -> Float[Array, " places"]:
    """What the current query attends to, it keeps.

    Source: arXiv 2401.06104v2, TOVA, equation 9.

    Args:
      places: What is in the places.

    Returns:
      The current query's attention.
    """
    return places.weight


def mass_score(places: Candidates) -> Float[Array, " places"]:
    """What has been attended to most in total is kept.

    Source: arXiv 2306.14048, as arXiv 2401.06104v2 describes it (H2O). Its main variant and its
    authors' code decide by head: ``h2o``; by layer: ``h2o-layer``.

    Args:
      places: What is in the places.

    Returns:
      Attention received so far.
    """
    return places.mass


def mean_mass_score(places: Candidates) -> Float[Array, " places"]:
    """What has been attended to most for each query that could: a sum favors early tokens.

    Ours as a policy of its own while decoding. Two packages divide in the same way: kvpress, whose
    ObservedAttention does in prefill what ``h2o_mean@0`` does in ``one_shot``, and OpenVINO GenAI,
    whose aggregation mode NORM_SUM it is.

    Source: the fault is named by arXiv 2401.06104v2, in its footnote to H2O.

    Args:
      places: What is in the places.

    Returns:
      Attention received so far, over the number of queries from the token's own on.
    """
    import jax.numpy as jnp

    age = jnp.maximum(places.now - places.position + 1, 1)
    return places.mass / age.astype(places.mass.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What a bounded state keeps: the highest scores, beside what it always keeps.

    After each token that finds the state full, the lowest score goes; ties go to the smallest
    position. The newest token competes like any other unless ``recent`` protects it.
    """

    name: str
    """Of the score, as in ``POLICIES``."""
    score: Score
    """Higher stays; a function of this module or of yours, hashed by identity. It gives one number
    a place; integers are compared exactly. Where a token must go and a score that may go is NaN,
    nobody knows which: the representation of the token that was read is NaN then, and with it what
    follows in the layers above."""
    sinks: int = 0
    """How many of the first positions are never dropped."""
    recent: int | None = 0
    """How many of the newest positions, the current one included, are never dropped; half of the
    slots, but at least 1, if None. 1 protects the newest token, as kvpress does."""
    head_wise: bool = False
    """Whether each key-value head decides for itself, by the mean over its own query heads; else
    the layer decides for all of them, by the mean over all heads."""
    decay: float = 1.0
    """What the mass of a token is multiplied with at each step."""
    bounded: bool = True
    """Whether the state may drop tokens at all; ``full`` does not."""
    spacing: Spacing = "true"
    """Where rotary positions see the tokens that are kept: where they stood (true); with gaps over
    ten compressed (see ``glassesjax.cache.spacing``); or side by side."""

    def __post_init__(self) -> None:
        least = {"sinks": NON_NEGATIVE, "recent": NON_NEGATIVE, "decay": POSITIVE_SHARE}
        check_fields(self, "Policy", **least)

    def protected(self, slots: int) -> int:
        """How many of the newest tokens are never dropped.

        Args:
          slots: Capacity of the state.

        Returns:
          ``recent``, or half of the slots, rounded down, but at least 1.
        """
        return max(slots // 2, 1) if self.recent is None else self.recent

    def check(self, slots: int) -> None:
        """Whether a state of that size can follow the policy.

        Args:
          slots: Capacity of the state.

        Raises:
          BadInput: Nothing could be kept, or nothing could be dropped.
        """
        least = self.sinks + max(self.protected(slots), 1)
        if slots >= max(least, 1):
            return
        kept = f"{self.sinks} first and {self.protected(slots)} newest tokens"
        wanted = f"Expected at least {least} slots for {self}, which always keeps {kept}"
        raise BadInput(f"{wanted}, got {slots}: use more slots or protect fewer.")

    def __str__(self) -> str:
        """As ``policy`` reads it, if its name is in ``POLICIES``: the one name that rows have.

        The spacing is left out, and so is the score function: two scores of one name look alike.
        Of a policy that drops nothing only the name is told, for nothing else says what it keeps.
        """
        if not self.bounded:
            return self.name
        own = POLICIES.get(self.name, Policy(name=self.name, score=self.score))
        head = {True: "-head", False: "-layer"}[self.head_wise]
        sinks = f"+{self.sinks}" if self.sinks else ""
        newest = "half" if self.recent is None else self.recent
        recent = f"@{newest}" if self.recent != own.recent else ""
        decay = f"~{float(self.decay)!r}" if self.decay != own.decay else ""
        return f"{self.name}{head if self.head_wise != own.head_wise else ''}{sinks}{recent}{decay}"


# One row a policy. A name on the command line may add to it: see ``policy``.
POLICIES: Mapping[str, Policy] = {
    row.name: row
    for row in (
        Policy(name="full", score=order_score, bounded=False),
        Policy(name="window", score=order_score),
        Policy(name="h2o", score=mass_score, recent=None, head_wise=True),
        Policy(name="h2o_mean", score=mean_mass_score, recent=None, head_wise=True),
        Policy(name="tova", score=weight_score),
    )
}


# Policies whose order does not depend on attention: all heads of a layer drop the same token.
_ALIKE = ("full", "window")
_FORM = "NAME[-head|-layer][+SINKS][@RECENT][~DECAY]"


@border()
def policy(text: str, *, beside: Sequence[str] = ()) -> Policy:
    """A policy by name: ``NAME[-head|-layer][+SINKS][@RECENT][~DECAY]``.

    ``-head`` lets each key-value head decide for itself, ``-layer`` the layer for all of them.
    ``h2o`` and ``h2o_mean`` decide by head if neither is given, ``tova`` by layer; of ``window``
    and ``full``, whose order is that of time in every head, both endings are the plain policy.

    ``window+4`` is the paper's Window+4, ``h2o-layer`` its H2O by layer, ``h2o@32`` protects the
    newest 32 tokens instead of half of the slots, ``tova@half`` half of them, ``tova@1`` never
    drops the newest token (kvpress's convention), ``h2o~0.99`` multiplies what was received with
    0.99 at each step.

    Args:
      text: The name with what is added to it.
      beside: Names that the caller reads itself, for the hint to one who mistypes them.

    Returns:
      The policy; ``str`` of it is its one name, whichever alias was read.

    Raises:
      BadInput: There is no such policy, or its decay is not over 0 and at most 1.
    """
    count, decimal = "0|[1-9][0-9]{0,8}", r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
    added = rf"(-head|-layer)?(?:\+({count}))?(?:@({count}|half))?(?:~({decimal}))?"
    found = re.fullmatch(rf"(?P<name>[a-z0-9_]+){added}", text)
    if found is None or found["name"] not in POLICIES:
        raise _unknown(text, beside)
    _, head, sinks, recent, decay = found.groups()
    row = POLICIES[found["name"]]
    if not row.bounded and any((sinks, recent, decay)):
        drops = f"{row.name}, which drops nothing, without +, @ or ~"
        raise BadInput(f"Expected plain {drops}, got {text!r}: leave them out.")
    kept = {None: row.recent, "half": None}
    by_head = row.head_wise if head is None or row.name in _ALIKE else head == "-head"
    return dataclasses.replace(
        row,
        head_wise=by_head,
        sinks=int(sinks or 0),
        recent=kept[recent] if recent in kept else int(recent),
        decay=row.decay if decay is None else float(decay),
    )


@border()
def distinct_policies(names: Sequence[str], *, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """Policies by the names that rows have, each once.

    Args:
      names: As on the command line, aliases among them.
      beside: Names that the caller reads itself; they stay as they are.

    Returns:
      One name a policy, in the same order.

    Raises:
      BadInput: There is none, one is unknown, or two of them name one policy.
    """
    if not names:
        raise BadInput("Expected one or more different --policies, got none: name one.")
    read: dict[str, str] = {}
    for name in names:
        own = name if name in beside else str(policy(name, beside=beside))
        if own in read:
            both = f"{read[own]} and {name}, which are one policy"
            raise BadInput(f"Expected different --policies, got {both}: leave one out.")
        read[own] = name
    return tuple(read)


def _unknown(text: str, beside: Sequence[str]) -> BadInput:
    name = re.split(r"[-+@~]", text)[0]
    near = difflib.get_close_matches(name, (*beside, *POLICIES), n=1, cutoff=0.5)
    meant = [found if found in beside else found + text[len(name) :] for found in near]
    hint = f"did you mean {meant[0]!r}?" if meant and meant[0] != text else "see --help."
    names = f"with NAME out of {', '.join(POLICIES)}{''.join(f', or {other}' for other in beside)}"
    return BadInput(f"Expected a policy {_FORM} {names}, got {text!r}: {hint}")
