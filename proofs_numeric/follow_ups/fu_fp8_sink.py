"""Follow-up: the gap below the greatest logit from which stored weights are zero."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.precision import (
    BF16,
    E2M1,
    E4M3FN,
    E5M2,
    F16,
    Accumulator,
    FloatFormat,
    accumulate,
)
from glassesjax.theory.storage import lost_share, lost_share_bound, silent_length, zero_gap
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fu_fp8_sink",
    title="Beside a sink, weights below a gap are stored as zeros",
    kind="follow_up",
    source="after arXiv 2606.06521",
    page="storage",
    statement=r"\min \{ g : \mathrm{rd}(S e^{-g}) = 0 \} = g_0 = \ln S + (m + 1 - e) \ln 2, \quad"
    r" \sum_{g_i \ge g_0} p_i \le \frac{(n - 1) e^{-g_0}}{1 + (n - 1) e^{-g_0}}",
    assumes=(
        "weights $S e^{-g_i}$ are stored before they are divided by their sum",
        "gaps $g_i$ are to the greatest logit of the row",
        "the sum is exact",
    ),
    note="One sink over 1,024 equal tokens in e4m3fn: at the gap itself half of the attention is"
    " lost, and just inside it each weight is stored as twice its value.",
)

U = 2.0**-53
SINK = 1025  # tokens of the row that attains the bound of one half in e4m3fn


def _stored(weights: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    return np.asarray(fmt.round(jnp.asarray(weights, jnp.float64)))


def _gaps(fmt: FloatFormat, scale: float) -> Iterator[Measurement]:
    """The largest weight that is stored as zero, and the next float64 beyond it."""
    # The border as a weight is a power of two over the scale: exp(-gap) up to its rounding.
    border = 2.0 ** (fmt.min_exponent - fmt.mantissa_bits - 1) / scale
    zero, least = _stored(scale * np.array([border, np.nextafter(border, 1)]), fmt).tolist()
    more = {"size": fmt.mantissa_bits, "dtype": fmt.name}
    for name, measured, expected, roundoff in (
        ("stored at the gap", zero, 0.0, 0.0),
        (
            "stored just inside the gap over the smallest number",
            least / fmt.min_subnormal,
            1.0,
            0.0,
        ),
        ("the gap in nats", -math.log(border), zero_gap(fmt, scale), 4 * U * zero_gap(fmt, scale)),
    ):
        yield Measurement.equality(
            setting=f"{name}, S = {scale:g}, {fmt.name}",
            measured=measured,
            expected=expected,
            roundoff=roundoff,
            **more,
        )


def _one_sink(fmt: FloatFormat, scale: float, n: int) -> Measurement:
    """A logit above n - 1 others by the gap, where the bound is attained."""
    # Weights of others that are exactly the border: no logarithm is rounded.
    border = 2.0 ** (fmt.min_exponent - fmt.mantissa_bits - 1) / scale
    weights = np.r_[1.0, np.full(n - 1, border)]
    bound = lost_share_bound(n, zero_gap(fmt, scale))
    return Measurement(
        setting=f"share lost, one sink over {n - 1} at the gap, S = {scale:g}, {fmt.name}",
        measured=_lost(_stored(scale * weights, fmt), weights),
        bound=bound,
        floor=bound,
        # The gap is rounded three times, and n weights are added.
        roundoff=(4 * zero_gap(fmt, scale) + n) * U,
        hypotheses=(_relative_to_greatest(weights),),
        size=n,
        dtype=fmt.name,
    )


def _lost(stored: np.ndarray, weights: np.ndarray) -> float:
    """Share of the exact row on the tokens that are stored as zeros."""
    return float(np.sum(weights, where=stored == 0) / np.sum(weights))


def _relative_to_greatest(weights: np.ndarray) -> Hypothesis:
    off = abs(float(np.max(weights)) - 1)
    return Hypothesis(name="greatest weight before the scale, less one", distance=off)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for fmt in (E2M1, E4M3FN, E5M2, F16, BF16):
        for scale in (1.0, fmt.max / 1.75 if fmt is E4M3FN else 2.0):
            yield from _gaps(fmt, scale)
    lengths = (2, 33, SINK) if suite == "quick" else (2, 33, SINK, 2**15 + 1, 2**20 + 1)
    for n in lengths:
        yield _one_sink(E4M3FN, 1.0, n)
        yield _one_sink(E4M3FN, 256.0, n)
        yield _one_sink(E5M2, 1.0, n)
    # Rows at random: more and less spread, and masked.
    rng = np.random.default_rng(0)
    for spread in (1.0, 3.0, 6.0, 700.0):
        logits = spread * rng.normal(size=SINK)
        logits[-5:] = -np.inf
        lost = float(lost_share(jnp.asarray(logits), E4M3FN))
        yield Measurement(
            setting=f"share lost, random logits, {spread=:g}",
            measured=lost,
            bound=lost_share_bound(SINK, zero_gap(E4M3FN)),
            roundoff=2 * SINK * U,
            size=SINK,
            dtype="e4m3fn",
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Another scale, a maximum without the sink, weights normalized before, a sum that stops."""
    n, gap = SINK, zero_gap(E4M3FN)
    bound = lost_share_bound(n, gap)
    weights = np.r_[1.0, np.full(n - 1, math.ldexp(1, -10))]
    scaled = _stored(256.0 * weights, E4M3FN)
    # The running maximum of a block of others is their own: in reverse order the sink comes last.
    block = weights[1:] / np.max(weights[1:])
    equal = np.full(silent_length(E4M3FN), 1.0 / silent_length(E4M3FN))
    total = float(accumulate(jnp.asarray(weights), Accumulator(E4M3FN)))
    stopped = float(np.sum(weights, where=_stored(weights, E4M3FN) == 0)) / total
    cases = (
        # With a larger scale, or without the sink, nothing is lost: the bound is not attained.
        ("S = 256", _lost(scaled, weights), "scale less one", 255.0, True),
        (
            "blocks of others, with their own maximum",
            float(np.sum(weights[1:], where=_stored(block, E4M3FN) == 0)) / np.sum(weights),
            "greatest weight, off that of the row",
            float(1 - np.max(weights[1:])),
            True,
        ),
        (
            "equal weights, normalized before they are stored",
            _lost(_stored(equal, E4M3FN), equal),
            "greatest weight before the scale, less one",
            float(1 - np.max(equal)),
            False,
        ),
        (
            "a sum that stops at one, since the others are below half a step",
            stopped,
            "what the sum lacks",
            float(np.sum(weights) - total),
            False,
        ),
    )
    for name, measured, what, distance, attained in cases:
        yield Measurement(
            setting=f"share lost at the gap of S = 1, {name}",
            measured=float(measured),
            bound=bound,
            floor=bound if attained else 0.0,
            roundoff=(4 * gap + n) * U,
            hypotheses=(Hypothesis(name=what, distance=distance),),
            dtype="e4m3fn",
        )
