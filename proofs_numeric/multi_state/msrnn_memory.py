"""The memory of a bounded state does not depend on the length of the text."""

from collections.abc import Iterator

import jax
import numpy as np

from glassesjax.cache import policy, prefill, state_bytes, unroll
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.replays import LENGTH, SLOTS, TURNED, cases, walk

CLAIM = Claim(
    name="msrnn_memory",
    title="What is carried from chunk to chunk does not grow",
    source="arXiv 2401.06104v2, Table 1",
    statement=r"\mathrm{bytes} = L (k + 1) (2 h d b + g (4 + m))",
    assumes=("$k$ slots, whatever the text",),
    climbs="tokens",
    note="Exact, in bytes: $h$ key-value heads of width $d$, $b$ bytes a number, $g$ decisions a"
    " layer with 4 bytes for a position and $m$ for a mass.",
)


def _instance(name: str, length: int, slots: int) -> Measurement:
    """Bytes of the layers' state after so many tokens of one text."""
    decoders, tokens = cases()
    read = lambda decoders, text: walk(decoders, text, name, slots).state
    # Shapes are enough: nothing is computed.
    state = jax.eval_shape(read, decoders, tokens[:, :length])
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.layers))
    bound = state_bytes(TURNED, policy(name), SLOTS, np.float64)
    return Measurement.equality(
        setting=f"{name}, {length} tokens, {slots} slots",
        measured=float(size // len(tokens)),  # the texts' states are stacked
        expected=float(bound),
        roundoff=0.0,
        hypotheses=(
            Hypothesis(name="slots over the budget", distance=float(max(slots - SLOTS, 0))),
        ),
        size=length,
    )


def _yielded(name: str, texts: int, chunk: int = 7) -> list[int]:
    """Bytes of all results after each chunk, over texts processed one after another."""
    decoders, tokens = cases()
    model = unroll(jax.tree.map(lambda weights: weights[0], decoders))  # the first decoder
    text = np.tile(tokens[0], texts)
    parts = prefill(model, text, policy(name), slots=SLOTS, chunk=chunk)
    return [sum(leaf.nbytes for leaf in jax.tree.leaves(part)) for part in parts]


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name in ("tova", "h2o") if suite == "quick" else ("tova", "h2o", "window+1"):
        for length in (1, LENGTH // 2, LENGTH):
            yield _instance(name, length, SLOTS)
    # State, representations and drops of a chunk: ten times the text, no byte more.
    few, many = _yielded("tova", 1), _yielded("tova", 10)
    yield Measurement.equality(
        setting=f"tova, {10 * LENGTH} tokens in chunks of 7, as {LENGTH}",
        measured=float(max(many)),
        expected=float(max(few)),
        roundoff=0.0,
        hypotheses=(Hypothesis(name="slots over the budget", distance=0.0),),
        size=10 * LENGTH,
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A state without eviction has as many slots as tokens."""
    yield _instance("full", LENGTH, LENGTH)
