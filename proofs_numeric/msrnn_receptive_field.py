"""A window of k slots and L layers hears exactly L k tokens back."""

import math
from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.replays import LAYERS, LENGTH, SLOTS, TURNED, apart, cases, read

REACH = LAYERS * SLOTS


def _moved(name: str, back: int) -> float:
    """How far the last representation moves when the token so far back is another one."""
    decoders, tokens = cases()
    other = tokens.copy()
    other[:, -1 - back] = (other[:, -1 - back] + 1) % TURNED.vocab_size
    last = slice(LENGTH - 1, LENGTH)
    return apart(read(decoders, tokens, name), read(decoders, other, name), last)


def _measure(suite: Suite) -> Iterator[Measurement]:
    kept = (Hypothesis(name="first tokens that are kept", distance=0.0),)
    for back in range(REACH + 1, LENGTH):
        yield Measurement(
            setting=f"{back} tokens back",
            measured=_moved("window", back),
            bound=0.0,
            hypotheses=kept,
            size=back,
        )
    yield Measurement(
        setting=f"{REACH} tokens back, the last that is heard",
        measured=_moved("window", REACH),
        # Coordinates of a normalized row are at most the root of the width.
        bound=2 * math.sqrt(TURNED.model_dim),
        floor=np.finfo(float).tiny,
        hypotheses=kept,
        size=REACH,
    )


def _counter_case() -> Iterator[Measurement]:
    yield Measurement(
        setting="a sink is kept: the first token",
        measured=_moved("window+1", LENGTH - 1),
        bound=0.0,
        hypotheses=(Hypothesis(name="first tokens that are kept", distance=1.0),),
    )


CLAIM = Claim(
    name="msrnn_receptive_field",
    title="What a window hears",
    source="arXiv 2401.06104v2, the Window policy; ours",
    statement=r"y_n \mathrm{\ does\ not\ depend\ on\ token\ } n - j \iff j > L k",
    assumes=("a window without sinks",),
    norm="inf",
    climbs="tokens back",
    note="Exact: beyond, not one bit changes; at $L k$ itself something does.",
    measure=_measure,
    counter_case=_counter_case,
)
