"""Rates of collapse: the exponent of the distance in the length, where it can be bracketed."""

import math
from collections.abc import Iterator

import numpy as np

from glassesjax.trace.collapse import fit_decay
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.decoders import U
from proofs_numeric.thm_4_2_exact import step_of, weights_of

ROUNDINGS = 1e-6  # Distances of 1e-9 and more, from rows with errors of n U: 1e-7 in a logarithm.


def _local(n: int, logit: float) -> float:
    """Slope at n of the logarithm of the closed form for a start token and n copies."""
    token = math.exp(logit)
    return -n * token / (1 + n * token) - n * token / (1 + (n + 1) * token)


def _copies(first: int, last: int, logit: float, slope: float = 0.0, kinds: int = 1) -> Measurement:
    """A start token, then copies of one token (or several kinds), one layer by subtraction."""
    lengths = np.unique(np.geomspace(first, last, 12).astype(int)).tolist()
    values = np.r_[[[1.0, -1.0]], np.random.default_rng(0).normal(size=(kinds, 2))]
    gaps = []
    for n in lengths:
        token = values[[0, *1 + np.arange(n) % kinds]]
        if slope:
            rows = [
                weights_of(-slope * np.arange(size)[::-1]) @ [*token, token[-1]][:size]
                for size in (n + 1, n + 2)
            ]
            gaps.append(np.sum(np.abs(rows[1] - rows[0])))
        else:
            logits = np.r_[0.0, np.full(n, logit)]
            gaps.append(np.sum(np.abs(step_of(logits, token))))
    fit = fit_decay(lengths, gaps)
    more = (f", ALiBi {slope}" if slope else "") + (f", {kinds} kinds" if kinds > 1 else "")
    # The fitted slope is a mean of slopes between points, and these fall with n.
    return Measurement(
        setting=f"a start token and {first} to {last} copies, {logit=}{more}",
        size=last,
        measured=fit.exponent,
        bound=_local(first, logit),
        floor=_local(last, logit),
        roundoff=ROUNDINGS,
        hypotheses=(
            Hypothesis(name="kinds of repeated tokens over one", distance=kinds - 1),
            Hypothesis(name="slope of the positions", distance=slope),
            Hypothesis(name="decades wanting of the one needed", distance=1.0 - fit.spans_decade),
        ),
    )


def _run(prefix: int, slope: float, copies: int) -> Measurement:
    """ALiBi in a long context: the distance falls by exp(-m) with each further copy."""
    random = np.random.default_rng(prefix)
    values = random.normal(size=(prefix, 2))
    tokens = np.concatenate([values, np.tile(values[-1:], (copies, 1))])
    rows = [
        weights_of(-slope * np.arange(size)[::-1]) @ tokens[:size]
        for size in range(prefix, prefix + copies + 1)
    ]
    gaps = np.log(np.sum(np.abs(np.diff(rows, axis=0)), axis=1))
    fitted = float(np.polyfit(np.arange(copies), gaps, 1)[0])
    # A finite context adds a factor between 1 and (1 - q^N)^-2 over all copies.
    finite = -2 * math.log1p(-math.exp(-slope * prefix))
    return Measurement(
        setting=f"ALiBi {slope}, the last of {prefix} tokens repeated {copies} times",
        size=copies,
        measured=fitted,
        bound=-slope,
        floor=-slope - finite,
        roundoff=ROUNDINGS,
        hypotheses=(Hypothesis(name="share beyond the context", distance=finite, allowed=1.0),),
    )


def _constant(n: int) -> Measurement:
    """No start token: every row is the same."""
    values = np.tile([0.3, -1.7], (n, 1))
    return Measurement(
        setting=f"one token repeated, no start token, {n=}",
        size=n,
        measured=float(np.sum(np.abs(step_of(np.full(n, 0.7), values)))),
        bound=0.0,
        roundoff=4 * (n + 16) * U * 2,
        norm="1",
    )


def _measure(suite: Suite) -> Iterator[Measurement]:
    for first, last in ((1, 10), (10, 100), (100, 10_000)):
        yield from (_copies(first, last, logit) for logit in (0.0, -4.0, 4.0))
    if suite == "full":
        yield _copies(1000, 30_000, 0.0)
    for slope in (0.05, 0.1, 0.3):
        yield _run(200, slope, 40)
    for n in (1, 10, 1000):
        yield _constant(n)


def _counter_case() -> Iterator[Measurement]:
    """Positions, with which the step does not fall with the context; and several kinds."""
    yield _copies(100, 10_000, 0.0, kinds=2)
    yield _plateau(0.1)


def _plateau(slope: float) -> Measurement:
    """A varied context under ALiBi: the step does not fall as n grows."""
    lengths = [10, 30, 100, 300, 1000]
    random = np.random.default_rng(1)
    values = random.normal(size=(max(lengths), 2))
    gaps = []
    for n in lengths:
        tokens = np.concatenate([values[-n:], values[-1:]])
        rows = [weights_of(-slope * np.arange(m)[::-1]) @ tokens[:m] for m in (n, n + 1)]
        gaps.append(np.sum(np.abs(rows[1] - rows[0])))
    return Measurement(
        setting=f"ALiBi {slope}, the context grows on the left",
        measured=fit_decay(lengths, gaps).exponent,
        bound=_local(lengths[0], 0.0),
        floor=_local(lengths[-1], 0.0),
        roundoff=ROUNDINGS,
        hypotheses=(Hypothesis(name="slope of the positions", distance=slope),),
    )


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
    measure=_measure,
    counter_case=_counter_case,
)
