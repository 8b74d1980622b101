"""Erratum: the path weights of Theorem 5.1 have beta2 where the values are divided by beta1."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.squashing import path_bound_theorem
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.paper_decoder import PaperDecoder, Reach

CLAIM = Claim(
    name="err_e08",
    title="The path weights of Theorem 5.1 have the wrong divisor",
    source="arXiv 2406.04267v2, Theorem 5.1 as stated in the main text",
    kind="erratum",
    statement=r"\left[ \prod_\ell \left( \frac{\Lambda^{(\ell)}}{\beta_2^{(\ell)}} + I \right)"
    r" \right]_{n,i} \le 0.9 \left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert",
    assumes=("no MLP, $\\beta_3 = 1$, $\\beta_2 > \\beta_1$", "attention weights held fixed"),
    norm="2",
    climbs="L",
    note="The left side is printed as an upper bound. Attention averages values that were divided"
    " by $\\beta_1$, the divisor of the first norm.",
)

# What the true derivative must exceed the printed number by, as a share.
MARGIN = 0.1


def _below(setting: str, decoder: PaperDecoder, reach: Reach, divisors: np.ndarray) -> Measurement:
    """The path sum with some divisors, at the first token, and the derivative less a margin."""
    first, layers = int(decoder.start), int(np.sum(np.isfinite(decoder.beta1)))
    there = np.isfinite(decoder.beta1)
    passed = np.where(there, divisors, np.inf)  # neutral layers add nothing
    constants = (np.ones(()), np.zeros(len(there)))  # beta3, and no MLP in any layer
    bounds = np.asarray(path_bound_theorem(reach.weights, passed, *constants))
    return Measurement(
        setting=setting,
        measured=float(bounds[first]),
        bound=(1 - MARGIN) * float(reach.norms[first]),
        hypotheses=(
            *paper_decoder.hypotheses(reach),
            Hypothesis(
                name="distance of the divisors from the printed beta2",
                distance=float(np.max(np.abs(divisors - decoder.beta2)[:layers])),
            ),
        ),
        size=layers,
    )


def _all() -> Iterator[tuple[str, PaperDecoder, Reach]]:
    """No MLP: its divisor is then nowhere in the derivative."""
    names, decoders = [], []
    for beta1, beta2 in ((1.0, 4.0), (0.5, 1.0)):
        for layers in (1, 2, 4):
            drawn = paper_decoder.draw(8, length=6, layers=layers, linear=True)
            there = np.isfinite(drawn.beta1)  # neutral layers stay neutral
            names.append(f"beta1={beta1}, beta2={beta2}, L={layers}")
            decoders.append(
                drawn._replace(
                    linear=np.zeros_like(drawn.linear),
                    beta1=np.where(there, beta1, np.inf),
                    beta2=np.full_like(drawn.beta2, beta2),
                    beta3=np.ones(()),
                )
            )
    return zip(names, decoders, paper_decoder.reaches(decoders), strict=True)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name, decoder, reach in _all():
        yield _below(name, decoder, reach, decoder.beta2)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """With beta1, as in the proof: the derivative itself."""
    for name, decoder, reach in _all():
        yield _below(f"{name}, beta1 in its place", decoder, reach, decoder.beta1)
