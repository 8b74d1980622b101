"""Proposition B.4: bounded logits that do not converge keep one distance at every even length."""

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.precision import F64, ulp_distance
from glassesjax.theory.softmax import (
    alternating_total_variation,
    softmax_total_variation,
    tv_bound_range,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="prop_b4",
    title="Logits that do not converge keep their distance",
    source="arXiv 2406.04267v2, Proposition B.4",
    statement=r"\delta = 2 \frac{e^g - 1}{e^g + 1} = 2 \tanh \frac{g}{2}",
    assumes=("an even length: as many logits of $g$ as of 0 in both rows",),
    norm="L1",
    note="Measured in steps of float64 from the closed form: at most one step where the weights"
    " are correctly rounded; a float64 softmax adds what its sums of n terms do.",
)

U = 2.0**-53
GAPS = (1.0, 2.0**-20, 0.5, 8.0, 700.0)


@jax.jit
def _compared(
    x: Float[Array, "rows n"], x_star: Float[Array, "rows n"], expected: Float[Array, " rows"]
) -> Float[Array, "3 rows"]:
    """Distance, sharp bound, and the distance's steps of float64 from the closed form."""
    distance = softmax_total_variation(x, x_star)
    steps = ulp_distance(distance, expected, F64).astype(distance.dtype)
    return jnp.stack([distance, tv_bound_range(x, x_star), steps])


def _evaluate(lengths: np.ndarray, gap: float, width: int) -> np.ndarray:
    """Distance, sharp bound and steps, a row each; one column a length."""
    # The rows (g, 0, g, 0, ...) and (0, g, 0, g, ...), (lengths, width), masked beyond each length.
    places = np.arange(width)
    kept, first = places < lengths[:, None], np.where(places % 2 == 0, gap, 0.0)
    rows = np.where(kept, first, -np.inf), np.where(kept, gap - first, -np.inf)
    expected = np.full(len(lengths), alternating_total_variation(gap))
    return np.asarray(_compared(*rows, expected))


def _even(n: int) -> Hypothesis:
    return Hypothesis(name="even length", distance=float(n % 2))


def _allowed_steps(n: int) -> float:
    """Steps that the rounding of n terms can cost.

    Both rows' weights have n u from their sum and three u beside, and their differences are added
    up: relative to a distance of at least 0.92, where they are subtracted, below 5 n.
    """
    return 5.0 * (n + 8)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    width = 512 if suite == "quick" else 2048
    lengths = np.arange(2, width + 1, 2)
    for gap in GAPS:
        distance, sharp, steps = _evaluate(lengths, gap, width)
        expected = alternating_total_variation(gap)
        # The distance from both rows' weights, in 50 digits, rounded once.
        with localcontext(prec=50):
            high, low = Decimal(gap).exp(), Decimal(1)
            sums = [(int(n) // 2) * (high + low) for n in lengths]
            rounded = [
                float(int(n) * abs(high / z - low / z)) for n, z in zip(lengths, sums, strict=True)
            ]
        yield Measurement(
            setting=f"correctly rounded, every even n to {width}, {gap=:g}",
            measured=max(abs(r - expected) / math.ulp(min(r, expected)) for r in rounded),
            bound=1.0,
            hypotheses=(_even(width),),
            norm="ulps of float64",
        )
        for n in 2 ** np.arange(1, int(np.log2(width)) + 1):
            block = (lengths > n // 2) & (lengths <= n)
            yield Measurement(
                setting=f"computed, even n from {n // 2 + 1} to {n}, {gap=:g}",
                measured=float(np.max(steps[block])),
                bound=_allowed_steps(int(n)),
                floor=0.0,
                hypotheses=(_even(int(n)),),
                size=float(n),
                norm="ulps of float64",
            )
        worst = int(np.argmax(np.abs(distance - sharp)))
        yield Measurement.equality(
            setting=f"the sharp bound of Lemma B.2 is attained, {gap=:g}",
            measured=float(distance[worst]),
            expected=float(sharp[worst]),
            roundoff=_allowed_steps(width) * U * expected,
            hypotheses=(_even(int(lengths[worst])),),
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    for n in (1, 3, 511):
        distance, _, steps = _evaluate(np.full(256, n), 1.0, 512)[:, 0].tolist()
        yield Measurement(
            setting=f"an odd length, {n=}: distance {distance:.6f}",
            measured=steps,
            bound=_allowed_steps(n),
            hypotheses=(_even(n),),
            norm="ulps of float64",
        )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import enclosures  # needs python-flint

    return enclosures.prop_b4()
