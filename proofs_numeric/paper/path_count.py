"""Figure 1(b): the number of attention paths to the last token, in whole numbers."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.closed_forms import path_count
from glassesjax.theory.squashing import path_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="path_count",
    title="The number of attention paths from a token to the last one",
    source="arXiv 2406.04267v2, Figure 1(b)",
    statement=r"\mathrm{paths}_L(i \to n) = \binom{n - i + L - 1}{L - 1}",
    assumes=("each token sees itself and all before it", "all weights counted as one"),
    climbs="L",
)

U = 2.0**-53


def _counted(length: int, layers: int, *, window: int | None = None) -> Measurement:
    """Paths counted layer by layer, in Python's whole numbers."""
    width = window or length
    seen = [[0 <= j - i < width for i in range(length)] for j in range(length)]
    # From the last token back: a token that is reached passes its count on to all that it sees.
    reach = [0] * (length - 1) + [1]
    for _ in range(layers):
        reach = [sum(reach[j] for j in range(length) if seen[j][i]) for i in range(length)]
    differ = sum(a != b for a, b in zip(reach, path_count(length, layers), strict=True))
    hidden = sum(not seen[j][i] for j in range(length) for i in range(j + 1))
    return Measurement.equality(
        setting=f"tokens whose count is another, n={length}, L={layers}"
        + (f", window {window}" if window else ""),
        measured=float(differ),
        expected=0.0,
        roundoff=0.0,  # whole numbers of any size
        size=layers,
        hypotheses=(Hypothesis(name="earlier tokens that are not seen", distance=float(hidden)),),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    differ = sum(a != b for a, b in zip(path_count(5, 3), [15, 10, 6, 3, 1], strict=True))
    yield Measurement.equality(
        setting="the figure's 15, 10, 6, 3, 1: numbers that differ",
        measured=float(differ),
        expected=0.0,
        roundoff=0.0,
    )
    for length in (1, 2, 5, 24) if suite == "quick" else (1, 2, 5, 24, 96):
        for layers in (0, 1, 3, 32):
            yield _counted(length, layers)
    # The library's path sum with all weights one, which no softmax gives; beta1 is one, and the
    # residual adds the diagonal.
    length = 24
    weights, causal = np.tri(length) - np.eye(length), np.tri(length)
    for layers in (3, 32):
        ones, formula = np.ones(layers), path_count(length, layers)
        # (n, n) -> (layers, n, n), the same in each layer
        stacked = np.broadcast_to(weights, (layers, length, length))
        measured = np.asarray(path_bound(stacked, ones, ones, np.ones(()), np.zeros(layers)))
        token = int(np.argmax(np.abs(measured - np.array([float(count) for count in formula]))))
        apart = float(np.sum(stacked + np.eye(length) != causal))
        # Whole numbers below 2^53 are exact; above, a sum of so many terms a layer.
        relative = layers * length * U if max(formula) >= 2**53 else 0.0
        yield Measurement.equality(
            setting=f"path sum of ones, n={length}, L={layers}",
            measured=float(measured[token]),
            expected=float(formula[token]),
            roundoff=relative * float(formula[token]),
            size=layers,
            hypotheses=(Hypothesis(name="pairs whose weight is not one", distance=apart),),
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A sliding window hides tokens, and fewer paths are left."""
    yield _counted(8, 3, window=3)
