"""A window of k slots is sliding-window attention of width k + 1, at any depth."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from glassesjax.model import Window
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import (
    SLOTS,
    TURNED,
    apart,
    cases,
    parallel,
    read,
    roundoff,
)

CLAIM = Claim(
    name="msrnn_window",
    title="A window of k slots is a band of k + 1 tokens",
    source="arXiv 2401.06104v2, the Window policy",
    statement=r"y_n^{\mathrm{window}(k)} = y_n^{\mathrm{band}(k + 1)}",
    assumes=("the band has $k + 1$ tokens, the asking one included",),
    norm="inf",
    climbs="layers",
    note="Not the last $k + 1$ tokens alone: a layer reads what the layer below made of tokens"
    " further back.",
)

_SHOWN = "tokens that the other pass is not shown"


def _instance(width: int, layers: int) -> Measurement:
    # The same weights and texts, without and with a mask.
    plain = dataclasses.replace(TURNED, num_layers=layers)
    banded = parallel(*cases(dataclasses.replace(plain, mask=Window(width=width))))
    return Measurement(
        setting=f"{layers} layers, band of {width}",
        measured=apart(read(*cases(plain), "window").y, banded),
        bound=0.0,
        roundoff=layers * roundoff(banded),
        hypotheses=(
            Hypothesis(name="width against k + 1", distance=float(abs(width - SLOTS - 1))),
        ),
        size=layers,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for layers in (2,) if suite == "quick" else (1, 2, 3, 5):
        yield _instance(SLOTS + 1, layers)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A band of k, and the last k + 1 tokens alone: equal for one layer, different for two."""
    yield _instance(SLOTS, 2)
    decoders, tokens = cases()
    shown, rest = tokens[:, -SLOTS - 1 :], tokens[:, : -SLOTS - 1]
    suffix = np.concatenate([shown, rest], axis=1)  # of one length with the text: one compilation
    alone = parallel(decoders, suffix)[:, SLOTS]  # a row does not see what follows it
    bounded = read(decoders, tokens, "window").y[:, -1]
    yield Measurement(
        setting="the last k + 1 tokens alone, two layers",
        measured=apart(bounded, alone),
        bound=0.0,
        roundoff=roundoff(alone),
        hypotheses=(Hypothesis(name=_SHOWN, distance=float(rest.shape[1])),),
    )
