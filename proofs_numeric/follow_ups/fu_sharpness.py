"""Follow-up: a bounded factor cannot keep a row sharp. Adaptive temperature, spectral norms."""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.sharpness import (
    adapted_logits,
    bounded_logit_bracket,
    entropy,
    inverse_temperature,
    logit_range_bound,
    ssmax_weights,
    threshold_length,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import weights_of
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_sharpness",
    title="A bounded factor cannot keep a row sharp",
    kind="follow_up",
    source="after arXiv 2410.01104, adaptive temperature and Proposition 3.1; arXiv 2508.17821",
    page="sharpness",
    statement=r"\max_i \alpha_i \le \frac{1}{1 + (n-1) e^{-2.4214 \Delta}}, \quad"
    r" H(\mathrm{softmax}(\beta x)) \le H(\mathrm{softmax}(x)), \quad"
    r" \Delta \le 2 \sigma(Q) \sigma(K) \lVert y \rVert \max_i \lVert x_i \rVert",
    assumes=("logits below infinity, in an interval of length $\\Delta$",),
    note="The paper's polynomial in the entropy is at most 2.4214, so rows spread as before, with"
    " a larger range; from 5.944 nats on it changes nothing.",
)

U = 2.0**-53
WIDTH, ROWS = 512, 24
GREATEST = 2.4214  # of the factor, rounded up; it is attained at 4.412 nats

_threshold, _bracket = jax.jit(threshold_length), jax.jit(bounded_logit_bracket)


@jax.jit
def _adapted(logits: Float[Array, "rows n"]) -> Float[Array, "6 rows"]:
    """Factor, entropy before and after, greatest weight, its bound, that of scalable softmax."""
    kept = ~jnp.isneginf(logits)  # masked and filled places take no part in the range
    shared = {"axis": 1, "where": kept}
    top = jnp.max(logits, initial=-jnp.inf, **shared)
    span = top - jnp.min(logits, initial=jnp.inf, **shared)
    before = entropy(jax.nn.softmax(logits))
    after = jax.nn.softmax(adapted_logits(logits))
    bound = dispersion_bracket(jnp.sum(kept, axis=1), GREATEST * span).upper
    scaled = jnp.max(ssmax_weights(logits, 0.5), axis=1)
    greatest = jnp.max(after, axis=1)
    return jnp.stack([inverse_temperature(before), before, entropy(after), greatest, bound, scaled])


def _evaluate(rows: list[np.ndarray]) -> list[list[float]]:
    padded = np.full((ROWS, WIDTH), -np.inf)
    padded[:, 0] = 0.0  # a row without a logit would be NaN
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return np.asarray(_adapted(padded)).T[: len(rows)].tolist()


def _one_above(n: int, gap: float) -> np.ndarray:
    return np.r_[gap, np.zeros(n - 1)]


def _adaptive(rows: dict[str, tuple[np.ndarray, float]]) -> Iterator[Measurement]:
    for (name, (row, share)), values in zip(
        rows.items(), _evaluate([row for row, _ in rows.values()]), strict=True
    ):
        factor, before, after, greatest, bound, _ = values
        bad = float(np.sum(np.isnan(row) | np.isposinf(row)))
        n, met = len(row), (Hypothesis(name="logits below infinity", distance=bad),)
        # Entropies are sums of n terms of a size of at most 1/e; logits are scaled by a factor.
        allowed = 8 * (n + 16) * U
        pairs = (
            ("factor", factor, GREATEST, 1.0, 0.0),
            # Where the factor is one, nothing changes: flat rows of 382 and more.
            ("entropy", after, before, before if factor == 1 else 0.0, allowed),
            ("greatest weight", greatest, bound, share * bound, allowed * bound),
        )
        for what, measured, upper, floor, roundoff in pairs:
            yield Measurement(
                setting=f"{what} with adaptive temperature, {name}",
                measured=measured,
                bound=upper,
                floor=floor,
                roundoff=roundoff,
                norm="nats" if what == "entropy" else "none",
                size=float(n),
                hypotheses=met,
            )


@jax.jit
def _spectral(
    maps: Float[Array, "cases 2 d d"],
    query: Float[Array, "cases d"],
    keys: Float[Array, "cases n d"],
) -> Float[Array, "2 cases"]:
    """Range of one row's logits, and its bound."""
    # (Q y)^T (K x) of each key: maps (cases, 2, i, j), query (cases, j), keys (cases, n, k)
    logits = jnp.einsum("cij,cj,cik,cnk->cn", maps[:, 0], query, maps[:, 1], keys)
    bound = jax.vmap(lambda m, y, x: logit_range_bound(m[0], m[1], y, x))(maps, query, keys)
    return jnp.stack([jnp.max(logits, axis=1) - jnp.min(logits, axis=1), bound])


def _thresholds() -> Iterator[Measurement]:
    """Rows of as many tokens as the last length below n* and the first above it."""
    cases = ((0.5, 1.0), (0.01, 5.69), (0.9, 8.0))
    lengths = np.asarray(_threshold(*np.transpose(cases))).tolist()
    for (t, gap), length in zip(cases, lengths, strict=True):
        at, above = (
            float(np.max(weights_of(_one_above(n, gap))))
            for n in (math.floor(length), math.floor(length) + 1)
        )
        for name, low, high in (("up to", t, at), ("past", above, t)):
            yield Measurement(
                setting=f"greatest weight {name} n*, {t=}, {gap=}",
                measured=low,
                bound=high,
                # One token more changes it by less than the weight over n*.
                floor=high * (1 - 1 / (length - 1)),
                roundoff=4 * (length + 16) * U * t,
                size=length,
            )


def _bounded() -> Iterator[Measurement]:
    """Weights of rows within a magnitude: as far apart as it allows, and random ones."""
    cases = ((2, 1.0), (1000, 0.0), (1000, 3.0))
    ends = np.asarray(_bracket(*np.transpose(cases))).T.tolist()
    for (n, magnitude), (lower, upper) in zip(cases, ends, strict=True):
        draw = np.random.default_rng(n).uniform(-magnitude, magnitude, size=n)
        extreme = _one_above(n, 2 * magnitude) - magnitude
        for name, row in (("one high", extreme), ("one low", -extreme), ("random", draw)):
            weights, allowed = weights_of(row), 4 * (n + 16) * U
            pairs = (("greatest", np.max(weights), upper), ("lower end", lower, np.min(weights)))
            for what, measured, bound in pairs:
                yield Measurement(
                    setting=f"{what} of logits bounded by {magnitude}, {name}, {n=}",
                    measured=float(measured),
                    bound=float(bound),
                    floor=float(bound) if magnitude == 0 else 0.0,
                    roundoff=allowed * float(bound),
                    hypotheses=(
                        Hypothesis(
                            name="greatest logit in size",
                            distance=float(np.max(np.abs(row))),
                            allowed=magnitude * (1 + 4 * U),
                        ),
                    ),
                    size=n,
                )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    # Rows by name, with the least share of its bound that the greatest weight must reach.
    rows = {}
    for n in (1, 8, 64, 512):
        draw = np.random.default_rng(n).normal(size=n)
        rows |= {f"random, {scale=:g}, {n=}": (scale * draw, 0.0) for scale in (1.0, 8.0)}
        rows[f"equal logits of 700, {n=}"] = (np.full(n, 700.0), 1.0)
    # The entropy of 83 nearly equal weights is 4.4 nats, where the factor is greatest: there the
    # bound is short by the difference of the factors alone, times the gap.
    rows["one above by 1/16, n=83"] = (_one_above(83, 2.0**-4), 0.9999)
    rows["masked, and a logit that is not a number"] = (np.r_[-np.inf, np.nan, 0.0], 0.0)
    yield from _adaptive(rows)
    rng, dim, n = np.random.default_rng(8), 8, 16
    maps, query = rng.normal(size=(3, 2, dim, dim)), rng.normal(size=(3, dim))
    keys = rng.normal(size=(3, n, dim))
    # The last case: two opposite inputs along singular vectors that match attain the bound.
    maps[2] = np.diag(np.arange(1.0, dim + 1))
    query[2], keys[2] = 2 * np.eye(dim)[-1], 0.0
    keys[2, 0], keys[2, 1] = 3 * np.eye(dim)[-1], -3 * np.eye(dim)[-1]
    measured = np.asarray(_spectral(maps, query, keys)).T.tolist()  # (2, cases) -> (cases, 2)
    for name, (span, bound) in zip(("random, 1", "random, 2", "matched"), measured, strict=True):
        yield Measurement(
            setting=f"range of logits by spectral norms, {name}",
            measured=span,
            bound=bound,
            floor=bound if name == "matched" else 0.0,
            # Products of dim terms in three places, and two singular values.
            roundoff=16 * dim * U * bound,
        )
    yield from _thresholds()
    yield from _bounded()


def _ratio(logits: Float[Array, " n"]) -> Float[Array, ""]:
    span = jnp.max(logits) - jnp.min(logits)
    greatest = jnp.max(jax.nn.softmax(adapted_logits(logits)))
    return greatest / dispersion_bracket(logits.size, GREATEST * span).upper


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 60 if suite == "quick" else 600
    # 83 logits: nearly equal ones have the entropy at which the factor is greatest.
    starts = jnp.asarray(np.random.default_rng(4).normal(size=(4, 83)))
    row = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    yield from _adaptive({f"4 starts, {steps} steps over 83 logits": (row, 0.0)})


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    n, gap = 512, 2.5
    ((*_, bound, scaled),) = _evaluate([_one_above(n, gap)])
    yield Measurement(
        setting=f"scalable softmax at scale 1/2, bound for a factor of 2.4214, {gap=}, {n=}",
        measured=scaled,
        bound=bound,
        hypotheses=(Hypothesis(name="factor over 2.4214", distance=0.5 * math.log(n) - GREATEST),),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import follow_up_enclosures  # needs python-flint

    return follow_up_enclosures.adaptive_temperature()
