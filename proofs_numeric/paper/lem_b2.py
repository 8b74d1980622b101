"""Lemma B.2: how far softmax moves when its logits do, by four bounds and their order."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.softmax import (
    softmax_total_variation,
    total_variation,
    tv_bound_half_range,
    tv_bound_max,
    tv_bound_mean,
    tv_bound_partition,
    tv_bound_range,
)
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="lem_b2",
    title="Softmax moves no more than its logits",
    source="arXiv 2406.04267v2, Lemma B.2 (4.1)",
    statement=r"\delta \le 2 \tanh \frac{R}{4} \le \frac{R}{2} \le \max_i |x^*_i - x_i|, \quad"
    r" \delta \le 2 e^{\Delta} \frac{1}{n} \sum_i |x^*_i - x_i|, \quad"
    r" \delta \le \frac{2 \sum_i |e^{x_i} - e^{x^*_i}|}{\max(Z, Z^*)}",
    assumes=(
        "logits below infinity; entries masked in both rows are dropped",
        "for the mean change: all logits in an interval of length $\\Delta$",
    ),
    norm="L1",
    note="The lemma says that the distance vanishes where each change does. By the bound with"
    " the mean, a vanishing mean change is enough. R is the range of the change.",
)

U = 2.0**-53
BOUNDS = (tv_bound_partition, tv_bound_mean, tv_bound_range, tv_bound_half_range, tv_bound_max)
ROWS = 32  # pairs are computed so many at once: one shape, one compilation
SPANS = (2.0**-20, 1.0, 8.0, 700.0)


class Pair(NamedTuple):
    """Two rows of logits, and where they should be tight."""

    setting: str
    x: np.ndarray
    x_star: np.ndarray
    partition_floor: float = 0.0  # least share of each bound that must be reached
    mean_floor: float = 0.0
    range_floor: float = 0.0


@jax.jit
def _parts(x: Float[Array, "rows n"], x_star: Float[Array, "rows n"]) -> Float[Array, "6 rows"]:
    """The distance and the five bounds."""
    bounds = [bound(x, x_star) for bound in BOUNDS]
    return jnp.stack([softmax_total_variation(x, x_star), *bounds])


def _evaluate(pairs: Sequence[Pair], width: int) -> list[list[float]]:
    """One list for each pair; rows are filled up with entries masked in both."""
    logits = np.full((2, ROWS, width), -np.inf)
    logits[:, :, 0] = 0.0  # rows that are not used have one weight: none is NaN
    for i, pair in enumerate(pairs):
        logits[0, i, : len(pair.x)], logits[1, i, : len(pair.x)] = pair.x, pair.x_star
    return np.asarray(_parts(*logits)).T[: len(pairs)].tolist()  # (6, ROWS) -> pairs


def _rung(n: int) -> Iterator[Pair]:
    """Pairs of a length: random ones, where a bound is tight, and with a mean that vanishes."""
    draw, zeros = np.random.default_rng(n).normal(size=(2, n)), np.zeros(n - 1)
    for scale in (0.0, 1.0, 8.0):
        yield Pair(f"random, {n=}, {scale=}", scale * draw[0], scale * draw[1])
    yield Pair(f"close, {n=}", draw[0], draw[0] + 2.0**-40 * draw[1])
    # A change of two values attains the sharp bound where one entry passes half the mass.
    for span in SPANS:
        mass = np.log(n - 1)  # the entry's logit at which it weighs as much as all others
        pair = (np.r_[mass - span / 2, zeros], np.r_[mass + span / 2, zeros])
        yield Pair(f"two-valued change of {span:g}, {n=}", *pair, range_floor=1.0)
    span = 2.0**-10
    # Of equal logits one grows by R: (a) is short by 1 - 1/n, and (b) by at most exp(-2 R) more.
    share = {"partition_floor": 1 - 1 / n, "mean_floor": (1 - 1 / n) * np.exp(-2 * span)}
    yield Pair(f"one small change, {n=}", np.zeros(n), np.r_[span, zeros], **share)
    # The change is one at each square: it does not vanish, but its mean does, as n^-1/2.
    x, squares = np.sin(np.arange(n)) / 2, np.sqrt(np.arange(n)) % 1 == 0
    yield Pair(f"a change of one at the squares, {n=}", x, x + squares)


def _masked_alike(x: np.ndarray, x_star: np.ndarray) -> Hypothesis:
    apart = int(np.sum(np.isneginf(x) != np.isneginf(x_star)))
    return Hypothesis(name="the rows are masked alike", distance=float(apart))


def _roundoff(n: int, largest: float) -> float:
    """How far rounding can carry the distance or a bound.

    A weight has n u from its sum and a few u beside, in two rows and two sums over them; a change
    of all logits is centered, at its own u. All in proportion to the largest change.
    """
    known = largest if np.isfinite(largest) else 0.0
    return 4 * (n + 8 + known) * U * min(1.0, largest)


def _inequalities(pair: Pair, values: Sequence[float], size: int | None) -> Iterator[Measurement]:
    """The distance against its bounds, and the bounds against each other."""
    distance, partition, mean, by_range, half, largest = values
    rows = np.stack([pair.x, pair.x_star])
    broken = float(np.sum(np.isnan(rows) | np.isposinf(rows)))
    empty = float(np.any(np.all(np.isneginf(rows), axis=1)))
    some = (
        Hypothesis(name="logits below infinity", distance=broken),
        Hypothesis(name="a row that is not masked everywhere", distance=empty),
    )
    # Partition sums and the sharp bound do without this one; a masked entry is an infinite change.
    alike = (*some, _masked_alike(pair.x, pair.x_star))
    chain = (
        ("distance, partition sums", distance, partition, pair.partition_floor, some),
        ("distance, mean change", distance, mean, pair.mean_floor, alike),
        ("distance, sharp", distance, by_range, pair.range_floor, some),
        ("sharp, half the range", by_range, half, 0.0, alike),
        ("half the range, largest", half, largest, 0.0, alike),
    )
    for name, measured, bound, floor, hypotheses in chain:
        yield Measurement(
            setting=f"{name}: {pair.setting}",
            measured=measured,
            bound=bound,
            floor=floor * bound if floor else 0.0,  # zero times an infinite bound would be NaN
            roundoff=_roundoff(len(pair.x), largest),
            hypotheses=hypotheses,
            size=size,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    ladder = (8, 64, 512) if suite == "quick" else (8, 64, 512, 4096, 32768)
    for n in ladder:
        pairs = list(_rung(n))
        for pair, values in zip(pairs, _evaluate(pairs, ladder[-1]), strict=True):
            yield from _inequalities(pair, values, n)
    eight, one_hot = np.linspace(-1.0, 1.0, 8), np.r_[700.0, np.zeros(7)]
    masked, lost = np.where(np.arange(8) % 3 == 0, -np.inf, 0.0), np.r_[-np.inf, eight[1:]]
    stress = (
        Pair("a shift by 512", eight, eight + 512),
        Pair("one-hot, at two places", one_hot, one_hot[::-1], range_floor=1.0),
        Pair("logits from -350 to 350, reversed", 350 * eight, -350 * eight),
        Pair("masked alike", eight + masked, np.cos(eight) + masked),
        Pair("one entry", eight[:1], eight[:1] + 3),
        Pair("an entry masked in one row only", eight, lost, partition_floor=1.0),
        Pair("masked everywhere", np.full(8, -np.inf), np.full(8, -np.inf)),
        Pair("a logit that is not a number", eight, np.r_[np.nan, eight[1:]]),
    )
    for pair, values in zip(stress, _evaluate(stress, ladder[-1]), strict=True):
        yield from _inequalities(pair, values, None)


def _ratio(rows: Float[Array, "2 n"]) -> Float[Array, ""]:
    """Distance over the sharp bound; ``ascend`` compiles it once, and differentiates it."""
    # Far from equal rows plain subtraction is accurate, and quicker to compile.
    distance = total_variation(*jax.nn.softmax(rows))
    return distance / tv_bound_range(rows[0], rows[1])


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 150 if suite == "quick" else 2000
    starts = jnp.asarray(np.random.default_rng(2).normal(size=(8, 2, 16)))
    rows = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    pair = Pair(f"8 starts, {steps} steps over two rows of 16", rows[0], rows[1])
    yield from _inequalities(pair, _evaluate([pair], 512)[0], None)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    n = 512
    grown, zeros, odd = float(np.log(n - 1)), np.zeros(n), np.arange(n) % 2.0
    shared = np.r_[1.0, zeros[1:]]
    pairs = (
        Pair("", np.r_[grown, zeros[1:]], zeros),
        Pair("", odd, 1 - odd),
        Pair("", shared, np.r_[-np.inf, zeros[1:]]),
    )
    unbounded, alternating, masked = _evaluate(pairs, n)
    yield Measurement(
        setting=f"one logit of log(n - 1) that the other row lacks, {n=}, bound (b) for range 1",
        measured=unbounded[0],
        bound=2 * np.e * grown / n,
        hypotheses=(Hypothesis(name="range of the logits over 1", distance=grown - 1),),
    )
    yield Measurement(
        setting=f"alternating rows, {n=}, bound (b) for a mean change of n^-1/2",
        measured=alternating[0],
        bound=2 * np.e / np.sqrt(n),
        hypotheses=(Hypothesis(name="mean change over n^-1/2", distance=1 - n**-0.5),),
    )
    yield Measurement(
        setting=f"one entry masked in one row only, {n=}, sharp bound over the shared entries",
        measured=masked[0],
        bound=0.0,  # the shared logits do not change
        roundoff=_roundoff(n, 1.0),
        hypotheses=(_masked_alike(pairs[2].x, pairs[2].x_star),),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import enclosures  # needs python-flint

    return enclosures.lem_b2()
