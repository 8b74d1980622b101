"""Rows of pairs of lengths n and n + 1: where they collide, predicted and observed.

A prediction for a format reads one wide pass over both of each pair, and the format's own pass at
lengths of the training only. The format's pass at longer ones is the observation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from glassesjax.model import Decoder
from glassesjax.precision import (
    F64,
    FloatFormat,
    RoundingPlan,
    Site,
    float64_enabled,
    named_plan,
    on_float64_device,
)
from glassesjax.runs.fill import Done
from glassesjax.studies.train.pairs import PairAnswers, Pairs, answer_pairs, lay_pairs, refusal
from glassesjax.studies.train.records import FailureLengths, FailureRow, PairRow
from glassesjax.studies.train.rows import arithmetic_fields
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.theory.failing import (
    chance_wrong,
    noise,
    occurred_by,
    probability_apart,
    settled_from,
    surely_confused,
    uniform_share,
)
from glassesjax.theory.storage import uniform_length
from glassesjax.trace.decay import fit_decay

REFERENCE = "f64"  # the format of rows of the wide pass
_LIKELY = (0.05, 0.95)  # chances of the two lengths between which nine in ten lie


class Asked(NamedTuple):
    """A decoder, its pairs, and its answers to them in float64."""

    seed: int
    decoder: Decoder
    pairs: Pairs
    wide: PairAnswers | None
    """None where there is no pair to ask."""


def ask(settings: TrainSettings, seed: int, decoder: Decoder) -> Asked:
    """The wide pass over all pairs."""
    pairs = lay_pairs(settings, seed)
    if not pairs.lengths:
        return Asked(seed, decoder, pairs, None)
    with float64_enabled():
        wide = on_float64_device(decoder).at(RoundingPlan.wide(F64))
        wide = answer_pairs(settings, pairs, wide)
    return Asked(seed, decoder, pairs, wide)


def pair_rows(settings: TrainSettings, asked: Asked, name: str) -> list[PairRow | FailureRow]:
    """All pairs in one format, and the length from which on they collide.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: a length for each format, predicted before it is observed.

    Args:
      settings: Settings of the training.
      asked: A decoder, its pairs and its float64 answers.
      name: Name of the format; ``REFERENCE`` for the float64 pass itself.

    Returns:
      One row a pair, and one of kind ``failure``, whose lengths are missing where no measured pair
      from one on is settled; only that, where nothing is predicted.
    """
    plan = RoundingPlan.wide(F64) if name == REFERENCE else named_plan(name)
    head: dict[str, Any] = {
        "seed": asked.seed,
        "step": settings.steps,
        "format": name,
        **arithmetic_fields(plan),
    }
    wide, refused = asked.wide, refusal(asked.wide)
    if wide is None or refused:
        return [FailureRow(**refused, **head)]
    # In the reference itself prediction and observation are one pass.
    native = wide
    if name != REFERENCE:
        native = answer_pairs(settings, asked.pairs, asked.decoder.at(plan))
    # The format's own pass is as the plan has it; predictions are computed in float64.
    with float64_enabled():
        predicted = _predict(wide, native, plan)
    pairs = list(_pair_rows(settings, native, predicted, head))
    return [*pairs, FailureRow(lengths=_failure_lengths(wide, native, predicted, plan), **head)]


class Predicted(NamedTuple):
    """Predictions for each pair, and the noise that they assume."""

    certified: np.ndarray
    """In reference precision surely one token for both."""
    stored: np.ndarray | None
    """The same once y and the unembedding are rounded; None where the plan rounds y to
    no floating-point format."""
    contradicted: np.ndarray
    """Certified, and yet two tokens in the arithmetic that the certificate speaks of."""
    noise: float
    shared: float
    """Correlation of the errors of the two of a pair."""
    signal: np.ndarray
    apart: np.ndarray
    """Chance of two tokens if errors are wholly shared; zero where certified, wide or stored."""
    apart_correlated: np.ndarray
    """The same if errors are shared as at lengths of the training, and no certificate is read."""
    wrong: np.ndarray
    """Chance that not both are right."""


def _predict(wide: PairAnswers, native: PairAnswers, plan: RoundingPlan) -> Predicted:
    """Reads of the format's pass the margins at lengths of the training, and nothing else."""
    # (pairs, 2, model_dim): of each pair that of n and that of n + 1.
    certified = np.asarray(surely_confused(wide.y[:, 0], wide.y[:, 1], wide.unembed))
    contradicted, certain, stored = certified & ~wide.collides, certified, None
    formats = {site: plan.formats.get(site) for site in (Site.OUTPUT, Site.WEIGHTS)}
    # The scale of an integer format is one for all rows of a pass, and not for a single y.
    if isinstance(formats[Site.OUTPUT], FloatFormat):
        kept = lambda site, x: x if (f := formats[site]) is None else f.round(jnp.asarray(x))
        y = np.asarray(kept(Site.OUTPUT, wide.y))
        unembed = np.asarray(kept(Site.WEIGHTS, wide.unembed))
        stored = np.asarray(surely_confused(y[:, 0], y[:, 1], unembed))
        # The certificate is on the scores of what is stored, computed here in float64.
        first = np.argmax(np.einsum("pid,vd->piv", y, unembed), axis=-1)  # (pairs, 2)
        contradicted = contradicted | (stored & (first[:, 0] != first[:, 1]))
        certain = certified | stored
    at = wide.trained
    error = noise(jnp.asarray(native.logit_margin[at]), jnp.asarray(wide.logit_margin[at]))
    chance = lambda error: np.array(probability_apart(wide.scores[:, 0], wide.scores[:, 1], error))
    common = chance(error._replace(shared=jnp.ones_like(error.shared)))
    common[certain] = 0  # proved, whatever the errors
    return Predicted(
        certified=certified,
        stored=stored,
        contradicted=contradicted,
        noise=float(error.spread),
        shared=float(error.shared),
        # (pairs, 2) -> (pairs,)
        signal=np.abs(wide.logit_margin[:, 0] - wide.logit_margin[:, 1]),
        apart=common,
        apart_correlated=chance(error),
        wrong=np.asarray(chance_wrong(wide.margin[:, 0], wide.margin[:, 1], error)),
    )


def _pair_rows(
    settings: TrainSettings, native: PairAnswers, predicted: Predicted, head: Mapping[str, Any]
) -> Iterator[PairRow]:
    symbols = settings.training.task.symbols
    for at, length in enumerate(native.lengths):
        # Each of two: of n and of n + 1.
        (token, following), (first, second) = native.right[at], native.ranked_first[at]
        gap = np.abs(native.y[at, 1] - native.y[at, 0])  # (model_dim,)
        stored = predicted.stored
        yield PairRow(
            length=length,
            in_training=bool(native.trained[at]),
            target=symbols[token],
            next_target=symbols[following],
            answer=symbols[first],
            next_answer=symbols[second],
            logit_margin=float(native.logit_margin[at, 0]),
            next_logit_margin=float(native.logit_margin[at, 1]),
            correct=bool(native.both_correct[at]),
            collision=bool(native.collides[at]),
            l2=float(np.sqrt(np.sum(gap**2))),
            linf=float(np.max(gap)),
            equal_coordinates=int(np.sum(gap == 0)),
            coordinates=len(gap),
            certified=bool(predicted.certified[at]),
            certified_stored=None if stored is None else bool(stored[at]),
            contradicted=bool(predicted.contradicted[at]),
            signal=float(predicted.signal[at]),
            noise=predicted.noise,
            probability_distinct=float(predicted.apart[at]),
            probability_distinct_correlated=float(predicted.apart_correlated[at]),
            probability_wrong=float(predicted.wrong[at]),
            **head,
        )


def _failure_lengths(
    wide: PairAnswers, native: PairAnswers, predicted: Predicted, plan: RoundingPlan
) -> FailureLengths:
    lengths, stored = native.lengths, predicted.stored
    settled = lambda events: settled_from(lengths, np.asarray(events, float))
    low, high = (settled_from(lengths, predicted.apart, share) for share in _LIKELY)
    # Powers of n within the training, of the change of the logit margin and of the distance of y.
    kept = np.flatnonzero(wide.trained)
    distance = np.linalg.norm(wide.y[:, 1] - wide.y[:, 0], axis=1)  # (pairs,)
    signal_fit, distance_fit = (
        fit_decay([wide.lengths[at] for at in kept], [float(values[at]) for at in kept])
        for values in (predicted.signal, distance)
    )
    # Weights 1/n of uniform attention. A scale by the values is of a whole array, not of a weight.
    fmt, floats = plan.formats.get(Site.ATTN_WEIGHTS), plan.formats.values()
    collides = uniform_share(fmt, lengths[-1])[0] if isinstance(fmt, FloatFormat) else None
    lost = uniform_length(plan)
    bits = {each.mantissa_bits for each in floats if isinstance(each, FloatFormat)}
    return FailureLengths(
        predicted=settled_from(lengths, predicted.apart),
        predicted_low=low,
        predicted_high=high,
        predicted_correlated=settled_from(lengths, predicted.apart_correlated),
        by_certificate=settled(~predicted.certified),
        stores=stored is not None,
        by_storage=None if stored is None else settled(~stored),
        by_signal=settled(predicted.signal > predicted.noise),
        predicted_first=occurred_by(lengths, predicted.wrong),
        observed=settled(~native.collides),
        first_failure=occurred_by(lengths, np.asarray(~native.both_correct, float)),
        noise=predicted.noise,
        noise_shared=predicted.shared,
        exponent=signal_fit.exponent,
        exponent_low=signal_fit.low,
        exponent_high=signal_fit.high,
        distance_exponent=distance_fit.exponent,
        distance_exponent_low=distance_fit.low,
        distance_exponent_high=distance_fit.high,
        pairs=len(lengths),
        least=lengths[0],
        reach=lengths[-1],
        contradictions=int(np.sum(predicted.contradicted)),
        mantissa_bits=bits.pop() if len(bits) == 1 else None,
        share_collides=collides,
        share_lost=None if lost is None or lost > lengths[-1] else lost,
    )


def collisions(
    settings: TrainSettings, decoders: Sequence[Decoder], done: Done
) -> Iterator[tuple[str, list[PairRow | FailureRow]]]:
    """Pairs of lengths n and n + 1: which collide, and from where, by format.

    Args:
      settings: Settings of the training.
      decoders: One for each seed.
      done: Whether the row with these key fields exists already.

    Yields:
      A step for float64, and one a format.
    """
    # The last row of a format: where it is on disk, so are the others.
    last = {"kind": "failure", "seed": settings.seeds - 1, "step": settings.steps}
    # The float64 passes serve all formats, and are done only where a row is missing.
    asked: list[Asked] = []
    for name in (REFERENCE, *settings.formats):
        rows: list[PairRow | FailureRow] = []
        if not done({**last, "format": name}):
            asked = asked or [ask(settings, *each) for each in enumerate(decoders)]
            rows = [row for each in asked for row in pair_rows(settings, each, name)]
        yield f"pairs in {name}", rows
