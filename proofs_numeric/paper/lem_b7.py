"""Lemma B.7: products of causal attention matrices are causal attention matrices."""

from collections.abc import Iterator

import jax
import numpy as np

from glassesjax.theory.position_bias import cumulative_rollout
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.lem_b6 import causal

CLAIM = Claim(
    name="lem_b7",
    title="Products of causal attention are causal attention",
    source="arXiv 2406.04267v2, Lemma B.7",
    statement=r"\sum_j \left( \Lambda^{(L)} \cdots \Lambda^{(1)} \right)_{ij} = 1, \quad"
    r" \left( \Lambda^{(L)} \cdots \Lambda^{(1)} \right)_{ij} = 0 \quad (j > i)",
    assumes=("row-stochastic and lower-triangular factors",),
    climbs="L",
)

U = 2.0**-53
TOKENS = 8


_rollout = jax.jit(cumulative_rollout)


def _rows(name: str, weights: np.ndarray) -> Iterator[Measurement]:
    """Sums of the product's rows, and what lies above its diagonal or is negative."""
    # (layers, TOKENS, TOKENS) -> the product of all layers, (TOKENS, TOKENS)
    product, layers = np.asarray(_rollout(weights))[-1], len(weights)
    above = np.sum(np.triu(np.ones((TOKENS, TOKENS)), 1) * (weights != 0))
    # A sum that is NaN counts as zero, so that this hypothesis is measured, as unmet.
    apart = np.max(np.abs(np.nan_to_num(np.sum(weights, axis=-1)) - 1))
    hypotheses = (
        Hypothesis(name="entries above the diagonal", distance=float(above)),
        Hypothesis(name="negative entries", distance=float(np.sum(~(weights >= 0)))),
        Hypothesis(name="rows of sum one", distance=float(apart), allowed=2 * TOKENS * U),
    )
    more = {"hypotheses": hypotheses, "size": layers}
    sums = np.sum(product, axis=1)
    yield Measurement.equality(
        setting=f"{name}, sum of a row, {layers=}",
        measured=float(sums[np.argmax(np.abs(sums - 1))]),
        expected=1.0,
        roundoff=4 * layers * TOKENS * U,  # sums of so many terms, of rows not quite of one
        **more,
    )
    outside = np.triu(np.abs(product), 1) + np.tril(np.maximum(-product, 0))
    yield Measurement(
        setting=f"{name}, above the diagonal or negative, {layers=}",
        measured=float(np.max(outside)),
        bound=0.0,
        **more,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for layers in (1, 8, 64) if suite == "quick" else (1, 2, 8, 64, 512, 4096):
        for scale in (0.0, 1.0, 700.0):
            weights = np.stack([causal(TOKENS, seed, scale) for seed in range(layers)])
            yield from _rows(f"logits of {scale:g}", weights)
    weights = np.stack([causal(TOKENS, seed) for seed in range(8)])
    weights[3, 5, 2] = np.nan
    yield from _rows("a weight that is not a number", weights)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """One layer whose rows have sum 0.9, as after dropped keys."""
    weights = np.stack([causal(TOKENS, seed) for seed in range(8)])
    weights[4] *= 0.9
    yield next(_rows("a layer of rows of sum 0.9", weights))
