"""The prefix identity: a causal row does not depend on later tokens."""

import copy
import math
from collections.abc import Iterator

import jax
import numpy as np

from glassesjax.model import Decoder
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.decoders import (
    CAUSAL,
    SLOTS,
    UNMASKED,
    WINDOWED,
    draw,
    further,
    later_seen,
    passes,
    roundoff,
)

CLAIM = Claim(
    name="prefix_identity",
    title="A causal row does not change when tokens follow",
    source="arXiv 2406.04267v2, Theorem 4.2 (the model behind it)",
    statement=r"\max_{\ell, i \le n} \lVert v_i^{* (\ell)} - v_i^{(\ell)} \rVert_\infty \le 0",
    assumes=(
        "no token sees a later one",
        "nothing in the weights or the temperature depends on the length",
    ),
    norm="inf",
    note="So the theorem's two prompts are rows n and n + 1 of one pass.",
)

# Lengths of the prefix, and what follows it.
CASES: dict[int, tuple[int, ...]] = {1: (3,), 2: (3, 3), 7: (5, 0, 1), 12: (2,), SLOTS - 1: (4,)}


def _compare(
    name: str, short: Decoder, longer: Decoder, cases: dict[int, tuple[int, ...]]
) -> Iterator[Measurement]:
    """The rows of a prompt in a separate pass, and in a pass with further tokens."""
    random = np.random.default_rng(3)
    pairs = zip(jax.tree.leaves(short), jax.tree.leaves(longer), strict=True)
    apart = max(float(np.max(np.abs(a - b))) for a, b in pairs)
    same = Hypothesis(name="weights, and hence temperatures, of both passes", distance=apart)
    for length, tail in cases.items():
        prompt = random.integers(0, CAUSAL.vocab_size, length).tolist()
        alone, followed = (
            passes([decoder], [tokens])
            for decoder, tokens in ((short, prompt), (longer, [*prompt, *tail]))
        )
        # Of y (1, slots, d) and resid (1, layers, slots, d) the rows of the prompt.
        gaps = [np.abs(a - b)[0, ..., :length, :] for a, b in zip(alone, followed, strict=True)]
        yield Measurement(
            setting=f"{name}, {length=}, {len(tail)} more",
            size=length,
            measured=float(np.max([np.max(gap) for gap in gaps])),  # NaN if any is
            bound=0.0,
            roundoff=roundoff(followed.resid, longer),
            hypotheses=(later_seen(longer.config), same),
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    configs = {"no positions": CAUSAL, "window 4 and ALiBi": WINDOWED}
    if suite == "full":
        configs |= further()
    for name, config in configs.items():
        for scale in (1.0, 20.0):
            decoder = draw(config, seed=int(scale), logit_scale=scale)
            yield from _compare(f"{name}, {scale=}", decoder, decoder, CASES)
    # Outside the hypotheses.
    decoder = draw(CAUSAL, seed=5)
    broken = jax.tree.map(lambda weight: np.full_like(weight, np.nan), decoder)
    unfit = sum(int(np.sum(~np.isfinite(weight))) for weight in jax.tree.leaves(broken))
    yield Measurement(
        setting="weights that are NaN",
        measured=float(np.max(np.abs(passes([broken], [[1, 2, 3]]).y[0, :3]))),
        bound=0.0,
        hypotheses=(Hypothesis(name="finite weights", distance=float(unfit)),),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A row that sees later tokens; and a temperature that depends on the length."""
    unmasked = draw(UNMASKED, seed=1)
    yield from _compare("no mask", unmasked, unmasked, {7: (5, 0, 1)})
    short = draw(CAUSAL, seed=1)
    longer = copy.deepcopy(short)
    query = longer.blocks.attention.query
    query.set_value(query[...] * (math.log(10) / math.log(7)))
    yield from _compare("logits times log n, no positions", short, longer, {7: (5, 0, 1)})
