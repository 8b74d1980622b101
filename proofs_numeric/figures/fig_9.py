"""Figure 9: logits perturbed on a fixed prefix, simulated beside the closed form."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from glassesjax.theory.softmax import prefix_total_variation, softmax_total_variation
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fig_9",
    title="A perturbed prefix is diluted",
    kind="figure",
    source="arXiv 2406.04267v2, Figure 9",
    statement=r"\delta = (1 - \rho) (1 - 1 / \zeta) + \rho \, \mathrm{E} |e^{\eta} / \zeta - 1|,"
    r" \quad \zeta = 1 + \rho (\mathrm{E} e^{\eta} - 1), \quad \rho = 200 / n",
    assumes=("logits uniform on [0, 1]; on the first 200 a perturbation, uniform on [0, 0.1]",),
    norm="L1",
    note="The closed form is the limit at a fixed share; allowed are four standard errors of the"
    " mean of five seeds and, for values read off the plot, 5 % reading error.",
)


PREFIX, WIDTH, SEEDS = 200, 0.1, 5
# Read off the plot, to 5 %.
READ = {
    500: 0.0262,
    750: 0.020,
    1000: 0.0171,
    1500: 0.012,
    2000: 0.0094,
    2500: 0.0077,
    3000: 0.0068,
    4000: 0.0053,
    5000: 0.0040,
    10000: 0.0022,
}
READING = 0.05
LEVEL = 2.0**-7  # the line of bfloat16 in the plot
ERRORS = 4  # standard errors that are allowed: beyond lies one draw in 16,000

_distances = jax.jit(softmax_total_variation)


class Simulated(NamedTuple):
    """One length, over all seeds."""

    distances: np.ndarray
    error: float
    """Standard error of their mean."""
    perturbed: float
    """Share of the entries that were perturbed."""


def _simulate(lengths: list[int], perturbed: int = PREFIX) -> list[Simulated]:
    """All lengths and seeds in one array: entries beyond a length are masked."""
    x = np.full((len(READ), SEEDS, max(READ)), -np.inf)  # one shape, however many lengths
    x[:, :, 0] = 0.0
    x_star, variances = x.copy(), np.zeros((len(lengths), SEEDS))
    for i, n in enumerate(lengths):
        prefix = min(n, perturbed)
        for seed in range(SEEDS):
            rng = np.random.default_rng((n, seed))
            change = np.where(np.arange(n) < prefix, rng.uniform(0, WIDTH, n), 0.0)
            draw = rng.uniform(0, 1, n)
            x[i, seed, :n], x_star[i, seed, :n] = draw, draw + change
            # Variance of one distance, by its first-order dependence on each entry's pair of draws.
            # The distance is the mean of |r - 1| with weights exp(x), r = exp(change) over its own
            # weighted mean; so an entry counts with |r - 1| + D (r - 1), D the derivative in that
            # mean.
            weight = np.exp(draw) / np.sum(np.exp(draw))
            r = np.exp(change) / np.sum(weight * np.exp(change))
            distance = np.sum(weight * np.abs(r - 1))
            slope = -np.sum(weight * r * np.sign(r - 1))
            terms = weight * (np.abs(r - 1) - distance + slope * (r - 1))
            # Entries of the prefix and the others are two samples, each about its own mean.
            samples = [part for part in np.split(terms, [prefix]) if len(part) > 1]
            variances[i, seed] = sum(len(part) * np.var(part, ddof=1) for part in samples)
    distances = np.asarray(_distances(x, x_star))[: len(lengths)]  # (lengths, SEEDS)
    errors = np.sqrt(np.sum(variances, axis=1)) / SEEDS
    shares = [min(n, perturbed) / n for n in lengths]
    return [Simulated(*each) for each in zip(distances, errors.tolist(), shares, strict=True)]


def _form(n: float) -> float:
    return prefix_total_variation(PREFIX / n, WIDTH)


def _as_drawn(n: int, simulated: Simulated) -> Hypothesis:
    apart = abs(simulated.perturbed - PREFIX / n)
    return Hypothesis(name="the perturbed share is that of 200 entries", distance=apart)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    lengths = list(READ)
    for n, simulated in zip(lengths, _simulate(lengths), strict=True):
        shared = {"size": n, "hypotheses": (_as_drawn(n, simulated),)}
        mean, spread = float(np.mean(simulated.distances)), ERRORS * simulated.error
        yield _near(f"mean of {SEEDS} seeds, {n=}", mean, _form(n), spread, **shared)
        # The plot shows a mean of as many seeds, so it has the same standard error.
        allowed = READING * READ[n] + spread
        yield _near(f"read off the figure, {n=}", READ[n], _form(n), allowed, **shared)
    # The length at which the closed form meets the line, by bisection.
    low, high = 500.0, 10000.0
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (middle, high) if _form(middle) > LEVEL else (low, middle)
    setting = "length at which the line of bfloat16 is crossed, read off the figure"
    yield _near(setting, 2500.0, high, READING * 2500.0, norm="none")


def _near(setting: str, measured: float, form: float, allowed: float, **more: Any) -> Measurement:  # noqa: ANN401
    """A number within what is allowed of the closed form."""
    ends = {"bound": form + allowed, "floor": form - allowed}
    return Measurement(setting=setting, measured=measured, **ends, **more)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Every entry perturbed: the distance does not vanish as the sequence grows."""
    n = 10000
    (simulated,) = _simulate([n], perturbed=n)
    yield Measurement(
        setting=f"all entries perturbed, {n=}, closed form of 200",
        measured=float(np.mean(simulated.distances)),
        bound=_form(n) + ERRORS * simulated.error,
        hypotheses=(_as_drawn(n, simulated),),
    )
