"""Erratum: two nonzeros in each row are sufficient for Lemma B.6, not necessary, in exact terms."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.theory.absorption import is_simple_one
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.lem_b6 import rank_deficiency

CLAIM = Claim(
    name="err_e11",
    title="Lemma B.6 holds without two nonzeros in each row",
    source="arXiv 2406.04267v2, Lemma B.6",
    kind="erratum",
    statement=r"1 \le \# \{ i \ge 2 : \mathrm{row} \ i \ \mathrm{has \ one \ nonzero} \}"
    r" \cdot [ \mathrm{the \ eigenvalue \ one \ is \ simple} ]",
    assumes=("$\\alpha_{ii} < 1$ for $i \\ge 2$, which is necessary and sufficient",),
    note="Exact softmax always meets the condition; in low precision a weight is rounded to one"
    " where logits are far apart, and the eigenvalue is double.",
)


def _simple(setting: str, weights: np.ndarray) -> Measurement:
    """How many rows lack two nonzeros while the eigenvalue is simple: at least one."""
    simple = bool(is_simple_one(weights)) and rank_deficiency(weights - np.eye(len(weights))) == 1
    sparse = float(np.sum(np.sum(weights[1:] != 0, axis=1) < 2))  # the first row has one entry
    return Measurement(
        setting=setting,
        measured=1.0,
        bound=sparse * simple,
        size=len(weights),
        hypotheses=(
            Hypothesis(
                name="later tokens that see themselves only",
                distance=float(np.sum(np.diag(weights)[1:] == 1)),
            ),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (2, 4, 8) if suite == "quick" else (2, 4, 8, 16, 32):
        # One nonzero weight a row; the first token can only see itself.
        weights = np.eye(n, k=-1)
        weights[0, 0] = 1
        yield _simple(f"each token sees the one before it only, {n=}", weights)
        weights = np.zeros((n, n))
        weights[:, 0] = 1
        yield _simple(f"each token sees the first only, {n=}", weights)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Rows whose one nonzero is on the diagonal, as low precision makes them: one is double."""
    for dtype, gap in (("float16", 20.0), ("bfloat16", 100.0), ("float64", 800.0)):
        # Softmax of two logits so far apart; every exact weight is positive. NumPy has no
        # bfloat16: JAX rounds after each operation, which is done in float64.
        rounded = lambda x, dtype=dtype: np.asarray(jnp.asarray(x, dtype), np.float64)
        logits = np.array([[0.0, -np.inf], [0.0, gap]])
        grown = rounded(np.exp(logits - np.max(logits, axis=1, keepdims=True)))
        weights = rounded(grown / rounded(np.sum(grown, axis=1, keepdims=True)))
        yield _simple(f"logits {gap:g} apart, in {dtype}", weights)
