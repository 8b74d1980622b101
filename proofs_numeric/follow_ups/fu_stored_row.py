"""Follow-up: equal weights that are normalized before they are stored are zero from a length on."""

from collections.abc import Iterator
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from glassesjax.precision import E2M1, E4M3FN, E5M2, F16, F64, FloatFormat, float_format
from glassesjax.theory.storage import row_sum_error, silent_length
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fu_stored_row",
    title="A normalized row of equal weights is stored as zeros from a length on",
    kind="follow_up",
    source="ours",
    page="storage",
    statement=r"\min \{ n : \mathrm{rd}(1/n) = 0 \} = 2^{m + 1 - e}, \quad"
    r" | n \, \mathrm{rd}(1/n) - 1 | \le \max\Bigl( \frac{u}{1 + u}, n \, 2^{e - m - 1} \Bigr)",
    assumes=(
        "$n$ equal weights, divided by their sum before they are stored",
        "a format of $m$ mantissa bits and least exponent $e$, to nearest, ties to even",
    ),
    note="At one length less each weight is stored as the smallest number, and the row has the sum"
    " of nearly two. Weights that are stored before they are divided by their sum, as fused"
    " kernels do, are ones: that order has no such length.",
)

FORMATS = (E2M1, E4M3FN, E5M2, float_format("e3m4"), float_format("e4m10"))
FEW = 4096  # lengths of which each is measured


def _stored(weights: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    return np.asarray(fmt.round(jnp.asarray(weights, jnp.float64)))


def _equal(weights: np.ndarray) -> Hypothesis:
    spread = float(np.max(weights) - np.min(weights))
    return Hypothesis(name="spread of the weights before they are stored", distance=spread)


def _normalized(weights: np.ndarray, n: int) -> Hypothesis:
    lacking = float(abs(n * Fraction(float(weights[0])) - 1))
    # A quotient is rounded once: by at most 2^-53 of itself.
    return Hypothesis(
        name="sum of the row before it is stored, less one", distance=lacking, allowed=2.0**-53
    )


def _silent(fmt: FloatFormat) -> Iterator[Measurement]:
    """The first length of zeros among all lengths near the border, and the row before it."""
    border = silent_length(fmt)
    lengths = np.arange(max(border - FEW, 1), border + FEW)
    stored = _stored(1 / lengths, fmt)
    more = {"roundoff": 0.0, "size": fmt.mantissa_bits, "dtype": fmt.name}
    met = (_normalized(np.array([1 / border]), border),)
    yield Measurement.equality(
        setting=f"first length of zeros, {fmt.name}",
        measured=float(lengths[np.argmax(stored == 0)]),
        expected=float(border),
        hypotheses=met,
        **more,
    )
    yield Measurement.equality(
        setting=f"weights over the smallest number, one token less, {fmt.name}",
        measured=float(stored[lengths == border - 1][0]) / fmt.min_subnormal,
        expected=1.0,
        hypotheses=met,
        **more,
    )


def _sums(fmt: FloatFormat) -> Iterator[Measurement]:
    """The sum of the stored row where it is nearest to its bound, and at the border, attained."""
    border = silent_length(fmt)
    for name, lengths in (
        ("up to the border", np.arange(1, min(border, FEW))),
        ("before the border", np.arange(max(border - FEW, 1), border)),
        ("at the border", np.array([border])),
    ):
        stored = _stored(1 / lengths, fmt)
        # A number of the format times a length below 2^53 is exact in float64.
        errors = np.abs(lengths * stored - 1)
        bounds = np.array([float(row_sum_error(int(n), fmt)) for n in lengths])
        worst = int(np.argmax(errors / bounds))
        n = int(lengths[worst])
        yield Measurement(
            setting=f"sum of the stored row less one, {name}, {n=}, {fmt.name}",
            measured=float(errors[worst]),
            bound=float(bounds[worst]),
            floor=float(bounds[worst]) if name == "at the border" else 0.0,
            roundoff=2.0**-53,  # of the bound
            hypotheses=(_normalized(np.array([1 / n]), n),),
            size=fmt.mantissa_bits,
            dtype=fmt.name,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for fmt in (*FORMATS, F16) if suite == "full" else FORMATS:
        yield from _silent(fmt)
        yield from _sums(fmt)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Stored before they are normalized; one weight larger; in float64."""
    n = silent_length(E4M3FN)
    sink = np.r_[0.5, np.full(n - 1, 0.5 / (n - 1))]
    for name, weights, fmt in (
        ("stored before they are divided by their sum", np.ones(n), E4M3FN),
        ("one weight of a half", sink, E4M3FN),
        ("stored in float64", np.full(n, 1 / n), F64),
    ):
        lacks = abs(fmt.min_subnormal - E4M3FN.min_subnormal)
        yield Measurement.equality(
            setting=f"weights that are zero of {n}, {name}",
            measured=float(np.sum(_stored(weights, fmt) == 0)),
            expected=float(n),
            roundoff=0.0,
            hypotheses=(
                _equal(weights),
                _normalized(weights, n),
                Hypothesis(name="smallest number, off that of e4m3fn", distance=lacks),
            ),
        )
