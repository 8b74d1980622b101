"""Answers to several questions from one cached passage, and their rows in the recall study."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.cache import Policy, State, Unrolled, advance, empty_state, logits, prefill
from glassesjax.cache.losses import token_losses
from glassesjax.cache.prefill import PrefillMode
from glassesjax.cache.prompts import read_prompts
from glassesjax.model.tiling import TILING
from glassesjax.model.tokenizer import ByteLevelTokenizer
from glassesjax.studies.recall.reading import MORE, Cell, Reading
from glassesjax.studies.recall.records import RecallRow
from glassesjax.studies.recall.settings import TRUNCATED
from glassesjax.tasks.answers import exact_match, first_words, token_f1

QUESTION_CHUNK = 64  # tokens of questions that are read together


def recall_rows(
    model: Unrolled,
    reading: Reading,
    cell: Cell,
    *,
    size: int,
    mode: PrefillMode,
    tokenizer: ByteLevelTokenizer,
    words: int,
) -> Iterator[RecallRow]:
    """Processes a passage once, answers all its questions, and returns their rows.

    Args:
      model: The decoder, unrolled.
      reading: The passage with its questions.
      cell: How it is read.
      size: Bytes of its state, of one text.
      mode: How passage and questions are read where something is dropped.
      tokenizer: Of the model.
      words: Of an answer about a verse that count; all if 0.
    """
    opened = _opened(model, reading, cell, cell.mode(mode))
    state, last = _asked(model, opened, cell)
    gold = [asked.expected for asked in reading.asked]
    losses = expected_losses(model, state, last, cell.policy, gold)
    most, ends = max(map(len, gold)) + MORE, _ends(tokenizer)
    generated = greedy(model, state, last, cell.policy, max_tokens=most, ends=ends)
    passage = reading.passage
    limit = words if passage.task == "verse" else 1
    for index, asked in enumerate(reading.asked):
        question, answer = asked.question, first_words(tokenizer.decode(generated[index]), limit)
        yield RecallRow(
            task=passage.task,
            length=passage.length,
            item=passage.number,
            policy=cell.name,
            slots=cell.slots,
            book=passage.book,
            passage_tokens=len(reading.tokens),
            bytes=size,
            depth=question.depth,
            needle_depth=question.needle_depth,
            needle_tokens=asked.needle[1] - asked.needle[0],
            question=question.text.rpartition("\n")[2],
            expected=question.answer,
            prefill=opened.mode,
            read_tokens=opened.before + len(opened.prompts[index]),
            answer=answer,
            exact=exact_match(answer, question.answer),
            f1=token_f1(answer, question.answer),
            gold_nll=losses[index],
            finite=math.isfinite(losses[index]),
            gold_tokens=len(asked.expected),
            retained_share=opened.held[index],
        )


class _Opened(NamedTuple):
    """The state after the passage, repeated for each question."""

    state: State
    prompts: list[tuple[int, ...]]
    held: list[float]
    mode: PrefillMode
    before: int
    """Tokens that were read before the questions."""


def _opened(model: Unrolled, reading: Reading, cell: Cell, mode: PrefillMode) -> _Opened:
    questions, count = [asked.tokens for asked in reading.asked], len(reading.asked)
    if cell.name == TRUNCATED:
        prompts = [(*reading.tokens, *asks)[-cell.slots :] for asks in questions]
        room = cell.slots + max(len(asked.expected) for asked in reading.asked) + MORE
        state = empty_state(model.outer.config, cell.policy, room, model.outer.dtype)
        lost = [len(reading.tokens) + len(asks) - cell.slots for asks in questions]
        held = [_share_after(a.needle, gone) for a, gone in zip(reading.asked, lost, strict=True)]
        return _Opened(_rows(state, count), prompts, held, mode, 0)
    tokens = np.asarray(reading.tokens, np.int32)
    *_, part = prefill(
        model, tokens, cell.policy, slots=cell.slots, mode=mode, chunk=TILING.prefill_chunk
    )
    held = [cached_share(part.state, asked.needle) for asked in reading.asked]
    return _Opened(_rows(part.state, count), questions, held, mode, len(tokens))


def _rows(state: State, count: int) -> State:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), state)


def _share_after(needle: tuple[int, int], gone: int) -> float:
    start, stop = needle
    return max(stop - max(start, gone), 0) / (stop - start)


def cached_share(state: State, needle: tuple[int, int]) -> float:
    """Share of a segment of tokens that is still cached.

    Args:
      state: After the passage, before a question.
      needle: First position of the segment, and the one after its last.

    Returns:
      The share of its tokens that is cached, the mean over the decisions of all layers.
    """
    held = np.concatenate([np.asarray(layer.position) for layer in state.layers])
    start, stop = needle
    return float(((held >= start) & (held < stop)).sum() / (len(held) * (stop - start)))


def _asked(
    model: Unrolled, opened: _Opened, cell: Cell
) -> tuple[State, Float[Array, "rows model_dim"]]:
    state, last, _ = read_prompts(
        model,
        opened.state,
        opened.prompts,
        cell.policy,
        mode=opened.mode,
        chunk=QUESTION_CHUNK,
    )
    return state, jnp.asarray(last)


def expected_losses(
    model: Unrolled,
    state: State,
    last: Float[Array, "rows model_dim"],
    policy: Policy,
    expected: Sequence[tuple[int, ...]],
) -> list[float]:
    r"""Mean losses of the expected answers, processed token by token under the policy.

    .. math:: -\frac1m \sum_{i \le m} \ln p(a_i \mid a_{<i}, \text{state})

    Args:
      model: The decoder, unrolled.
      state: After each question, with a leading axis of rows.
      last: Representation of each question's last token.
      policy: Eviction policy.
      expected: The answers' tokens, none empty.
    """
    size = max(map(len, expected))
    lengths = np.array([len(answer) for answer in expected], np.int32)
    tokens = np.stack([np.pad(answer, (0, size - len(answer))) for answer in expected])
    targets = jnp.asarray(tokens, jnp.int32)
    read = lambda state, tokens, length: advance(model, state, tokens, policy, length=length)[1]
    after = jax.vmap(read)(state, targets, jnp.asarray(lengths))
    y = jnp.concatenate([last[:, None], after[:, :-1]], axis=1)
    every = token_losses(model.outer, y.reshape(-1, y.shape[-1]), targets.reshape(-1))
    each = np.asarray(every, np.float64).reshape(tokens.shape)
    return [float(row[:length].mean()) for row, length in zip(each, lengths, strict=True)]


def greedy(
    model: Unrolled,
    state: State,
    last: Float[Array, "rows model_dim"],
    policy: Policy,
    *,
    max_tokens: int,
    ends: Callable[[int], bool],
) -> list[list[int]]:
    """Greedy decoding of all rows in a batch.

    Answers are short: each step runs one compiled layer after the other, for a program of all
    layers would take longer to compile than to run.

    Args:
      model: The decoder, unrolled.
      state: After each question, with a leading axis of rows.
      last: Representation of each question's last token.
      policy: Eviction policy.
      max_tokens: Most tokens of a row.
      ends: Whether a token ends a row; it is left out.
    """
    rows: list[list[int]] = [[] for _ in last]
    alive = np.ones(len(rows), bool)
    step = jax.vmap(lambda state, token: advance(model, state, token[None], policy)[:2])
    for _ in range(max_tokens):
        best = np.asarray(jnp.argmax(logits(model, last), axis=-1)).astype(np.int32)
        alive &= [not ends(int(token)) for token in best]
        if not alive.any():
            break
        for row in np.flatnonzero(alive):
            rows[row].append(int(best[row]))
        state, y = step(state, jnp.asarray(best))
        last = y[:, 0]
    return rows


def _ends(tokenizer: ByteLevelTokenizer) -> Callable[[int], bool]:
    """An answer is a line."""
    ends = tokenizer.ends
    return lambda token: token in ends or b"\n" in tokenizer.token_bytes(token)
