"""Rows of the train study on Proposition 6.1: whether outputs depend on more than the ratio."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax.model import Decoder, Layout, NoPositions
from glassesjax.model.config import Bidirectional, ConstantTemperature
from glassesjax.precision import F64, RoundingPlan, float64_enabled, on_float64_device
from glassesjax.runs.fill import Done
from glassesjax.studies.train.records import RatioRow, RepetitionRow, Roundoff
from glassesjax.studies.train.settings import ONE_DIGIT, TrainSettings
from glassesjax.tasks.counting import SHARE_OF_ONES
from glassesjax.tasks.drawing import nothing, number
from glassesjax.tasks.layout import Example, format_prompt
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.tasks.task import COMMON, NONE, Parts
from glassesjax.theory.ratio import ratio_only_accuracy
from glassesjax.trace.roundoff import score_roundoff
from glassesjax.train.step import answers
from glassesjax.train.unmasked import shown

_AT_ONCE = 64  # items of a batch
_ZERO, _ONE = COMMON.index("0"), COMMON.index("1")

Item = tuple[int, ...]


class Read(NamedTuple):
    """All items, and a decoder's scores of each."""

    items: tuple[Item, ...]
    scores: Float[np.ndarray, "items vocab"]
    """Of the first token of the answer."""
    roundoff: Float[np.ndarray, " items"]
    """How far rounding may carry a score; NaN where its bound is not known."""

    @property
    def says(self) -> Int[np.ndarray, " items"]:
        """The number that is ranked first; -1 for another token."""
        digit = np.argmax(self.scores, axis=-1) - _ZERO
        return np.where((digit >= 0) & (digit <= ONE_DIGIT), digit, NONE)

    @property
    def decided(self) -> Bool[np.ndarray, " items"]:
        """Whether rounding cannot have put this token first.

        Of an item whose bound was not counted, by the largest one that was; False where none was.
        """
        known = self.roundoff[np.isfinite(self.roundoff)]
        if not len(known):
            return np.zeros(len(self.items), bool)
        # Both scores may be off by the bound, each in its direction.
        second, first = np.sort(self.scores, axis=-1)[:, -2:].T
        return first - second > 2 * np.where(
            np.isfinite(self.roundoff), self.roundoff, np.max(known)
        )


def repeated(item: Item, times: int) -> tuple[Item, Item]:
    """Two items with the ratio and the last token of another: 10 gives 1100 and 1010.

    Returns:
      Each token repeated in its place, and the item repeated as a whole.
    """
    return tuple(token for token in item for _ in range(times)), item * times


def ratio_seen(
    settings: TrainSettings, decoders: Sequence[Decoder], done: Done
) -> Iterator[tuple[str, Sequence[RatioRow | RepetitionRow]]]:
    """Whether trained counters of ones among zeros use more than the ratio.

    Args:
      settings: Settings of the training.
      decoders: One for each seed.
      done: Whether the row with these key fields exists already.

    Yields:
      One step, where counts of all items have one digit, lengths are alike, and the shortest has
      a repetition; else nothing.
    """
    if not settings.asks_ratio:
        return
    head = {"step": settings.steps, "format": "f64"}
    prompt_format = settings.training.prompt_format
    # Of the rows of a seed the last: where it is on disk, so are the others.
    last = {"kind": "repetition", **head, "length": settings.lengths[1] // 2}
    rows = [
        row
        for seed, decoder in enumerate(decoders)
        if not done({**last, "seed": seed})
        for row in ratio_rows(decoder, prompt_format, settings.lengths, seed, head)
    ]
    yield "ratio of the counts", rows


def ratio_rows(
    decoder: Decoder,
    prompt_format: PromptFormat,
    lengths: tuple[int, int],
    seed: int,
    head: Mapping[str, Any],
) -> Iterator[RatioRow | RepetitionRow]:
    """One row on the accuracy, and one for each length on the distance of repeated items.

    Nothing is sampled: all items of these lengths are read, in float64, and each counts as often
    as ``count_mixed`` would draw it, lengths alike.

    Source: arXiv 2406.04267v2, Proposition 6.1 (B.9).
    Differs: measured on trained decoders, beside what ratio and last token can give at best.

    The decoder is trained on ``count_mixed``; ``lengths`` are the shortest and the longest item,
    the longest at most ``ONE_DIGIT``; ``head`` has step and format of all rows.
    """
    low, high = lengths
    config = decoder.config
    # Whether nothing in the decoder depends on the length; s log n of scalable softmax does.
    free = (
        isinstance(config.mask, Bidirectional)
        and isinstance(config.positions, NoPositions)
        and isinstance(config.temperature, ConstantTemperature)
    )
    # Tokens beside the two types of the item, which the proposition does not have.
    marks = (
        prompt_format.bos
        + prompt_format.stop
        + bool(prompt_format.separators or prompt_format.twice)
    )
    with float64_enabled():
        wide = on_float64_device(decoder).at(RoundingPlan.wide(F64))
        read = _read(wide, prompt_format, low, high, free)
    # Exact fractions, so that an accuracy above the best one is no rounding of ours.
    share = Fraction(str(SHARE_OF_ONES))
    drawn = {n: Fraction(1, high - low + 1) for n in range(low, high + 1)}
    ones = [sum(item) for item in read.items]
    correct = read.says == np.array(ones)
    # How often the task draws each item.
    chances = [
        drawn[len(item)] * share**count * (1 - share) ** (len(item) - count)
        for item, count in zip(read.items, ones, strict=True)
    ]
    accuracy = sum(itertools.compress(chances, correct), Fraction(0))
    sure = sum(itertools.compress(chances, correct & read.decided), Fraction(0))
    best = ratio_only_accuracy(drawn, share)
    fields: dict[str, Any] = {
        "seed": seed, "dtype": "float64", "rounding": "none",
        "applies": free and not marks and not prompt_format.scratch, **head,
    }  # fmt: skip
    yield RatioRow(
        items=len(read.items),
        accuracy=float(accuracy),
        ratio_only_accuracy=float(best),
        exceeds_ratio_only=accuracy > best,
        exceeds_beyond_roundoff=sure > best if free else None,
        **fields,
    )
    # Of longer items no repetition is among those that were read.
    for length in range(low, high // 2 + 1):
        yield RepetitionRow(length=length, **_pairs(read, length, high), **fields)


def _pairs(read: Read, length: int, longest: int) -> dict[str, Any]:
    """Items of one length and their repetitions."""
    first, second = _numbers(read.items, length, longest)
    # (pairs, vocab) -> (pairs,)
    apart = np.max(np.abs(read.scores[first] - read.scores[second]), axis=-1)
    ones = np.array([sum(item) for item in read.items])
    right = read.says == ones
    counted = ones[first] > 0  # no ones are none, however long
    allowed = read.roundoff[first] + read.roundoff[second]
    known = bool(np.all(np.isfinite(allowed)))
    within = lambda: Roundoff(
        roundoff=float(np.max(allowed)), within_roundoff=bool(np.all(apart <= allowed))
    )
    return {
        "pairs": len(first),
        "max_difference": float(np.max(apart)),
        "median_difference": float(np.median(apart)),
        "roundoff": within() if known else None,
        "same_answer": float(np.mean((read.says[first] == read.says[second])[counted])),
        "both_correct": float(np.mean((right[first] & right[second])[counted])),
    }


def _numbers(items: tuple[Item, ...], length: int, longest: int) -> Int[np.ndarray, "2 pairs"]:
    """Which items of one length, and which repetitions of theirs."""
    number_of = {item: at for at, item in enumerate(items)}
    pairs = [
        (number_of[item], number_of[other])
        for item in itertools.product((0, 1), repeat=length)
        for times in range(2, longest // length + 1)
        for other in repeated(item, times)
    ]
    return np.array(pairs).T  # (pairs, 2) -> (2, pairs)


def _read(decoder: Decoder, prompt_format: PromptFormat, low: int, high: int, free: bool) -> Read:
    """A decoder's scores of all items of some lengths."""
    items = tuple(
        item for n in range(low, high + 1) for item in itertools.product((0, 1), repeat=n)
    )
    # (items, high): all items padded to the longest, so that one compiled program reads them.
    padded = np.array([(*item, *(0,) * (high - len(item))) for item in items], np.int32)
    lengths = np.array([len(item) for item in items], np.int32)
    scores = np.asarray(_scores(decoder, padded, lengths, prompt_format))
    roundoff = np.full(len(items), np.nan)
    bases = range(low, high // 2 + 1)
    if free and bases:
        # Of those alone that have a repetition among the items, or are one.
        chosen = np.unique(np.concatenate([_numbers(items, n, high).ravel() for n in bases]))
        roundoff[chosen] = _roundoff(decoder, padded[chosen], lengths[chosen], prompt_format)
    return Read(items, scores, roundoff)


def _row(bits: Int[Array, " item"], length: Array, prompt_format: PromptFormat) -> Example:
    """The item as the task lays it out."""
    # Ones among the first tokens; what pads the item counts as zero.
    place = jnp.arange(len(bits), dtype=jnp.int32)
    running = jnp.cumsum(jnp.where(place < length, bits, 0), dtype=jnp.int32)
    answer, answered = number(running[-1], len(bits), COMMON)
    source = jnp.full(len(answer), NONE, jnp.int32)
    parts = Parts(_ZERO + bits, length, nothing(), answer, answered, source, running)
    return format_prompt(parts, prompt_format)


@functools.partial(jax.jit, static_argnames="prompt_format")
def _scores(decoder: Decoder, bits: Array, lengths: Array, prompt_format: PromptFormat) -> Array:
    def of(item: tuple[Array, Array]) -> Array:
        row = _row(*item, prompt_format)
        return answers(decoder, row)[jnp.argmax(row.final)]  # (seq, vocab) -> (vocab,)

    return jax.lax.map(of, (jnp.asarray(bits), jnp.asarray(lengths)), batch_size=_AT_ONCE)


@functools.partial(jax.jit, static_argnames="prompt_format")
def _roundoff(decoder: Decoder, bits: Array, lengths: Array, prompt_format: PromptFormat) -> Array:
    def of(item: tuple[Array, Array]) -> Array:
        row = _row(*item, prompt_format)
        tokens, layout = shown(decoder.config, row)
        layout = layout or Layout.line(len(tokens))
        # The token before the answer's first one predicts it.
        return score_roundoff(decoder, tokens, layout, jnp.argmax(row.final) - 1)

    return jax.lax.map(of, (jnp.asarray(bits), jnp.asarray(lengths)), batch_size=_AT_ONCE)
