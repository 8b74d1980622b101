"""Representations do not depend on the order of slots: positions are stored with the tokens."""

from collections.abc import Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import SLOTS, apart, cases, roundoff, walk

CLAIM = Claim(
    name="msrnn_slots",
    title="The order of the places means nothing",
    source="arXiv 2401.06104v2, equations 6 to 9; ours",
    statement=r"y_t(\pi(K), \pi(V), \pi(p)) = y_t(K, V, p)",
    assumes=("positions and masses move with their keys and values",),
    norm="inf",
    climbs="slots",
    note="The places are shuffled before each token. Sets of kept tokens are compared, too: each"
    " difference counts one.",
)

_QUICK = ("tova",)
_FULL = ("tova", "h2o", "window+1", "tova@1")


def _instance(name: str, setting: str, orders: np.ndarray) -> Measurement:
    decoders, tokens = cases()
    plain, moved = walk(decoders, tokens, name), walk(decoders, tokens, name, orders=orders)
    # Sorted along the slots, whose order is to play no part: different retained tokens.
    first, second = (np.sort(np.asarray(walked.position), axis=-1) for walked in (plain, moved))
    alone = float(np.sum(orders[0] != orders[1]))
    return Measurement(
        setting=f"{name}, {setting}",
        measured=apart(plain.y, moved.y) + float(np.sum(first != second)),
        bound=0.0,
        roundoff=roundoff(plain.y),
        hypotheses=(Hypothesis(name="places moved without their positions", distance=alone),),
        size=SLOTS,
    )


def _shuffle(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(SLOTS + 1)  # and a slot for the newest token


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name in _QUICK if suite == "quick" else _FULL:
        for seed in range(3):
            both = np.stack([_shuffle(seed)] * 2)
            yield _instance(name, f"shuffle {seed} before each token", both)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    left = np.stack([_shuffle(0), np.arange(SLOTS + 1)])
    yield _instance("tova", "keys and values moved, positions left behind", left)
