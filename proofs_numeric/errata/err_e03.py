"""Erratum: the proof of Theorem 4.2 counts the last weight once, and it counts twice."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import weights_of

CLAIM = Claim(
    name="err_e03",
    title="The last weight counts twice",
    source="arXiv 2406.04267v2, proof of Theorem B.3",
    kind="erratum",
    statement=r"\delta(\mathrm{softmax}(x), \mathrm{softmax}(x^*_{1:n})) + \alpha^*_{n+1,n+1}"
    r" \le \frac{1}{2} \Bigl( \sum_{i \le n} |\alpha_{n,i} - \alpha^*_{n+1,i}|"
    r" + \alpha^*_{n+1,n+1} \Bigr)",
    assumes=("no positions, where this is an equality", "the last weight counted once"),
    norm="1",
    note="The first n weights of row n + 1 are a softmax times one minus the last weight, not a"
    " softmax: the printed bound is half of what it is to bound.",
)

U = 2.0**-53


def _change(n: int, scale: float, last_weights: int) -> Measurement:
    """Without positions the shared logits stay: the proof's first term, of softmaxes, is zero."""
    logits = scale * np.random.default_rng(n).normal(size=n)
    longer = weights_of(np.append(logits, logits[-1]))
    row = weights_of(logits)
    change = float(np.sum(np.abs(longer[:-1] - row)) + longer[-1])
    shared = float(np.sum(np.abs(weights_of(logits) - row)))  # as the proof reads row n + 1
    bound = shared + last_weights * float(longer[-1])
    return Measurement.equality(
        setting=f"no positions, {n=}, {scale=}, {last_weights} times the last weight",
        measured=bound,
        expected=change / 2,  # the others lose together what the new weight gains
        roundoff=8 * (n + 16) * U,
        size=n,
        hypotheses=(
            Hypothesis(name="the printed constant", distance=abs(last_weights - 1) * longer[-1]),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (1, 10, 1000) if suite == "quick" else (1, 10, 1000, 100_000):
        yield from (_change(n, scale, 1) for scale in (0.0, 1.0))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """With the last weight counted twice, the bound is the change itself."""
    yield _change(10, 0.0, 2)
    yield _change(10, 1.0, 2)
