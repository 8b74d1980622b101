"""Erratum: the induction over layers needs norms bounded below and logits bounded uniformly."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import step_of

CLAIM = Claim(
    name="err_e04",
    title="Without norms bounded below, or with growing logits, nothing need vanish",
    source="arXiv 2406.04267v2, proof of Theorem B.3, its induction over the layers",
    kind="erratum",
    statement=r"0.1 \le \lVert v_n^{(\ell)} - v_{n+1}^{* (\ell)} \rVert_1",
    assumes=(
        "values within $[-10, 10]$, one layer",
        "a second norm without $\\varepsilon$, whose residual tends to zero; or growing logits",
    ),
    norm="1",
    note="For each n an instance in which both rows have equal last tokens. The rows' distance is"
    " about 2 after the norm, though it was of order 1 / n before it; with growing logits 1/3.",
)

U = 2.0**-53
EPSILON = 0.1  # what Theorem 4.2 promises to fall below for long sequences


def _through_zero(n: int, eps: float = 0.0) -> Measurement:
    """One coordinate, equal logits: the residual passes through zero between rows n and n + 1.

    The other values w solve z_{n+1} = -z_n for the last value one; they tend to minus two.
    """
    share = 1 / n  # weight of the last token in row n; equal logits
    factor = share * (1 - share) / (1 + share)
    w = -(2 + 2 * share + factor) / (2 * (1 - share) - factor)
    values = np.r_[np.full(n - 1, w), 1.0][:, None]
    z = float(np.mean(values)) + 1
    after = np.array([z, z + float(step_of(np.zeros(n), values)[0])])  # rows n and n + 1
    normalized = after / np.sqrt(after**2 + eps)  # the second norm, of one coordinate
    out = after + normalized  # psi is the identity
    return Measurement(
        setting=f"residual through zero, {n=}, {eps=}",
        size=n,
        measured=EPSILON,
        bound=abs(float(out[1] - out[0])),
        roundoff=64 * U,
        hypotheses=(
            Hypothesis(name="largest value over 10", distance=max(abs(w) - 10, 0.0)),
            Hypothesis(
                name="distance before the norm over 8 / n",
                distance=max(abs(float(after[1] - after[0])) - 8 / n, 0.0),
            ),
            Hypothesis(name="least size of the norm's divisor", distance=float(np.sqrt(eps))),
        ),
    )


def _growing(n: int, growth: float = 1.0) -> Measurement:
    """The last token's logit grows as log (n - 1): its weight stays 1/2, then 1/3 a copy."""
    # exp of it is n - 1, as much as all others together.
    logits = np.r_[np.zeros(n - 1), growth * np.log(n - 1)]
    values = np.r_[-np.ones(n - 1), 1.0][:, None]
    return Measurement(
        setting=f"last logit of {growth} log(n - 1), {n=}",
        size=n,
        measured=EPSILON,
        bound=abs(float(step_of(logits, values)[0])),
        roundoff=8 * (n + 16) * U,
        hypotheses=(Hypothesis(name="logits that do not grow", distance=1 - growth),),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (10, 100, 1000) if suite == "quick" else (10, 100, 1000, 10_000, 100_000):
        yield _through_zero(n)
        yield _growing(n)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A norm with eps = 1, and logits that do not grow: the distance vanishes."""
    yield _through_zero(1000, eps=1.0)
    yield _growing(1000, growth=0.0)
