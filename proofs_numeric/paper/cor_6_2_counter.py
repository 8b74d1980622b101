"""Corollary 6.2 on a decoder that counts exactly: it fails at the count derived by hand."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.model import Decoder
from glassesjax.model.counter import GROUND, Reading, counter
from glassesjax.precision import (
    BF16,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    FloatFormat,
    RoundingPlan,
    float_format,
)
from glassesjax.tasks.sequences import BOS, SYMBOLS
from glassesjax.theory.counting import failing_length, first_wrong_readout
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="cor_6_2_counter",
    title="A counter that is known to count fails where its format says",
    source="arXiv 2406.04267v2, Corollary 6.2 (B.10)",
    statement=r"\min \{c : y_c = y_{c + 1}\}"
    r" = \min \{c : \mathrm{rd}(g + \mathrm{rd}(\frac{1}{c + 1}))"
    r" = \mathrm{rd}(g + \mathrm{rd}(\frac{1}{c + 2}))\}, \quad g \in \{0, 1\}",
    assumes=(
        "the decoder of two layers whose weights are written by hand",
        "its residual stream $y_c$ after $c$ ones is stored in the format",
    ),
    climbs="mantissa bits",
    note="Left a decoder that runs, right exact fractions. The corollary says that there is such a"
    " count. Without rounding every answer is right, so that the rounding alone is what fails.",
)

WIDE = RoundingPlan.wide(F64)
# Lengths of runs: beyond the last count that one plus a share tells apart in the format; in float32
# beyond the first that it does not. Each format is compiled once, so quick has two of them.
LENGTHS = {E5M2: 24, E4M3FN: 48, BF16: 300, F16: 2100, F32: 3000}
MANTISSAS = (2, 4, 6, 8, 9, 11, 12)  # a ladder of formats with eight bits of exponent


class Run(NamedTuple):
    """Representations of a run of ones: row k is the one after k of them."""

    rows: Float[np.ndarray, "counts model_dim"]
    decoded: Int[np.ndarray, " counts"]
    stream: Float[np.ndarray, "stores counts model_dim"]
    """The residual stream wherever it is stored, the rows last."""

    @property
    def equal(self) -> np.ndarray:
        """Whether the representations of counts k and k + 1 are bitwise equal."""
        bits = self.rows.view(np.uint64)
        return np.all(bits[1:] == bits[:-1], axis=1)

    @property
    def first_equal(self) -> int:
        """The first count with the same bits as the next one; the length where there is none."""
        return int(np.argmax(np.append(self.equal, True)))

    @property
    def last_distinct(self) -> int:
        """The last count with other bits than the next one."""
        return int(np.flatnonzero(~self.equal)[-1])

    @property
    def first_wrong(self) -> int:
        """The first incorrect count; one beyond the run where all are correct."""
        return int(np.argmax(np.append(self.decoded != np.arange(len(self.decoded)), True)))


@functools.partial(jax.jit, static_argnames="plan")
def _pass(decoder: Decoder, tokens: Int[Array, " seq"], plan: RoundingPlan) -> tuple[Array, ...]:
    """Rows, decoded counts, and the residual stream at every store: a run's fields."""
    decoder = decoder.at(plan)
    y, trace = decoder(tokens, keep="residual")
    entered, between = jnp.asarray(trace.resid), jnp.asarray(trace.resid_mid)
    # (layers, seq, d) twice and (seq, d) -> (2 layers + 1, seq, d)
    stream = jnp.concatenate([entered, between, y[None]])
    # After the symbols the vocabulary has the counts, from 0 on.
    return y, jnp.argmax(decoder.logits(y), axis=-1) - len(SYMBOLS), stream


def _run(reading: Reading, plan: RoundingPlan, length: int) -> Run:
    tokens = np.full(length + 1, SYMBOLS.index("1"))
    tokens[0] = SYMBOLS.index(BOS)
    decoder = counter(length, reading=reading, dtype=jnp.float64)
    return Run(*map(np.asarray, _pass(decoder, tokens, plan)))


def _stored_in(run: Run, fmt: FloatFormat) -> Hypothesis:
    """How far the residual stream, wherever it is stored, is from numbers of the format."""
    off = np.abs(run.stream - np.asarray(fmt.round(jnp.asarray(run.stream))))
    return Hypothesis(name=f"a residual stream stored in {fmt.name}", distance=float(np.max(off)))


def _fails(fmt: FloatFormat, reading: Reading, length: int) -> Iterator[Measurement]:
    """Three counts as seen, against the same by fractions."""
    plan = RoundingPlan(residual=fmt, mode="simulated", carrier=F64)
    run, by_hand = _run(reading, plan, length), failing_length(fmt, reading)
    more = {
        "roundoff": 0.0,
        "hypotheses": (_stored_in(run, fmt),),
        "size": fmt.mantissa_bits,
        "rounding": f"residual stream to {fmt.name}",
    }
    # A run that is too short must show no failure at all.
    none = {"first_equal": length, "first_wrong": length + 1}
    for name, expected in by_hand._asdict().items():
        if name in none or expected < length:
            yield Measurement.equality(
                setting=f"{name}, {fmt.name}, {reading}",
                measured=float(getattr(run, name)),
                expected=float(min(expected, none.get(name, expected))),
                **more,
            )
    if (first := run.first_equal) < length:
        # Equal bits, hence one answer, whatever it is.
        yield Measurement.equality(
            setting=f"answers to {first} and {first + 1} ones, {fmt.name}, {reading}",
            measured=float(run.decoded[first]),
            expected=float(run.decoded[first + 1]),
            **more,
        )


def _everywhere(fmt: FloatFormat, reading: Reading, length: int) -> Iterator[Measurement]:
    """Rounding the rest too moves no row, and the answers where fractions say."""
    every = _run(reading, RoundingPlan.everywhere(fmt, carrier=F64), length)
    more = {
        "hypotheses": (_stored_in(every, fmt),),
        "roundoff": 0.0,
        "size": fmt.mantissa_bits,
        "rounding": f"everywhere to {fmt.name}",
    }
    by_hand = failing_length(fmt, reading).first_equal
    setting = f"first_equal, {fmt.name}, {reading}, everywhere"
    yield Measurement.equality(
        setting=setting, measured=float(every.first_equal), expected=float(by_hand), **more
    )
    wrong = first_wrong_readout(fmt, reading, length)
    yield Measurement.equality(
        setting=f"first_wrong, {fmt.name}, {reading}, everywhere",
        measured=float(every.first_wrong),
        expected=float(length + 1 if wrong is None else wrong),
        **more,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    residual, every = {BF16: LENGTHS[BF16]}, (E4M3FN,)
    if suite == "full":
        finer = {float_format(f"e8m{bits}"): (2 << bits) + 4 for bits in MANTISSAS}
        # In e4m3fn neighboring shares differ until they underflow.
        residual, every = LENGTHS | {E4M3FN: 1100} | finer, (E5M2, E4M3FN, BF16)
    for reading in GROUND:
        length = LENGTHS[BF16]
        decoded = _run(reading, WIDE, length).decoded
        yield Measurement.equality(
            setting=f"wrong answers to 0 up to {length} ones, {reading}, no rounding",
            measured=float(np.sum(decoded != np.arange(length + 1))),
            expected=0.0,
            roundoff=0.0,
        )
        for fmt, length in residual.items():
            yield from _fails(fmt, reading, length)
        for fmt in every:
            yield from _everywhere(fmt, reading, LENGTHS[fmt])


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Without rounding the same counter, at the same length, separates all counts."""
    for reading in GROUND:
        run, by_hand = _run(reading, WIDE, LENGTHS[BF16]), failing_length(BF16, reading)
        for name in ("first_equal", "first_wrong"):
            yield Measurement.equality(
                setting=f"{name}, as of bf16, {reading}, in float64",
                measured=float(getattr(run, name)),
                expected=float(getattr(by_hand, name)),
                roundoff=0.0,
                hypotheses=(_stored_in(run, BF16),),
            )
