"""Erratum: rotary positions, ALiBi and positions in the embedding do not meet Theorem 4.2."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.collapse_forms import embedding_position_gap
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.figures.fig_8 import DIM, angles, sines
from proofs_numeric.paper.thm_4_2_exact import weights_of

CLAIM = Claim(
    name="err_e06",
    title="Rotary, ALiBi and added positions lie outside the theorem",
    source="arXiv 2406.04267v2, Theorem 4.2 (B.3), its condition on positions",
    kind="erratum",
    statement=r"0.1 \le T_n^{\mathrm{rotary}},"
    r" \quad m (n - 1) \le \mathrm{range}(s^{\mathrm{ALiBi}}),"
    r" \quad 1.472 \le \lVert p_{n+1} - p_n \rVert_2",
    assumes=("the positions are there, whole",),
    norm="1",
    note="Rotary positions do not decay with distance: a row still changes by 0.21 at n = 10 000."
    " ALiBi's logits are not bounded, and its step levels off. Positions added to the embedding"
    " keep equal tokens 1.472 apart (d = 64). The authors concede the first.",
)

U = 2.0**-53
# Half the level 0.21 of rotary's curve: draws differ. Without positions 2 / n is all there is.
LEVEL = 0.1


def _whole(name: str, measured: np.ndarray | np.floating, wanted: np.ndarray | float) -> Hypothesis:
    """How far the positions that went in are from whole ones."""
    apart = float(np.max(np.abs(measured - wanted)))
    return Hypothesis(name=f"{name} other than whole", distance=apart, allowed=8 * DIM * U)


def _rotary(n: int, share: float = 1.0, seeds: int = 4) -> Measurement:
    """Change T of the attention row, normal queries and keys; turned by a share of the angles."""
    measured, turns = [], np.exp(1j * share * angles(n + 1))
    for seed in range(seeds):
        random, half = np.random.default_rng([n, seed]), DIM // 2
        rows = random.normal(size=(n + 1, DIM))
        rows[-1] = rows[-2]
        query = random.normal(size=DIM)
        # Pairs of coordinates as complex numbers, (n + 1, half): a rotation is a product.
        keys = (rows[:, :half] + 1j * rows[:, half:]) * turns
        queries = (query[:half] + 1j * query[half:]) * turns[-2:]
        logits = (keys @ queries.conj().T).real / np.sqrt(DIM)
        row, longer = weights_of(logits[:-1, 0]), weights_of(logits[:, 1])
        measured.append(np.sum(np.abs(longer[:-1] - row)) + longer[-1])
    return Measurement(
        setting=f"row change under rotary positions, {n=}, {share=}, {seeds} seeds",
        size=n,
        measured=LEVEL,
        bound=float(np.min(measured)),
        hypotheses=(_whole("turns of the second token", turns[1], np.exp(1j * angles(2)[1])),),
    )


def _penalty(n: int, share: float = 1.0) -> Measurement:
    """ALiBi's logits in one row: their range grows with n."""
    slope = 2.0**-8
    penalties = share * slope * np.arange(n)
    return Measurement.equality(
        setting=f"range of ALiBi's logits over the slope, {n=}, {share=}",
        measured=float(np.ptp(penalties)) / slope,
        expected=n - 1.0,
        roundoff=4 * n * U,
        size=n,
        norm="none",  # a range of logits
        hypotheses=(_whole("penalty of the neighbor", penalties[1], slope),),
    )


def _plateau(n: int, share: float = 1.0) -> Measurement:
    """ALiBi's step, which does not fall below (1 - q) |v_a - z| however long the context."""
    slope, values = 0.1, np.r_[-np.ones(n - 1), 1.0][:, None]
    penalties = -share * slope * np.arange(n + 1)[::-1]
    row, longer = weights_of(penalties[1:]), weights_of(penalties)
    # Row n has the n smallest penalties; row n + 1 repeats the last token, of value one.
    z = float((row @ values)[0])
    step = float((longer[:-1] @ values)[0] + longer[-1] - z)
    expected = -np.expm1(-slope) * (1 + 1 - 2 * -np.expm1(-slope))  # z is 2 (1 - q) - 1
    return Measurement(
        setting=f"step under ALiBi, {n=}, {share=}",
        size=n,
        measured=float(expected),
        bound=abs(step),
        roundoff=8 * (n + 16) * U,
        hypotheses=(_whole("penalty of the neighbor", penalties[-2], -slope),),
    )


def _embedded(n: int, share: float = 1.0) -> Measurement:
    """Equal tokens with sinusoidal positions added: the residuals' first distance."""
    positions = share * sines(n + 1)
    return Measurement.equality(
        setting=f"positions in the embedding, {n=}, {share=}",
        measured=float(np.linalg.norm(positions[-1] - positions[-2])),
        expected=embedding_position_gap(DIM),
        # Angles up to n have errors of n U; a vector of DIM of them.
        roundoff=8 * (n + DIM) * U,
        size=n,
        norm="2",
        hypotheses=(_whole("norm of a position", np.linalg.norm(positions[0]), (DIM / 2) ** 0.5),),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (100, 1000) if suite == "quick" else (100, 1000, 10_000):
        yield _rotary(n)
        yield _penalty(n)
        yield _plateau(n)
        yield _embedded(n)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Without positions all four vanish."""
    for make in (_rotary, _penalty, _plateau, _embedded):
        yield make(1000, share=0.0)
