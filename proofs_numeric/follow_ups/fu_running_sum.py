"""Follow-up: a running sum of equal terms stops, at a number that the order of additions fixes."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.precision import (
    BF16,
    E4M3FN,
    E5M2,
    F16,
    F64,
    Accumulator,
    accumulate,
    float_format,
)
from glassesjax.theory.storage import running_limit
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fu_running_sum",
    title="A running sum of equal terms stops where its format and order say",
    kind="follow_up",
    source="ours",
    page="storage",
    statement=r"\lim_n \hat\Sigma_n = L(t) = 2^{m + 1 + \lceil \log_2 t \rceil}, \quad"
    r" L(c \, t) \text{ in chunks of } c, \quad"
    r" \min(k, 2^{m + 1}) \, L(t) \text{ in } k \text{ parts}, \quad"
    r" | \hat\Sigma_n - n | \le u \, n \text{ pairwise}",
    assumes=(
        "equal terms $t$; for the tree, ones",
        "the running sum is stored in a format of $m$ mantissa bits after each addition",
        "the limit is no larger than the format's largest number",
    ),
    note="Of ones: 256 in bf16, 2,048 in f16, 16 in e4m3fn; 64 times as many in chunks of 64.",
)

TERMS = (1.0, 0.75, 2.0**-6)
ORDERS = (("sequential", 1), ("chunked", 3), ("chunked", 16), ("split", 3), ("split", 16))
FORMATS = (E5M2, E4M3FN, float_format("e8m4"), float_format("e8m5"))


def _sum(terms: np.ndarray, how: Accumulator) -> float:
    return float(accumulate(jnp.asarray(terms, jnp.float64), how))


def _equal(terms: np.ndarray) -> Hypothesis:
    spread = float(np.max(terms) - np.min(terms))
    return Hypothesis(name="spread of the terms", distance=spread)


def _limits(term: float, how: Accumulator) -> Iterator[Measurement]:
    limit = running_limit(term, how)
    if math.isinf(limit):
        return
    # Parts and chunks beyond the limit, twice: it is reached, and not exceeded.
    n = 4 * how.size << (how.fmt.mantissa_bits + 1)
    terms = np.full(n, term)
    order = how.order if how.size == 1 else f"{how.order} {how.size}"
    yield Measurement.equality(
        setting=f"sum of {n} terms of {term:g}, {order}, {how.fmt.name}",
        measured=_sum(terms, how),
        expected=float(limit),
        roundoff=0.0,
        hypotheses=(_equal(terms),),
        size=how.fmt.mantissa_bits,
        dtype=how.fmt.name,
    )


def _ones_to_the_limit(how: Accumulator) -> Measurement:
    """Sums of 1, 2, ... ones up to the limit are exact: they are their numbers."""
    limit = int(running_limit(1, how))
    lengths = np.arange(1, limit + 1)
    ones = (np.arange(limit) < lengths[:, None]).astype(np.float64)  # (lengths, terms)
    sums = np.asarray(accumulate(jnp.asarray(ones), how))
    return Measurement.equality(
        setting=f"error of the sums of up to {limit} ones, sequential, {how.fmt.name}",
        measured=float(np.max(np.abs(sums - lengths))),
        expected=0.0,
        roundoff=0.0,
        size=how.fmt.mantissa_bits,
        dtype=how.fmt.name,
    )


def _pairwise(how: Accumulator, most: int) -> Iterator[Measurement]:
    """The tree's error over its bound: greatest at the first length that is no sum."""
    lengths, u = np.arange(1, most + 1), how.fmt.unit_roundoff
    ones = (np.arange(most) < lengths[:, None]).astype(np.float64)
    errors = np.abs(np.asarray(accumulate(jnp.asarray(ones), how)) - lengths)
    worst = int(np.argmax(errors / lengths))
    tie = (2 << how.fmt.mantissa_bits) + 1
    for n in sorted({int(lengths[worst]), tie}):
        yield Measurement(
            setting=f"error of the sum of {n} ones, pairwise, {how.fmt.name}",
            measured=float(errors[n - 1]),
            bound=u * n,
            # One more than a power of two is half a step: all of the bound but one part in n.
            floor=u * (n - 1) if n == tie else 0.0,
            roundoff=0.0,
            hypotheses=(_equal(ones[n - 1][:n]),),
            size=how.fmt.mantissa_bits,
            dtype=how.fmt.name,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    formats = FORMATS if suite == "quick" else (*FORMATS, BF16, F16)
    for fmt in formats:
        for order, size in ORDERS:
            for term in TERMS:
                yield from _limits(term, Accumulator(fmt, order, size))
    for fmt in FORMATS:
        yield _ones_to_the_limit(Accumulator(fmt))
    for fmt, most in ((E4M3FN, 64), (float_format("e8m4"), 512)):
        yield from _pairwise(Accumulator(fmt, "pairwise"), most)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Another order, a wider sum, unequal terms."""
    n, how = 4096, Accumulator(BF16)
    limit = float(running_limit(1, how))
    ones = np.ones(n)
    # The mean of the terms is less than one, but the few large ones are counted.
    unequal = np.where(np.arange(n) % 16 == 0, 8.0, 0.25)
    cases = (
        ("in chunks of two", ones, Accumulator(BF16, "chunked", 2)),
        ("in two parts", ones, Accumulator(BF16, "split", 2)),
        ("pairwise", ones, Accumulator(BF16, "pairwise")),
        ("in float64", ones, Accumulator(F64)),
        ("unequal terms below one in the mean", unequal, how),
    )
    for name, terms, other in cases:
        yield Measurement(
            setting=f"sum of {n} ones in bf16, {name}",
            measured=_sum(terms, other),
            bound=limit,
            roundoff=0.0,
            hypotheses=(
                _equal(terms),
                Hypothesis(
                    name="mantissa bits of the sum over those of bf16",
                    distance=float(other.fmt.mantissa_bits - BF16.mantissa_bits),
                ),
                Hypothesis(
                    name="terms or parts added otherwise than one by one",
                    distance=float(other.order != "sequential"),
                ),
            ),
            dtype="bf16",
        )
