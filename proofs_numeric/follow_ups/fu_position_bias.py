"""Position bias: what depth, windows, prefixes and penalties on distance do to rollouts."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.dispersion import Bracket
from glassesjax.theory.position_bias import (
    causal_rollout_bound,
    cumulative_rollout,
    decay_peak,
    decay_profile,
    decay_rollout_bracket,
    decay_weight_bracket,
    prefix_rollout_bound,
    rotary_ratio_bracket,
    window_rollout_bound,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_position_bias",
    title="With depth attention concentrates on what comes first; penalties on distance oppose it",
    source="arXiv 2502.01951, Theorems 4.1 to 4.3 and 4.5, Lemma 4.4, with constants (ours)",
    page="position_bias",
    kind="follow_up",
    statement=r"\sum_{k \ge j} \left[ A^{(L)} \cdots A^{(1)} \right]_{ik} \le"
    r" (1 - (j - 1) \epsilon)^L",
    assumes=("weights of at least $\\epsilon$ on each token that is seen", "a causal mask"),
    climbs="L",
    note="Windows, prefixes and penalties on distance have bounds of their own, also here.",
)

U = 2.0**-53
N, DEPTH, WINDOW, PREFIX = 10, 12, 4, 3
PLACE = np.arange(N)
CAUSAL = PLACE[None, :] <= PLACE[:, None]
MASKS = {
    "causal": CAUSAL,
    "window": CAUSAL & (PLACE[:, None] - PLACE[None, :] < WINDOW),
    "prefix": CAUSAL | (PLACE < PREFIX)[None, :],
}
# The prefix's tokens see nothing but each other.
MASKS["prefix"] = np.where((PLACE < PREFIX)[:, None], PLACE < PREFIX, MASKS["prefix"])
NARROW = 0.05
ROUNDOFF = 2 * DEPTH * (N + 4) * U  # relative: sums of positive terms in each layer, and a power


def _attention(mask: np.ndarray, scale: float, seed: int, slope: float = 0.0) -> np.ndarray:
    """Softmax of logits in [0, scale], less a penalty on distance: (layers, n, n)."""
    logits = scale * np.random.default_rng(seed).uniform(size=(DEPTH, N, N))
    logits -= slope * np.abs(PLACE[:, None] - PLACE[None, :])
    grown = np.where(mask, np.exp(logits - np.max(logits, axis=-1, keepdims=True)), 0.0)
    return grown / np.sum(grown, axis=-1, keepdims=True)


def _least(weights: np.ndarray, mask: np.ndarray) -> float:
    return float(np.min(weights, where=mask, initial=1.0))


def _floor(weights: np.ndarray, mask: np.ndarray, epsilon: float) -> Hypothesis:
    return Hypothesis(
        name="least weight of a seen token below the epsilon",
        distance=max(0.0, epsilon - _least(weights, mask)),
        allowed=2 * U * epsilon,
    )


@jax.jit
def _bounds(least: Float[Array, ""]) -> dict[str, Float[Array, " n"]]:
    """For each mask, on the mass of each token and all later ones."""
    prefix = jnp.full(N, jnp.inf)  # bounds all after the prefix together, the others not
    return {
        "causal": causal_rollout_bound(DEPTH, N, least),
        "window": window_rollout_bound(DEPTH, N, WINDOW, least),
        "prefix": prefix.at[PREFIX].set(prefix_rollout_bound(DEPTH, PREFIX, least)),
    }


@jax.jit
def _decay_ends(slope: Float[Array, ""], spread: Float[Array, ""]) -> tuple[Bracket, Bracket]:
    """Of the weights and of the rollout."""
    distance = jnp.asarray(np.abs(PLACE[:, None] - PLACE[None, :]).astype(float))
    rollout = decay_rollout_bracket(DEPTH, distance, slope, spread)
    return decay_weight_bracket(N, slope, spread), rollout


@functools.partial(jax.jit, static_argnames="depth")
def _profile(slope: Float[Array, ""], *, depth: int) -> tuple[Array, Array]:
    """Of distances up to 4000, and the peak."""
    return decay_profile(depth, jnp.arange(4000.0), slope), decay_peak(depth, slope)


_ratio_ends = jax.jit(rotary_ratio_bracket)
_rollout = jax.jit(cumulative_rollout)


def _tails(setting: str, kind: str, weights: np.ndarray, epsilon: float) -> Measurement:
    """Mass on each token and all later ones, in every row, against its bound; the closest one."""
    products = np.asarray(_rollout(weights))[-1]  # (layers, n, n) -> (n, n), of all layers
    tail = np.cumsum(products[:, ::-1], axis=1)[:, ::-1]
    bounds = np.asarray(_bounds(epsilon)[kind])
    quotients = np.max(tail, axis=0) / bounds  # (n, n) -> (n,), the worst row of each token
    quotients[0] = 0.0  # all of the mass, bound one
    token = int(np.argmax(quotients))
    bound = float(bounds[token])
    # The bound of a window covers weight beyond it, so that only causality is presumed there.
    seen = MASKS["prefix"] if kind == "prefix" else CAUSAL
    outside = Hypothesis(
        name="weight on tokens that are not to be seen",
        distance=float(np.max(weights, where=~seen, initial=0.0)),
    )
    return Measurement(
        setting=setting,
        measured=float(np.max(tail[:, token])),
        bound=bound,
        roundoff=ROUNDOFF * bound,
        hypotheses=(_floor(weights, MASKS[kind], epsilon), outside),
        size=DEPTH,
    )


def _least_everywhere(epsilon: float) -> np.ndarray:
    """Every token gives epsilon to each one before it and keeps the rest: the bound, attained."""
    layer = np.tril(np.full((N, N), epsilon), -1)
    return np.stack([layer + np.diag(1 - np.sum(layer, axis=1))] * DEPTH)


def _decays() -> Iterator[Measurement]:
    """Weights and rollouts under a penalty on distance; without content, the distance's law."""
    for slope in (0.1, 1.0, 5.0):
        for spread in (0.0, NARROW, 1.5):
            weights = _attention(CAUSAL, spread, 5, slope)
            bracket, ends = _decay_ends(slope, spread)
            products = np.asarray(_rollout(weights))
            more = {"size": DEPTH}
            name = f"slope {slope:g}, range {spread:g}"
            yield from _between(f"weight, {name}", weights, bracket, **more)
            if spread <= NARROW and slope > 1:  # else its upper end exceeds one
                yield from _between(f"rollout, {name}", products[-1:], ends, **more)
    for depth, slope in ((2, 0.3), (12, 0.7), (40, 0.1)):
        profile, peak = (np.asarray(each) for each in _profile(slope, depth=depth))
        yield Measurement.equality(
            setting=f"mode of the distance, L={depth}, slope {slope}",
            measured=float(np.argmax(profile)),
            expected=float(np.floor(peak)),
            roundoff=0.0,  # whole numbers
            size=depth,
        )
        yield Measurement.equality(
            setting=f"sum over the distances, L={depth}, slope {slope}",
            measured=float(np.sum(profile)),
            expected=1.0,
            # Logarithms of factorials of size up to 1e5, and of their difference's error.
            roundoff=4 * 1e5 * U,
            size=depth,
        )


def _between(
    setting: str, measured: np.ndarray, ends: tuple, **more: object
) -> Iterator[Measurement]:
    """The entries, of (layers, n, n), that come closest to either end."""
    seen = CAUSAL & (PLACE > 0)[:, None]  # the first row's weight is one
    low, high = (np.broadcast_to(np.asarray(end), measured.shape)[..., seen] for end in ends)
    inside = measured[..., seen]
    # Exponents of up to N slopes and ranges multiply a rounding of their argument.
    relative = ROUNDOFF + 64 * N * DEPTH * U
    for name, left, right in (("upper end", inside, high), ("lower end", low, inside)):
        quotients = np.ravel(np.where(right > 1, 0.0, left / right))  # no weight exceeds one
        worst = int(np.argmax(quotients))
        yield Measurement(
            setting=f"{setting}, {name}",
            measured=float(np.ravel(left)[worst]),
            bound=float(np.ravel(right)[worst]),
            roundoff=relative * float(np.ravel(right)[worst]),
            **more,  # pyrefly: ignore[bad-argument-type]
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for kind in MASKS:
        for seed, scale in enumerate((0.0, 0.5, 3.0, 30.0)):
            weights = _attention(MASKS[kind], scale, seed)
            epsilon = _least(weights, MASKS[kind])
            yield _tails(f"{kind}, logits in a range of {scale:g}", kind, weights, epsilon)
    uniform = _attention(CAUSAL, 0.0, 0)
    least = _least(uniform, MASKS["window"])
    yield _tails("rows that see more than the window", "window", uniform, least)
    epsilon = 1 / 16
    weights = _least_everywhere(epsilon)
    products = np.diag(np.asarray(_rollout(weights))[-1])
    bounds = np.asarray(_bounds(epsilon)["causal"])
    # The first token's weight on itself is one, whatever the epsilon.
    token = 1 + int(np.argmax(np.abs(products / bounds - 1)[1:]))
    yield Measurement.equality(
        setting="epsilon to each earlier token, a token's weight on itself",
        measured=float(products[token]),
        expected=float(bounds[token]),
        roundoff=ROUNDOFF * float(bounds[token]),
        hypotheses=(_floor(weights, CAUSAL, epsilon),),
        size=DEPTH,
    )
    yield from _decays()
    # Aligned queries and keys under rotary positions: a Gaussian decay between two rates.
    amplitudes, frequencies = np.array([1.0, 0.5, 0.0]), np.array([0.2, 0.05, 0.01])
    distances = np.arange(16.0)
    kernel = np.cos(distances[:, None] * frequencies) @ amplitudes
    ratio = np.exp(kernel - kernel[0])
    ends = [np.asarray(end) for end in _ratio_ends(amplitudes, frequencies, distances)]
    for name, left, right in (("upper end", ratio, ends[1]), ("lower end", ends[0], ratio)):
        worst = 1 + int(np.argmax((left / right)[1:]))  # at distance zero all are one
        yield Measurement(
            setting=f"rotary, aligned, {name}",
            measured=float(left[worst]),
            bound=float(right[worst]),
            roundoff=64 * U,
        )


def _ratio(logits: Float[Array, "layers n n"]) -> Float[Array, ""]:
    """Of the last token's mass on itself; its bound has the least of the seen weights."""
    seen = jnp.asarray(CAUSAL)[None]
    weights = jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))
    least = jnp.min(jnp.where(seen, weights, 1.0))
    return jnp.prod(weights[:, -1, -1]) / (1 - (N - 1) * least) ** len(logits)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 80 if suite == "quick" else 1000
    starts = np.random.default_rng(1).normal(size=(4, DEPTH, N, N))
    logits = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    grown = np.where(CAUSAL, np.exp(logits - np.max(logits, axis=-1, keepdims=True)), 0.0)
    weights = grown / np.sum(grown, axis=-1, keepdims=True)
    yield _tails(
        f"causal, 4 starts, {steps} steps over logits", "causal", weights, _least(weights, CAUSAL)
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """An epsilon that the weights do not have; rows that see less, and rows that see ahead."""
    weights = _least_everywhere(1 / 64)
    yield _tails("causal, epsilon 1/16 where the least weight is 1/64", "causal", weights, 1 / 16)
    # Each layer moves mass back by one token at most, where the bound has three.
    two = 0.75 * np.eye(N) + 0.25 * np.eye(N, k=-1)
    two[0, 0] = 1.0
    setting = f"rows that see 2 tokens, where the bound has a window of {WINDOW}"
    yield _tails(setting, "window", np.stack([two] * DEPTH), 1 / 4)
    ahead = np.full((DEPTH, N, N), 1 / N)
    yield _tails("rows that see all tokens, also later ones", "causal", ahead, 1 / N)
