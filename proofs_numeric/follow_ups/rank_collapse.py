"""Rank collapse implies that any two tokens meet, with the sharp constant."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.rank import representational_gap_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="rank_collapse",
    title="Where the rank collapses, the last two tokens meet",
    source="after arXiv 2504.02732; the constant is ours",
    page="rank",
    kind="follow_up",
    statement=r"\lVert v_n - v_{n-1} \rVert_2 \le \sqrt{2} \lVert V - \mathrm{mean} \rVert_F",
    assumes=("at least two tokens", "the residual counts both of them"),
    norm="2",
    note="By the parallelogram law; the converse is false.",
)

U = 2.0**-53
DIM = 4


@jax.jit
def _bounds(values: Float[Array, "batch n d"]) -> Float[Array, " batch"]:
    return representational_gap_bound(values)


def _one(
    setting: str, values: np.ndarray, bound: float, counted: np.ndarray | None = None
) -> Measurement:
    """The last two tokens' gap, and a bound from the tokens that the residual counts."""
    n = len(values)
    # The counter-case's residual has another token in place of one of these.
    left_out = np.any(values != (values if counted is None else counted), axis=1)
    gap = float(np.linalg.norm(values[-1] - values[-2])) if n > 1 else float("nan")
    size = float(np.max(np.abs(values)))
    return Measurement(
        setting=setting,
        size=n,
        measured=gap,
        bound=bound,
        # Two tokens, or others midway between the last two, attain it.
        floor=bound if n == 2 or "midway" in setting else 0.0,
        # A mean and a sum of squares over all numbers, relative to the largest of them.
        roundoff=4 * (n + DIM + 8) * U * size * np.sqrt(n * DIM),
        hypotheses=(
            Hypothesis(name="tokens wanting of two", distance=max(2 - n, 0)),
            Hypothesis(name="tokens other than the residual has", distance=float(np.sum(left_out))),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (1, 2, 16, 256) if suite == "quick" else (1, 2, 3, 16, 256, 4096):
        random = np.random.default_rng(n)
        normal = random.normal(size=(n, DIM))
        # Others in the middle add nothing to the residual: the last two attain the bound.
        midway = normal.copy()
        midway[:-2] = np.mean(normal[-2:], axis=0)
        cases = {
            "normal": normal,
            "others midway": midway,
            "equal": np.tile(normal[:1], (n, 1)),
            "of size 1e100": 1e100 * normal,
            "nearly equal": 1 + 1e-9 * normal,
        }
        # (cases, n, d), so that a length is one program
        bounds = _bounds(np.stack(list(cases.values()))).tolist()
        for (name, values), bound in zip(cases.items(), bounds, strict=True):
            yield _one(f"{name}, {n=}", values, bound)


def _ratio(values: Float[Array, "n d"]) -> Float[Array, ""]:
    gap = jnp.sqrt(jnp.sum(jnp.square(values[-1] - values[-2])))
    return gap / representational_gap_bound(values)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 100 if suite == "quick" else 2000
    starts = np.random.default_rng(5).normal(size=(5, 16, DIM))
    worst = np.asarray(ascend(_ratio, jnp.asarray(starts), steps=steps).instance)
    bound = float(_bounds(np.stack([worst] * 5))[0])  # five, as the ladder's shape
    yield _one(f"5 starts, {steps} steps over 16 tokens", worst, bound)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """All tokens but the last have collapsed: the last may be anywhere."""
    values = np.tile(np.ones((1, DIM)), (16, 1))
    values[-1] = -1.0
    collapsed = np.tile(np.ones((1, DIM)), (16, 1))
    bound = float(_bounds(np.stack([collapsed] * 5))[0])
    yield _one("the last token left out of the residual", values, bound, collapsed)
