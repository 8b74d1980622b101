"""Rows of the train study on over-squashing: accuracy and influence by position."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.model import Decoder
from glassesjax.precision import euclidean_norm
from glassesjax.runs.fill import Done
from glassesjax.statistics.ranks import correlate, dispersion
from glassesjax.studies.train.records import InfluenceOrderRow, InfluenceRow, RankCorrelation
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.tasks.layout import Example, example
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.tasks.task import NONE, Task
from glassesjax.trace.token_influence import token_influence
from glassesjax.train.step import answers

FARTHEST = 4  # times the longest length of the training; beyond it answers are mostly luck
ANSWERED = 64  # examples of each place that are answered
MEASURES = ("influence", "rollout", "bound")
# The last one is the position alone: early positions are queried more often in training.
ORDERED = (*MEASURES, "earliness")
SALT = 4  # apart from other draws of a seed and a length
_AT_ONCE = 8  # derivatives, each as many passes back as the width


class Asking(NamedTuple):
    """Tokens of answers that copy one of the item, of many rows."""

    row: Int[np.ndarray, " asking"]
    at: Int[np.ndarray, " asking"]
    """Where the token stands; the one before it must say it."""
    source: Int[np.ndarray, " asking"]
    """Which token of the item it copies."""
    right: Bool[np.ndarray, " asking"]


def influence_by_position(
    settings: TrainSettings, decoders: Sequence[Decoder], done: Done
) -> Iterator[tuple[str, Sequence[InfluenceRow | InfluenceOrderRow]]]:
    """Influence of each position, at one, two and four times the longest length of the training.

    Args:
      settings: Settings of the training.
      decoders: One for each seed.
      done: Whether the row with these key fields exists already.

    Yields:
      A step for each length; nothing where influence is not among the settings.
    """
    training, longest = settings.training, settings.lengths[1]
    for length in [longest, 2 * longest, FARTHEST * longest] if settings.influence_examples else []:
        head = {"step": settings.steps, "format": "f32"}
        last = {"kind": "influence_order", **head, "length": length}
        rows = [
            row
            for seed, decoder in enumerate(decoders)
            if not done({**last, "seed": seed})
            for row in influence_rows(
                decoder,
                training.task,
                training.prompt_format,
                length,
                seed,
                settings.influence_examples,
                head,
            )
        ]
        yield f"influence at length {length}", rows


def influence_rows(
    decoder: Decoder,
    task: Task,
    prompt_format: PromptFormat,
    length: int,
    seed: int,
    differentiated: int,
    head: Mapping[str, Any],
) -> Iterator[InfluenceRow | InfluenceOrderRow]:
    """One row for each position that answers copy, and one on their rank correlation.

    Source: arXiv 2406.04267v2, Theorem 5.1 and section 5.
    Differs: measured influence and accuracy of one trained decoder; the paper has neither.
    """
    key = draws.fold_in(draws.fold_in(draws.root_key(seed), length), SALT)
    rows, asking = _asked(decoder, task, prompt_format, length, key)
    places = np.unique(asking.source)
    # Indices of the first few queries of each position: a derivative takes much longer than an
    # answer.
    chosen = np.concatenate(
        [np.flatnonzero(asking.source == place)[:differentiated] for place in places]
    )
    influence = _heard(decoder, rows, *(jnp.asarray(x[chosen]) for x in asking[:3]))
    measured = dict(zip(MEASURES, map(np.asarray, influence), strict=True))
    # For each position its answers, and below its values of each measure: lists of (examples,).
    right = [asking.right[asking.source == place] for place in places]
    of = lambda name, place: measured[name][asking.source[chosen] == place].astype(np.float64)
    fields: dict[str, Any] = {
        "seed": seed, "length": length, "dtype": str(decoder.dtype), "rounding": "none", **head,
    }  # fmt: skip
    for place, answered in zip(places, right, strict=True):
        yield InfluenceRow(
            position=int(place),
            examples=len(answered),
            accuracy=float(np.mean(answered)),
            differentiated=len(of("rollout", place)),
            influence=float(np.mean(of("influence", place))),
            rollout=float(np.mean(of("rollout", place))),
            bound=float(np.mean(of("bound", place))),
            **fields,
        )
    # A measure of one value each, as a baseline: the first position is the highest.
    early = [np.array([-float(at)]) for at in places]
    compared = [*([of(name, at) for at in places] for name in MEASURES), early]
    orders: dict[str, Any] = {}
    for name, values in zip(ORDERED, compared, strict=True):
        order = correlate(right, values, seed)
        if not math.isnan(order.value):  # where all are alike, nothing is ranked
            orders[name] = RankCorrelation(spearman=order.value, low=order.low, high=order.high)
    spread = dispersion(right)
    yield InfluenceOrderRow(
        num_positions=len(places),
        examples=len(asking.right),
        accuracy=float(np.mean(asking.right)),
        dispersion=None if math.isnan(spread) else spread,
        **orders,
        **fields,
    )


def _asked(
    decoder: Decoder, task: Task, prompt_format: PromptFormat, length: int, key: Array
) -> tuple[Example, Asking]:
    """Rows of one length with their queried positions; about ``ANSWERED`` for each position."""
    # One row shows how many positions a row queries, and so how many rows are needed.
    draw = functools.partial(_rows, task=task, prompt_format=prompt_format, length=length)
    each = int(np.sum(_copies(draw(key[None]))))
    count = ANSWERED * math.ceil(length / max(each, 1))
    rows = draw(draws.split(key, count))
    row, at = np.nonzero(_copies(rows))  # (rows, seq) -> (asking,)
    right = np.asarray(_right(decoder, rows))
    return rows, Asking(row, at, np.asarray(rows.source)[row, at], right[row, at])


def _copies(rows: Example) -> Bool[np.ndarray, "rows seq"]:
    return np.asarray(rows.final) & (np.asarray(rows.source) != NONE)


@functools.partial(jax.jit, static_argnames=("task", "prompt_format", "length"))
def _rows(keys: Array, *, task: Task, prompt_format: PromptFormat, length: int) -> Example:
    whole = jnp.asarray(length, jnp.int32)
    # keys (rows,) -> fields (rows, seq)
    return jax.vmap(lambda key: example(task, prompt_format, key, whole, length))(keys)


@jax.jit
def _right(decoder: Decoder, rows: Example) -> Bool[Array, "rows seq"]:
    """Whether each token of a row is ranked first, alone, given those before it."""

    def of(row: Example) -> Array:
        scores = answers(decoder, row)  # (seq, vocab)
        here = jax.nn.one_hot(row.tokens, scores.shape[-1], dtype=bool)
        # A tie is no answer: the best of the others must be less.
        own = jnp.max(jnp.where(here, scores, -jnp.inf), axis=-1)
        return own > jnp.max(jnp.where(here, -jnp.inf, scores), axis=-1)

    return jax.lax.map(of, rows, batch_size=_AT_ONCE)


@jax.jit
def _heard(
    decoder: Decoder, rows: Example, row: Array, at: Array, source: Array
) -> tuple[Float[Array, " asking"], Float[Array, " asking"], Float[Array, " asking"]]:
    """Influence, and its measures, of each queried token on the representation that answers."""

    def of(asked: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, place, source = asked
        # The representation before the answer's token is the one that predicts it.
        result = token_influence(decoder, rows.tokens[number], place - 1)
        # A layout may show a token twice: the derivative is then in both places together.
        there = rows.item[number] == source
        # (seq,) -> a scalar: norms add as squares, shares of paths as they are.
        squares = lambda size: euclidean_norm(jnp.where(there, size, 0))
        influence, bound = squares(result.influence), squares(jnp.exp(result.log_bound))
        return influence, jnp.sum(jnp.where(there, result.rollout, 0)), bound

    return jax.lax.map(of, (row, at, source), batch_size=_AT_ONCE)
