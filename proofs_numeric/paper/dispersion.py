"""Dispersion: logits of a bounded range leave each softmax weight in a bracket of order 1/n."""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.sharpness import ssmax_weights
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="dispersion",
    title="Softmax of a bounded range spreads",
    source="after arXiv 2410.01104, Lemma 2.1",
    page="sharpness",
    statement=r"\frac{1}{1 + (n-1) e^{\Delta}} \le \alpha_i \le \frac{1}{1 + (n-1) e^{-\Delta}}"
    r" \le \frac{e^{\Delta}}{n}",
    assumes=("logits below infinity, $n$ of them not masked, in an interval of length $\\Delta$",),
    note="Sharper than the lemma, whose ends are exp(-Delta) / n and exp(Delta) / n; one logit"
    " against equal others attains either end.",
)

U = 2.0**-53


@jax.jit
def _weights(
    logits: Float[Array, "rows n"], length: Int[Array, " rows"], span: Float[Array, " rows"]
) -> Float[Array, "6 rows"]:
    """Least and greatest weight of plain and of scalable softmax, and the bracket."""
    kept = ~jnp.isneginf(logits)
    bracket = dispersion_bracket(length, span)
    # Weights (rows, n) -> ends (rows); no weight is as large as 2 or as small as -1.
    ends = [
        end(weights, axis=1, where=kept, initial=initial)
        for weights in (jax.nn.softmax(logits), ssmax_weights(logits, 1.0))
        for end, initial in ((jnp.min, 2.0), (jnp.max, -1.0))
    ]
    return jnp.stack([*ends, bracket.lower, bracket.upper])


def _range(row: np.ndarray) -> float:
    kept = row[~np.isneginf(row)]
    return float(np.max(kept) - np.min(kept)) if len(kept) else math.nan


def _within(row: np.ndarray, span: float) -> Hypothesis:
    over = _range(row) - span
    return Hypothesis(name="range of the logits over Delta", distance=over)


def _evaluate(rows: dict[str, tuple[np.ndarray, str]], width: int) -> list[list[float]]:
    """Weights and bracket of each row, by one shape and one compilation for all of a suite."""
    padded = np.full((12, width), -np.inf)
    padded[:, 0] = 0.0  # rows that are not used have one weight: none is NaN
    for i, (row, _) in enumerate(rows.values()):
        padded[i, : len(row)] = row
    lengths = np.sum(~np.isneginf(padded), axis=1)
    spans = np.array([_range(row) for row in padded])
    return np.asarray(_weights(padded, lengths, spans)).T[: len(rows)].tolist()  # (6, 12) -> rows


def _sides(
    name: str, row: np.ndarray, tight: str, values: list[float], size: int | None
) -> Iterator[Measurement]:
    """Both ends of the bracket, and the upper one against the printed lemma."""
    least, greatest, _, _, lower, upper = values
    count = int(np.sum(~np.isneginf(row)))
    # Relative: a sum of n exponentials, whose arguments carry the range's rounding.
    span = _range(row)
    relative = (2 * count + 16 + (2 * span if math.isfinite(span) else 0)) * U
    bad = np.sum(np.isnan(row) | np.isposinf(row)) + (0 if count else 1)
    finite = Hypothesis(name="logits below infinity, some not masked", distance=float(bad))
    more = {"hypotheses": (finite,), "size": size}
    yield Measurement(
        setting=f"greatest weight, {name}",
        measured=greatest,
        bound=upper,
        floor=upper if tight in ("upper", "both") else 0.0,
        roundoff=relative * upper,
        **more,
    )
    # The other way round: the bracket's lower end is within the least weight.
    yield Measurement(
        setting=f"least weight, {name}",
        measured=lower,
        bound=least,
        floor=least if tight in ("lower", "both") else 0.0,
        roundoff=relative * least,
        **more,
    )
    yield Measurement(
        setting=f"upper end against the lemma's, {name}",
        measured=upper,
        bound=math.exp(span) / count if span < 709 else math.nan,  # beyond, exp overflows
        roundoff=relative * upper,
        **more,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    ladder = (2, 16, 128, 1024) if suite == "quick" else (2, 16, 128, 1024, 8192, 65536)
    # Rows by name, with the end of the bracket that each attains.
    cases: list[tuple[int | None, dict[str, tuple[np.ndarray, str]]]] = []
    for n in ladder:
        draw, zeros = np.random.default_rng(n).normal(size=n), np.zeros(n - 1)
        rows = {f"random, scale {scale:g}, {n=}": (scale * draw, "") for scale in (1.0, 8.0)}
        for gap in (2.0**-20, 2.0, 30.0, 700.0):
            rows[f"one above the rest by {gap:g}, {n=}"] = (np.r_[gap, zeros], "upper")
            rows[f"one below the rest by {gap:g}, {n=}"] = (np.r_[-gap, zeros], "lower")
        rows[f"equal logits of 700, {n=}"] = (np.full(n, 700.0), "both")
        cases.append((n, rows))
    stress = {
        "one logit": (np.array([5.0]), "both"),
        "half of them masked": (np.r_[0.0, -np.inf, 1.0, -np.inf], ""),
        "a logit that is not a number": (np.r_[0.0, np.nan], ""),
    }
    for n, rows in (*cases, (None, stress)):
        evaluated = _evaluate(rows, ladder[-1])
        for (name, (row, tight)), values in zip(rows.items(), evaluated, strict=True):
            yield from _sides(name, row, tight, values, n)


def _ratio(logits: Float[Array, " n"]) -> Float[Array, ""]:
    """Greatest weight over the upper end, which is differentiable; ``ascend`` compiles it once."""
    span = jnp.max(logits) - jnp.min(logits)
    return jnp.max(jax.nn.softmax(logits)) / dispersion_bracket(logits.size, span).upper


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 100 if suite == "quick" else 1000
    starts = jnp.asarray(np.random.default_rng(3).normal(size=(8, 17)))
    row = np.asarray(ascend(_ratio, starts, steps=steps).instance)
    values = _evaluate({"found": (row, "")}, 1024)[0]
    yield from _sides(f"8 starts, {steps} steps over 17 logits", row, "", values, None)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Scalable softmax multiplies the logits by log n: their range grows, and a weight stays."""
    n, span = 1024, 2.0
    row = np.r_[span, np.zeros(n - 1)]
    _, _, _, greatest, _, upper = _evaluate({"": (row, "")}, n)[0]
    yield Measurement(
        setting=f"scalable softmax at scale 1 and a gap of 2, {n=}, bracket of the range 2",
        measured=greatest,
        bound=upper,
        hypotheses=(_within(math.log(n) * row, span),),
    )
    # Plain softmax of a logit that grows likewise; the bracket stays that of the range 2.
    row = np.r_[math.log(n - 1), np.zeros(n - 1)]
    _, greatest, *_ = _evaluate({"": (row, "")}, n)[0]
    yield Measurement(
        setting=f"a logit that grows as log n, {n=}, bracket of the range 2",
        measured=greatest,
        bound=upper,
        hypotheses=(_within(row, span),),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import enclosures  # needs python-flint

    return enclosures.dispersion()
