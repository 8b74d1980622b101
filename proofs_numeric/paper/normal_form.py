"""The normal form of Theorem 5.1's bound: one magnitude and one distribution over the tokens."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.squashing import path_bound, squashing_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="normal_form",
    title="The bound of Theorem 5.1 is one magnitude times a distribution over the tokens",
    source="arXiv 2406.04267v2, Theorem 5.1, put into a normal form (derived)",
    statement=r"C \left[ \prod_\ell \left( \frac{\Lambda^{(\ell)}}{\beta_1^{(\ell)}} + I \right)"
    r" \right]_{n,i} = G \pi_i, \quad \sum_i \pi_i = 1, \quad \pi_i \ge 0",
    assumes=("rows of attention weights that are non-negative and have sum one",),
    climbs="L",
    note="All that depends on the place is in $\\pi$, which no depth makes overflow.",
)

U = 2.0**-53
TOKENS = 6
DEEP = 200  # layers: the product itself overflows


def _draw(layers: int, seed: int) -> tuple[np.ndarray, ...]:
    """Causal weights, divisors and Lipschitz constants, some zero weights among them."""
    random = np.random.default_rng([seed, layers])
    weights = np.tril(random.exponential(size=(layers, TOKENS, TOKENS)) ** 4)
    weights /= np.sum(weights, axis=-1, keepdims=True)
    positive = lambda *shape: np.exp(random.normal(size=shape))
    return weights, positive(layers), positive(layers), positive(), positive(layers)


def _stochastic(weights: np.ndarray) -> tuple[Hypothesis, Hypothesis]:
    sums = np.abs(np.sum(weights, axis=-1) - 1)
    return (
        Hypothesis(name="rows of sum one", distance=float(np.max(sums)), allowed=2 * TOKENS * U),
        Hypothesis(name="negative weights", distance=float(np.sum(weights < 0))),
    )


def _sums(name: str, args: tuple[np.ndarray, ...]) -> Iterator[Measurement]:
    """That pi is a distribution."""
    layers, hypotheses = len(args[0]), _stochastic(args[0])
    profile = np.asarray(squashing_bound(*args).profile)
    more = {"hypotheses": hypotheses, "size": layers}
    # A product row of so many terms, a share and a sum in each layer, and rows not quite of one.
    roundoff = layers * (3 * TOKENS + 8) * U
    yield Measurement.equality(
        setting=f"{name}, sum of pi, {layers=}",
        measured=float(np.sum(profile)),
        expected=1.0,
        roundoff=roundoff,
        **more,
    )
    yield Measurement(
        setting=f"{name}, negative part of pi, {layers=}",
        measured=float(np.max(-profile)),
        bound=0.0,
        **more,
    )


def _deep(args: tuple[np.ndarray, ...]) -> Iterator[Measurement]:
    """G and G pi by their logarithms, summed in NumPy: slow, without overflow."""
    weights, beta1, beta2, beta3, sigma = args
    layers = len(weights)
    # Rows of sum one pass 1 + 1 / beta1 of all mass on; the MLP's factor is the same everywhere.
    mlp = np.log1p(sigma / beta2)
    log_gain = float(np.sum(np.log1p(1 / beta1) + mlp) - np.log(beta3))
    # The last row (TOKENS) goes down from layer to layer, a product as a sum of logarithms.
    row = np.where(np.arange(TOKENS) == TOKENS - 1, 0.0, -np.inf)
    with np.errstate(divide="ignore"):
        for layer in reversed(range(layers)):
            log = np.log(weights[layer] / beta1[layer] + np.eye(TOKENS))
            row = np.logaddexp.reduce(row[:, None] + log, axis=0)
    expected = row + np.sum(mlp) - np.log(beta3)
    # Where pi is a normal number; below 2^-1022 it is rounded to few digits, or to zero.
    normal, there = squashing_bound(*args), expected - log_gain > -700
    # Each layer adds numbers of the size of the result, and errors of its weights.
    size = max(float(np.max(np.abs(expected))), abs(log_gain))
    roundoff = layers * (2 * TOKENS + 16 + 2 * size) * U
    more = {"hypotheses": _stochastic(weights), "size": layers}
    yield Measurement.equality(
        setting=f"logarithm of G, {layers=}",
        measured=float(normal.log_gain),
        expected=log_gain,
        roundoff=roundoff,
        **more,
    )
    measured = np.where(there, normal.log_bound, expected)
    token = int(np.argmax(np.abs(measured - expected)))
    yield Measurement.equality(
        setting=f"logarithm of G pi, {int(np.sum(there))} of {TOKENS} tokens, {layers=}",
        measured=float(measured[token]),
        expected=float(expected[token]),
        roundoff=roundoff,
        **more,
    )
    yield Measurement(
        setting=f"tokens that the line before compares, {layers=}",
        measured=float(np.sum(there & np.isfinite(normal.log_bound))),
        bound=float(np.sum(there)),
        floor=float(max(1, np.sum(there))),  # none compared would be nothing shown
        **more,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for layers in (1, 3) if suite == "quick" else (1, 2, 3, 5, 8, 13):
        for seed in range(2 if suite == "quick" else 5):
            args = _draw(layers, seed)
            yield from _sums(f"{seed=}", args)
            # G pi against the path sum, at the token farthest off.
            normal, bounds = squashing_bound(*args), np.asarray(path_bound(*args))
            measured = np.exp(float(normal.log_gain)) * np.asarray(normal.profile)
            token = int(np.argmax(np.abs(measured - bounds) / bounds))
            # The logarithm of G is rounded at its own size before it is raised.
            relative = 2 * layers * (TOKENS + 10) * U + 4 * abs(float(normal.log_gain)) * U
            yield Measurement.equality(
                setting=f"{seed=}, G pi against the path sum, {layers=}",
                measured=float(measured[token]),
                expected=float(bounds[token]),
                roundoff=relative * float(bounds[token]),
                hypotheses=_stochastic(args[0]),
                size=layers,
            )
    args = _draw(DEEP, 0)
    steep = (args[0], args[1] * 2.0**-10, *args[2:])  # G of the order of e^1600
    yield from _sums("steep", steep)
    yield from _deep(steep)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Rows of sum 1/2, as where half of the attention was on evicted tokens."""
    weights, *others = _draw(3, 0)
    yield next(_sums("rows of sum one half", (weights / 2, *others)))
