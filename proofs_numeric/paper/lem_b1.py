"""Lemma B.1: one more token takes weight from the last."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.dispersion import last_weight_drop, last_weight_drop_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="lem_b1",
    title="One more token takes weight from the last",
    source="arXiv 2406.04267v2, Lemma B.1",
    statement=r"\mathrm{softmax}(x)_n - \mathrm{softmax}(x^*)_{n+1} = p \beta"
    r" \le \frac{1}{(1 + (n-1) e^{-\Delta}) (1 + n e^{-\Delta})}",
    assumes=("finite logits, all in an interval of length $\\Delta$",),
    note="The lemma says that the drop is positive and vanishes; this is an identity for each n.",
)

U = 2.0**-53


@jax.jit
def _rows(logits: Float[Array, "rows n+1"]) -> Float[Array, "4 rows"]:
    """Last weight before and after the last but one, drop by the identity, and bound."""
    without = jnp.concatenate([logits[:, :-2], logits[:, -1:]], axis=1)  # (rows, n)
    before, after = jax.nn.softmax(without)[:, -1], jax.nn.softmax(logits)[:, -1]
    logit_range = jnp.max(logits, axis=1) - jnp.min(logits, axis=1)
    bound = last_weight_drop_bound(without.shape[1], logit_range)
    return jnp.stack([before, after, last_weight_drop(without, logits[:, -2]), bound])


def _finite(logits: np.ndarray) -> Hypothesis:
    return Hypothesis(name="finite logits", distance=float(np.sum(~np.isfinite(logits))))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    scales = (0.0, 1.0, 8.0)
    names = [*(f"{scale=}" for scale in scales), "the last 600 below"]
    for n in (1, 8, 64, 512) if suite == "quick" else (1, 2, 8, 64, 512, 4096, 32768):
        logits = np.outer((*scales, 1.0), np.random.default_rng(n).normal(size=n + 1))
        logits[-1, -1] -= 600  # a weight of 1e-261, which an absolute error would drown
        # (4, rows) -> one list of four numbers a row
        for row, name, values in zip(logits, names, _rows(logits).T.tolist(), strict=True):
            before, after, drop, bound = values
            # Each weight is of n + 1 exponentials, a sum and a division; an exponential passes
            # the rounding of its logit on, relative to the logits' range.
            roundoff = 2 * (n + 8 + float(np.ptp(row))) * U * max(before, after)
            more = {"hypotheses": (_finite(row),), "size": n}
            yield Measurement.equality(
                setting=f"identity, {n=}, {name}",
                measured=before - after,
                expected=drop,
                roundoff=roundoff,
                **more,
            )
            # Equal logits attain the bound, 1 / (n (n + 1)), and so does the lower of two.
            attained = name == "scale=0.0" or (n == 1 and "600" in name)
            yield Measurement(
                setting=f"bound, {n=}, {name}",
                measured=drop,
                bound=bound,
                floor=bound if attained else 0.0,
                roundoff=(2 * n + 16) * U * bound,
                **more,
            )


def _ratio(logits: Float[Array, " n+1"]) -> Float[Array, ""]:
    """Drop over bound of one row; ``ascend`` compiles it once, and differentiates it."""
    without = jnp.concatenate([logits[:-2], logits[-1:]])
    bound = last_weight_drop_bound(len(without), jnp.max(logits) - jnp.min(logits))
    return last_weight_drop(without, logits[-2]) / bound


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 100 if suite == "quick" else 1000
    starts = jnp.asarray(np.random.default_rng(1).normal(size=(8, 17)))
    logits = ascend(_ratio, starts, steps=steps).instance
    *_, drop, bound = _rows(logits[None])[:, 0].tolist()
    yield Measurement(
        setting=f"8 starts, {steps} steps over 17 logits",
        measured=drop,
        bound=bound,
        roundoff=64 * U * bound,
        hypotheses=(_finite(np.asarray(logits)),),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Logits that grow as log n: the drop stays at 1/6 while the claimed order is n^-2."""
    n, allowed = 1000, 1.0
    grown = float(np.log(n - 1))
    *_, drop, _ = _rows(np.r_[np.zeros(n - 1), grown, grown][None])[:, 0].tolist()
    yield Measurement(
        setting=f"two logits of log(n - 1) over zeros, {n=}, bound for range 1",
        measured=drop,
        bound=float(last_weight_drop_bound(n, jnp.asarray(allowed))),
        hypotheses=(Hypothesis(name="range of the logits over 1", distance=grown - allowed),),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import enclosures  # needs python-flint

    return enclosures.lem_b1()
