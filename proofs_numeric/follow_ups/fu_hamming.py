"""Substituted tokens: how far one attention row moves, by their share and not their number."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.hamming import (
    hamming_output_bound,
    hamming_weight_bound,
    relative_hamming,
    substituted_mass_bound,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_hamming",
    title="A share of substituted tokens moves an attention row by a bounded amount",
    source="after arXiv 2505.10606, continuity; one layer, constants of our own",
    page="hamming",
    kind="follow_up",
    statement=r"\sum_i |\alpha_i - \alpha^*_i| \le"
    r" \frac{2 \delta (e^D - 1)}{1 + \delta (e^D - 1)}, \quad"
    r" \lVert o - o^* \rVert \le \frac{2 R \delta e^D}{1 + \delta (e^D - 1)}",
    assumes=(
        "the row's query stays",
        "all logits before and after in an interval of length $D$",
        "values in a ball of radius $R$",
    ),
    norm="2",
    climbs="share of substituted tokens",
)

U = 2.0**-53
N, CHANGED, RANGE = 16, 2, 1.5  # of the adversary


def _compared(
    setting: str,
    logits: tuple[np.ndarray, np.ndarray],
    values: tuple[np.ndarray, np.ndarray],
    spread: float,
    **floors: float,
) -> Iterator[Measurement]:
    """Weights, mass and output of a row and of the row after the substitution.

    ``floors`` names the quantities that the setting attains, and what share of the bound.
    """
    changed = (logits[0] != logits[1]) | np.any(values[0] != values[1], axis=1)
    share = float(relative_hamming(jnp.asarray(changed, int), jnp.zeros(len(changed), int)))
    radius = float(np.max(np.linalg.norm(np.concatenate(values), axis=1)))
    grown = [np.exp(each - np.max(each)) for each in logits]
    rows = [each / np.sum(each) for each in grown]
    outputs = [row @ each for row, each in zip(rows, values, strict=True)]
    quantities = {
        "weights": (float(np.sum(np.abs(rows[0] - rows[1]))), hamming_weight_bound),
        "mass": (float(np.max([np.sum(row[changed]) for row in rows])), substituted_mass_bound),
        "output": (float(np.linalg.norm(outputs[0] - outputs[1])), hamming_output_bound),
    }
    seen = np.concatenate(logits)
    for name, (measured, function) in quantities.items():
        # Only the output's bound has the radius of the values.
        numbers = (share, spread, radius)[: 3 if name == "output" else 2]
        bound = float(function(*map(jnp.asarray, numbers)))
        yield Measurement(
            setting=f"{name}, {setting}, n={len(changed)}",
            measured=measured,
            bound=bound,
            floor=floors.get(name, 0.0) * bound,
            roundoff=16 * (len(changed) + 16) * U * max(1.0, 2 * radius),
            hypotheses=(
                Hypothesis(
                    name="range of the logits beyond that of the bound",
                    distance=max(0.0, float(np.max(seen) - np.min(seen)) - spread),
                    allowed=8 * U * max(1.0, float(np.max(np.abs(seen)))),
                ),
            ),
            size=share,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (16, 1024) if suite == "quick" else (2, 16, 128, 1024, 16384):
        for spread in (0.0, 1.0, 8.0):
            for count in sorted({1, n // 8, n - 1}):
                random = np.random.default_rng([n, count, 0])
                logits = spread * random.uniform(size=(2, n))  # before and after
                values = random.normal(size=(2, n, 3))
                # Into the unit ball, so that the radius is at most one.
                values /= np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1)
                logits[1, count:], values[1, count:] = logits[0, count:], values[0, count:]
                setting = f"{count} random substitutions, range {spread:g}"
                yield from _compared(setting, tuple(logits), tuple(values), spread)
    for n, count, spread in ((16, 1, 1.0), (1024, 8, 3.0), (1024, 1, 700.0)):
        # New tokens with the greatest logit and the opposite value attain mass and output.
        new = np.arange(n) < count
        logits = np.zeros(n), np.where(new, spread, 0.0)
        values = np.ones((n, 1)), np.where(new, -1.0, 1.0)[:, None]
        # The weights' bound over what they do here, (1 - share) to first order.
        floors = {"mass": 1.0, "output": 1.0, "weights": (1 - count / n) * (1 - 64 * n * U)}
        setting = f"{count} of the greatest logit, range {spread:g}"
        yield from _compared(setting, logits, values, spread, **floors)
    nothing = np.ones(8), np.ones(8)
    yield from _compared("no substitution", nothing, (np.ones((8, 1)), np.ones((8, 1))), 0.0)


def _row(free: Float[Array, " n"]) -> Float[Array, " n"]:
    # A sigmoid keeps the ascent within the range, which is a hypothesis.
    return RANGE * jax.nn.sigmoid(free)


def _ratio(free: tuple[Array, Array]) -> Float[Array, ""]:
    """Change of the weights over its bound; two rows that share all but the changed tokens."""
    logits, others = (_row(each) for each in free)
    others = jnp.concatenate([others, logits[len(others) :]])  # (changed,) -> (n,)
    moved = jnp.sum(jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(others)))
    share = jnp.asarray(CHANGED / N, logits.dtype)
    return moved / hamming_weight_bound(share, jnp.asarray(RANGE, logits.dtype))


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 100 if suite == "quick" else 2000
    random = np.random.default_rng(4)
    starts = random.normal(size=(4, N)), random.normal(size=(4, CHANGED))
    first, new = ascend(_ratio, starts, steps=steps, learning_rate=0.2).instance
    logits = np.asarray(_row(first))
    others = np.concatenate([np.asarray(_row(new)), logits[CHANGED:]])
    values = np.ones((N, 1)), np.where(np.arange(N) < CHANGED, -1.0, 1.0)[:, None]
    yield from _compared(f"4 starts, {steps} steps over logits", (logits, others), values, RANGE)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """New tokens with logits beyond the range, as where substitution is out of distribution."""
    logits = np.zeros(64), np.where(np.arange(64) < 1, 5.0, 0.0)
    values = np.ones((64, 1)), np.where(np.arange(64) < 1, -1.0, 1.0)[:, None]
    yield from _compared("a logit of 5, where the bound has a range of 1", logits, values, 1.0)
