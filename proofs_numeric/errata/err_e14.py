"""Erratum E14: two close representations can be rounded apart, whatever the precision."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.precision import BF16, E4M3FN, E5M2, F16, F32, ulp_distance
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="err_e14",
    title="Closeness does not imply equal rounding",
    kind="erratum",
    source="arXiv 2406.04267v2, Corollary 6.2 (B.10)",
    statement=r"0 + \frac12 \le \mathrm{steps}(\mathrm{rd}(y), \mathrm{rd}(y')), \quad"
    r" |y' - y| \le \varepsilon \to 0",
    assumes=(
        "two numbers at most a spacing of the format apart",
        "a middle of two of its neighbors, or a tie of two tokens, between them",
    ),
    climbs="halvings of the distance",
    note="Printed: close enough, they are rounded to one number, which allows no step. True: one"
    " step, at every distance. The printed y*_n should be y*_(n+1).",
)

FORMATS = (BF16, F16, E4M3FN, E5M2, F32)
PRINTED = 0.0  # steps, or changed tokens, that the paper allows for close values
MARGIN = 0.5  # steps by which the result must exceed the bound
UNEMBED = np.eye(2)


class Pairs(NamedTuple):
    """Close numbers, a row for each format."""

    low: np.ndarray
    high: np.ndarray
    middles: np.ndarray  # of two neighbors of the format
    steps: np.ndarray  # between the rounded numbers


@jax.jit
def _steps(low: Float[Array, "formats n"], high: Float[Array, "formats n"]) -> Array:
    """Steps between the pairs, each row in its format."""
    rows = [ulp_distance(low[i], high[i], fmt) for i, fmt in enumerate(FORMATS)]
    return jnp.stack(rows).astype(low.dtype)


def _pairs(count: int, shift: float = 0.0) -> Pairs:
    """Numbers around the middle of two neighbors, or a share of their spacing above it."""
    middles = np.array([[1 + fmt.unit_roundoff] for fmt in FORMATS])  # (formats, 1)
    centers = middles + shift * np.array([[fmt.epsilon] for fmt in FORMATS])
    # Halved distances 2^-k, (formats, count): from a quarter of the format's spacing to a few
    # spacings of float64, in which the pairs are given.
    ends = [np.linspace(fmt.mantissa_bits + 3, 51, count) for fmt in FORMATS]
    halves = 2.0 ** -np.stack([np.round(each) for each in ends])
    low, high = centers - halves, centers + halves
    return Pairs(low, high, middles, np.asarray(_steps(low, high)))


def _outside(low: float, high: float, middle: float) -> Hypothesis:
    distance = max(low - middle, middle - high, 0.0)
    return Hypothesis(name="distance to the nearest middle or tie", distance=distance)


def _rounded(pairs: Pairs, row: int, column: int) -> Measurement:
    fmt, low, high = FORMATS[row], pairs.low[row, column], pairs.high[row, column]
    close = Hypothesis(name="distance", distance=float(high - low), allowed=fmt.epsilon)
    return Measurement(
        setting=f"steps between rounded numbers {high - low:g} apart, {fmt.name}",
        measured=PRINTED + MARGIN,
        bound=float(pairs.steps[row, column]),
        hypotheses=(close, _outside(float(low), float(high), float(pairs.middles[row, 0]))),
        size=-math.log2(high - low),
        norm="ulps",
        dtype=fmt.name,
        rounding="to nearest, ties to even",
    )


def _tokens(k: int, lead: float = 0.0) -> Measurement:
    """Two representations 2^-k apart, and whether the greedy token is another."""
    # Without a lead each token comes first in one of the two: a tie lies between.
    near = np.array([[1 + lead + 2.0**-k, 1.0], [1 + lead, 1 + 2.0**-k]])
    logits = near @ UNEMBED.T
    first, second = np.argmax(logits, axis=1)
    leads = logits[:, 0] - logits[:, 1]  # a tie where it is zero
    moved = float(np.max(np.abs(near[0] - near[1])))
    return Measurement(
        setting=f"changed tokens of representations 2^-{k} apart, {lead=:g}",
        measured=PRINTED + MARGIN,
        bound=float(first != second),
        hypotheses=(
            Hypothesis(name="distance", distance=moved, allowed=2.0**-8),
            _outside(float(np.min(leads)), float(np.max(leads)), 0.0),
        ),
        size=k,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    count = 6 if suite == "quick" else 24
    pairs = _pairs(count)
    for row in range(len(FORMATS)):
        yield from (_rounded(pairs, row, column) for column in range(count))
    yield from (_tokens(k) for k in (8, 16, 32, 52))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Close numbers with no middle between them, and representations with no tie between them."""
    pairs = _pairs(6, shift=0.25)
    yield from (_rounded(pairs, row, 0) for row in range(len(FORMATS)))
    yield _tokens(16, lead=0.5)
