"""Theorem 5.1 repaired and the certificate of Theorem 4.2 on a model of each family."""

import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from glassesjax.model.families.table import FAMILIES
from glassesjax.theory.collapse_records import CollapseCertificate
from glassesjax.trace.certificate import LayerRows
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import families, left_out
from proofs_numeric.support.families import BATCH, Arrays
from proofs_numeric.support.paper_decoder import quotients

CLAIM = Claim(
    name="thm_5_1_families",
    title="In a model of each family neither bound is exceeded",
    source="arXiv 2406.04267v2, Theorems 5.1 and 4.2, repaired",
    statement=r"\left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert \le"
    r" \frac{1}{\beta_{3,n}} \left[ B^{(L-1)} \cdots B^{(0)} \right]_{n,i},"
    r" \quad e_L \le E_L",
    assumes=(
        "finite weights; divisors and slopes at the point of the pass",
        "for (R4) logits of a finite range: none that only one of the two rows masks",
    ),
    norm="2",
    climbs="scale",
    note="Settings are read from a configuration by each family's own reader. The quick suite has"
    " Gemma 2 and Falcon, the full one every family.",
)

# Compiling is the cost: two families without a switch in common.
QUICK = ("gemma2", "falcon")
SCALES = (0.1, 1.0, 3.0, 10.0)
PARTS = {"mid": "R1", "out": "R2", "row_change": "R3", "by_increments": "R4", "self_weight": "R5"}


def _finite(arrays: Arrays) -> Hypothesis:
    broken = sum(int(np.sum(~np.isfinite(array))) for array in arrays.values())
    return Hypothesis(name="weights that are not finite", distance=float(broken))


def _growth(rows: LayerRows) -> np.ndarray:
    """What each layer multiplies a distance by, at most: [batch, layers]."""
    factors = rows.mlp_lipschitz, rows.norm_lipschitz, rows.mlp_norm_lipschitz
    slope, norm, mlp_norm, keep = (np.asarray(each) for each in (*factors, rows.keep))
    mlp, kept = slope * norm * mlp_norm, np.abs(keep)
    return np.where(np.asarray(rows.parallel), kept + mlp, (1 + mlp) * kept)


def _sides(
    rows: LayerRows, found: CollapseCertificate, rounding: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Each inequality with both sides and what rounding may do, [instances] each."""
    for part, name in PARTS.items():
        measured, bound = getattr(found.layers, part)  # (batch, layers[, heads])
        allowed = rounding[part].reshape(*rounding[part].shape, *[1] * (measured.ndim - 2))
        measured, bound, allowed = np.broadcast_arrays(measured, bound, allowed)
        yield name, measured.ravel(), bound.ravel(), allowed.ravel()
    # Rounding of a layer is carried on as a distance is.
    growth = _growth(rows)
    carried = np.zeros(len(growth))
    for grow, added in zip(growth.T, rounding["out"].T, strict=True):
        carried = grow * carried + added
    measured, bound = (np.asarray(side) for side in found.output)
    yield "composed", measured, bound, carried


def _certified(title: str, arrays: Arrays, rows: LayerRows) -> Iterator[Measurement]:
    """Of each inequality the instance, of draws, layers and heads, closest to its bound."""
    found, rounding = families.certificates(rows)
    hypotheses, U = found.layers.hypotheses, families.U
    tokens = len(families.TOKENS)
    common = (
        _finite(arrays),
        Hypothesis(
            name="weights are the softmax",
            distance=float(np.max(hypotheses.softmax_error)),
            allowed=16 * tokens * U,
        ),
    )
    spans = hypotheses.logit_range.ravel()
    for name, measured, bound, allowed in _sides(rows, found, dict(rounding)):
        # (R4) has an exponential of the range, which must be a number.
        outside = spans > 700 if name == "R4" else np.zeros(measured.shape, bool)
        for unmet in sorted({*outside.tolist()}):
            at = np.flatnonzero(outside == unmet)
            gap = (measured[at] - allowed[at]) / np.maximum(bound[at], np.finfo(float).tiny)
            at = at[np.argmax(np.where(np.isnan(gap), np.inf, gap))]
            known = Hypothesis(name="range of the logits", distance=float(spans[at]), allowed=700)
            yield Measurement(
                setting=f"{name}, {title}" + ", keys that one row masks" * unmet,
                measured=float(measured[at]),
                bound=float(bound[at]),
                roundoff=float(allowed[at]),
                hypotheses=(*common, known) if name == "R4" else common,
                norm="1",
            )


def _closest(
    setting: str, scale: float | None, sides: Sequence[np.ndarray], *hypotheses: Hypothesis
) -> Measurement:
    """The draw and token whose derivative comes closest to its bound, or exceeds it most."""
    norms, bounds, roundoff = sides  # (draws, seq), (draws, seq), (draws,)
    ratio = quotients(norms, bounds)
    draw, token = np.unravel_index(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
    return Measurement(
        setting=setting,
        measured=float(norms[draw, token]),
        bound=float(bounds[draw, token]),
        roundoff=float(roundoff[draw] * bounds[draw, token]),
        hypotheses=hypotheses,
        size=scale,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    names, seeds = (QUICK, range(1)) if suite == "quick" else (tuple(FAMILIES), range(8))
    # The whole MLP, and one that leaves the bound little room.
    for name, (title, factors) in itertools.product(
        names, (("", {}), (", MLP times 0.01", left_out.QUIET))
    ):
        title = FAMILIES[name].title + title
        batches = []
        for seed in seeds:
            drawn = [families.draw(name, BATCH * seed + i, s) for i, s in enumerate(SCALES)]
            arrays = families.together([families.scaled(name, d, factors) for d in drawn])
            batches.append((arrays, families.passes(name, arrays)))
        arrays = {weight: np.concatenate([b[0][weight] for b in batches]) for weight in drawn[0]}
        sides = [
            (
                families.sensitivities(np.asarray(found.jacobian)),
                families.bounds(found.stack),
                families.bound_roundoff(found.stack),
            )
            for _, found in batches
        ]
        for at, scale in enumerate(SCALES):
            mine = [np.stack([side[part][at] for side in sides]) for part in range(3)]
            yield _closest(f"{title}, {scale=}", scale, mine, _finite(arrays))
        # One batch has the shape that is compiled; the first is enough.
        yield from _certified(title, *_first(batches))


def _first(batches: Sequence[tuple[Arrays, families.Pass]]) -> tuple[Arrays, LayerRows]:
    arrays, found = batches[0]
    return arrays, found.rows


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Each factor that the quick suite's models have, left out of the bound where it is large."""
    for name in QUICK:
        cases = itertools.groupby(left_out.cases(name), lambda case: case[0])
        for factor, batches in cases:
            yield _without(name, factor.name, list(batches))


def _without(name: str, factor: str, batches: Sequence[tuple]) -> Measurement:
    """The worst of some draws."""
    apart = lambda one, other: float(np.max(np.abs(one - other), initial=0.0))
    far = [max(jax.tree.leaves(jax.tree.map(apart, full, less))) for _, full, less, _ in batches]
    sides = [
        np.concatenate([norms for *_, norms in batches]),
        np.concatenate([families.bounds(less) for _, _, less, _ in batches]),
        np.concatenate([families.bound_roundoff(less) for _, _, less, _ in batches]),
    ]
    unmet = Hypothesis(name=f"{factor}, left out", distance=max(far))
    return _closest(f"{FAMILIES[name].title}, without {factor}", None, sides, unmet)
