"""Decoding token by token without eviction equals the parallel pass of the Transformer."""

from collections.abc import Iterator

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import LENGTH, SLOTS, apart, cases, parallel, roundoff, walk

CLAIM = Claim(
    name="msrnn_unbounded",
    title="A Transformer is a multi-state RNN whose state grows",
    source="arXiv 2401.06104v2, equations 5 to 8",
    statement=r"\max_t \lVert y_t^{\mathrm{RNN}} - y_t^{\mathrm{Transformer}} \rVert_\infty = 0",
    assumes=("the state holds all tokens",),
    norm="inf",
    climbs="tokens",
    note="Two layers, grouped heads, rotary positions, gated MLP; attention far from uniform.",
)

_KEPT = "tokens that are missed"


def _instance(setting: str, name: str, slots: int) -> Measurement:
    decoders, tokens = cases()
    whole, walked = parallel(decoders, tokens), walk(decoders, tokens, name, slots)
    return Measurement(
        setting=setting,
        measured=apart(walked.y, whole),
        bound=0.0,
        roundoff=roundoff(whole),
        hypotheses=(Hypothesis(name=_KEPT, distance=float(walked.missed)),),
        size=LENGTH,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    yield _instance("full state", "full", LENGTH)
    if suite == "full":
        for name in ("tova", "h2o", "window+2"):
            # As many slots as tokens: nothing is evicted, whatever the policy.
            yield _instance(f"{name} that never fills", name, LENGTH)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    # Once tokens are evicted the two differ.
    yield _instance(f"{SLOTS} slots", "tova", SLOTS)
