"""Erratum: the model's equation adds up norm1(v_i), not norm1(v_j): attention would mix nothing."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import weights_of

CLAIM = Claim(
    name="err_e01",
    title="As printed, attention mixes nothing",
    source="arXiv 2406.04267v2, Section 2, the model's first equation",
    kind="erratum",
    statement=r"\lVert y_n(v_1, \dots, v_{n-1}, v_n) - y_n(v'_1, \dots, v'_{n-1}, v_n)"
    r" \rVert_\infty \le 0",
    assumes=("the sum over $j$ has $\\mathrm{norm}_1(v_i)$, as printed",),
    norm="inf",
    note="Weights of sum one times the same vector give that vector. Meant is norm1(v_j).",
)

U = 2.0**-53
DIM = 8


def _normalized(resid: np.ndarray) -> np.ndarray:
    return resid / np.sqrt(np.mean(resid**2, axis=-1, keepdims=True) + 1e-5)


def _replaced(n: int, layers: int, printed: bool) -> Measurement:
    """All tokens but the last are replaced, in the paper's model with psi = tanh."""
    prompts = np.random.default_rng([n, layers]).normal(size=(2, n, DIM))
    prompts[1, -1] = prompts[0, -1]
    last, apart = [], 0.0  # how far any summand is from norm1(v_i)
    for resid in prompts:
        for _ in range(layers):
            x = _normalized(resid)
            mid = np.empty_like(resid)
            for i, row in enumerate(x):
                # As printed, each summand is the query's own token: (tokens up to i, DIM).
                summands = np.tile(row, (i + 1, 1)) if printed else x[: i + 1]
                apart = max(apart, float(np.max(np.abs(summands - row))))
                mid[i] = weights_of(x[: i + 1] @ row) @ summands + resid[i]
            resid = mid + np.tanh(_normalized(mid))
        last.append(_normalized(resid)[-1])
    return Measurement(
        setting=f"{n - 1} of {n} tokens replaced, {layers} layers"
        + ("" if printed else ", the values are the keys' own"),
        size=n,
        measured=float(np.max(np.abs(last[0] - last[1]))),
        bound=0.0,
        # Weights of sum one up to n + 8 roundings multiply a row of size root d, in each layer.
        roundoff=2 * layers * (n + 4 * DIM) * U * DIM,
        hypotheses=(Hypothesis(name="summands beside norm1(v_i)", distance=apart),),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (1, 2, 16) if suite == "quick" else (1, 2, 16, 128):
        yield from (_replaced(n, layers, printed=True) for layers in (1, 3))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """With norm1(v_j) the last row depends on the other tokens."""
    yield _replaced(16, 1, printed=False)
    yield _replaced(16, 3, printed=False)
