"""Erratum: the theorem is in L1, the figures are in the largest coordinate; the ratio can be d."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.thm_4_2_exact import step_of

U = 2.0**-53


def _step(n: int, dim: int, order: float) -> Measurement:
    """A start token and n copies of another that differs from it alike in all coordinates."""
    values = np.r_[np.zeros((1, dim)), np.ones((n, dim))]
    step = step_of(np.zeros(n + 1), values)
    l1, found = float(np.sum(np.abs(step))), float(np.linalg.norm(step, ord=order))
    largest = float(np.max(np.abs(step)))
    name = "the figures' norm" if order == np.inf else "the theorem's norm"
    return Measurement.equality(
        setting=f"{name}, {n=}, d={dim}",
        found=found,
        expected=l1 / dim,
        roundoff=4 * (n + dim) * U,
        size=dim,
        hypotheses=(
            Hypothesis(name="other than the largest coordinate", distance=found - largest),
        ),
    )


def _measure(suite: Suite) -> Iterator[Measurement]:
    for dim in (1, 64, 3072) if suite == "quick" else (1, 8, 64, 512, 3072):
        yield from (_step(n, dim, np.inf) for n in (1, 10, 100))


def _counter_case() -> Iterator[Measurement]:
    """In L1 on both sides."""
    yield _step(10, 64, 1)


CLAIM = Claim(
    name="err_e18",
    title="A small figure does not make a small norm of the theorem",
    source="arXiv 2406.04267v2, Theorem 4.2 against Figures 1, 5 and 8",
    kind="erratum",
    statement=r"\lVert z^*_{n+1} - z_n \rVert_\infty"
    r" \le \frac{1}{d} \lVert z^*_{n+1} - z_n \rVert_1",
    assumes=("the figures' largest coordinate", "a difference that is alike in all coordinates"),
    norm="inf",
    climbs="d",
    note="An equality here: what a figure shows can be the theorem's number over d, 3072 for"
    " Gemma 7B. A number is stored with its norm.",
    measure=_measure,
    counter_case=_counter_case,
)
