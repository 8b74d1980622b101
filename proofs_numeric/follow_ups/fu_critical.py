"""Follow-up: logits scaled by log n have a critical factor, below which all outputs agree."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.sharpness import critical_cosine, critical_scaling, critical_self_weight
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_critical",
    title="Attention scaled by log n has a critical factor",
    kind="follow_up",
    source="after arXiv 2510.05554; bounds for each n are ours",
    page="sharpness",
    statement=r"1 - \cos \le \frac{1 - \rho}{\rho} o^{-2} \; (\gamma < \gamma_c), \quad"
    r" \left| \cos - \frac{4 \rho}{1 + 3 \rho} \right| \le"
    r" \frac{1 - \rho}{(n - 1) (\rho + (1 - \rho) / 4)} \; (\gamma = \gamma_c), \quad"
    r" \cos - \rho \le \frac{2 (1 - \rho) o (\rho + 1 / (n - 1))}{1 - 2 (1 - \rho) o}"
    r" \; (\gamma > \gamma_c)",
    assumes=(
        "unit vectors of one inner product $\\rho$ in (0, 1), no mask, no residual connection",
        "odds $o = (n - 1) n^{-\\gamma / \\gamma_c}$, with $\\gamma_c = 1 / (1 - \\rho)$",
    ),
    note="The paper has limits; here they are bounds for each n.",
)

U = 2.0**-53
TOKENS = 8
SHARES = (0.5, 0.9, 1.0, 1.1, 2.0)  # of the critical factor
SLOW = (0.9, 1.1)  # those that are still far from their limits at 10^6 tokens
OVERLAPS = (0.1, 0.5, 0.9)


class Bounds(NamedTuple):
    """How far the cosine can be from each of its three limits."""

    below: float
    at: float
    above: float


@jax.jit
def _forms(
    length: Float[Array, " cases"], gamma: Float[Array, " cases"], overlap: Float[Array, " cases"]
) -> Float[Array, "2 cases"]:
    """The weight of a token on itself, and the cosine of two outputs."""
    arguments = (length, gamma, overlap)
    return jnp.stack([critical_self_weight(*arguments), critical_cosine(*arguments)])


@jax.jit
def _layer(
    gamma: Float[Array, " cases"], overlap: Float[Array, " cases"]
) -> Float[Array, "2 cases"]:
    """The same of one layer of attention, from tokens with these inner products."""

    def one(gamma: Array, overlap: Array) -> Array:
        gram = jnp.full((TOKENS, TOKENS), overlap) + (1 - overlap) * jnp.eye(TOKENS)
        tokens = jnp.linalg.cholesky(gram)  # rows whose products are the Gram matrix
        logits = gamma * jnp.log(jnp.asarray(float(TOKENS))) * (tokens @ tokens.T)
        weights = jax.nn.softmax(logits, axis=1)
        first, second = (weights @ tokens)[:2]
        sizes = jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))
        return jnp.stack([weights[0, 0], jnp.sum(first * second) / sizes])

    return jax.vmap(one)(gamma, overlap).T  # (cases, 2) -> (2, cases)


def _bounds(n: float, share: float, overlap: float) -> Bounds:
    """With o the odds (n - 1) n^-share against a token's own weight; see the page's proof."""
    odds = (n - 1) * n**-share
    rest = 1 - overlap
    lacking = 1 - 2 * rest * odds  # too short a row has no bound above the critical factor
    above = 2 * rest * odds * (1 / (n - 1) + overlap) / lacking if lacking > 0 else np.inf
    at = rest / ((n - 1) * (overlap + rest / 4))
    return Bounds(below=rest / overlap / odds**2, at=at, above=above)


def _share(share: float, wanted: float, sign: int) -> Hypothesis:
    name = "above" if sign > 0 else "below"
    over = max(sign * (share - wanted), 0.0)
    return Hypothesis(name=f"factor {name} {wanted:g} times the critical one", distance=over)


def _cosine(n: float, share: float, overlap: float) -> float:
    gamma = share * critical_scaling(overlap)
    # Filled to the 15 cases of the ladder, so that the forms compile for one shape.
    return float(_forms(*(np.full(15, value) for value in (n, gamma, overlap)))[1, 0])


def _limits(n: float) -> Iterator[Measurement]:
    shares = SHARES if n <= 1e6 else SLOW  # elsewhere rounding would be all that is left
    cases = [(share, overlap) for share in shares for overlap in OVERLAPS]
    gammas = np.array([share * critical_scaling(overlap) for share, overlap in cases])
    overlaps = np.array([overlap for _, overlap in cases])
    filled = (np.resize(each, 15) for each in (n, gammas, overlaps))  # one shape for all
    cosines = np.asarray(_forms(*filled))[1, : len(cases)].tolist()
    for (share, rho), cosine in zip(cases, cosines, strict=True):
        bounds = _bounds(n, share, rho)
        if share < 1:
            name, measured, bound = "1 - cosine below", 1 - cosine, bounds.below
        elif share > 1:
            name, measured, bound = "cosine - rho above", cosine - rho, bounds.above
        else:
            limit = 4 * rho / (1 + 3 * rho)
            name, measured, bound = "cosine from its limit at", abs(cosine - limit), bounds.at
        close = Hypothesis(name="a bound at all at this length", distance=float(np.isinf(bound)))
        yield Measurement(
            setting=f"{name} the critical factor, {share=}, {rho=}, {n=:g}",
            measured=measured,
            bound=bound,
            floor=0.0,
            # The cosine, at most one, has a few steps; the power of n a logarithm's.
            roundoff=32 * U + 4 * np.log(n) * U * (bound if np.isfinite(bound) else 0.0),
            hypotheses=(close,),
            size=n,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    # The closed forms against one layer of attention; they need no overlap above zero.
    cases = [(share, rho) for share in SHARES for rho in (-0.1, 0.0, 0.5)]
    overlaps = np.array([rho for _, rho in cases])
    gammas = np.array([share * critical_scaling(rho) for share, rho in cases])
    layer = np.asarray(_layer(gammas, overlaps))
    forms = np.asarray(_forms(np.full(len(cases), float(TOKENS)), gammas, overlaps))
    for i, (share, rho) in enumerate(cases):
        for name, measured, form in zip(("own weight", "cosine"), layer, forms, strict=True):
            yield Measurement.equality(
                setting=f"{name} of one layer of {TOKENS} tokens, {share=}, {rho=}",
                measured=float(measured[i]),
                expected=float(form[i]),
                # A factorization, products with logits of a size up to 7, and sums, of 8 terms;
                # outputs have lengths of at least 0.15, by which errors grow.
                roundoff=64 * TOKENS * U / 0.15,
            )
    for exponent in (1, 3, 6, 12) if suite == "quick" else range(1, 31):
        yield from _limits(10.0**exponent)


def _ratio(instance: Float[Array, "2"]) -> Float[Array, ""]:
    """What lacks to one over its bound, at a share in (0, 1) and an overlap in (0, 1)."""
    n, share, overlap = jnp.asarray(1000.0), *jax.nn.sigmoid(instance)
    cosine = critical_cosine(n, share / (1 - overlap), overlap)  # gamma_c is 1 / (1 - rho)
    odds = (n - 1) * n**-share
    return (1 - cosine) * overlap * odds**2 / (1 - overlap)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 100 if suite == "quick" else 1000
    starts = jnp.asarray(np.random.default_rng(6).normal(size=(4, 2)))
    instance = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    share, overlap = (1 / (1 + np.exp(-instance))).tolist()
    bound = _bounds(1000.0, share, overlap).below
    yield Measurement(
        setting=f"4 starts, {steps} steps over share and overlap, n=1000",
        measured=1 - _cosine(1000.0, share, overlap),
        bound=bound,
        roundoff=32 * U + 32 * U * bound,
        hypotheses=(_share(share, 1.0, 1),),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    n, rho = 1e12, 0.5
    cases = (
        ("above, as if below", 1.1, 0.9, 1, 1 - _cosine(n, 1.1, rho), "below"),
        ("below, as if above", 0.9, 1.1, -1, _cosine(n, 0.9, rho) - rho, "above"),
        ("at, as if below", 1.0, 0.9, 1, 1 - _cosine(n, 1.0, rho), "below"),
    )
    for name, share, wanted, sign, measured, bound in cases:
        yield Measurement(
            setting=f"{name} the critical factor, {share=}, {n=:g}",
            measured=measured,
            bound=getattr(_bounds(n, wanted, rho), bound),
            hypotheses=(_share(share, wanted, sign),),
        )
