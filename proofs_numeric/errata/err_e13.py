"""Erratum: Proposition 6.1 needs that there be no causal mask, which is easily dropped."""

from collections.abc import Iterator

from proofs_numeric.claim import Claim, Measurement, Suite
from proofs_numeric.paper.prop_6_1 import BASE, gaps, prompt, ratio_kept
from proofs_numeric.support.decoders import CAUSAL, UNMASKED, draw, later_seen

CLAIM = Claim(
    name="err_e13",
    title="With a causal mask the order is seen, and ratios are not enough",
    source="arXiv 2406.04267v2, Proposition 6.1 (B.9), read without its condition on the mask",
    kind="erratum",
    statement=r"0.01 \le \lVert y_n(c n_1, c n_2, c n_3) - y_n(n_1, n_2, n_3) \rVert_\infty",
    assumes=("a causal mask", "at least two layers", "counts of the same ratio"),
    norm="inf",
    climbs="c",
)

# What the difference of the last rows must exceed; their coordinates are of size one.
CLEAR = 0.01


def _row(mask: str, seed: int, times: int) -> Measurement:
    decoder = draw(CAUSAL if mask == "causal" else UNMASKED, seed)
    first, second = prompt(BASE), prompt([times * count for count in BASE], seed=1)
    measured, allowed = gaps(decoder, first, second)
    return Measurement(
        setting=f"{mask} mask, 2 layers, {times} times 3 types, {seed=}",
        size=times,
        measured=CLEAR,
        bound=float(measured[2]),  # after two layers
        roundoff=allowed,
        hypotheses=(
            ratio_kept(first, second),
            later_seen(decoder.config),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for seed in range(2 if suite == "quick" else 10):
        for times in (2, 3, 4):
            yield _row("causal", seed, times)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Without a mask the proposition holds, and the difference is zero."""
    yield _row("no", 0, 2)
