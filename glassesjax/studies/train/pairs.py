"""Answers of a trained decoder to pairs of rows that differ in length only."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import draws
from glassesjax.model import Decoder
from glassesjax.studies.train.records import WrongPairs
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.train.config import sees_later
from glassesjax.train.pairs import AT_ONCE, adjacent_pairs, pair_outputs

PER_DOUBLING = 8  # pairs beyond the training


class PairAnswers(NamedTuple):
    """The answers of one decoder to all pairs, in float64 on the host."""

    lengths: list[int]
    trained: np.ndarray
    """Whether both lengths are in the training, by pair."""
    y: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    unembed: np.ndarray

    @property
    def ranked_first(self) -> np.ndarray:
        """The token ranked first; of equal scores the smaller one."""
        return np.argmax(self.scores, axis=-1)

    @property
    def collides(self) -> np.ndarray:
        """Whether one token is ranked first for both."""
        return self.ranked_first[:, 0] == self.ranked_first[:, 1]

    @property
    def logit_margin(self) -> np.ndarray:
        """Of the token right for n over that right for n + 1, for both of each pair."""
        # scores (pairs, 2, vocab), right (pairs, 2): both of a pair are scored for one token.
        first, second = (
            np.take_along_axis(self.scores, self.right[:, None, [k]], axis=2)[..., 0]
            for k in (0, 1)
        )
        return first - second

    @property
    def margin(self) -> np.ndarray:
        """Of each one's right token over the best other one."""
        # (pairs, 2, vocab) -> (pairs, 2)
        own = np.take_along_axis(self.scores, self.right[..., None], axis=2)
        others = self.scores.copy()
        np.put_along_axis(others, self.right[..., None], -np.inf, axis=2)
        return own[..., 0] - np.max(others, axis=-1)

    @property
    def both_correct(self) -> np.ndarray:
        """Whether both answers are right; a tie is no answer."""
        return np.all(self.margin > 0, axis=1)


def pair_lengths(settings: TrainSettings) -> list[int]:
    """The smaller lengths of all evaluated pairs.

    Returns:
      All within the training, then some a doubling, up to the longest that is answered.
    """
    # A pair n, n + 1 is in the training if n + 1 is at most its longest length.
    (low, high), last = settings.lengths, settings.tested[-1]
    steps = range(math.ceil(PER_DOUBLING * math.log2(last / high)))
    beyond = {round(high * 2 ** (k / PER_DOUBLING)) for k in steps} | {last - 1}
    return sorted({*range(low, high), *(n for n in beyond if n < last)})


class Pairs(NamedTuple):
    """Pairs that are alike but for their length, on the host."""

    lengths: list[int]
    tokens: np.ndarray
    asked: np.ndarray
    right: np.ndarray


def lay_pairs(settings: TrainSettings, seed: int) -> Pairs:
    """The rows of all pairs.

    Returns:
      Those pairs that are alike; none, if no pair is. For a decoder whose tokens see later ones
      those alone whose answers differ in their first token: it was trained to say no other.
    """
    task, prompt_format = settings.training.task, settings.training.prompt_format
    lengths = [n for n in pair_lengths(settings) if n >= task.least]
    made = adjacent_pairs(
        task,
        prompt_format,
        draws.root_key(seed),
        jnp.asarray(lengths, jnp.int32),
        size=settings.tested[-1],
    )
    # Such a decoder gets the row without its answer, and answers with one token.
    answered = made.begun == 0 if sees_later(settings.config) else True
    kept = np.flatnonzero(made.alike & answered)
    fields = (np.asarray(field)[kept] for field in (made.tokens, made.asked, made.right))
    return Pairs([lengths[at] for at in kept], *fields)


def answer_pairs(settings: TrainSettings, pairs: Pairs, decoder: Decoder) -> PairAnswers:
    """A decoder's answers to pairs.

    Args:
      settings: Settings of the training.
      pairs: At least one.
      decoder: With its rounding plan, whose accumulation dtype JAX must have enabled.
    """
    # Filled up to whole batches of the map, two rows a pair: a remainder is compiled besides.
    filled = np.arange(len(pairs.lengths) + -len(pairs.lengths) % (AT_ONCE // 2))
    filled = np.minimum(filled, len(pairs.lengths) - 1)  # the last one again
    rows = (jnp.asarray(field[filled]) for field in (pairs.tokens, pairs.asked))
    answers = jax.device_get(pair_outputs(decoder, *rows))
    count = len(pairs.lengths)
    return PairAnswers(
        lengths=pairs.lengths,
        trained=np.asarray([n < settings.lengths[1] for n in pairs.lengths], bool),
        # Exact: float64 has all numbers of the formats.
        y=answers.y[:count].astype(np.float64),
        scores=answers.scores[:count].astype(np.float64),
        right=pairs.right,
        unembed=np.asarray(decoder.unembedding).astype(np.float64),
    )


def refusal(wide: PairAnswers | None) -> dict[str, Any]:
    """Reason why nothing is predicted for a decoder.

    Args:
      wide: Its answers in float64; None where there is no pair.

    Returns:
      Fields of ``FailureRow`` that name the hypothesis that does not hold; none where all do.
    """
    # The noise of a format is measured on pairs of the training.
    if wide is None or not any(wide.trained):
        return {"obstacle": "no_pairs"}
    wrong, count = int(np.sum(wide.trained & ~wide.both_correct)), int(np.sum(wide.trained))
    if wrong:
        counts = WrongPairs(wrong_pairs=wrong, training_pairs=count)
        return {"obstacle": "pairs_wrong", "wrong": counts}
    return {}
