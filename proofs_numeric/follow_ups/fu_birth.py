"""Influence before training: derivatives of decoders with equal logits against a density."""

import functools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.theory.birth import (
    cesaro_density,
    residual_atom,
    residual_density,
    residual_density_sum,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import paper_decoder

CLAIM = Claim(
    name="fu_birth",
    title="Before training the profile of influence follows one density, at every length",
    source="after arXiv 2603.10123; the density with a residual and each length are ours",
    page="birth",
    kind="follow_up",
    statement=r"\sum_k \frac{k (k-1) \cdots (k-m+1)}{(n-1) \cdots (n-m)} \pi_k = E[X^m], \quad"
    r" \int |F_n - F| \le \frac{1}{2 \sqrt{n - 1}}",
    assumes=(
        "uniform attention, held fixed",
        "linear MLPs, the same share of attention in each layer",
    ),
    note="X has density $\\rho$ and an atom at one; k counts tokens from zero. The profile is that"
    " of the derivative of a decoder whose queries are zero.",
)

U = 2.0**-53
# Exact for polynomials up to degree 47 in ln(1 / x); depths below have degree 5 at most.
NODES, RULE = np.polynomial.laguerre.laggauss(24)
ORDERS = 3  # of the moments compared
RULE_ERROR = 1e-12  # of its nodes and weights, which NumPy has to about 1e-14
PLACES = np.exp(-np.linspace(0.0, 12.0, 2001)[::-1])  # from 6e-6 to 1


@functools.cache  # each depth and mixing compiles the recursion anew
def _densities_at(depth: int, mixing: float) -> tuple[np.ndarray, np.ndarray]:
    """The library's density at the rule's nodes, a row for each order, and at the places."""
    orders = np.arange(1, ORDERS + 1)[:, None]
    nodes = np.exp(-NODES / (orders + 1))  # (orders, nodes)
    every = jnp.asarray(np.concatenate([nodes.ravel(), PLACES]))
    density = np.asarray(residual_density(every, depth, mixing))
    return density[: nodes.size].reshape(nodes.shape), density[nodes.size :]


def _transport(
    setting: str,
    profile: np.ndarray,
    depth: int,
    mixing: float,
    hypotheses: tuple[Hypothesis, ...],
) -> Measurement:
    """Area between the profile's distribution function and the limit's, at places k / (n - 1)."""
    last = len(profile) - 1
    density = _densities_at(depth, mixing)[1]
    logs = np.log(PLACES)
    steps = np.diff(logs) * (density * PLACES)[1:]  # of the integral over ln x, from below or above
    # Summed from one downwards: the distribution function is what the part above leaves.
    beyond = 1 - residual_atom(depth, mixing) - np.cumsum(steps[::-1])[::-1]
    limit = np.append(np.maximum(beyond, 0), 1 - residual_atom(depth, mixing))
    # 1e-12 keeps a place that is a whole multiple of 1 / (n - 1) from falling to the one below.
    measured = np.cumsum(profile)[np.minimum((PLACES * last + 1e-12).astype(int), last)]
    area = float(np.sum(np.diff(PLACES) * np.abs(measured - limit)[1:]))
    return Measurement(
        setting=f"area between the distributions, {setting}",
        measured=area,
        bound=0.5 * last**-0.5,
        # Rectangles of width 0.006 and less; both functions rise by one in all.
        roundoff=0.012,
        hypotheses=hypotheses,
        size=last + 1,
    )


def _compared(
    length: int, depth: int, mixing: float, suite: Suite, steep: float = 0.0
) -> Iterator[Measurement]:
    """Factorial moments and distribution of one decoder's profile against the density's."""
    drawn = paper_decoder.draw(
        6, length=length, layers=depth, linear=True, suite=suite, logit_scale=steep
    )
    # Constant divisors make attention's share the mixing; neutral layers keep theirs.
    beta1 = np.where(np.isfinite(drawn.beta1), 1 / mixing - 1, np.inf)
    [reach] = paper_decoder.reaches([drawn._replace(beta1=beta1)])
    first = int(drawn.start)  # the slots before it are empty
    profile = reach.norms[first:] / np.sum(reach.norms[first:])
    uniform = np.tri(length) / np.arange(1, length + 1)[:, None]
    far = float(np.max(np.abs(reach.weights[:, first:, first:] - uniform)))
    hypothesis = Hypothesis(
        name="distance from uniform attention", distance=far, allowed=4 * length * U
    )
    setting = f"n={length}, H={depth}, alpha={mixing}, logits times {steep:g}"
    for order in range(1, min(ORDERS, length - 1) + 1):
        # Factorial moments: the token is binomial given X, exactly at each length.
        falling = np.prod([np.arange(length) - k for k in range(order)], axis=0)
        scale = float(np.prod([length - 1 - k for k in range(order)]))
        density = _densities_at(depth, mixing)[0][order - 1]
        yield Measurement.equality(
            setting=f"moment {order}, {setting}",
            measured=float(profile @ falling) / scale,
            # E[X^m]: with x = exp(-t / (m + 1)), x^m dx becomes the rule's weight exp(-t).
            expected=float(RULE @ density) / (order + 1) + residual_atom(depth, mixing),
            roundoff=RULE_ERROR,
            hypotheses=(hypothesis,),
            size=length,
        )
    yield _transport(setting, profile, depth, mixing, (hypothesis,))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    slots, depth = paper_decoder.sizes(suite)
    for length in (4, 16) if suite == "quick" else (4, 8, 16, 32, slots):
        for layers in (1, depth):
            for mixing in (0.25, 0.5, 0.9):
                yield from _compared(length, layers, mixing, suite)
    # The recursion against the sum; without a residual stream that sum has one term left.
    places = jnp.asarray([1e-6, 0.01, 0.3, 0.9, 1.0])
    for depth, mixing in ((1, 0.5), (6, 0.5), (24, 0.1), (6, 1.0)):
        measured = np.asarray(residual_density(places, depth, mixing))
        exact = np.asarray(
            cesaro_density(places, depth)
            if mixing == 1
            else residual_density_sum(places, depth, mixing)
        )
        worst = int(np.argmax(np.abs(measured - exact) / np.where(exact > 0, exact, 1)))
        yield Measurement.equality(
            setting=f"density by recursion, H={depth}, alpha={mixing}",
            measured=float(measured[worst]),
            expected=float(exact[worst]),
            # Each step subtracts neighbors, at worst as at a double root.
            roundoff=4 * (depth + 4) ** 2 * U * float(exact[worst]),
            size=depth,
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Logits that are not equal, as after training: the density does not hold for them."""
    measured = _compared(16, 4, 0.5, "quick", steep=6.0)
    yield next(measured)
