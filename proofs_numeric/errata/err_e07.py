"""Erratum: the prefactor sigma^L of Theorem B.5; without MLPs the printed bound is zero."""

from collections.abc import Iterator

import numpy as np

from glassesjax.theory.squashing import path_bound_corollary
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.paper_decoder import PaperDecoder, Reach

CLAIM = Claim(
    name="err_e07",
    title="The prefactor of Theorem B.5 as printed is too small",
    source="arXiv 2406.04267v2, Theorem B.5 as stated",
    kind="erratum",
    statement=r"\sigma^L \left[ \prod_\ell \frac{\Lambda^{(\ell)} + I}{\beta} \right]_{n,i}"
    r" \le 0.99 \left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert",
    assumes=("linear MLPs, all divisors one", "attention weights held fixed"),
    norm="2",
    climbs="L",
    note="The left side is printed as an upper bound. The residual stream carries each token past"
    " the MLPs; the proof itself has $\\prod (1 + \\sigma / \\beta_2) / \\beta_3$.",
)

# What the true derivative must exceed the printed number by, as a share.
MARGIN = 0.01


def _printed(decoder: PaperDecoder, reach: Reach) -> np.ndarray:
    """The bound as it is stated in the appendix; layers that are not there become factors of I."""
    there = np.isfinite(decoder.beta1)
    sigmas = np.where(there, paper_decoder.sigma(decoder), 1.0)
    weights = np.where(there[:, None, None], reach.weights, 0.0)  # (layers, slots, slots)
    return np.asarray(path_bound_corollary(weights, np.ones(len(there)), sigmas))


def _below(
    setting: str, decoder: PaperDecoder, reach: Reach, bounds: np.ndarray, token: int
) -> Measurement:
    """That a number is clearly below the derivative; it is to be the printed one."""
    # Over the tokens alone, not the empty slots before them.
    changed = float(np.max(np.abs(bounds - _printed(decoder, reach))[int(decoder.start) :]))
    return Measurement(
        setting=setting,
        measured=float(bounds[token]),
        bound=(1 - MARGIN) * float(reach.norms[token]),
        hypotheses=(
            *paper_decoder.hypotheses(reach),
            Hypothesis(name="distance from the printed constant", distance=changed),
        ),
        size=int(np.sum(np.isfinite(decoder.beta1))),
    )


def _all() -> Iterator[tuple[str, PaperDecoder, Reach]]:
    """Psi multiplies by sigma, and all divisors are one, so that no reading of beta matters."""
    names, decoders = [], []
    for sigma in (0.0, 0.25, 1.0):
        for layers in (1, 2, 4):
            drawn = paper_decoder.draw(7, length=6, layers=layers, linear=True)
            there = np.isfinite(drawn.beta1)  # neutral layers stay neutral
            names.append(f"{sigma=}, L={layers}")
            decoders.append(
                drawn._replace(
                    linear=sigma * there[:, None, None] * np.eye(paper_decoder.WIDTH),
                    beta1=np.where(there, 1.0, np.inf),
                    beta2=np.ones_like(drawn.beta2),
                    beta3=np.ones(()),
                )
            )
    return zip(names, decoders, paper_decoder.reaches(decoders), strict=True)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name, decoder, reach in _all():
        for where, token in (("first", int(decoder.start)), ("last", -1)):
            bounds = _printed(decoder, reach)
            yield _below(f"{name}, {where} token", decoder, reach, bounds, token)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """With the constants of the proof: the derivative itself, which is linear."""
    for name, decoder, reach in _all():
        bounds = paper_decoder.bound(decoder, reach)
        yield _below(f"{name}, constants of the proof", decoder, reach, bounds, -1)


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import squashing_enclosures  # needs python-flint

    return squashing_enclosures.err_e07()
