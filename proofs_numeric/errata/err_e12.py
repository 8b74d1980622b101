"""Erratum: Proposition 5.2 diagonalizes a matrix that need not be diagonalizable."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.lem_b6 import rank_deficiency
from proofs_numeric.support import paper_decoder

CLAIM = Claim(
    name="err_e12",
    title="The matrix of Proposition 5.2 need not have a basis of eigenvectors",
    source="arXiv 2406.04267v2, proof of Proposition 5.2 (B.8)",
    kind="erratum",
    statement=r"1 \le n - \sum_\mu \dim \ker \left( \tfrac12 (\Lambda + I) - \mu I \right)"
    r" \quad \mathrm{and} \quad \left\lVert \frac{\partial y_n}{\partial v_1^{(0)}} \right\rVert"
    r" \le 0.01 \pi_1",
    assumes=("a window of two tokens, equal weights", "$\\psi(x) = -x$, for the derivative"),
    note="Eigenvalue 3/4 has multiplicity n - 1 and one eigenvector; the conclusion stands, by"
    " absorption. It is about the bound: the derivative for the first token is at most, and not"
    " always, what the bound tends to.",
)


def _missing(n: int, step: float) -> Measurement:
    """Eigenvectors that a basis would need and the matrix does not have.

    Half of what two neighbors see, half the residual; own weights that differ by a step.
    """
    own = 0.5 + step * np.arange(n)
    own[0] = 1.0
    weights = (np.diag(own) + np.diag(1 - own[1:], -1) + np.eye(n)) / 2
    # A triangular matrix: its eigenvalues are on the diagonal.
    diagonal = np.diag(weights)
    measured = sum(rank_deficiency(weights - value * np.eye(n)) for value in np.unique(diagonal))
    return Measurement(
        setting=f"window of two tokens, {n=}, own weights apart by {step:g}",
        measured=1.0,
        bound=float(n - measured),
        size=n,
        hypotheses=(
            Hypothesis(
                name="different own weights, beside one",
                distance=float(len(np.unique(diagonal[1:])) - 1),
            ),
        ),
    )


def _falls_short(turn: float) -> Measurement:
    """The bound for the first token tends to one, and the derivative need not.

    Here psi(x) = turn x, beta1 = beta2 = 1 and beta3 = 4^L.
    """
    depth = 4
    drawn = paper_decoder.draw(3, length=4, layers=depth, linear=True)
    there = np.isfinite(drawn.beta1)  # neutral layers stay neutral
    decoder = drawn._replace(
        linear=turn * there[:, None, None] * np.eye(paper_decoder.WIDTH),
        beta1=np.where(there, 1.0, np.inf),
        beta2=np.ones_like(drawn.beta2),
        beta3=np.asarray(4.0**depth),
    )
    [reach] = paper_decoder.reaches([decoder])
    first, bounds = int(decoder.start), paper_decoder.bound(decoder, reach)
    opposed = decoder.linear[:depth] + np.eye(paper_decoder.WIDTH)
    return Measurement(
        setting=f"psi(x) = {turn:+g} x, {depth} layers",
        measured=float(reach.norms[first] / bounds[first]),
        bound=0.01,
        size=depth,
        hypotheses=(
            Hypothesis(
                name="MLPs other than minus the identity", distance=float(np.max(np.abs(opposed)))
            ),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (3, 5, 8) if suite == "quick" else (3, 5, 8, 16, 32):
        yield _missing(n, 0.0)
    yield _falls_short(-1.0)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Own weights that all differ: a basis of eigenvectors. MLPs that add: the bound itself."""
    yield _missing(5, 0.0625)
    yield _falls_short(1.0)
