"""The numbers that an influence run comes down to, over all its passages."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.influence.profiles import (
    Bound,
    Measure,
    Profiles,
    effective_number,
    profiles_of,
)
from glassesjax.studies.influence.records import InfluenceConstants, InfluenceRow, Kind, Verdict

LAST = 8  # how many tokens are the last ones
MOST = 10  # one token in so many is among the most influential
FAINT = 0.1  # of an even share; a token with less has next to no influence
EQUAL = 1e-6  # shares that differ by less, relative to an even one, are the same
# Bounds that the theorems prove: the repaired one always, the printed one for constant attention.
MUST_HOLD: tuple[tuple[Kind, Bound], ...] = (
    ("true", "repaired"),
    ("frozen", "repaired"),
    ("frozen", "printed"),
)


class Spread(NamedTuple):
    """One number a passage, summed up; NaN where a passage has none."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Spread":
        """Median and range."""
        numbers = np.array(list(values), np.float64)
        return cls(float(np.median(numbers)), float(np.min(numbers)), float(np.max(numbers)))


class Distance(NamedTuple):
    """Decades from what was measured up to a bound; NaN where there is no finite one."""

    embedding_median: float
    embedding_least: float
    median: float
    least: float


class Verdicts(NamedTuple):
    """How many layers and tokens have each verdict on a bound."""

    within: int
    exceeded: int
    undecided: int
    not_finite: int
    total: int
    """All of them."""
    decided: int
    """Those within and exceeded."""


class Excess(NamedTuple):
    """Where a bound is exceeded most."""

    decades: float
    """Logarithm of what the operator norm is at least, over the bound; positive."""
    factor: float
    """The same as a factor, 1e300 at the most."""
    layer: int
    position: int
    token_text: str


class Concentration(NamedTuple):
    """How the influence at one layer is spread over the tokens of a passage."""

    most: int
    """How many tokens are the most influential ones: a tenth of all, rounded, and one at least."""
    share: float
    """Their share of the squares; NaN where no token has any, or a norm is not finite."""
    faint: int
    """Tokens with less than a tenth of an even share: next to no influence."""


class Named(NamedTuple):
    """One token by name."""

    position: int
    token_text: str
    share: float
    """Of the squares of |J|."""


State = Literal["some", "equal", "none", "not_finite"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassageSummary:
    """One passage; of |J| at the embedding with the first kind of attention, unless named."""

    text: str
    offset: int
    length: int
    """Tokens."""
    effective: Mapping[Kind, Mapping[Measure, float]]
    """Effective number of tokens at the embedding, for each whole kind of attention."""
    state: State
    """``equal`` where all tokens have the same share, to within rounding; ``none`` where none has
    any influence; ``not_finite`` where a norm is not finite."""
    concentration: Concentration
    largest: Named | None
    """The token with the largest share; None but for ``some``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundSummary:
    """One bound under one kind of attention, over all layers and tokens of all passages."""

    distance: Distance
    verdicts: Verdicts


class LayerBound(NamedTuple):
    """One bound at one layer of the first passage."""

    exceeded: int
    """Tokens."""
    undecided: int
    excess: float
    """Largest logarithm of ``at_least`` over the bound; NaN where there is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One residual stream of the first passage; the last one enters the final norm."""

    layer: int
    effective: Mapping[Measure, float]
    concentration: Concentration
    """Of |J|."""
    first_share: float
    """Of the squares of |J|, the first token's share."""
    own_share: float
    """That of the last token, whose own stream it is."""
    last_share: float
    """That of the last tokens: ``LAST`` of them, or all."""
    attention_share: float
    """The attention's share of the stream; NaN after the last layer."""
    largest_norm: float
    """Of the Frobenius norms."""
    bounds: Mapping[Bound, LayerBound]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSummary:
    """One kind of attention, at the embedding unless another place is named."""

    operator_norms: bool
    """Whether operator norms were measured; if not, Frobenius norms stand in for them."""
    effective: Mapping[Measure, Spread]
    """The exponential of the entropy of the shares of squares."""
    first_share: Mapping[Measure, Spread]
    """Share of squares of the first token."""
    last_share: Mapping[Measure, Spread]
    """That of the last ones: ``InfluenceSummary.last`` of them."""
    bounds: Mapping[Bound, BoundSummary]
    """None of them where the pass is rounded."""
    layers: list[LayerSummary]
    """Of the first passage."""
    own_from: int | None
    """From this layer on the last token's own stream has over half of the influence in the first
    passage; None where it has not at the last layer either."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfluenceSummary:
    """Summary of an influence run; the first kind is the first in ``attention``."""

    passes: Passes
    """How many rows are finite."""
    model_dim: int
    norm_decades: float
    """By how many decades an operator norm may be smaller than the Frobenius norm, at the most."""
    passages: list[PassageSummary]
    """In the order of the run."""
    num_passages: int
    """How many there are."""
    last: int
    """How many tokens are the last ones."""
    last_not_finite: int
    """Passages whose last representation is not finite."""
    norms_not_finite: int
    """Over all passages, kinds of attention, layers and tokens."""
    bounds_not_finite: int
    """Where the norms beside them are finite."""
    numbers_not_finite: int
    """Both together."""
    violations: int
    """How often a bound is exceeded that must hold: the repaired one with any attention, and the
    printed one with attention held fixed. Then the program or the statement is wrong."""
    attention: Mapping[Kind, AttentionSummary]
    """The kinds that are whole in the first passage."""
    last_of_layers: int
    """How many tokens are the last ones in the ``layers`` of these."""
    repaired: Verdicts | None
    """On the repaired bound, all kinds of attention together; None where no bound is stated, since
    the pass is rounded."""
    correlation: Mapping[Measure, Spread]
    """Spearman's coefficient with 1 / |v| over tokens at the embedding, first kind of attention."""
    even_first: float
    """Share of the first token in an even spread; the mean over passages."""
    even_last: float
    """That of the last ones."""
    rollout_first: Spread
    """The first token's share in the attention rollout."""
    rollout_moved: Mapping[Measure, Spread]
    """How much of the rollout's weight would have to move to be the shares."""
    excess: Excess | None
    """Of the printed bound with true attention; None where it is not exceeded."""
    relative_error: Mapping[Measure, float]
    """Median standard error over size at the embedding of the first passage, first kind of
    attention, of |J| and of |J v|; NaN where exact."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The conventions that the rows have numbers for."""
        return tuple(self.rollout_moved)

    @property
    def kind(self) -> Kind:
        """The first kind of attention."""
        return next(iter(self.attention))


def summarize(run: Run[InfluenceRow, InfluenceConstants]) -> InfluenceSummary:
    """Computes the summary of a run.

    Raises:
      ValueError: No passage has a whole kind of attention.
    """
    every = profiles_of(run)
    first = every[0]
    # The same number in all passages, so that shares of the last tokens compare.
    last = min(LAST, *(profiles.length for profiles in every))
    norms_not_finite = sum(int(x.unmeasured(each).sum()) for x in every for each in x.kinds)
    bounds_not_finite = sum(profiles.unbounded() for profiles in every)
    correlation, moved, relative_error = _by_measure(every)
    attention = {each: _attention(every, each, last) for each in first.kinds}
    # (kinds, fields of Verdicts) -> (fields of Verdicts,)
    repaired = [each.bounds["repaired"].verdicts for each in attention.values() if each.bounds]
    return InfluenceSummary(
        passes=passes(
            (row.finite for row in run.rows),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in run.rows),
        ),
        model_dim=run.constants.model_dim,
        norm_decades=math.log10(run.constants.model_dim) / 2,
        passages=[_passage(profiles) for profiles in every],
        num_passages=len(every),
        last=last,
        last_not_finite=sum(not profiles.last_is_finite for profiles in every),
        norms_not_finite=norms_not_finite,
        bounds_not_finite=bounds_not_finite,
        numbers_not_finite=norms_not_finite + bounds_not_finite,
        violations=sum(
            int(profiles.exceeded(each, bound).sum())
            for profiles in every
            for each, bound in MUST_HOLD
            if each in profiles.kinds
        ),
        attention=attention,
        last_of_layers=min(LAST, first.length),
        repaired=Verdicts(*map(int, np.sum(repaired, axis=0))) if repaired else None,
        correlation=correlation,
        even_first=float(np.mean([1 / profiles.length for profiles in every])),
        even_last=float(np.mean([last / profiles.length for profiles in every])),
        rollout_first=Spread.over(float(x(x.kinds[0], "rollout")[0, 0]) for x in every),
        rollout_moved=moved,
        excess=_excess(every),
        relative_error=relative_error,
    )


def _by_measure(
    every: Sequence[Profiles],
) -> tuple[dict[Measure, Spread], dict[Measure, Spread], dict[Measure, float]]:
    """``correlation``, ``rollout_moved`` and ``relative_error`` of the summary."""
    first, kind = every[0], every[0].kinds[0]
    # The order of inverse lengths is that of the lengths, turned round: none is divided by.
    correlation = {
        name: Spread.over(
            float(spearman(x.sizes(kind, name)[0], -x(kind, "input_norm")[0]))
            for x in every
            if kind in x.kinds
        )
        for name in (first.measures if "scaled" in first.measures else ())
    }
    # Rollout and shares sum to one: half of all differences leave some tokens and reach others.
    moved = {
        name: Spread.over(
            float(np.abs(x(x.kinds[0], "rollout")[0] - x.shares(x.kinds[0], name)[0]).sum() / 2)
            for x in every
        )
        for name in first.measures
    }
    relative_error: dict[Measure, float] = {}
    for name in _ESTIMATED:
        errors = first.relative_errors(kind, name)[0]
        known = errors[~np.isnan(errors)]
        relative_error[name] = float(np.median(known)) if len(known) else math.nan
    return correlation, moved, relative_error


_ESTIMATED: tuple[Measure, ...] = ("frobenius", "along")


def concentration(shares: np.ndarray) -> Concentration:
    """How concentrated influence is.

    Returns:
      NaN and no faint token where a share is NaN.
    """
    most = max(1, round(len(shares) / MOST))
    top = float(np.sort(shares)[::-1][:most].sum())  # NaN sorts last, so that it comes first
    return Concentration(most, top, int((shares < FAINT / len(shares)).sum()))


def _passage(profiles: Profiles) -> PassageSummary:
    kind = profiles.kinds[0]
    sizes, shares = profiles.sizes(kind, "frobenius")[0], profiles.shares(kind)[0]
    state: State = "some"
    if not (profiles.last_is_finite and np.isfinite(sizes).all()):
        state = "not_finite"
    elif not sizes.any():
        state = "none"
    elif len(shares) > 1 and float(np.ptp(shares)) * len(shares) < EQUAL:
        state = "equal"
    at = int(np.argmax(shares))  # with a NaN its place, which is not used
    return PassageSummary(
        state=state,
        concentration=concentration(shares),
        # Of equal shares rounding would choose the largest.
        largest=Named(at, profiles.tokens[at], float(shares[at])) if state == "some" else None,
        text=profiles.text,
        offset=profiles.offset,
        length=profiles.length,
        effective={
            kind: {
                name: effective_number(profiles.shares(kind, name)[0]) for name in profiles.measures
            }
            for kind in profiles.kinds
        },
    )


def _attention(every: Sequence[Profiles], kind: Kind, last: int) -> AttentionSummary:
    # A run that was cut off may lack a kind in later passages.
    first, having = every[0], [profiles for profiles in every if kind in profiles.kinds]
    # (layers+1, seq) -> (seq,) at the embedding, of each passage
    shares = {name: [x.shares(kind, name)[0] for x in having] for name in first.measures}
    layers = [_layer(first, kind, layer) for layer in range(first.shape[0])]
    own_from = None
    for layer in reversed(layers):
        if not layer.own_share > 0.5:  # where it is NaN, too
            break
        own_from = layer.layer
    bounds = {}
    for bound in first.bounds:
        verdicts: tuple[Verdict, ...] = ("within", "exceeded", "undecided", "not_finite")
        counts = [sum(int(x.judged(kind, bound, v).sum()) for x in having) for v in verdicts]
        ends: list[float] = []
        decades = [profiles.looseness(kind, bound) for profiles in having]
        # Passages differ in length: (layers+1, seq) -> (seq,) at the embedding, then of all layers.
        for some in ([x[0] for x in decades], [x.ravel() for x in decades]):
            known = np.concatenate(some)
            known = known[np.isfinite(known)]
            ends += [np.median(known), np.min(known)] if len(known) else [np.nan, np.nan]
        bounds[bound] = BoundSummary(
            distance=Distance(*map(float, ends)),
            verdicts=Verdicts(*counts, total=sum(counts), decided=sum(counts[:2])),
        )
    return AttentionSummary(
        operator_norms=first.is_spectral(kind),
        effective={name: Spread.over(map(effective_number, s)) for name, s in shares.items()},
        first_share={name: Spread.over(x[0] for x in each) for name, each in shares.items()},
        last_share={
            name: Spread.over(x[-last:].sum() for x in each) for name, each in shares.items()
        },
        bounds=bounds,
        layers=layers,
        own_from=own_from,
    )


def _layer(profiles: Profiles, kind: Kind, layer: int) -> LayerSummary:
    shares = {name: profiles.shares(kind, name)[layer] for name in profiles.measures}
    last, bounds = min(LAST, profiles.length), {}
    for bound in profiles.bounds:
        over = profiles(kind, f"log10_over_{bound}")[layer]
        known = over[~np.isnan(over)]  # NaN where the bound or the norm is zero
        bounds[bound] = LayerBound(
            exceeded=int(profiles.exceeded(kind, bound)[layer].sum()),
            undecided=int(profiles.judged(kind, bound, "undecided")[layer].sum()),
            excess=float(known.max()) if len(known) else math.nan,
        )
    return LayerSummary(
        layer=layer,
        effective={name: effective_number(each) for name, each in shares.items()},
        concentration=concentration(shares["frobenius"]),
        first_share=float(shares["frobenius"][0]),
        own_share=float(shares["frobenius"][-1]),
        last_share=float(shares["frobenius"][-last:].sum()),
        attention_share=float(profiles(kind, "attention_share")[layer, 0]),
        largest_norm=float(profiles(kind, "frobenius")[layer].max()),
        bounds=bounds,
    )


def _excess(every: Sequence[Profiles]) -> Excess | None:
    """Where the printed bound is exceeded most with true attention: the first such place."""
    worst = None
    for profiles in every:
        if "true" not in profiles.kinds or not profiles.bounds:
            continue
        over = profiles("true", "log10_over_printed")
        # By the verdict, which allows for rounding, and not by the sign alone.
        over = np.where(profiles.exceeded("true", "printed") & ~np.isnan(over), over, -np.inf)
        layer, position = map(int, np.unravel_index(np.argmax(over), over.shape))
        decades = float(over[layer, position])
        if decades > (worst.decades if worst else -math.inf):
            factor = 10.0 ** min(decades, 300.0)  # which a float can hold
            worst = Excess(decades, factor, layer, position, profiles.tokens[position])
    return worst
