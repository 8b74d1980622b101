"""Erratum E14: two close representations can be rounded apart, whatever the precision."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.precision import BF16, E4M3FN, E5M2, F16, F32, FloatFormat, ulp_distance
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

FORMATS = (BF16, F16, E4M3FN, E5M2, F32)
PRINTED, REPAIRED = 0.0, 1.0  # steps, or changed tokens, that closeness is said to allow
MARGIN = 0.5  # by how much of a step what is found must exceed that
UNEMBED = np.eye(2)


def _exponents(fmt: FloatFormat, count: int) -> np.ndarray:
    """Halved distances 2^-k: from a quarter of the spacing to the carrier's own."""
    return np.round(np.linspace(fmt.mantissa_bits + 3, 51, count))


@jax.jit
def _steps(low: Float[Array, "formats n"], high: Float[Array, "formats n"]) -> Array:
    """Steps between the pairs, each row in its format."""
    rows = [ulp_distance(low[i], high[i], fmt) for i, fmt in enumerate(FORMATS)]
    return jnp.stack(rows).astype(low.dtype)


def _steps_apart(count: int) -> np.ndarray:
    """Steps between numbers on both sides of the middle of two neighbors, a row for each format."""
    middles = np.array([[1 + fmt.unit_roundoff] for fmt in FORMATS])
    halves = 2.0 ** -np.stack([_exponents(fmt, count) for fmt in FORMATS])
    return np.asarray(_steps(middles - halves, middles + halves))


def _close(distance: float, allowed: float) -> Hypothesis:
    return Hypothesis(name="distance over a spacing", distance=max(distance - allowed, 0.0))


def _changed_tokens(exponent: int) -> float:
    """Near a tie: two representations 2^-k apart, and whether the greedy token is another."""
    shift = 2.0**-exponent
    first, second = UNEMBED @ np.array([1 + shift, 1.0]), UNEMBED @ np.array([1.0, 1 + shift])
    return float(np.argmax(first) != np.argmax(second))


def _measure(suite: Suite) -> Iterator[Measurement]:
    count = 6 if suite == "quick" else 24
    for fmt, row in zip(FORMATS, _steps_apart(count).tolist(), strict=True):
        for k, steps in dict(zip(_exponents(fmt, count).tolist(), row, strict=True)).items():
            yield Measurement(
                setting=f"steps between rounded numbers 2^-{k - 1:g} apart, {fmt.name}",
                measured=PRINTED + MARGIN,
                bound=steps,
                hypotheses=(_close(2.0 ** (1 - k), fmt.epsilon),),
                size=k,
                norm="ulps",
                dtype=fmt.name,
                rounding="to nearest, ties to even",
            )
    for k in (8, 16, 32, 52):
        yield Measurement(
            setting=f"changed tokens of representations 2^-{k} apart",
            measured=PRINTED + MARGIN,
            bound=_changed_tokens(k),
            hypotheses=(_close(2.0**-k, 2.0**-8),),
            size=k,
        )


def _counter_case() -> Iterator[Measurement]:
    """One step, and one token: what is true of close numbers is not exceeded."""
    repaired = Hypothesis(name="the printed constant", distance=REPAIRED - PRINTED)
    for fmt, row in zip(FORMATS, _steps_apart(6).tolist(), strict=True):
        yield Measurement(
            setting=f"one step allowed, {fmt.name}",
            measured=REPAIRED + MARGIN,
            bound=max(row),
            hypotheses=(repaired,),
            norm="ulps",
            dtype=fmt.name,
        )
    yield Measurement(
        setting="another token allowed, unless a margin certifies that it is the same",
        measured=REPAIRED + MARGIN,
        bound=_changed_tokens(52),
        hypotheses=(repaired,),
    )


CLAIM = Claim(
    name="err_e14",
    title="Closeness does not imply equal rounding",
    kind="erratum",
    source="arXiv 2406.04267v2, Corollary 6.2 (B.10)",
    statement=r"0 + \frac12 \le \mathrm{steps}(\mathrm{rd}(y), \mathrm{rd}(y')), \quad"
    r" |y' - y| \le \varepsilon \to 0",
    assumes=("two numbers at most a spacing of the format apart",),
    climbs="halvings of the distance",
    note="Printed: close enough, they are rounded to one number, which allows no step. True: one"
    " step, at every distance. The printed y*_n should be y*_(n+1).",
    measure=_measure,
    counter_case=_counter_case,
)
