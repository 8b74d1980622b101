"""Rollouts in closed form: exact rationals against products of layers in floats."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from glassesjax.theory.closed_forms import (
    HALF,
    cesaro_cube_first,
    cesaro_entry,
    cesaro_rollout,
    cesaro_square,
)
from glassesjax.theory.masked_rollouts import (
    alibi_rollout,
    sink_rollout,
    window_rollout,
    window_two_rollout,
)
from glassesjax.theory.squashing import attention_rollout
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.absorbing import uniform, window

CLAIM = Claim(
    name="closed_forms",
    title="Rollouts in closed form",
    source="derived; for arXiv 2406.04267v2, Theorem 5.1 and Proposition 5.2",
    statement=r"\left[ f(M) \right]_{n,k} = \binom{n}{k} \sum_{m=0}^{n-k} (-1)^m"
    r" \binom{n-k}{m} f\left( \frac{1}{k + m + 1} \right)",
    assumes=("attention that is uniform, in a window, with a sink, or geometric in the distance",),
    note="Rationals on one side, products of non-negative matrices in floats on the other; of each"
    " row the entry with the largest relative error.",
)

U = 2.0**-53
SLOTS, LAYERS = 40, 8  # of the library's compiled rollout; shorter sequences start later

# The last row at n = 5, token 1 to 5, by hand from the notes.
ROWS = {
    "M^2": (0, 2, "137/300 77/300 47/300 9/100 1/25"),
    "M^3": (0, 3, "12019/18000 3799/18000 1489/18000 61/2000 1/125"),
    "M^4": (0, 4, "874853/1080000 153713/1080000 39743/1080000 369/40000 1/625"),
    "((I+M)/2)^2": (1, 2, "257/1200 197/1200 167/1200 49/400 9/25"),
    "((I+M)/2)^3": (1, 3, "47479/144000 28459/144000 20749/144000 1801/16000 27/125"),
}
# 1 - pi_1 at 64 tokens and 8 layers, by the sink's part; eight digits in the notes.
SINKS = {Fraction(0): 0.64359960, HALF: 0.08195888, Fraction(9, 10): 0.00819163}


def product(weights: np.ndarray, shares: Sequence[Fraction]) -> np.ndarray:
    """The library's rollout of one repeated matrix, by products of non-negative matrices.

    Args:
      weights: Causal; at most ``SLOTS`` tokens.
      shares: Of attention, at most ``LAYERS``.

    Returns:
      A distribution over the tokens.
    """
    # (n, n) -> (SLOTS, SLOTS): the slots before the first token see themselves only.
    missing = SLOTS - len(weights)
    padded = np.eye(SLOTS)
    padded[missing:, missing:] = weights
    # (layers) -> (LAYERS): a layer of share zero passes everything on.
    passed = np.zeros(LAYERS)
    passed[: len(shares)] = [float(share) for share in shares]
    return np.asarray(attention_rollout(np.stack([padded] * LAYERS), passed))[missing:]


def _equal(
    setting: str,
    measured: Sequence[float] | np.ndarray,
    exact: Sequence[Fraction],
    hypotheses: tuple[Hypothesis, ...] = (),
    rounded: float = 0.0,
) -> Measurement:
    """The entry whose relative error is the largest."""
    expected = np.array([float(entry) for entry in exact])
    off = np.abs(np.asarray(measured) - expected)
    at = int(np.argmax(off / np.where(expected > 0, expected, 1)))
    return Measurement.equality(
        setting=setting,
        measured=float(measured[at]),
        expected=float(expected[at]),
        # Sums of positive terms, so that errors are relative: a row of them in each layer.
        roundoff=2 * LAYERS * (len(expected) + 6) * U * float(expected[at]) + rounded,
        hypotheses=hypotheses,
        size=len(expected),
    )


def _table() -> Iterator[Measurement]:
    """The notes' rows: exact equality of rationals with both formulas."""
    for name, (kept, power, row) in ROWS.items():
        exact = [Fraction(entry) for entry in row.split()]
        function = lambda x, power=power, kept=kept: ((kept + x) / (kept + 1)) ** power
        formula = [cesaro_entry(function, 4, k) for k in range(5)]
        shares = [Fraction(1, kept + 1)] * power
        yield Measurement.equality(
            setting=f"{name} at n = 5: rationals that differ",
            measured=float(
                sum(a != b for a, b in zip(formula, exact, strict=True))
                + sum(a != b for a, b in zip(cesaro_rollout(5, shares), exact, strict=True))
            ),
            expected=0.0,
            roundoff=0.0,  # rationals are compared, no floats
        )
        yield _equal(f"{name} at n = 5, products", product(uniform(5), shares), exact)


def _by_distance() -> Iterator[Measurement]:
    """Windows, and ALiBi of slope log 2: weights that depend on the distance of two tokens."""
    tokens = np.arange(SLOTS)
    for n, layers in ((3, 5), (40, 8)):
        measured = product(window(n), [HALF] * layers)
        yield _equal(f"window 2, {n=}, L={layers}", measured, window_two_rollout(n, layers))
    for width, layers in ((3, 8), (5, 4)):
        shares = [Fraction(1, k + 1) for k in range(layers)]
        by_distance = window_rollout(width, shares)
        band = np.tri(SLOTS) - np.tri(SLOTS, k=-width)
        # By position -> by distance; zero beyond (width - 1) * layers.
        measured = product(band / np.sum(band, axis=1, keepdims=True), shares)[::-1]
        measured = measured[: len(by_distance)]
        yield _equal(f"window {width}, away from the edge, L={layers}", measured, by_distance)
    layers = 4
    powers = np.tril(0.5 ** (tokens[:, None] - tokens[None, :]).clip(0))
    weights = powers / np.sum(powers, axis=1, keepdims=True)
    measured = product(weights, [Fraction(1)] * layers)[::-1][:12]
    # The context is cut off at the left, where rows are normalized anew: those 28 tokens from the
    # edge and beyond have lost a share of 2^-28 and less.
    exact = alibi_rollout(12, layers, HALF)
    yield _equal("ALiBi of slope log 2, L=4", measured, exact, rounded=layers * 2.0**-28)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    """By hand, uniform attention, and with a sink; then what depends on distances."""
    yield from _table()
    for n in (1, 2, 12) if suite == "quick" else (1, 2, 3, 6, 12, 24, 40):
        weights = uniform(n)
        for layers in (1, 2, 3, 8):
            for name, shares in (
                ("shares 1", [Fraction(1)] * layers),
                ("shares 1/2", [HALF] * layers),
                ("shares 1/2, 1/3, 1/4 ...", [Fraction(1, k + 2) for k in range(layers)]),
            ):
                measured, exact = product(weights, shares), cesaro_rollout(n, shares)
                yield _equal(f"uniform, {name}, {n=}, L={layers}", measured, exact)
            # Squares and cubes have formulas of their own.
            if layers == 2:
                square = [cesaro_square(n - 1, k) for k in range(n)]
                measured = product(weights, [Fraction(1)] * 2)
                yield _equal(f"square by harmonic numbers, {n=}", measured, square)
            if layers == 3:
                first = product(weights, [Fraction(1)] * 3)[:1]
                yield _equal(f"first of the cube, {n=}", first, [cesaro_cube_first(n - 1)])
        for sink in SINKS:
            # The sink's part of every row goes to token 0: (n) is added along (n, n).
            with_sink = (1 - float(sink)) * weights + float(sink) * np.eye(n)[0]
            measured, exact = product(with_sink, [HALF] * 8), sink_rollout(n, 8, sink)
            yield _equal(f"sink {sink}, {n=}, L=8", measured, exact)
    yield from _by_distance()
    for sink, digits in SINKS.items():
        yield Measurement.equality(
            setting=f"sink {sink}, 64 tokens, 8 layers: the notes' digits",
            measured=float(1 - sink_rollout(64, 8, sink)[0]),
            expected=digits,
            roundoff=0.51e-8,  # half the last digit
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Attention that is nearly uniform: the last row has 0.15 and 0.05 among its tenths."""
    n, layers = 10, 3
    weights = uniform(n)
    weights[-1, :2] += (0.05, -0.05)
    exact = cesaro_rollout(n, [HALF] * layers)
    apart = float(np.max(np.abs(weights - uniform(n))))
    far = (Hypothesis(name="distance from uniform attention", distance=apart),)
    yield _equal("nearly uniform", product(weights, [HALF] * layers), exact, far)
