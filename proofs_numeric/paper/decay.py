"""Rates of collapse: the exponent of the distance in the length, where it can be bracketed."""

import math
from collections.abc import Iterator

import numpy as np

from glassesjax.trace.decay import loglog_slope
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import step_of, weights_of
from proofs_numeric.support.decoders import U

CLAIM = Claim(
    name="decay",
    title="How fast the last step vanishes",
    source="arXiv 2406.04267v2, Theorem 4.2, its rate",
    statement=r"\frac{d \log \lVert z^*_{n+1} - z_n \rVert_1}{d \log n}"
    r" \le -\frac{n e^c}{1 + n e^c} - \frac{n e^c}{1 + (n + 1) e^c}",
    assumes=("a start token and copies of one other", "one layer", "no positions"),
    norm="1",
    note="The bracket tends to -2. Under ALiBi the distance falls exponentially with the run of"
    " equal tokens and not at all with the context; without a start token it is zero.",
)


def _slope_roundoff(points: np.ndarray, lengths: np.ndarray, gaps: np.ndarray) -> float:
    """What rounding may do to the slope that is fitted to gaps of rows of values within four."""
    apart = points - np.mean(points)
    # Each gap is off by two sums of n numbers; the fit multiplies relative errors by its factor.
    return float(np.max(32 * (lengths + 16) * U / gaps) * np.sum(np.abs(apart)) / (apart @ apart))


def _local(n: int, logit: float) -> float:
    """Slope at n of the logarithm of the closed form for a start token and n copies."""
    token = math.exp(logit)
    return -n * token / (1 + n * token) - n * token / (1 + (n + 1) * token)


def _copies(first: int, last: int, logit: float, kinds: int = 1) -> Measurement:
    """A start token, then copies of one token (or several kinds), one layer by subtraction."""
    lengths = np.unique(np.geomspace(first, last, 12).astype(int))
    values = np.r_[[[1.0, -1.0]], np.random.default_rng(0).normal(size=(kinds, 2))]
    gaps = []
    for n in lengths:
        tokens = values[[0, *1 + np.arange(n) % kinds]]  # (n + 1, 2), the kinds in turn
        gaps.append(np.sum(np.abs(step_of(np.r_[0.0, np.full(n, logit)], tokens))))
    # The fitted slope is a mean of slopes between points, and these fall with n.
    return Measurement(
        setting=f"a start token and {first} to {last} copies of {kinds} kinds, {logit=}",
        size=last,
        measured=loglog_slope(lengths.tolist(), gaps),
        bound=_local(first, logit),
        floor=_local(last, logit),
        roundoff=_slope_roundoff(np.log(lengths), lengths, np.array(gaps)),
        hypotheses=(
            Hypothesis(name="kinds of repeated tokens over one", distance=kinds - 1),
            Hypothesis(name="lengths that do not span a decade", distance=float(10 * first > last)),
        ),
    )


def _alibi_gap(tokens: np.ndarray, slope: float) -> float:
    """How far the output moves when the last token is repeated, where only distance decides."""
    # The shorter row has the same penalties at the same distances: all but the farthest.
    penalty, more = -slope * np.arange(len(tokens) + 1)[::-1], [*tokens, tokens[-1]]
    return float(np.sum(np.abs(weights_of(penalty) @ more - weights_of(penalty[1:]) @ tokens)))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for first, last in ((1, 10), (10, 100), (100, 1000)):
        yield from (_copies(first, last, logit) for logit in (0.0, -4.0, 4.0))
    if suite == "full":
        yield _copies(100, 10_000, 0.0)
    # ALiBi in a long context: the distance falls by exp(-m) with each further copy.
    prefix, copies = 200, 40
    points = np.arange(copies)
    for slope in (0.05, 0.1, 0.3):
        values = np.random.default_rng(prefix).normal(size=(prefix, 2))
        tokens = np.concatenate([values, np.tile(values[-1:], (copies, 1))])
        gaps = np.array([_alibi_gap(tokens[: prefix + each], slope) for each in points])
        # A finite context adds a factor between 1 and (1 - q^N)^-2 over all copies.
        finite = -2 * math.log1p(-math.exp(-slope * prefix))
        spread = float(np.max(np.ptp(tokens[prefix - 1 :], axis=0)))
        yield Measurement(
            setting=f"ALiBi {slope}, the last of {prefix} tokens repeated {copies} times",
            size=copies,
            measured=float(np.polyfit(points, np.log(gaps), 1)[0]),
            bound=-slope,
            floor=-slope - finite,
            roundoff=_slope_roundoff(points, prefix + points, gaps),
            hypotheses=(Hypothesis(name="spread of the run's tokens", distance=spread),),
        )
    # Without a start token all rows are the same, and nothing is left to fall.
    for n in (1, 10, 1000):
        step = step_of(np.full(n, 0.7), np.tile([0.3, -1.7], (n, 1)))
        yield Measurement(
            setting=f"one token repeated, no start token, {n=}",
            size=n,
            measured=float(np.sum(np.abs(step))),
            bound=0.0,
            roundoff=4 * (n + 16) * U * 2,  # sums of two rows, of values within two
            norm="1",
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Several kinds; and positions: under ALiBi the step does not fall as the context grows."""
    yield _copies(100, 1000, 0.0, kinds=2)
    lengths, slope = [10, 30, 100, 300, 1000], 0.1
    values = np.random.default_rng(1).normal(size=(max(lengths), 2))
    gaps = [_alibi_gap(values[-n:], slope) for n in lengths]  # the context grows on the left
    yield Measurement(
        setting=f"ALiBi {slope}, the context grows on the left",
        measured=loglog_slope(lengths, gaps),
        bound=_local(lengths[0], 0.0),
        floor=_local(lengths[-1], 0.0),
        roundoff=_slope_roundoff(np.log(lengths), np.array(lengths), np.array(gaps)),
        hypotheses=(Hypothesis(name="slope of the positions", distance=slope),),
    )
