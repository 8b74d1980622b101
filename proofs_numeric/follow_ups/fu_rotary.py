"""Rotary positions: a maximum at any distance, no decay on average, and increments that stay."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.rotary import (
    alibi_kernel,
    frequency_norms,
    key_with_peak,
    position_increments,
    rotary_kernel,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_rotary",
    title="Rotary positions need not favor near tokens, and their increments stay",
    source="arXiv 2410.06205, Propositions 3.1 and 3.2; increments for arXiv 2406.04267v2 (ours)",
    page="rotary",
    kind="follow_up",
    statement=r"\max_{r'} q^\top R^{r'} k = \lVert q \rVert^2 \ \mathrm{at} \ r, \quad"
    r" E[q^\top R^r k] = 0, \quad"
    r" |k(r+1) - k(r)| \le \sum_f \lVert q_f \rVert \lVert k_f \rVert \, 2 |\sin(\theta_f / 2)|",
    assumes=("for the maximum: the key turned by r", "for the mean: entries of mean zero"),
    climbs="r, or draws",
)

U = 2.0**-53
DIM, FAR = 16, 255
FREQUENCIES = 10_000.0 ** (-np.arange(DIM // 2) / (DIM // 2))
DISTANCES = np.arange(FAR + 1.0)
CHOSEN = (0.0, 1.0, 7.0, 100.0, 255.0)  # where a key is to have its peak
APART = np.array([0.4, 1.1, 1.9, 2.7])  # frequencies whose steps' mean is bounded from below
ANGLE = 2 * FAR * U  # how far rounding carries an angle, the largest frequency being one


@jax.jit
def _kernels(
    queries: Float[Array, "batch d"], keys: Float[Array, "batch d"]
) -> Float[Array, "batch distances"]:
    constants = jnp.asarray(FREQUENCIES), jnp.asarray(DISTANCES)
    kernel = lambda query, key: rotary_kernel(query, key, *constants)
    return jax.vmap(kernel)(queries, keys)


@jax.jit
def _peaked(queries: Float[Array, "batch d"]) -> Float[Array, "batch distances"]:
    """Kernels of keys with a peak at each of the chosen distances."""
    pairs = zip(queries, CHOSEN, strict=True)
    keys = [key_with_peak(query, jnp.asarray(FREQUENCIES), r) for query, r in pairs]
    return _kernels(queries, jnp.stack(keys))


def _means(draws: int, shift: float = 0.0) -> Measurement:
    """Mean over Gaussian queries and keys, at the distance where it is largest, over its error."""
    random = np.random.default_rng(2)
    queries, keys = random.normal(size=(2, draws, DIM)) + shift
    means = np.mean(np.asarray(_kernels(queries, keys)), axis=0)  # over the draws
    # A logit has variance d at each distance; seven deviations are exceeded at one of 256
    # distances with probability 7e-10, and the draws are fixed.
    return Measurement(
        setting=f"largest mean logit of {draws} draws, mean of the entries {shift:g}",
        measured=float(np.max(np.abs(means))),
        bound=7 * (DIM / draws) ** 0.5,
        hypotheses=(
            Hypothesis(
                name="mean of queries and keys",
                distance=float(np.max(np.abs(np.mean([queries, keys], axis=(1, 2))))),
                allowed=7 * (draws * DIM) ** -0.5,
            ),
        ),
        size=draws,
    )


def _pairs(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Sum over the frequencies of both norms and the chord of a step, 2 |sin(theta / 2)|."""
    norms = [np.asarray(frequency_norms(jnp.asarray(x))) for x in (queries, keys)]
    return norms[0] * norms[1] @ (2 * np.abs(np.sin(FREQUENCIES / 2)))


def _steps(setting: str, queries: np.ndarray, keys: np.ndarray) -> Measurement:
    """The largest step between neighboring distances against the sum of the chords."""
    kernels = np.asarray(_kernels(queries, keys))
    steps, bounds = np.max(np.abs(np.diff(kernels, axis=1)), axis=1), _pairs(queries, keys)
    worst = int(np.argmax(steps / bounds))
    size = float(np.linalg.norm(queries[worst]) * np.linalg.norm(keys[worst]))
    return Measurement(
        setting=setting,
        measured=float(steps[worst]),
        bound=float(bounds[worst]),
        roundoff=8 * (DIM * U + ANGLE) * size,
    )


def _increments() -> Iterator[Measurement]:
    """Mean increments: the slope for ALiBi; rotary ones stay at the first step's order."""
    slope = 0.25
    kernel = np.asarray(alibi_kernel(jnp.asarray(slope), jnp.asarray(DISTANCES)))
    for setting, kernels, bound, floor in (
        ("no positions", np.ones((2, FAR + 1)), 0.0, 0.0),
        ("ALiBi of slope 1/4", kernel[None], slope, slope),
    ):
        yield Measurement(
            setting=f"mean increment over {FAR} steps, {setting}",
            measured=float(position_increments(jnp.asarray(kernels))[-1]),
            bound=bound,
            floor=floor,
            roundoff=0.0,  # quarters, and sums of quarters
            size=FAR,
        )
    queries, keys = np.random.default_rng(3).normal(size=(2, 8, DIM))
    kernels = np.asarray(_kernels(queries, keys))
    measured = np.asarray(position_increments(jnp.asarray(kernels)))
    bound = float(np.max(_pairs(queries, keys)))
    for steps in (FAR // 4, FAR):
        yield Measurement(
            setting=f"mean increment over {steps} steps, rotary, 8 random heads",
            measured=float(measured[steps - 1]),
            bound=bound,
            roundoff=16 * FAR * U * bound,
            size=steps,
        )


def _stays() -> Iterator[Measurement]:
    """The mean increment of one head does not vanish; see the page's proof."""
    query, key = np.random.default_rng(4).normal(size=(2, 2 * len(APART)))
    constants = jnp.asarray(APART), jnp.asarray(DISTANCES)
    kernel = rotary_kernel(jnp.asarray(query), jnp.asarray(key), *constants)
    measured = np.asarray(position_increments(kernel[None]))
    norms = [np.asarray(frequency_norms(jnp.asarray(x))) for x in (query, key)]
    chords = norms[0] * norms[1] * 2 * np.sin(APART / 2)
    # A sum of cosines over r with frequency w is at most 1 / |sin(w / 2)|; products of two steps
    # have the differences and sums of frequencies.
    less, more = APART[:, None] - APART, APART[:, None] + APART
    different = ~np.eye(len(APART), dtype=bool)
    inverse = np.abs(1 / np.sin(np.where(different, less, 1.0) / 2)) + 1 / np.sin(more / 2)
    pairs = chords[:, None] * chords / 2 * np.where(different, inverse, 0.0)
    rest = float(np.sum(chords**2 / np.sin(APART)) / 2 + np.sum(pairs))
    for steps in (FAR // 4, FAR):
        least = (float(np.sum(chords**2)) / 2 - rest / steps) / float(np.sum(chords))
        yield Measurement(
            setting=f"lower bound on the mean increment over {steps} steps, rotary",
            measured=least,
            bound=float(measured[steps - 1]),
            floor=0.0,  # the bound is not trivial
            roundoff=16 * FAR * U * float(np.sum(chords)),
            size=steps,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    # The largest logit of all distances is the one at the chosen distance: no decay.
    queries = np.random.default_rng(1).normal(size=(len(CHOSEN), DIM))
    kernels = np.asarray(_peaked(queries))
    for distance, query, kernel in zip(CHOSEN, queries, kernels, strict=True):
        square = float(query @ query)
        yield Measurement(
            setting=f"key with a peak at {distance:g}, the largest logit anywhere",
            measured=float(np.max(kernel)),
            bound=square,
            floor=square,
            roundoff=4 * (DIM * U + ANGLE) * square,
            size=distance,
        )
        yield Measurement.equality(
            setting=f"key with a peak at {distance:g}, where it is",
            measured=float(np.argmax(kernel)),
            expected=float(distance),
            roundoff=0.0,  # whole numbers
            size=distance,
        )
    for draws in (256, 4096) if suite == "quick" else (256, 4096, 65_536):
        yield _means(draws)
    queries, keys = np.random.default_rng(3).normal(size=(2, 64, DIM))
    yield _steps("largest step, 64 random heads", queries, keys)
    yield from _increments()
    yield from _stays()


def _ratio(free: tuple[Array, Array]) -> Float[Array, ""]:
    """A step between the distances 20 and 21 over the sum of the chords."""
    query, key = free
    kernel = rotary_kernel(query, key, jnp.asarray(FREQUENCIES), jnp.asarray([20.0, 21.0]))
    # As in the library's half style: coordinate f is paired with f + d / 2.
    norms = lambda x: jnp.sqrt(jnp.square(x[: DIM // 2]) + jnp.square(x[DIM // 2 :]))
    chords = 2 * jnp.abs(jnp.sin(jnp.asarray(FREQUENCIES) / 2))
    return jnp.abs(kernel[1] - kernel[0]) / jnp.sum(norms(query) * norms(key) * chords)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 150 if suite == "quick" else 2000
    starts = np.random.default_rng(5).normal(size=(2, 4, DIM))
    query, key = ascend(_ratio, tuple(starts), steps=steps).instance
    yield _steps(f"4 starts, {steps} steps over query and key", query[None], key[None])


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Queries and keys with a mean: the average logit depends on the distance."""
    yield _means(4096, shift=0.5)
