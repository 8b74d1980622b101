"""Examples as rows of tokens in a prompt format, and batches of such rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.tasks.drawing import number
from glassesjax.tasks.prompt_format import (
    SEPARATOR,
    PromptFormat,
    not_counted,
    too_long,
    unused_separators,
)
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
    """One row of tokens with the mask of scored tokens."""

    tokens: Int[Array, " seq"]
    scored: Bool[Array, " seq"]
    """True for a target token, to be predicted from all tokens before it."""
    final: Bool[Array, " seq"]
    """True for the target tokens of the answer; equal to ``scored`` without ``steps``."""
    item: Int[Array, " seq"]
    """Index of this token in the item; -1 outside the item."""
    source: Int[Array, " seq"]
    """Index in the item of the token that this answer token copies; -1 otherwise."""
    length: Int[Array, ""]
    """Number of tokens before the padding."""


class _Piece(NamedTuple):
    """A segment of tokens with a mask of the valid ones; the others are left out."""

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


def format_prompt(parts: Parts, prompt_format: PromptFormat) -> Example:
    """The row of tokens of an example in a prompt format.

    Source: arXiv 2406.04267v2, sections 5 and 7, appendix C.5; the remedies that it names or tries.
    Differs: separators in two phases; the paper's, from the start, changes two things at once.

    Returns:
      The row, as wide as the longest example would need; with steps some tokens wider.

    Raises:
      BadInput: The format has steps and the task is no counting task.
    """
    item = [_item(parts, prompt_format)]
    if prompt_format.twice:
        item = [*item, _mark(SEPARATOR), *item]
    question = [_mark(ASK), _piece(parts.question)] if len(parts.question) else []
    body = [*question, *item] if prompt_format.question == "before" else [*item, *question]
    bos = [_mark(BOS)] if prompt_format.bos else []
    scratch = [_mark(SCRATCH, prompt_format.scratch)] if prompt_format.scratch else []
    steps = [_steps(parts, prompt_format.steps)] if prompt_format.steps else []
    stop = [_mark(STOP)] if prompt_format.stop else []
    index = jnp.arange(len(parts.answer), dtype=jnp.int32)
    valid = index < parts.answered
    # Without "=" only the first token of the answer is unambiguous.
    scored = valid if prompt_format.stop else index == 0
    answer = _piece(parts.answer, valid, source=parts.source, scored=scored, final=scored)
    pieces = [*bos, *body, *scratch, *stop, *steps, answer]
    # Valid tokens of all pieces in order, padded at the end: (all,) -> (width,).
    every = jax.tree.map(lambda *fields: jnp.concatenate(fields), *pieces)
    width = len(every.tokens) - unused_separators(len(parts.item), prompt_format)
    index = jnp.cumsum(every.valid, dtype=jnp.int32) - 1
    index = jnp.where(every.valid, index, len(every.tokens))  # out of bounds: dropped
    put = lambda values, blank: (
        jnp.full(width, blank, values.dtype).at[index].set(values, mode="drop")
    )
    return Example(
        tokens=put(every.tokens, COMMON.index(PAD)),
        scored=put(every.scored, False),
        final=put(every.final, False),
        item=put(every.item, NONE),
        source=put(every.source, NONE),
        length=jnp.sum(every.valid, dtype=jnp.int32),
    )


def _item(parts: Parts, prompt_format: PromptFormat) -> _Piece:
    """The item, with a comma before or after some of its tokens."""
    index, every = jnp.arange(len(parts.item), dtype=jnp.int32), prompt_format.separators
    valid = index < parts.length
    if not every:
        return _piece(parts.item, valid, item=index)
    if prompt_format.phase == "start":
        comma, order = valid & ((index + 1) % every == 0), (0, 1)
    else:
        comma, order = valid & ((parts.length - index) % every == 0) & (index > 0), (1, 0)
    # A place for a comma at each token, valid or not: the width is static. Twice (item,) -> (item,
    # 2) -> (2 * item,)
    both = lambda token, comma: jnp.stack([(token, comma)[at] for at in order], axis=1).reshape(-1)
    commas = jnp.full_like(index, COMMON.index(SEPARATOR))
    item = both(index, jnp.full_like(index, NONE))
    return _piece(both(parts.item, commas), both(valid, comma), item=item)


def _steps(parts: Parts, every: int) -> _Piece:
    """The running counts at the ends of all chunks but the last, which ends in the answer."""
    if (running := parts.running) is None:
        raise not_counted()
    most = len(parts.item)
    ends = jnp.arange(every, max(most, every + 1), every, dtype=jnp.int32)
    count_at = lambda end: number(running[jnp.minimum(end, most) - 1], most, COMMON)
    tokens, counts = jax.vmap(count_at)(ends)  # over ends: (ends, digits + 1) and (ends,)
    index = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    # The end mark of each count becomes a comma.
    comma = COMMON.index(SEPARATOR)
    tokens = jnp.where(index == counts[:, None] - 1, comma, tokens)
    valid = ((index < counts[:, None]) & (ends < parts.length)[:, None]).reshape(-1)
    return _piece(tokens.reshape(-1), valid, scored=valid)  # (ends * (digits + 1),)


@draws.reproducible()  # a user's task as well
def example(
    task: Task, prompt_format: PromptFormat, key: Array, length: Array, size: int
) -> Example:
    """One example of a given item length, as a row of tokens.

    ``length`` is from ``task.least`` to ``size``, the largest length of the batch, which fixes the
    width of the row. Each example needs its own key.
    """
    return format_prompt(task.draw(key, length, size), prompt_format)


def batch(
    task: Task,
    prompt_format: PromptFormat,
    mix: LengthMix,
    key: Array,
    step: Int[Array, ""],
    count: int,
) -> tuple[Example, Int[Array, " count"]]:
    """A batch of ``count`` rows as a pure function of the run's key and the step.

    No state is stored, so training resumes at any step. Each row is drawn with its own key, under
    any key implementation.

    Returns:
      Rows, and the length of each item.

    Raises:
      BadInput: The mix has lengths below ``task.least``.
    """
    if mix.low < task.least:
        expected = f"Expected lengths of {task.least} or more for {task.name}"
        raise BadInput(f"{expected}, got {mix.low}: use longer ones.")

    def one(key: Array) -> tuple[Example, Array]:
        lengths, drawn = draws.split(key)
        length = mix.draw(lengths)
        return example(task, prompt_format, drawn, length, mix.high), length

    # draws.over is a vmap: rows of one batch depend on their own keys alone.
    return draws.over(one, key)(draws.split(draws.fold_in(key, step), count))


def traced_widths(task: Task, size: int) -> Widths:
    """Widths of a task's parts for items of length up to ``size``, by tracing ``task.draw``.

    Raises:
      BadInput: A width exceeds int32, or the task has no items of that length.
    """
    length = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: draws.root_key(0))
    try:
        parts = jax.eval_shape(lambda key, length: task.draw(key, length, size), key, length)
    except OverflowError:
        raise too_long(size) from None
    item, question, answer = (part.shape[0] for part in (parts.item, parts.question, parts.answer))
    return Widths(item, question, answer, counts=parts.running is not None)
