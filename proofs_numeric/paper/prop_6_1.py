"""Proposition 6.1: without positions and mask, outputs depend only on the ratio of counts."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from glassesjax.model import Decoder
from glassesjax.theory.counting import ratio_attention
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.decoders import CAUSAL, UNMASKED, U, draw, passes, roundoff, seen

CLAIM = Claim(
    name="prop_6_1",
    title="Without mask and positions only ratios of counts are seen",
    source="arXiv 2406.04267v2, Proposition 6.1 (B.9)",
    statement=r"\lVert y_n(c n_1, \dots, c n_m) - y_n(n_1, \dots, n_m) \rVert_\infty \le 0",
    assumes=("no mask", "no positions", "counts of the same ratio and the same last token"),
    norm="inf",
    climbs="c",
    note="Printed for two types and one layer; here three types, four layers, MLPs and norms.",
)

BASE = (1, 2, 1)  # how often each of three types occurs


def prompt(counts: Sequence[int], seed: int | None = None) -> list[int]:
    """Tokens with given counts, type by type or in random order, the first type last.

    Args:
      counts: How often each type occurs; the first at least once.
      seed: Of the order; none is the order of the types.

    Returns:
      Token numbers; all orders have the same last token.
    """
    tokens = np.repeat(np.arange(len(counts)), [counts[0] - 1, *counts[1:]])
    if seed is not None:
        tokens = np.random.default_rng(seed).permutation(tokens)
    return [*tokens.tolist(), 0]


def gaps(decoder: Decoder, first: Sequence[int], second: Sequence[int]) -> tuple[np.ndarray, float]:
    """Distance of the last rows of two prompts before each layer and after the last.

    Args:
      decoder: One of the shared configurations.
      first: A prompt.
      second: Another.

    Returns:
      Largest coordinate of each difference, after 0, 1, 2, 3 layers and at the output; and what
      rounding may do to it.
    """
    measured = passes([decoder], [first, second])
    ends = len(first) - 1, len(second) - 1
    # Last rows of resid (2, layers, slots, d) -> (layers), and of y (2, slots, d) -> one number.
    before = np.max(np.abs(measured.resid[0, :, ends[0]] - measured.resid[1, :, ends[1]]), axis=-1)
    output = np.max(np.abs(measured.y[0, ends[0]] - measured.y[1, ends[1]]))
    return np.array([*before, output]), roundoff(measured.resid, decoder)


def ratio_kept(first: Sequence[int], second: Sequence[int]) -> Hypothesis:
    """Whether the counts of two prompts have the same ratio, by exact products."""
    counts = [np.bincount(tokens, minlength=CAUSAL.vocab_size) for tokens in (first, second)]
    apart = np.max(np.abs(counts[0] * len(second) - counts[1] * len(first)))
    return Hypothesis(name="difference of the ratios, in products of counts", distance=float(apart))


def _row(
    setting: str, decoder: Decoder, first: list[int], second: list[int], layers: int | None = None
) -> Measurement:
    """The largest step between two prompts' last rows, over all layers or after so many."""
    measured, allowed = gaps(decoder, first, second)
    hidden = float(np.sum(~seen(decoder.config)))
    return Measurement(
        setting=setting,
        size=len(second) / len(first),
        measured=float(np.max(measured) if layers is None else measured[layers]),
        bound=0.0,
        roundoff=allowed,
        hypotheses=(
            Hypothesis(name="pairs that the mask forbids", distance=hidden),
            ratio_kept(first, second),
        ),
    )


_ratio_attention = jax.jit(ratio_attention)


def _attention(suite: Suite) -> Iterator[Measurement]:
    """The formula of one layer against attention over the single tokens."""
    random, types = np.random.default_rng(2), len(BASE)
    for times in (1, 10, 1000) if suite == "quick" else (1, 10, 1000, 100_000):
        logits, values = 3 * random.normal(size=(types, 3)), random.normal(size=(types, 4))
        counts = np.array(BASE, float)
        expected = np.asarray(_ratio_attention(counts, logits, values, values))
        # (types, types) -> (types, tokens): each type's query over every single token.
        tokens = np.repeat(np.arange(types), times * np.array(BASE))
        weights = np.exp(logits[:, tokens] - np.max(logits, axis=1, keepdims=True))
        weights /= np.sum(weights, axis=1, keepdims=True)
        measured = weights @ values[tokens] + values
        yield Measurement.equality(
            setting=f"formula of one layer, {times} times 3 types",
            size=times,
            measured=float(np.max(np.abs(measured - expected))),
            expected=0.0,
            # Sums over the tokens, exponentials of logits within 10, numbers within 4.
            roundoff=8 * (times * sum(BASE) + 16) * U * 10,
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for seed in range(1 if suite == "quick" else 8):
        for scale in (1.0, 20.0):
            decoder = draw(UNMASKED, seed, logit_scale=scale)
            for times in (1, 2, 3, 4):
                copies = prompt([times * count for count in BASE], seed=times)
                setting = f"4 layers, {times} times 3 types, {scale=}, {seed=}"
                yield _row(setting, decoder, prompt(BASE), copies)
            yield _row(f"one token and 16, {scale=}, {seed=}", decoder, [0], [0] * 16)
    yield from _attention(suite)
    # With a mask, one layer still depends on ratios only, if the last token has the same type.
    decoder = draw(CAUSAL, seed=0)
    first, second = prompt(BASE), prompt([3 * count for count in BASE], seed=1)
    measured, allowed = gaps(decoder, first, second)
    yield Measurement(
        setting="one causal layer, the same last token",
        measured=float(measured[1]),  # after one layer
        bound=0.0,
        roundoff=allowed,
        hypotheses=(
            ratio_kept(first, second),
            Hypothesis(name="different last tokens", distance=abs(first[-1] - second[-1])),
        ),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A causal mask, from two layers on; and another ratio."""
    masked, free = draw(CAUSAL, seed=0), draw(UNMASKED, seed=0)
    second = prompt([2 * count for count in BASE], seed=1)
    yield _row("causal mask, 2 layers", masked, prompt(BASE), second, layers=2)
    yield _row("causal mask, 4 layers", masked, prompt(BASE), second)
    yield _row("another ratio", free, prompt(BASE), prompt((2, 2, 1)))
