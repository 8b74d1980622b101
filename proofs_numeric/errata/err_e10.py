"""Erratum: the bound of Theorem 5.1 needs attention that does not depend on its input."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.paper_decoder import quotients

CLAIM = Claim(
    name="err_e10",
    title="With true attention the bound of Theorem 5.1 is exceeded, manifold",
    source="arXiv 2406.04267v2, Theorem 5.1, which calls the hypothesis a simplification",
    kind="erratum",
    statement=r"2 \le \max_i \left( \left\lVert \frac{\partial y_n}{\partial v_i^{(0)}}"
    r" \right\rVert / \left[ \prod_\ell ( \Lambda^{(\ell)} + I ) \right]_{n,i} \right)",
    assumes=("attention weights that depend on the values", "no MLP, all divisors one"),
    norm="2",
    climbs="L",
    note="In brackets the theorem's bound, which is exceeded 2 over the tightness times, at the"
    " worst token of twelve draws, not at each one. Repaired in thm_5_1_true.",
)

# By which factor the true derivative must exceed the bound at least.
CLEAR = 2.0
DRAWS = 12


def _exceeded(scale: float, layers: int, *, moves: bool) -> Measurement:
    """The worst draw and token: a factor against the derivative over the bound.

    No MLP, divisors of one, queries times the scale: attention only.
    """
    decoders = []
    for seed in range(DRAWS):
        options = {"length": 8, "layers": layers, "logit_scale": scale, "moves": moves}
        drawn = paper_decoder.draw(seed, linear=True, **options)
        decoders.append(
            drawn._replace(
                linear=np.zeros_like(drawn.linear),
                beta1=np.where(np.isfinite(drawn.beta1), 1.0, np.inf),  # neutral layers stay so
                beta3=np.ones(()),
            )
        )
    reaches = paper_decoder.reaches(decoders)
    worst = [
        float(np.max(quotients(reach.norms, paper_decoder.bound(decoder, reach))))
        for decoder, reach in zip(decoders, reaches, strict=True)
    ]
    at = int(np.argmax(worst))
    constant, sums = paper_decoder.hypotheses(reaches[at])
    words = "" if moves else ", held fixed"
    return Measurement(
        setting=f"logit scale {scale:g}, L={layers}{words}",
        measured=CLEAR,
        bound=worst[at],
        hypotheses=(
            sums,
            # Turned round: constant weights are what the erratum excludes.
            Hypothesis(
                name="attention that does not depend on its input",
                distance=float(constant.distance == 0),
            ),
        ),
        size=layers,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for scale in (3.0, 6.0) if suite == "quick" else (3.0, 6.0, 12.0, 20.0):
        for layers in (1, 2, 4):
            yield _exceeded(scale, layers, moves=True)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """The same decoders with constant attention weights: the bound is not exceeded."""
    yield _exceeded(6.0, 2, moves=False)


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import squashing_enclosures  # needs python-flint

    return squashing_enclosures.err_e10()
