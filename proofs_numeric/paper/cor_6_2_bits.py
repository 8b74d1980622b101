"""Corollary 6.2 in bits: where outputs for neighboring counts collide, and the resulting error."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from glassesjax.precision import (
    BF16,
    E2M1,
    E4M3FN,
    E5M2,
    F16,
    F32,
    FloatFormat,
    first_collision,
    last_distinct,
)
from glassesjax.theory.margin import pigeonhole_count
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="cor_6_2_bits",
    title="Equal bits, one answer, one of two wrong",
    source="arXiv 2406.04267v2, Corollary 6.2 (B.10)",
    statement=r"\frac12 \le \max(|c - n|, |c - (n + 1)|), \quad"
    r" \#\{\mathrm{rd}(y_n) : n \le 2^{p d} + 1\} \le 2^{p d}",
    assumes=(
        "equal bits of the two outputs, for the error of the one answer $c$",
        "for the pigeonhole: more counts than bit patterns, and nothing else",
    ),
    note="The settings named after a format are where its neighbors first collide, exactly.",
)


class Collisions(NamedTuple):
    """Collisions of neighbors n and n + 1 in a number format."""

    inverse: int  # the first n for 1 / n
    shifted: int  # the first n for 1 + 1 / n
    last_distinct: int  # the last n at which 1 + 1 / n differs from its neighbor
    integers: int  # the first n for n itself


TABLE = {
    BF16: Collisions(190, 14, 255, 256),
    F16: Collisions(1464, 36, 2047, 2048),
    E4M3FN: Collisions(14, 4, 15, 16),
    E5M2: Collisions(6, 3, 7, 8),
    F32: Collisions(11864338, 2947, 16777215, 2**24),
}


def _collisions(suite: Suite) -> Iterator[Measurement]:
    """The table, by search.

    Numbers that round alike are at most a spacing apart, which is at most x 2^-m. So 1/n needs
    n + 1 >= 2^m, and integers n >= 2^m: quick starts there.
    """
    full, shifted = suite == "full", lambda n: (n + 1) / n
    for fmt, expected in TABLE.items():
        stop = 2 << (fmt.mantissa_bits + 1)
        start = 1 if full else max(1, (1 << fmt.mantissa_bits) - 1)
        below = 2 << fmt.mantissa_bits  # where the integers begin to be two apart
        measured = Collisions(
            inverse=first_collision(lambda n: 1 / n, fmt, start, stop) or -1,
            shifted=first_collision(shifted, fmt, 1, stop) or -1,
            last_distinct=last_distinct(shifted, fmt, 1, stop) or -1,
            integers=first_collision(lambda n: n, fmt, 1 if full else below - 8, stop) or -1,
        )
        for name in Collisions._fields:
            yield Measurement.equality(
                setting=f"{name}, {fmt.name}",
                measured=float(getattr(measured, name)),
                expected=float(getattr(expected, name)),
                roundoff=0.0,  # whole numbers
                dtype=fmt.name,
                rounding="to nearest, ties to even",
            )
    if full:
        # Before the last change of 1 + 1/n in float32 lies a run of eleven million equal values.
        before = last_distinct(shifted, F32, 1, TABLE[F32].last_distinct)
        yield Measurement.equality(
            setting="last_distinct but one, f32",
            measured=float(before or -1),
            expected=5592405.0,
            roundoff=0.0,
            dtype="f32",
        )


def _output(n: int, fmt: FloatFormat) -> float:
    """A mean over n tokens, one of which is another: 1 + 1/n, as a format stores it.

    A cast may round to float32 first: harmless, for so few n the midpoints are farther away.
    """
    return float(np.asarray((n + 1) / n).astype(fmt.dtype))


def _answer(output: float) -> float:
    """The count decoded from an output."""
    return 1 / (output - 1)


def _same_bits(n: int, fmt: FloatFormat) -> Hypothesis:
    differ = _output(n, fmt) != _output(n + 1, fmt)
    return Hypothesis(name="outputs that differ in bits", distance=float(differ))


def _too_few(measured: int, wanted: int) -> Hypothesis:
    return Hypothesis(name="counts that lack", distance=float(max(wanted - measured, 0)))


def _pigeonhole() -> Iterator[Measurement]:
    """Different bit patterns among one count more than there are patterns."""
    one = pigeonhole_count(E4M3FN.bits, 1)
    two = pigeonhole_count(E2M1.bits, 2)
    codes = np.arange(one)
    # Rows are counts, columns the numbers of one output: (counts, 1) and (counts, 2).
    every = (codes % 256).astype(np.uint8)
    pairs = np.stack([codes // 16 % 16, codes % 16], axis=1).astype(np.uint8)
    cases = (
        ("e4m3fn, one number, every code", every[:, None], one),
        ("e2m1, two numbers, every code", pairs, two),
    )
    for name, patterns, count in cases:
        yield Measurement(
            setting=f"different outputs among {len(patterns)} counts, {name}",
            measured=float(len(np.unique(patterns, axis=0))),
            bound=float(count - 1),
            floor=float(count - 1),  # all codes occur: the bound is attained
            hypotheses=(_too_few(len(patterns), count),),
            dtype=name.split(",")[0],
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    yield from _collisions(suite)
    for fmt, expected in ((BF16, 23), (F16, 64)):
        # Over all n: from the first collision of integers on, 1 + 1/n is one.
        n = np.arange(1, 2 * TABLE[fmt].integers)
        values = np.unique(((n + 1) / n).astype(fmt.dtype))
        yield Measurement.equality(
            setting=f"values of 1 + 1/n, {fmt.name}",
            measured=float(len(values)),
            expected=float(expected),
            roundoff=0.0,
            dtype=fmt.name,
        )
    # Two counts with equal bits have one answer: decoded from these, or the best, midway.
    for fmt, row in TABLE.items():
        n = row.shifted
        for name, answer in (("the answer", _answer(_output(n, fmt))), ("midway", n + 0.5)):
            error = max(abs(answer - n), abs(answer - n - 1))
            yield Measurement(
                setting=f"least error of one answer to {n} and {n + 1}, {name}, {fmt.name}",
                measured=0.5,
                bound=error,
                floor=error if name == "midway" else 0.0,
                hypotheses=(_same_bits(n, fmt),),
                dtype=fmt.name,
            )
    yield from _pigeonhole()


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    yield Measurement(
        setting="2 and 3 tokens, told apart in bfloat16",
        measured=0.5,
        bound=max(abs(_answer(_output(n, BF16)) - n) for n in (2, 3)),
        hypotheses=(_same_bits(2, BF16),),
        dtype="bf16",
    )
    few = np.arange(pigeonhole_count(E2M1.bits, 1) - 1)
    different = len(np.unique(few.astype(np.uint8)))
    yield Measurement(
        setting="as many counts as codes of e2m1, none of them alike",
        measured=float(different),
        bound=float(len(few) - 1),
        hypotheses=(_too_few(len(few), pigeonhole_count(E2M1.bits, 1)),),
        dtype="e2m1",
    )
