"""Lemma B.6: the eigenvalue one of causal attention is simple."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.absorption import second_modulus
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="lem_b6",
    title="The eigenvalue one of causal attention is simple",
    source="arXiv 2406.04267v2, Lemma B.6",
    statement=r"\dim \ker (\Lambda - I) = 1 \quad \mathrm{and} \quad"
    r" |\lambda_2| = \max_{i \ge 2} \alpha_{ii}",
    assumes=(
        "row-stochastic and lower-triangular $\\Lambda$",
        "$\\alpha_{ii} < 1$ for $i \\ge 2$",
    ),
    note="Printed is a sufficient hypothesis, two nonzeros in each row but the first; the one here"
    " is necessary as well. For stochastic matrices one has as many eigenvectors as its"
    " multiplicity.",
)

U = 2.0**-53


def causal(n: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Softmax of random logits under a causal mask.

    Args:
      n: Number of tokens.
      seed: Of the logits.
      scale: Of the logits.

    Returns:
      A row-stochastic, lower-triangular matrix.
    """
    logits = scale * np.random.default_rng([n, seed]).normal(size=(n, n))
    logits = np.where(np.tri(n, dtype=bool), logits, -np.inf)
    grown = np.exp(logits - np.max(logits, axis=1, keepdims=True))  # logits of 700 overflow
    return grown / np.sum(grown, axis=1, keepdims=True)


def rank_deficiency(matrix: np.ndarray) -> int:
    """Dimension of a kernel, by elimination with complete pivots in floats.

    Args:
      matrix: A square one, entries of size one at most.

    Returns:
      The dimension: pivots below 2^-40 count as zero.
    """
    left = matrix.copy()
    for k in range(len(left)):
        rest = np.abs(left[k:, k:])
        if np.max(rest) < 2.0**-40:
            return len(left) - k
        # The largest entry that is left comes to the diagonal: rows, then columns, are exchanged.
        row, column = k + np.array(np.unravel_index(np.argmax(rest), rest.shape))
        left[[k, row]] = left[[row, k]]
        left[:, [k, column]] = left[:, [column, k]]
        left[k + 1 :] -= np.outer(left[k + 1 :, k] / left[k, k], left[k])
    return 0


def hypotheses(weights: np.ndarray) -> tuple[Hypothesis, ...]:
    """Those of the lemma, with the exact condition in place of the printed one.

    Args:
      weights: A square matrix.

    Returns:
      The hypotheses, as measured.
    """
    later, above = np.diag(weights)[1:], np.triu(weights, 1)
    return (
        Hypothesis(name="entries above the diagonal", distance=float(np.sum(above != 0))),
        Hypothesis(
            name="rows of sum one",
            distance=float(np.max(np.abs(np.sum(weights, axis=1) - 1))),
            allowed=2 * len(weights) * U,
        ),
        Hypothesis(
            name="later tokens that see themselves only", distance=float(np.sum(~(later < 1)))
        ),
    )


def _simple(setting: str, weights: np.ndarray) -> Measurement:
    """Dimension of the kernel of weights - I: a stochastic matrix has no Jordan block for one."""
    shifted = weights - np.eye(len(weights))
    return Measurement(
        setting=f"multiplicity of one, {setting}",
        measured=float(rank_deficiency(shifted)),
        bound=1.0,
        floor=1.0,
        hypotheses=hypotheses(weights),
        size=len(weights),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (2, 4, 8) if suite == "quick" else (2, 3, 4, 6, 8, 12):
        yield _simple(f"random, {n=}", causal(n, 1))
        uniform = np.tri(n) / np.arange(1, n + 1)[:, None]
        yield _simple(f"uniform, {n=}", uniform)
        # Turned, for LAPACK would read the eigenvalues of a triangular matrix off its diagonal, as
        # the library does.
        turn = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]
        moduli = np.sort(np.abs(np.linalg.eigvals(turn @ uniform @ turn.T)))
        yield Measurement.equality(
            setting=f"second modulus, uniform, {n=}: one half",
            measured=float(moduli[-2]),
            expected=float(second_modulus(uniform)),
            # Backward errors of n^2 U, times how ill the eigenvalues are: 2^n and less, they are
            # 1/i.
            roundoff=16 * n**2 * 2.0**n * U,
            hypotheses=hypotheses(uniform),
            size=n,
        )
    # One other token only: a single nonzero weight a row, and the lemma's conclusion holds.
    shift = np.eye(6, k=-1)
    shift[0, 0] = 1
    yield _simple("each token sees the one before it only", shift)
    almost = np.array([[1.0, 0, 0], [2.0**-20, 1 - 2.0**-20, 0], [0, 2.0**-20, 1 - 2.0**-20]])
    yield _simple("weights of 2^-20 on others", almost)
    # Outside the hypotheses: the first token sees the last, and its row's sum is not one.
    masked = causal(4, 1)
    masked[3, 3], masked[3, 0] = masked[3, 0], masked[3, 3]
    masked[0, 3] = 0.5
    yield _simple("a mask that is not causal", masked)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Logits 800 apart: the softmax underflows, a token sees itself only, and one is double."""
    logits = np.where(np.tri(4, dtype=bool), 0.0, -np.inf)
    logits[2, 2] = 800.0
    grown = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    yield _simple("a row underflows", grown / np.sum(grown, axis=1, keepdims=True))
