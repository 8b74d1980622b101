"""Under any policy, a query attends to k + 1 tokens with k slots: no eviction until then."""

from collections.abc import Iterator

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import SLOTS, apart, cases, parallel, read, roundoff

CLAIM = Claim(
    name="msrnn_capacity",
    title="A policy changes nothing before the first token is missed",
    source="arXiv 2401.06104v2, equations 6 to 9",
    statement=r"y_n^{(k)} = y_n \quad \mathrm{for} \quad n \le k + 1",
    assumes=("at most $k + 1$ tokens: a token is dropped only after it was attended to",),
    norm="inf",
    note="The statement of the paper is for $n \\le k$; the last token still sees all of $k + 1$.",
)

_QUICK = ("tova", "window")  # which other claims compile as well
_FULL = (*_QUICK, "h2o", "window+1", "h2o-layer", "h2o_mean", "tova-head", "tova+2", "tova@1")


def _rows(name: str, lengths: range) -> Iterator[Measurement]:
    """The pass over the whole text holds those over all its prefixes: a row sees no later one."""
    decoders, tokens = cases()
    whole, bounded = parallel(decoders, tokens), read(decoders, tokens, name).y
    for length in lengths:
        row = slice(length - 1, length)  # the query that follows length - 1 tokens
        yield Measurement(
            setting=f"{name}, {SLOTS} slots, {length} tokens",
            measured=apart(bounded, whole, row),
            bound=0.0,
            roundoff=roundoff(whole),
            hypotheses=(Hypothesis(name="tokens over k + 1", distance=max(length - SLOTS - 1, 0)),),
            size=length,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name in _QUICK if suite == "quick" else _FULL:
        yield from _rows(name, range(1, SLOTS + 2))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """One token more: evicting any of them changes the result."""
    for name in _QUICK:
        yield from _rows(name, range(SLOTS + 2, SLOTS + 3))
