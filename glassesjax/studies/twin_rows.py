"""Rows of pairs of lengths n and n + 1: which a trained decoder confuses, predicted and observed.

A prediction for a format reads one wide pass over both of each pair, and the format's own pass at
lengths of the training only. The format's pass at longer ones is the observation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.model import Decoder
from glassesjax.precision import F64, FloatFormat, RoundingPlan, named_plan
from glassesjax.records import Row, Value
from glassesjax.studies.train_settings import NOTHING, TrainSettings
from glassesjax.studies.twins import Heard, Pairs, hear, lay_pairs, refusal
from glassesjax.theory.failing import (
    begun_at,
    chance_apart,
    chance_wrong,
    noise,
    settled_from,
    surely_confused,
    uniform_share,
)
from glassesjax.trace.collapse import fit_decay

WIDE = "f64"  # the format of rows of the wide pass
_LIKELY = (0.05, 0.95)  # chances of the two lengths between which nine in ten lie


class Asked(NamedTuple):
    """A decoder, its pairs, and what it says to them in float64."""

    seed: int
    decoder: Decoder
    pairs: Pairs
    wide: Heard | None
    """None where there is no pair to ask."""


def ask(settings: TrainSettings, seed: int, decoder: Decoder) -> Asked:
    """The wide pass over all pairs.

    Args:
      settings: What was trained.
      seed: Of the decoder, and of what its task draws.
      decoder: Master weights.

    Returns:
      What the rows of all formats need.
    """
    pairs = lay_pairs(settings, seed)
    if not pairs.lengths:
        return Asked(seed, decoder, pairs, None)
    with jax.enable_x64(True):
        wide = hear(settings, pairs, decoder, RoundingPlan.wide(F64))
    return Asked(seed, decoder, pairs, wide)


def twin_rows(settings: TrainSettings, asked: Asked, name: str) -> list[Row]:
    """All pairs in one format, and the length from which they are confused.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: a length for each format, predicted before it is observed.

    Args:
      settings: What was trained.
      asked: The decoder.
      name: Of the format; ``WIDE`` for the wide pass itself.

    Returns:
      One row a pair, and one of kind ``failing``, whose lengths are null where no measured pair
      from one on is settled; only that, where nothing is predicted.
    """
    plan = RoundingPlan.wide(F64) if name == WIDE else named_plan(name)
    head: dict[str, Value] = {
        "seed": asked.seed, "step": settings.steps, "format": name, "place": NOTHING, "norm": "l2",
        "dtype": plan.carrier_dtype.name, "mode": plan.mode, "rounding": plan.name,
    }  # fmt: skip
    wide, why = asked.wide, refusal(asked.wide)
    if wide is None or why:
        return [{"kind": "failing", **head, "length": NOTHING, "applies": False, "why": why}]
    own = wide if name == WIDE else hear(settings, asked.pairs, asked.decoder, plan)
    with jax.enable_x64(True):
        said = _predict(wide, own, plan)
    pairs = [{"kind": "twins", **head, **row} for row in _pair_rows(settings, own, said)]
    found = _failing(wide, own, said, plan)
    return [*pairs, {"kind": "failing", **head, "length": NOTHING, **found}]


class Predicted(NamedTuple):
    """What the predictors say of each pair, and the noise that they take."""

    certified: np.ndarray
    """In wide arithmetic surely one token for both."""
    stored: np.ndarray | None
    """The same once y and the unembedding are rounded; None where the plan rounds neither."""
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


def _predict(wide: Heard, own: Heard, plan: RoundingPlan) -> Predicted:
    """Reads of the format's pass the leads at lengths of the training, and nothing else."""
    certified = np.asarray(surely_confused(wide.y[:, 0], wide.y[:, 1], wide.unembed))
    stored, contradicted = None, certified & ~wide.confused
    places = {place: plan.formats.get(place) for place in ("output", "weights")}
    # A scale of a whole array is not that of a single row: integers are left out.
    if isinstance(places["output"], FloatFormat):
        kept = lambda place, x: x if (f := places[place]) is None else f.round(jnp.asarray(x))
        y, unembed = np.asarray(kept("output", wide.y)), np.asarray(kept("weights", wide.unembed))
        stored = np.asarray(surely_confused(y[:, 0], y[:, 1], unembed))
        first = np.argmax(np.einsum("pid,vd->piv", y, unembed), axis=-1)
        contradicted = contradicted | (stored & (first[:, 0] != first[:, 1]))
    at = wide.trained
    error = noise(jnp.asarray(own.lead[at]), jnp.asarray(wide.lead[at]))
    chance = lambda error: np.array(chance_apart(wide.scores[:, 0], wide.scores[:, 1], error))
    common = chance(error._replace(shared=jnp.ones_like(error.shared)))
    common[certified if stored is None else certified | stored] = 0
    return Predicted(
        certified=certified,
        stored=stored,
        contradicted=contradicted,
        noise=float(error.spread),
        shared=float(error.shared),
        signal=np.abs(wide.lead[:, 0] - wide.lead[:, 1]),
        apart=common,
        apart_correlated=chance(error),
        wrong=np.asarray(chance_wrong(wide.margin[:, 0], wide.margin[:, 1], error)),
    )


def _pair_rows(settings: TrainSettings, own: Heard, said: Predicted) -> list[dict[str, Value]]:
    symbols = settings.recipe.task.symbols
    gap = np.abs(own.y[:, 1] - own.y[:, 0])
    rows = []
    for at, length in enumerate(own.lengths):
        (token, following), (first, second) = own.right[at], own.said[at]
        rows.append({
            "length": length,
            "in_training": bool(own.trained[at]),
            "token": symbols[token],
            "next_token": symbols[following],
            "said": symbols[first],
            "next_said": symbols[second],
            "lead": float(own.lead[at, 0]),
            "next_lead": float(own.lead[at, 1]),
            "right": bool(own.both_right[at]),
            "confused": bool(own.confused[at]),
            "l2": float(np.sqrt(np.sum(gap[at] ** 2))),
            "linf": float(np.max(gap[at])),
            "equal_coordinates": int(np.sum(gap[at] == 0)),
            "coordinates": gap.shape[1],
            "certified": bool(said.certified[at]),
            "stored": None if said.stored is None else bool(said.stored[at]),
            "contradicted": bool(said.contradicted[at]),
            "signal": float(said.signal[at]),
            "noise": said.noise,
            "chance_apart": float(said.apart[at]),
            "chance_correlated": float(said.apart_correlated[at]),
            "chance_wrong": float(said.wrong[at]),
        })  # fmt: skip
    return rows


def _failing(wide: Heard, own: Heard, said: Predicted, plan: RoundingPlan) -> dict[str, Value]:
    lengths = own.lengths
    settled = lambda events: settled_from(lengths, np.asarray(events, float))
    fit = lambda gap: fit_decay(*_trained(wide, gap))
    signal, distance = fit(said.signal), fit(np.linalg.norm(wide.y[:, 1] - wide.y[:, 0], axis=1))
    early, late = (settled_from(lengths, said.apart, share) for share in _LIKELY)
    return {
        "applies": True,
        "why": "",
        "predicted": settled_from(lengths, said.apart),
        "predicted_low": early,
        "predicted_high": late,
        "predicted_correlated": settled_from(lengths, said.apart_correlated),
        "by_certificate": settled(~said.certified),
        "stores": said.stored is not None,
        "by_storage": None if said.stored is None else settled(~said.stored),
        "by_signal": settled(said.signal > said.noise),
        "predicted_first": begun_at(lengths, said.wrong),
        "observed": settled(~own.confused),
        "first_failure": begun_at(lengths, np.asarray(~own.both_right, float)),
        "noise": said.noise,
        "noise_shared": said.shared,
        "exponent": signal.exponent,
        "exponent_error": signal.standard_error,
        "distance_exponent": distance.exponent,
        "distance_exponent_error": distance.standard_error,
        "pairs": len(lengths),
        "least": lengths[0],
        "reach": lengths[-1],
        "contradictions": int(np.sum(said.contradicted)),
        **_share(plan, lengths[-1]),
    }


def _trained(wide: Heard, values: np.ndarray) -> tuple[list[int], list[float]]:
    kept = np.flatnonzero(wide.trained)
    return [wide.lengths[at] for at in kept], [float(values[at]) for at in kept]


def _share(plan: RoundingPlan, reach: int) -> dict[str, Value]:
    """What the format of the attention weights does to 1/n."""
    fmt = plan.formats.get("attn_weights")
    floats = isinstance(fmt, FloatFormat)
    collides, lost = uniform_share(fmt, reach) if floats else (None, None)
    bits = {f.mantissa_bits for f in plan.formats.values() if isinstance(f, FloatFormat)}
    mantissa = bits.pop() if len(bits) == 1 else None
    return {"mantissa_bits": mantissa, "share_collides": collides, "share_lost": lost}


def confusion(
    settings: TrainSettings, decoders: Sequence[Decoder], done: Callable[[Row], bool]
) -> Iterator[tuple[str, list[Row]]]:
    """Pairs of lengths n and n + 1: which are confused, and from where, by format.

    Args:
      settings: What was trained.
      decoders: One a seed.
      done: Whether the row with these key fields is there already.

    Yields:
      A step for float64, and one a format.
    """
    last: Row = {"kind": "failing", "seed": settings.seeds - 1, "step": settings.steps}
    last = {**last, "length": NOTHING, "place": NOTHING}
    asked: list[Asked] = []
    for name in (WIDE, *settings.formats):
        rows: list[Row] = []
        if not done({**last, "format": name}):
            asked = asked or [ask(settings, *each) for each in enumerate(decoders)]
            rows = [row for each in asked for row in twin_rows(settings, each, name)]
        yield f"pairs in {name}", rows
