"""The receptive field of a window of k slots and L layers is exactly L k tokens back."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from glassesjax.cache import policy
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import LAYERS, LENGTH, SLOTS, TURNED, apart, cases, read

CLAIM = Claim(
    name="msrnn_receptive_field",
    title="The receptive field of a window",
    source="arXiv 2401.06104v2, the Window policy; ours",
    statement=r"y_n \mathrm{\ does\ not\ depend\ on\ token\ } n - j \Leftrightarrow j > L k",
    assumes=("a window without sinks",),
    norm="inf",
    climbs="tokens back",
    note="Exact: beyond, not one bit changes; at each distance up to $L k$ something does.",
)

_KEPT = "first tokens that are kept"
_LADDER = ((1, 3), (2, 4), (3, 3))  # layers and slots; all reach less far than the text is long


def _moved(name: str, back: int, layers: int = LAYERS, slots: int = SLOTS) -> float:
    """Change of the last representation when the token at a distance is replaced."""
    decoders, tokens = cases(dataclasses.replace(TURNED, num_layers=layers))
    other = tokens.copy()
    other[:, -1 - back] = (other[:, -1 - back] + 1) % TURNED.vocab_size  # never the same token
    last = slice(LENGTH - 1, LENGTH)
    here, there = (read(decoders, text, name, slots) for text in (tokens, other))
    return apart(here.y, there.y, last)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for layers, slots in ((LAYERS, SLOTS),) if suite == "quick" else _LADDER:
        for back in range(LENGTH):
            # Within the field any change will do; beyond it there must be none at all.
            within = back <= layers * slots
            yield Measurement(
                setting=f"{layers} layers, {slots} slots, {back} tokens back",
                measured=_moved("window", back, layers, slots),
                # Coordinates of a normalized row are at most the root of the width.
                bound=2 * math.sqrt(TURNED.model_dim) if within else 0.0,
                floor=np.finfo(float).tiny if within else -math.inf,
                hypotheses=(Hypothesis(name=_KEPT, distance=float(policy("window").sinks)),),
                size=back,
            )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    yield Measurement(
        setting="a sink is kept: the first token",
        measured=_moved("window+1", LENGTH - 1),
        bound=0.0,
        hypotheses=(Hypothesis(name=_KEPT, distance=float(policy("window+1").sinks)),),
    )
