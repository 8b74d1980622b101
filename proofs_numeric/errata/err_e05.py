"""Erratum: Lemma B.2 is about late entries that converge; in Theorem 4.2 the late ones differ."""

import math
from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import weights_of

CLAIM = Claim(
    name="err_e05",
    title="Lemma B.2 as printed does not cover Theorem 4.2",
    source="arXiv 2406.04267v2, proof of Theorem B.3, where it uses Lemma B.2",
    kind="erratum",
    statement=r"\frac{1}{2} \le |x_n - x^*_n|, \quad"
    r" \frac{2 (e - 1)}{3 + e} \le \delta(\mathrm{softmax}(x), \mathrm{softmax}(x^*))",
    assumes=(
        "positions' logits $1 / (1 + r)$, which vanish with the distance $r$",
        "or rows that differ in their last half only",
    ),
    norm="1",
    note="Rows n and n + 1 are a triangular array: the far entries converge and the near ones do"
    " not. Convergence of each entry is not enough; a vanishing mean change is.",
)

U = 2.0**-53


def _late(n: int, power: float = 1.0) -> Measurement:
    """Logits (1 + r)^-1 at distance r: they vanish with distance, as the theorem wants it.

    Lemma B.2 wants the last entries of the two rows to approach each other.
    """
    distance = np.arange(n + 1)[::-1]  # of each key from the query, the last token
    longer = (1.0 + distance) ** -power  # row n + 1; row n has the same at equal distance
    return Measurement.equality(
        setting=f"the last entry under positions (1 + r)^-{power:g}, {n=}",
        measured=float(abs(longer[-2] - longer[-1])),
        expected=0.5,  # 1 - 1 / 2, at any length
        roundoff=4 * U,
        size=n,
        hypotheses=(
            Hypothesis(
                name="logit at the greatest distance", distance=float(longer[0]), allowed=1 / n
            ),
        ),
    )


def _triangular(n: int, late: int) -> Measurement:
    """Rows equal in the first n - late entries, which alternate oppositely in the others.

    Each entry is equal in both rows for all large n, and yet their softmaxes stay apart.
    """
    x, x_star = np.zeros((2, n))
    x[n - late :: 2], x_star[n - late + 1 :: 2] = 1.0, 1.0
    return Measurement.equality(
        setting=f"the last {late} of {n} entries differ",
        measured=float(np.sum(np.abs(weights_of(x) - weights_of(x_star)))),
        # A quarter of the entries are one in either row: n (3 + e) / 4 is the softmax's sum.
        expected=2 * (math.e - 1) / (3 + math.e),
        roundoff=4 * (n + 16) * U,
        size=n,
        hypotheses=(
            Hypothesis(name="share of differing entries below one half", distance=0.5 - late / n),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (4, 40, 400) if suite == "quick" else (4, 40, 400, 4000, 40_000):
        yield _late(n)
        yield _triangular(n, n // 2)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Positions that are alike at each distance; and rows that differ in few entries only."""
    yield _late(400, power=0.0)
    yield _triangular(400, 20)
