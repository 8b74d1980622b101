"""Erratum: values of unit norm do not give the displayed L1 inequality unless the norm is L1."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import step_of, weights_of

CLAIM = Claim(
    name="err_e02",
    title="Values of unit L2 norm break the displayed inequality",
    source="arXiv 2406.04267v2, proof of Theorem B.3, its first display",
    kind="erratum",
    statement=r"\sum_{i \le n} |\alpha_{n,i} - \alpha^*_{n+1,i}| + \alpha^*_{n+1,n+1}"
    r" \le 0.75 \, \lVert z_n - z^*_{n+1} \rVert_1",
    assumes=("values of unit L2 norm; the proof does not name the norm",),
    norm="1",
    note="The left side is the printed bound. Meant is unit L1 norm, or a factor: the largest norm"
    " of a value, in the norm of the statement.",
)

U = 2.0**-53
MARGIN = 0.25


def _displayed(n: int, dim: int, order: int) -> Measurement:
    """The display's right side, for values of unit norm, against the left side less a margin."""
    random = np.random.default_rng([n, dim])
    logits, values = 0.3 * random.normal(size=n), random.normal(size=(n, dim))
    values[:-1] = np.abs(values[:-1])  # others on one side, the last one opposite
    values[-1] = -np.abs(values[-1])
    values /= np.linalg.norm(values, ord=order, axis=1, keepdims=True)
    # The next row has the last token once more: n + 1 weights against n.
    longer = weights_of(np.append(logits, logits[-1]))
    printed = float(np.sum(np.abs(longer[:-1] - weights_of(logits))) + longer[-1])
    left = float(np.sum(np.abs(step_of(logits, values))))
    # An inequality that is to fail: what is printed as the larger side must be clearly less.
    return Measurement(
        setting=f"values of unit L{order} norm, {n=}, d={dim}",
        size=n,
        measured=printed,
        bound=(1 - MARGIN) * left,
        roundoff=8 * (n + dim + 16) * U,
        hypotheses=(
            Hypothesis(
                name="L2 norms beside one",
                distance=float(np.max(np.abs(np.linalg.norm(values, axis=1) - 1))),
                allowed=4 * dim * U,
            ),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (10, 100, 1000) if suite == "quick" else (10, 100, 1000, 10_000, 100_000):
        for dim in (16, 64):
            yield _displayed(n, dim, order=2)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Values of unit L1 norm: the display holds."""
    yield _displayed(10, 64, order=1)
