"""Theorem 4.2 in closed form: one layer without positions, ALiBi, and windows."""

from collections.abc import Iterator

import jax
import numpy as np

from glassesjax.theory.collapse_forms import (
    alibi_difference,
    bos_difference_factor,
    one_layer_difference,
    window_receptive_field,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.decoders import CAUSAL, WINDOWED, U, draw, passes, roundoff

CLAIM = Claim(
    name="thm_4_2_exact",
    title="The last step in closed form",
    source="arXiv 2406.04267v2, Theorem 4.2 and Appendix C.4 and C.6, worked out",
    statement=r"\lVert z^*_{n+1} - z_n - \frac{p (1 - p)}{1 + p} (v_a - w) \rVert_\infty \le 0",
    assumes=(
        "one layer, where the shared logits stay",
        "or ALiBi without content, $z^*_{n+1} - z_n = \\frac{1 - q}{1 - q^{n+1}} (v_a - z_n)$",
        "or a window and a run that fills the receptive field, where the step is zero",
    ),
    norm="inf",
    note="Equalities: the distance from the formula is compared with zero.",
)

WIDTH = 4

_one_layer, _bos, _alibi = map(
    jax.jit, (one_layer_difference, bos_difference_factor, alibi_difference)
)


def weights_of(logits: np.ndarray) -> np.ndarray:
    """Softmax of one row.

    Args:
      logits: Finite.

    Returns:
      Weights.
    """
    grown = np.exp(logits - np.max(logits))
    return grown / np.sum(grown)


def step_of(logits: np.ndarray, values: np.ndarray, last: float | None = None) -> np.ndarray:
    """How far one layer's attention output moves when the last token is appended once more.

    Args:
      logits: Of the last row over n tokens; by content, so that the shared ones stay.
      values: One a token.
      last: The appended token's logit; that of the last token if absent.

    Returns:
      Row n + 1 minus row n, by subtraction.
    """
    longer = np.append(logits, logits[-1] if last is None else last)
    more = np.concatenate([values, values[-1:]])  # (n, d) -> (n + 1, d)
    return weights_of(longer) @ more - weights_of(logits) @ values


def _zero(
    setting: str, measured: np.ndarray, expected: np.ndarray, n: int, *hypotheses: Hypothesis
) -> Measurement:
    """The distance from the formula, which is zero up to the sums of two rows of n tokens."""
    return Measurement(
        setting=setting,
        size=n,
        measured=float(np.max(np.abs(measured - np.asarray(expected)))),
        bound=0.0,
        roundoff=4 * (n + 32) * U * 8,  # values within 8
        hypotheses=hypotheses,
    )


def _one(n: int, scale: float, appended: float = 0.0) -> Measurement:
    random = np.random.default_rng(n)
    logits, values = scale * random.normal(size=n), random.normal(size=(n, WIDTH))
    weights = weights_of(logits)
    # The mean of the others; of one token there are none, and their factor 1 - p is zero.
    others = weights_of(logits[:-1]) @ values[:-1] if n > 1 else values[0]
    measured = step_of(logits, values, logits[-1] + appended)
    return _zero(
        f"one layer, {n=}, {scale=}" + (f", last logit {appended:+}" if appended else ""),
        measured,
        _one_layer(weights[-1], values[-1], others),
        n,
        Hypothesis(name="change of the last token's logit", distance=abs(appended)),
    )


def _penalized(n: int, slope: float, content: float = 0.0) -> Measurement:
    """ALiBi over n tokens: the limit of an infinite context, and its correction for n."""
    random = np.random.default_rng(n)
    values, extra = random.normal(size=(n, WIDTH)), content * random.normal(size=n)
    penalty = -slope * np.arange(n)[::-1] + extra
    # In row n + 1 all tokens are one farther away, and the repeated one is at distance zero.
    more = np.append(penalty - slope, extra[-1])
    rows = weights_of(penalty) @ values, weights_of(more) @ [*values, values[-1]]
    correction = -np.expm1(-slope * (n + 1))
    expected = np.asarray(_alibi(np.float64(slope), values[-1], rows[0])) / correction
    return _zero(
        f"ALiBi, {n=}, {slope=}" + (f", {content=}" if content else ""),
        rows[1] - rows[0],
        expected,
        n,
        Hypothesis(name="largest logit by content", distance=float(np.max(np.abs(extra)))),
    )


def _windowed(run: int) -> Measurement:
    """A run of equal tokens as long as the receptive field: one more copy changes nothing."""
    decoder = draw(WINDOWED, 3)
    tokens = [0, 1, 2][: 16 - run] + [4] * (run + 1)  # at most the slots of the shared pass
    measured = passes([decoder], [tokens])
    end, layers = len(tokens) - 1, WINDOWED.num_layers
    field = window_receptive_field(WIDTH, layers)
    return Measurement(
        setting=f"window {WIDTH}, {layers} layers, a run of {run}",
        size=run,
        measured=float(np.max(np.abs(measured.y[0, end] - measured.y[0, end - 1]))),
        bound=0.0,
        roundoff=roundoff(measured.resid, decoder),
        hypotheses=(Hypothesis(name="receptive field over the run", distance=max(field - run, 0)),),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    ladder = (1, 8, 64, 1000) if suite == "quick" else (1, 2, 8, 64, 1000, 10_000, 100_000)
    values = np.array([[1.0, -2.0], [0.5, 3.0]])  # of the start token and of its copies
    for n in ladder:
        yield from (_one(n, scale) for scale in (0.0, 1.0, 20.0, 700.0))
        for logit in (0.0, -3.0, 30.0, 700.0):
            tokens = values[[0, *[1] * n]]  # (2, 2) -> (n + 1, 2)
            measured = step_of(np.r_[0.0, np.full(n, logit)], tokens)
            expected = np.asarray(_bos(n, np.float64(logit))) * (values[1] - values[0])
            yield _zero(f"a start token and {n} copies, {logit=}", measured, expected, n)
        yield from (_penalized(n, slope) for slope in (2.0**-11, 0.1, 5.0))
    yield _windowed(13)
    yield _windowed(14)
    # Without positions and start token all rows are the same.
    decoder = draw(CAUSAL, 3)
    passed = passes([decoder], [[2] * 17])
    yield Measurement(
        setting=f"one token repeated, {CAUSAL.num_layers} layers, no positions",
        measured=float(np.max(np.abs(np.diff(passed.y[0], axis=0)))),
        bound=0.0,
        roundoff=roundoff(passed.resid, decoder),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Each formula without its hypothesis."""
    yield _one(8, 1.0, appended=1.0)
    yield _penalized(64, 0.1, content=1.0)
    yield _windowed(12)
