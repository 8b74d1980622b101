"""Erratum E15: Proposition B.4 is an equality at each even length, where a limit is printed."""

import math
from collections.abc import Iterator
from fractions import Fraction

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="err_e15",
    title="B.4 is an equality, not a limit",
    kind="erratum",
    source="arXiv 2406.04267v2, Proposition B.4",
    statement=r"\left| \delta_n - \frac{2 (e - 1)}{e + 1} \right| \le 0",
    assumes=("an even length $n$",),
    norm="L1",
    note="Printed as a limit, with y_i for exp(x_i) in one place. For odd lengths the limit is"
    " all there is: the error falls as 1/n^2.",
)

U = 2.0**-53
LIMIT = 2 * math.tanh(0.5)
# The distance is a rational function of e: with a fraction in its place nothing is rounded.
RATIOS = {"e to 53 bits": Fraction(math.e), "3/2": Fraction(3, 2), "10^6": Fraction(10**6)}


def _distance(n: int, high: Fraction, low: Fraction = Fraction(1)) -> Fraction:
    """L1 distance of the alternating rows' weights, entry by entry, of these two numerators."""
    first = [high if i % 2 == 0 else low for i in range(n)]
    second = [low if i % 2 == 0 else high for i in range(n)]
    z, z_star = sum(first), sum(second)  # different at odd lengths alone
    return sum((abs(a / z - b / z_star) for a, b in zip(first, second, strict=True)), Fraction(0))


def _even(n: int) -> Hypothesis:
    return Hypothesis(name="even length", distance=float(n % 2))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (2, 4, 6, 16, 64) if suite == "quick" else (2, 4, 6, 16, 64, 256, 1024, 4096):
        for name, ratio in RATIOS.items():
            error = abs(_distance(n, ratio) - 2 * (ratio - 1) / (ratio + 1))
            yield Measurement(
                setting=f"error of the limit in exact fractions, {n=}, {name} for e",
                measured=float(error),
                bound=0.0,
                floor=0.0,
                hypotheses=(_even(n),),
                size=n,
            )
        yield Measurement.equality(
            setting=f"against 2 tanh(1/2), {n=}",
            measured=float(_distance(n, RATIOS["e to 53 bits"])),
            expected=LIMIT,
            # e to 53 bits, of which the distance changes by 4 / (e + 1)^2 < 1; two roundings; tanh.
            roundoff=5 * U,
            hypotheses=(_even(n),),
            size=n,
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    ratio = RATIOS["e to 53 bits"]
    for n in (3, 63):
        yield Measurement(
            setting=f"an odd length, of which only the limit is true, {n=}",
            measured=float(abs(_distance(n, ratio) - 2 * (ratio - 1) / (ratio + 1))),
            bound=0.0,
            hypotheses=(_even(n),),
        )
    # As one display has it: the entries 1 and 0 themselves over their sum.
    high, low = Fraction(1), Fraction(0)
    apart = max(abs(float(high) - math.exp(1)), abs(float(low) - math.exp(0)))
    yield Measurement(
        setting="entries in place of their exponentials, n=64",
        measured=abs(float(_distance(64, high, low)) - LIMIT),
        bound=0.0,
        roundoff=5 * U,
        hypotheses=(Hypothesis(name="numerators other than exponentials", distance=apart),),
    )
