"""With relative positions, representations do not depend on the position of the first token."""

from collections.abc import Iterator

import numpy as np

from glassesjax.model import Alibi, DecoderConfig, NoPositions, Rotary
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.decoders import U
from proofs_numeric.support.replays import (
    ABSOLUTE,
    LENGTH,
    RELATIVE,
    apart,
    cases,
    roundoff,
    walk,
    with_positions,
)

CLAIM = Claim(
    name="msrnn_shift",
    title="Only differences of positions matter",
    source="arXiv 2401.06104v2, the policies with rotary positions; ours",
    statement=r"y_t(p + s) = y_t(p)",
    assumes=("rotary positions, ALiBi, or none", "no sinks, which are named by position"),
    norm="inf",
    climbs="the shift",
    note="Sets of kept tokens are compared, too: each difference counts one. The roundoff grows"
    " with the shift, as that of the angles does.",
)


def _instance(encoding: str, config: DecoderConfig, name: str, shift: int) -> Measurement:
    decoders, tokens = cases(config)
    here, there = (walk(decoders, tokens, name, seen=first) for first in (0, shift))
    cached = [np.sort(np.asarray(walked.position), axis=-1) for walked in (here, there)]
    # Empty slots have position -1, whatever the shift.
    moved = np.where(cached[0] < 0, cached[0], np.add(cached[0], shift))
    # An angle is a position times a frequency of at most one, and as uncertain as its last bit.
    # 64 = 2 passes x 2 layers x 16: a logit moves by the angle times at most its own size, which
    # the queries' scale of 3 makes a few; softmax doubles it, and the next norm may as well.
    turned = (shift + LENGTH) * U * float(np.max(np.abs(np.asarray(here.y)))) * 64
    relative = isinstance(config.positions, NoPositions | Rotary | Alibi)
    return Measurement(
        setting=f"{encoding}, {name}, from position {shift}",
        measured=apart(here.y, there.y) + float(np.sum(moved != cached[1])),
        bound=0.0,
        roundoff=roundoff(here.y) + turned,
        hypotheses=(
            Hypothesis(name="encodings that see positions alone", distance=float(not relative)),
        ),
        size=shift,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    if suite == "quick":
        yield from (_instance("rotary", RELATIVE["rotary"], "tova", at) for at in (5, 5000))
        return
    for encoding, config in {**RELATIVE, "none": with_positions(NoPositions())}.items():
        for name in ("tova", "h2o", "window"):
            for shift in (5, 500, 5000):
                yield _instance(encoding, config, name, shift)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    yield _instance("sinusoidal in the embedding", ABSOLUTE, "tova", 5)
