"""Erratum: the theorem is in L1, the figures are in the largest coordinate; the ratio can be d."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import step_of

CLAIM = Claim(
    name="err_e18",
    title="A small figure does not make a small norm of the theorem",
    source="arXiv 2406.04267v2, Theorem 4.2 against Figures 1, 5 and 8",
    kind="erratum",
    statement=r"\lVert z^*_{n+1} - z_n \rVert_\infty"
    r" \le \frac{1}{d} \lVert z^*_{n+1} - z_n \rVert_1",
    assumes=("tokens that differ alike in all coordinates",),
    norm="inf",
    climbs="d",
    note="An equality here: what a figure shows can be the theorem's number over d, 3072 for"
    " Gemma 7B. A number is stored with its norm.",
)

U = 2.0**-53


def _step(n: int, other: np.ndarray) -> Measurement:
    """A start token of zeros and n copies of another."""
    dim = len(other)
    values = np.r_[np.zeros((1, dim)), np.tile(other, (n, 1))]  # (n + 1, d)
    step = step_of(np.zeros(n + 1), values)
    return Measurement.equality(
        setting=f"tokens that differ in {np.count_nonzero(other)} coordinates, {n=}, d={dim}",
        measured=float(np.max(np.abs(step))),
        expected=float(np.sum(np.abs(step))) / dim,
        roundoff=4 * (n + dim) * U,
        size=dim,  # by which the two norms differ
        hypotheses=(
            Hypothesis(name="spread of the tokens' difference", distance=float(np.ptp(other))),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for dim in (1, 64, 3072) if suite == "quick" else (1, 8, 64, 512, 3072):
        yield from (_step(n, np.ones(dim)) for n in (1, 10, 100))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """All of the difference in one coordinate: the two norms agree."""
    yield _step(10, np.eye(64)[0])
