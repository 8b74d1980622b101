"""Erratum: two nonzeros in each row are sufficient for Lemma B.6, not necessary, in exact terms."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.theory.absorption import is_simple_one
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.lem_b6 import rank_deficiency


def _shift(n: int) -> np.ndarray:
    """Each token sees the one before it only, the first itself: one nonzero weight a row."""
    weights = np.eye(n, k=-1)
    weights[0, 0] = 1
    return weights


def _skips(n: int) -> np.ndarray:
    """Every token sees the first only."""
    weights = np.zeros((n, n))
    weights[:, 0] = 1
    return weights


def _sparse_rows(weights: np.ndarray) -> float:
    return float(np.sum(np.sum(weights[1:] != 0, axis=1) < 2))


def _simple(setting: str, weights: np.ndarray) -> Measurement:
    """How many rows lack two nonzeros while the eigenvalue is simple: at least one."""
    simple = bool(is_simple_one(weights)) and rank_deficiency(weights - np.eye(len(weights))) == 1
    return Measurement(
        setting=setting,
        measured=1.0,
        bound=_sparse_rows(weights) * simple,
        size=len(weights),
        hypotheses=(
            Hypothesis(
                name="later tokens that see themselves only",
                distance=float(np.sum(np.diag(weights)[1:] == 1)),
            ),
        ),
    )


def _underflow(dtype: str, gap: float) -> np.ndarray:
    """Softmax of two logits so far apart, in a format; every exact weight is positive."""
    logits = np.array([[0.0, -np.inf], [0.0, gap]])
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    grown = np.asarray(jnp.asarray(np.exp(shifted), dtype), np.float64)
    total = np.asarray(jnp.asarray(np.sum(grown, axis=1, keepdims=True), dtype), np.float64)
    return np.asarray(jnp.asarray(grown / total, dtype), np.float64)


def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (2, 4, 8) if suite == "quick" else (2, 4, 8, 16, 32):
        yield _simple(f"each token sees the one before it only, {n=}", _shift(n))
        yield _simple(f"each token sees the first only, {n=}", _skips(n))


def _counter_case() -> Iterator[Measurement]:
    """Rows whose one nonzero is on the diagonal, as low precision makes them: one is double."""
    for dtype, gap in (("float16", 20.0), ("bfloat16", 100.0), ("float64", 800.0)):
        weights = _underflow(dtype, gap)
        yield _simple(f"logits {gap:g} apart, in {dtype}", weights)


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
    measure=_measure,
    counter_case=_counter_case,
)
