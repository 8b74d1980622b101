"""An example as a row of tokens, in any layout, and batches of such rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.tasks.drawing import number
from glassesjax.tasks.glasses import SEPARATOR, Glasses, not_counted, spare_places, too_long
from glassesjax.tasks.sequences import BOS
from glassesjax.tasks.task import (
    ASK,
    COMMON,
    NONE,
    PAD,
    SCRATCH,
    STOP,
    LengthMix,
    Parts,
    Task,
    Widths,
)


class Example(NamedTuple):
    """One row of tokens, and what in it is to be said."""

    tokens: Int[Array, " seq"]
    scored: Bool[Array, " seq"]
    """True for a token that is to be said, given all before it."""
    final: Bool[Array, " seq"]
    """True for those of the answer proper; without ``steps`` the same."""
    item: Int[Array, " seq"]
    """Which token of the item stands here; -1 for all else."""
    source: Int[Array, " seq"]
    """Which token of the item this token of the answer copies; -1 for all else."""
    length: Int[Array, ""]
    """Tokens that count; padding follows."""


class _Piece(NamedTuple):
    """A stretch of tokens, some of which are left out."""

    tokens: Array
    valid: Array
    item: Array
    source: Array
    scored: Array
    final: Array


def _piece(tokens: Array, valid: Array | None = None, **known: Array) -> _Piece:
    nowhere, no = jnp.full(len(tokens), NONE, jnp.int32), jnp.zeros(len(tokens), bool)
    blank = {"item": nowhere, "source": nowhere, "scored": no, "final": no}
    return _Piece(tokens.astype(jnp.int32), ~no if valid is None else valid, **{**blank, **known})


def _mark(symbol: str, count: int = 1) -> _Piece:
    return _piece(jnp.full(count, COMMON.index(symbol), jnp.int32))


def lay_out(parts: Parts, glasses: Glasses) -> Example:
    """An example as a row of tokens.

    Source: arXiv 2406.04267v2, sections 5 and 7, appendix C.5; the remedies that it names or tries.
    Differs: separators in two phases; the paper's own, from the start, changes two things at once.

    Args:
      parts: What a task drew.
      glasses: The layout.

    Returns:
      The row, as wide as the longest example would need; with steps some tokens wider.

    Raises:
      BadInput: Steps of what is no count.
    """
    item = [_item(parts, glasses)]
    if glasses.twice:
        item = [*item, _mark(SEPARATOR), *item]
    asked = [_mark(ASK), _piece(parts.question)] if len(parts.question) else []
    body = [*asked, *item] if glasses.question == "before" else [*item, *asked]
    bos = [_mark(BOS)] if glasses.bos else []
    scratch = [_mark(SCRATCH, glasses.scratch)] if glasses.scratch else []
    steps = [_steps(parts, glasses.steps)] if glasses.steps else []
    stop = [_mark(STOP)] if glasses.stop else []
    pieces = [*bos, *body, *scratch, *stop, *steps, _answer(parts, glasses)]
    return _joined(pieces, spare_places(len(parts.item), glasses))


def _item(parts: Parts, glasses: Glasses) -> _Piece:
    """The item, with a comma before or after some of its tokens."""
    place, every = jnp.arange(len(parts.item), dtype=jnp.int32), glasses.separators
    there = place < parts.length
    if not every:
        return _piece(parts.item, there, item=place)
    if glasses.phase == "start":
        comma, order = there & ((place + 1) % every == 0), (0, 1)
    else:
        comma, order = there & ((parts.length - place) % every == 0) & (place > 0), (1, 0)
    both = lambda own, added: jnp.stack([(own, added)[at] for at in order], axis=1).reshape(-1)
    commas = jnp.full_like(place, COMMON.index(SEPARATOR))
    item = both(place, jnp.full_like(place, NONE))
    return _piece(both(parts.item, commas), both(there, comma), item=item)


def _steps(parts: Parts, every: int) -> _Piece:
    """The running counts at the ends of all chunks but the last, which ends in the answer."""
    if (running := parts.running) is None:
        raise not_counted()
    most = len(parts.item)
    ends = jnp.arange(every, max(most, every + 1), every, dtype=jnp.int32)
    says = lambda end: number(running[jnp.minimum(end, most) - 1], most, COMMON)
    tokens, counts = jax.vmap(says)(ends)
    place = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    comma = COMMON.index(SEPARATOR)
    tokens = jnp.where(place == counts[:, None] - 1, comma, tokens)
    valid = ((place < counts[:, None]) & (ends < parts.length)[:, None]).reshape(-1)
    return _piece(tokens.reshape(-1), valid, scored=valid)


def _answer(parts: Parts, glasses: Glasses) -> _Piece:
    place = jnp.arange(len(parts.answer), dtype=jnp.int32)
    valid = place < parts.answered
    asked = valid if glasses.stop else place == 0
    return _piece(parts.answer, valid, source=parts.source, scored=asked, final=asked)


def _joined(pieces: list[_Piece], spare: int) -> Example:
    """The pieces one behind another, without what is left out, and padding at the end."""
    every = jax.tree.map(lambda *fields: jnp.concatenate(fields), *pieces)
    width = len(every.tokens) - spare
    place = jnp.cumsum(every.valid, dtype=jnp.int32) - 1
    place = jnp.where(every.valid, place, len(every.tokens))  # outside: dropped
    put = lambda values, blank: (
        jnp.full(width, blank, values.dtype).at[place].set(values, mode="drop")
    )
    return Example(
        tokens=put(every.tokens, COMMON.index(PAD)),
        scored=put(every.scored, False),
        final=put(every.final, False),
        item=put(every.item, NONE),
        source=put(every.source, NONE),
        length=jnp.sum(every.valid, dtype=jnp.int32),
    )


@draws.reproducible()  # what a task of the user draws, too
def example(task: Task, glasses: Glasses, key: Array, length: Array, size: int) -> Example:
    """One example of a given length.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      key: Of this example alone.
      length: Of the item, from the task's ``least`` to ``size``.
      size: The largest length of the batch: it fixes the width of the row.

    Returns:
      The row.
    """
    return lay_out(task.draw(key, length, size), glasses)


def batch(
    task: Task, glasses: Glasses, mix: LengthMix, key: Array, step: Int[Array, ""], count: int
) -> tuple[Example, Int[Array, " count"]]:
    """A batch as a pure function of a key and a step: nothing is stored, and resuming is free.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      mix: Which lengths, how often.
      key: Of the run; rows draw alone, under any implementation of keys.
      step: Number of the batch.
      count: Examples.

    Returns:
      Rows, and the length of each item.

    Raises:
      BadInput: The mix has lengths that mean nothing to the task.
    """
    if mix.low < task.least:
        wanted = f"Wanted lengths of {task.least} or more for {task.name}"
        raise BadInput(f"{wanted}; found {mix.low}.")

    def one(key: Array) -> tuple[Example, Array]:
        lengths, drawn = draws.split(key)
        length = mix.draw(lengths)
        return example(task, glasses, drawn, length, mix.high), length

    return draws.over(one, key)(draws.split(draws.fold_in(key, step), count))


def traced_widths(task: Task, size: int) -> Widths:
    """The shapes of what a task draws, for one that does not say them.

    Args:
      task: Whose ``draw`` is traced.
      size: The largest length.

    Returns:
      Tokens of each part.

    Raises:
      BadInput: They are more than int32 counts, or the task takes no items so long.
    """
    length = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: draws.root_key(0))
    try:
        parts = jax.eval_shape(lambda key, length: task.draw(key, length, size), key, length)
    except OverflowError:
        raise too_long(size) from None
    item, question, answer = (part.shape[0] for part in (parts.item, parts.question, parts.answer))
    return Widths(item, question, answer, counts=parts.running is not None)
