"""Eviction policies: a score for each cached token, and the tokens that are never evicted."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from glassesjax.arrays import Array, Float, Int
from glassesjax.borders import NON_NEGATIVE, POSITIVE_SHARE, border, check_fields
from glassesjax.errors import BadInput

PositionIds = Literal["original", "compressed", "consecutive"]
PrefillMode = Literal["exact", "one_shot", "chunked"]  # how a prompt is read: see ``prefill``
SHORT = "short"  # baseline whose cache is cleared when it is full; no policy


class Candidates(NamedTuple):
    """Inputs of a policy's score: the cache slots of one decision, after the current query.

    A decision is a layer's, or one key-value head's for a head-wise policy. The axis has all slots
    of the arrays: one more than the capacity, or all that was cached and read in one-shot and
    chunked eviction.
    """

    position: Int[Array, " slots"]
    """Absolute position of the token in each slot; -1 in an empty one."""
    weight: Float[Array, " slots"]
    """Attention weight of the current query, mean over the decision's query heads."""
    mass: Float[Array, " slots"]
    """Accumulated attention: the sum over all queries so far, the current one included."""
    now: Int[Array, ""]
    """Position of the current token."""


Score = Callable[[Candidates], Float[Array, " slots"]]


def fifo_score(candidates: Candidates) -> Float[Array, " slots"]:
    """FIFO score: all tokens are equal, and ties evict the smallest position.

    Args:
      candidates: The eviction candidates.

    Returns:
      Zeros.
    """
    import jax.numpy as jnp  # local: policies are parsed and validated without JAX

    return jnp.zeros_like(candidates.weight)


def attention_score(candidates: Candidates) -> Float[Array, " slots"]:
    """TOVA score: attention weight of the current query.

    Source: arXiv 2401.06104v2, TOVA, equation 9.

    Args:
      candidates: The eviction candidates.

    Returns:
      The weights.
    """
    return candidates.weight


def accumulated_score(candidates: Candidates) -> Float[Array, " slots"]:
    """H2O score: accumulated attention.

    Source: arXiv 2306.14048, as arXiv 2401.06104v2 describes it (H2O). Its main variant and its
    authors' code decide by head: ``h2o``; by layer: ``h2o-layer``.

    Args:
      candidates: The eviction candidates.

    Returns:
      Sums over the queries so far.
    """
    return candidates.mass


def mean_score(candidates: Candidates) -> Float[Array, " slots"]:
    """Mean attention over the queries that saw the token; a sum favors early tokens.

    As a policy in decoding it is ours. Two packages divide in the same way: kvpress, whose
    ObservedAttention does in prefill what ``h2o_mean@0`` does in ``one_shot``, and OpenVINO GenAI,
    whose aggregation mode NORM_SUM it is.

    Source: arXiv 2401.06104v2, footnote to H2O, describes the bias.

    Args:
      candidates: The eviction candidates.

    Returns:
      Accumulated attention over the number of queries from the token's position on.
    """
    import jax.numpy as jnp

    # A slot that was empty has position -1, hence an age of at least one.
    age = jnp.maximum(candidates.now - candidates.position + 1, 1)
    return candidates.mass / age.astype(candidates.mass.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """An eviction policy: the token of the lowest score is evicted, unless it is protected.

    After each token that does not fit, the lowest score is evicted, of equal ones the smallest
    position. The newest token is a candidate like any other unless ``recent`` protects it.
    """

    name: str
    """Name of the score, as in ``POLICIES``."""
    score: Score
    """Higher scores are retained; a function of this module or of yours, hashed by identity. It
    gives one number a slot; integers are compared exactly. If a token must be evicted and the
    score of a candidate is NaN, the representation of the current token is NaN, and with it the
    layers above."""
    sinks: int = 0
    """Number of first positions that are never evicted."""
    recent: int | None = 0
    """Number of newest positions, the current one included, that are never evicted; half of the
    slots, but at least 1, if None. 1 protects the newest token, as kvpress does."""
    head_wise: bool = False
    """Whether each key-value head evicts separately, by the mean over its query heads; else
    one token is evicted from all heads of a layer, by the mean over all heads."""
    decay: float = 1.0
    """Factor of the accumulated attention at each step."""
    bounded: bool = True
    """Whether tokens are evicted at all; False for ``full``."""
    position_ids: PositionIds = "original"
    """Position ids of retained tokens under rotary positions: original; with gaps over ten
    compressed (see ``glassesjax.cache.position_ids``); or consecutive."""

    def __post_init__(self) -> None:
        least = {"sinks": NON_NEGATIVE, "recent": NON_NEGATIVE, "decay": POSITIVE_SHARE}
        check_fields(self, "Policy", **least)

    def protected(self, slots: int) -> int:
        """Number of newest tokens that are never evicted.

        Args:
          slots: Capacity of the state.

        Returns:
          ``recent``, or half of the slots, rounded down, but at least 1.
        """
        return max(slots // 2, 1) if self.recent is None else self.recent

    def check(self, slots: int) -> None:
        """Validates the capacity of a state for this policy.

        Args:
          slots: Capacity of the state.

        Raises:
          BadInput: Fewer slots than protected tokens, of which the newest one always counts.
        """
        least = self.sinks + max(self.protected(slots), 1)
        if slots >= max(least, 1):
            return
        kept = f"{self.sinks} first and {self.protected(slots)} newest tokens"
        expected = f"Expected at least {least} slots for {self}, which always keeps {kept}"
        raise BadInput(f"{expected}, got {slots}: use more slots or protect fewer.")

    def __str__(self) -> str:
        """The canonical name, which ``policy`` parses if the score's name is in ``POLICIES``.

        It omits the position ids and the score function. Of a policy that evicts nothing it is the
        name alone, since no other setting has an effect.
        """
        if not self.bounded:
            return self.name
        # Only what differs from the named policy's defaults, so that all aliases have one name.
        default = POLICIES.get(self.name, Policy(name=self.name, score=self.score))
        sinks = f"+{self.sinks}" if self.sinks else ""
        newest = "half" if self.recent is None else self.recent
        recent = f"@{newest}" if self.recent != default.recent else ""
        decay = f"~{float(self.decay)!r}" if self.decay != default.decay else ""
        ending = "-head" if self.head_wise else "-layer"
        head = ending if self.head_wise != default.head_wise else ""
        return f"{self.name}{head}{sinks}{recent}{decay}"


# One row a policy. A name on the command line may add to it: see ``policy``.
POLICIES: Mapping[str, Policy] = {
    row.name: row
    for row in (
        Policy(name="full", score=fifo_score, bounded=False),
        Policy(name="window", score=fifo_score),
        Policy(name="h2o", score=accumulated_score, recent=None, head_wise=True),
        Policy(name="h2o_mean", score=mean_score, recent=None, head_wise=True),
        Policy(name="tova", score=attention_score),
    )
}


# Policies whose score does not depend on attention: all heads of a layer evict the same token.
_ALIKE = ("full", "window")
_FORM = "NAME[-head|-layer][+SINKS][@RECENT][~DECAY]"


@border()
def policy(text: str, *, beside: Sequence[str] = ()) -> Policy:
    """A policy by name: ``NAME[-head|-layer][+SINKS][@RECENT][~DECAY]``.

    With ``-head`` each key-value head evicts separately, with ``-layer`` all heads of a layer evict
    one token. The default of ``h2o`` and ``h2o_mean`` is by head, of ``tova`` by layer; for
    ``window`` and ``full``, whose order is that of time in every head, neither has an effect.

    ``window+4`` is the paper's Window+4, ``h2o-layer`` its H2O by layer, ``h2o@32`` protects the
    newest 32 tokens instead of half of the slots, ``tova@half`` half of them, ``tova@1`` never
    evicts the newest token (kvpress's convention), ``h2o~0.99`` multiplies the accumulated
    attention by 0.99 at each step.

    Args:
      text: The name with its options.
      beside: Names that the caller parses, for the hint of an error.

    Returns:
      The policy; ``str`` of it is the canonical name of all aliases.

    Raises:
      BadInput: There is no such policy, or its decay is not over 0 and at most 1.
    """
    count, decimal = "0|[1-9][0-9]{0,8}", r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
    added = rf"(-head|-layer)?(?:\+({count}))?(?:@({count}|half))?(?:~({decimal}))?"
    match = re.fullmatch(rf"(?P<name>[a-z0-9_]+){added}", text)
    if match is None or match["name"] not in POLICIES:
        name = re.split(r"[-+@~]", text)[0]
        # The nearest name keeps the options of the text; names of the caller have none.
        near = difflib.get_close_matches(name, (*beside, *POLICIES), n=1, cutoff=0.5)
        meant = [close if close in beside else close + text[len(name) :] for close in near]
        hint = f"did you mean {meant[0]!r}?" if meant and meant[0] != text else "see --help."
        others = "".join(f", or {other}" for other in beside)
        names = f"with NAME out of {', '.join(POLICIES)}{others}"
        raise BadInput(f"Expected a policy {_FORM} {names}, got {text!r}: {hint}")
    _, head, sinks, recent, decay = match.groups()
    row = POLICIES[match["name"]]
    if not row.bounded and any((sinks, recent, decay)):
        drops = f"{row.name}, which drops nothing, without +, @ or ~"
        raise BadInput(f"Expected plain {drops}, got {text!r}: leave them out.")
    # Without an option its value is the row's own, and no sinks; ``half`` is stored as None.
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
    """Canonical names of policies, without duplicates.

    Args:
      names: As on the command line, also aliases.
      beside: Names that the caller parses; they are returned unchanged.

    Returns:
      One name per policy, in the same order.

    Raises:
      BadInput: There is none, one is unknown, or two of them name one policy.
    """
    if not names:
        raise BadInput("Expected one or more different --policies, got none: name one.")
    read: dict[str, str] = {}
    for name in names:
        canonical = name if name in beside else str(policy(name, beside=beside))
        if canonical in read:
            both = f"{read[canonical]} and {name}, which are one policy"
            raise BadInput(f"Expected different --policies, got {both}: leave one out.")
        read[canonical] = name
    return tuple(read)
