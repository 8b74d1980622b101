"""Proposition 5.2: with depth the bound converges to the first token, at a rate."""

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.absorption import (
    first_weight_floor,
    unabsorbed_bound,
    unabsorbed_mass,
    uniform_unabsorbed_bound,
)
from glassesjax.theory.closed_forms import uniform_unabsorbed
from glassesjax.theory.masked_rollouts import window_two_rollout
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.lem_b6 import causal
from proofs_numeric.support.absorbing import by_sums, masses, uniform, window
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="prop_5_2",
    title="With depth the bound leaves all tokens but the first",
    source="arXiv 2406.04267v2, Proposition 5.2 (B.8), with rates (derived)",
    statement=r"1 - \pi_1 \le \prod_\ell (1 - \lambda_\ell \epsilon_\ell), \quad"
    r" 1 - \pi_1^{\mathrm{uniform}} \le (n - 1) (3/4)^L, \quad"
    r" 1 - \pi_1(L + 1) \le 1 - \pi_1(L)",
    assumes=(
        "row-stochastic causal attention, no later token that sees itself only",
        "for the last inequality: the same attention in each layer",
    ),
    climbs="L",
    note="What converges is the bound; for the derivative of the first token only at most one"
    " follows. Shares $t^{-b}$, 64 uniform tokens: after 5000 layers 0.145 is left at $b = 1$ and"
    " 0.938 at $b = 2$, where Euler's product alone says 0.358.",
)

U = 2.0**-53
# 1 - pi_1 of uniform attention, share one half: the exact sum's first eight digits, and half a
# unit of the last one.
TABLE = {
    (10, 12): (0.15466838, 0.51e-8),
    (100, 32): (6.5631729e-3, 0.51e-10),
}
LAYERS = 5000  # with shares that decay
LONG = (1000, 80)  # the exact sum takes seconds


def _stochastic(weights: np.ndarray) -> Hypothesis:
    """Of one matrix or of all layers'."""
    return Hypothesis(
        name="rows of sum one",
        distance=float(np.max(np.abs(np.sum(weights, axis=-1) - 1))),
        allowed=2 * weights.shape[-1] * U,
    )


def _bound(floors: np.ndarray, shares: np.ndarray) -> float:
    return float(unabsorbed_bound(jnp.asarray(floors), jnp.asarray(shares)))


def _never_more(name: str, weights: np.ndarray, shares: np.ndarray) -> Measurement:
    """The largest growth from one depth to the next."""
    measured = masses(weights, shares)
    return Measurement(
        setting=f"growth of 1 - pi_1 from a depth to the next, {name}",
        measured=float(np.max(np.diff(measured))),
        bound=0.0,
        roundoff=4 * (len(weights) + 4) * U,
        hypotheses=(_stochastic(weights),),  # masses repeats one layer
        size=len(shares),
    )


def _rate(name: str, weights: np.ndarray, shares: np.ndarray, **more: object) -> Measurement:
    """The product of 1 - lambda epsilon over the layers."""
    depth, n = len(shares), len(weights)
    floors = np.full(depth, float(first_weight_floor(weights)))
    bound = _bound(floors, shares)
    return Measurement(
        setting=f"1 - pi_1 against the product, {name}",
        measured=float(masses(weights, shares)[-1]),
        bound=bound,
        roundoff=2 * depth * (n + 4) * U * bound,
        hypotheses=(_stochastic(weights),),
        size=depth,
        **more,  # pyrefly: ignore[bad-argument-type]
    )


def _uniform_rate(n: int, depth: int) -> Iterator[Measurement]:
    """Uniform attention against (n - 1) (3/4)^L, and its exact value against the product."""
    weights, shares = uniform(n), np.full(depth, 0.5)
    measured, exact = float(masses(weights, shares)[-1]), float(uniform_unabsorbed(n, depth))
    more = {"hypotheses": (_stochastic(weights),), "size": depth}
    roundoff = 2 * depth * (n + 4) * U * exact
    yield Measurement(
        setting=f"uniform against (n - 1) (3/4)^L, {n=}, L={depth}",
        measured=measured,
        bound=uniform_unabsorbed_bound(n, depth),
        floor=exact if n == 2 else 0.0,
        roundoff=roundoff,
        **more,
    )
    yield Measurement.equality(
        setting=f"uniform against the exact sum, {n=}, L={depth}",
        measured=measured,
        expected=exact,
        roundoff=roundoff,
        **more,
    )


def _to_twelve_digits(n: int, depth: int) -> Measurement:
    exact = float(uniform_unabsorbed(n, depth))
    return Measurement.equality(
        setting=f"products of layers against the exact sum, {n=}, L={depth}",
        measured=by_sums(n, depth),
        expected=exact,
        roundoff=1e-12 * exact,
        size=depth,
    )


def _decaying(power: float, depth: int) -> Measurement:
    """Shares t^-b, uniform attention on 64 tokens."""
    n, shares = 64, np.arange(1.0, depth + 1) ** -power
    # The Cesàro matrix has the eigenvalues 1 / k, and 1 - pi_1 is an alternating sum of the
    # products of theirs: terms of 1e18 cancel, hence 80 digits.
    with localcontext() as context:
        context.prec = 80
        total, decimal = Decimal(0), [Decimal(float(share)) for share in shares]
        for k in range(1, n):
            lost = Decimal(k) / (k + 1)
            product = math.prod((1 - share * lost for share in decimal), start=Decimal(1))
            total -= (-1) ** k * math.comb(n - 1, k) * product
        exact = float(total)
    return Measurement.equality(
        setting=f"shares t^-{power:g}, {n} uniform tokens, L={depth}",
        measured=float(masses(uniform(n), shares)[-1]),
        expected=exact,
        roundoff=2 * depth * (n + 4) * U * exact,
        hypotheses=(_stochastic(uniform(n)),),
        size=depth,
    )


def _exact_values(depth: int) -> Iterator[Measurement]:
    """What is left at a depth where it is known: windows, shares that decay, digits by hand."""
    # A window of two tokens: 3/4 has one eigenvector, and a power of L comes in.
    for n, layers in ((8, 12), (64, 200)):
        weights, exact = window(n), float(1 - window_two_rollout(n, layers)[0])
        yield Measurement.equality(
            setting=f"window of two tokens, {n=}, L={layers}",
            measured=float(masses(weights, np.full(layers, 0.5))[-1]),
            expected=exact,
            roundoff=4 * layers * U * exact,
            hypotheses=(_stochastic(weights),),
            size=layers,
        )
    for power in (0.5, 1.0, 2.0):
        yield _decaying(power, depth)
    for power in (1.0, 2.0) if depth < LAYERS else ():
        yield _decaying(power, LAYERS)
    # Shares t^-2, whose sum is finite: at every depth there is left at least the product of
    # 1 - 1 / (2 t^2) over all t, which Euler's product gives.
    shares, root = np.arange(1.0, LAYERS + 1) ** -2.0, math.pi / math.sqrt(2)
    yield Measurement(
        setting=f"shares t^-2, 64 uniform tokens, what is left, L={LAYERS}",
        measured=float(masses(uniform(64), shares)[-1]),
        bound=1.0,
        floor=math.sin(root) / root,
        hypotheses=(_stochastic(uniform(64)),),
        size=LAYERS,
    )
    for (n, layers), (digits, half) in TABLE.items():
        yield Measurement.equality(
            setting=f"digits of the exact sum, {n=}, L={layers}",
            measured=float(uniform_unabsorbed(n, layers)),
            expected=digits,
            roundoff=half,
            size=layers,
        )
        yield _to_twelve_digits(n, layers)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    depth = 200 if suite == "quick" else LAYERS
    half = np.full(depth, 0.5)
    for n in (2, 10, 100):
        yield _never_more(f"random weights, {n=}", causal(n, 1), half)
        yield _never_more(f"logits of 700, {n=}", causal(n, 1, 700.0), half)
        yield _rate(f"random weights, {n=}", causal(n, 1), half[:40])
    # A tenth on the first token and the rest on oneself attains the product.
    kept = 0.9 * np.eye(10)
    kept[:, 0] += 0.1
    yield _rate("a tenth on the first, else on oneself", kept, half[:40], floor=0.95**40)
    for n, layers in ((1, 12), (2, 12), (10, 12), (100, 32)):
        yield from _uniform_rate(n, layers)
    # Each layer another matrix and share, in whatever order: (layers, n, n) and (layers).
    n, layers = 8, 12
    for seed in range(2 if suite == "quick" else 10):
        weights = np.stack([causal(n, seed * layers + each) for each in range(layers)])
        shares = np.random.default_rng(seed).uniform(size=layers)
        bound = _bound(np.asarray(first_weight_floor(weights)), shares)
        yield Measurement(
            setting=f"layers that differ, L={layers}, {seed=}",
            measured=float(unabsorbed_mass(weights, shares)),
            bound=bound,
            roundoff=2 * layers * (n + 4) * U * bound,
            hypotheses=(_stochastic(weights),),
            size=layers,
        )
    yield from _exact_values(depth)
    if suite == "full":
        yield _to_twelve_digits(*LONG)


def _ratio(logits: Float[Array, "layers seq seq"]) -> Float[Array, ""]:
    """Mass over the product, by JAX throughout: it is differentiated."""
    seen = jnp.tri(logits.shape[-1], dtype=bool)
    weights = jax.nn.softmax(jnp.where(seen[None], logits, -jnp.inf))
    shares = jnp.full(len(logits), 0.5)
    return unabsorbed_mass(weights, shares) / unabsorbed_bound(first_weight_floor(weights), shares)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    """Over the logits of three layers that differ."""
    steps = 100 if suite == "quick" else 2000
    starts = np.random.default_rng(2).normal(size=(4, 3, 5, 5))
    logits = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    # The softmax anew by NumPy, so that the ratio is not measured by the function that was climbed.
    logits = np.where(np.tri(5, dtype=bool), logits, -np.inf)
    grown = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    weights, shares = grown / np.sum(grown, axis=-1, keepdims=True), np.full(3, 0.5)
    bound = _bound(np.asarray(first_weight_floor(weights)), shares)
    yield Measurement(
        setting=f"4 starts, {steps} steps over the logits of 3 layers",
        measured=float(unabsorbed_mass(weights, shares)),
        bound=bound,
        roundoff=64 * U * bound,
        hypotheses=(_stochastic(weights),),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Layers that differ, added at the output side; and a token that keeps all to itself."""
    n, ones = 3, np.ones(2)
    through = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])  # the last sees the first
    blind = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])  # the last sees the second
    # By one layer all is the first token's; the layer on top takes it back to the second.
    before = float(unabsorbed_mass(through[None], ones[:1]))
    after = float(unabsorbed_mass(np.stack([through, blind]), ones))
    apart = float(np.max(np.abs(through - blind)))
    yield Measurement(
        setting=f"another layer on top, {n=}: growth of 1 - pi_1",
        measured=after - before,
        bound=0.0,
        hypotheses=(Hypothesis(name="differences between the layers", distance=apart),),
    )
    n, depth = 4, 200
    stuck = uniform(n)
    stuck[2] = np.eye(n)[2]  # as after an underflow
    alone = float(np.sum(~(np.diag(stuck)[1:] < 1)))
    yield Measurement(
        setting="a token that sees itself only: mass left after 200 layers",
        measured=float(masses(stuck, np.full(depth, 0.5))[-1]),
        bound=uniform_unabsorbed_bound(n, depth),
        hypotheses=(Hypothesis(name="later tokens that see themselves only", distance=alone),),
    )
