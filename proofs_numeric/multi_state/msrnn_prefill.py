"""Prefill of a prompt with per-token eviction equals processing it token by token."""

from collections.abc import Iterator

from glassesjax.cache.step import Mode
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import apart, cases, read, roundoff, walk

CLAIM = Claim(
    name="msrnn_prefill",
    title="Exact prefill",
    source="arXiv 2401.06104v2, equations 6 to 9; ours",
    statement=r"y_t^{\mathrm{exact}} = y_t^{\mathrm{stepwise}}",
    assumes=("a decision after each token",),
    norm="inf",
    climbs="tokens",
    note="Projections and MLP read all tokens together, attention runs along them. The authors'"
    " code cuts a prompt once, which is another function.",
)

_QUICK = ("tova",)  # which other claims compile as well
_FULL = (
    "tova",
    "h2o",
    "window",
    "window+2",
    "h2o-layer",
    "h2o_mean",
    "tova-head",
    "tova+1",
    "tova@1",
)


def _instance(name: str, mode: Mode) -> Measurement:
    decoders, tokens = cases()
    alone, together = walk(decoders, tokens, name).y, read(decoders, tokens, name, mode=mode)
    return Measurement(
        setting=f"{name}, {mode}",
        measured=apart(together.y, alone),
        bound=0.0,
        roundoff=roundoff(alone),
        # Until tokens are dropped together, later ones attend to them.
        hypotheses=(Hypothesis(name="tokens dropped together", distance=float(together.together)),),
        size=tokens.shape[1],
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name in _QUICK if suite == "quick" else _FULL:
        yield _instance(name, "exact")


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """One-shot eviction after the prompt: its tokens attend to tokens evicted per token."""
    yield _instance("tova", "chunked")
