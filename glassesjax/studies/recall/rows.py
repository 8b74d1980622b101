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
from glassesjax.model.tokenizer import TextTokenizer
from glassesjax.studies.recall.reading import MORE, Cell, Reading
from glassesjax.studies.recall.records import RecallRow
from glassesjax.studies.recall.settings import TRUNCATED
from glassesjax.tasks.answers import exact_match, first_words, token_f1


def recall_rows(
    model: Unrolled,
    reading: Reading,
    cell: Cell,
    *,
    size: int,
    mode: PrefillMode,
    tokenizer: TextTokenizer,
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
    mode = cell.mode(mode)
    read = _read(model, reading, cell, mode)
    gold = [asked.expected for asked in reading.asked]
    # Loss and greedy answer both start from the state after the question.
    losses = expected_losses(model, read.state, read.last, cell.policy, gold)
    most, stop = max(map(len, gold)) + MORE, tokenizer.ends
    ends = lambda token: token in stop or b"\n" in tokenizer.token_bytes(token)  # of one line
    generated = greedy(model, read.state, read.last, cell.policy, max_tokens=most, ends=ends)
    passage = reading.passage
    # Of a verse the first words count, of who spoke one name.
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
            question=question.text.rpartition("\n")[2],  # a solved one is before it
            expected=question.answer,
            prefill=mode,
            read_tokens=read.tokens[index],
            answer=answer,
            exact=exact_match(answer, question.answer),
            f1=token_f1(answer, question.answer),
            gold_nll=losses[index],
            finite=math.isfinite(losses[index]),
            gold_tokens=len(asked.expected),
            retained_share=read.retained[index],
        )


class _Read(NamedTuple):
    """The state after passage and questions, with a leading axis of questions."""

    state: State
    last: Float[Array, "rows model_dim"]
    retained: list[float]
    """Share of each needle that is cached before its question is read."""
    tokens: list[int]
    """Number of tokens before each answer."""


def _read(model: Unrolled, reading: Reading, cell: Cell, mode: PrefillMode) -> _Read:
    questions, before = [asked.tokens for asked in reading.asked], len(reading.tokens)
    if cell.name == TRUNCATED:
        # The baseline reads the newest tokens of passage and question, for each question anew, and
        # evicts nothing: its state has room for the answer besides.
        prompts = [(*reading.tokens, *tokens)[-cell.slots :] for tokens in questions]
        room = cell.slots + max(len(asked.expected) for asked in reading.asked) + MORE
        state = empty_state(model.outer.config, cell.policy, room, model.outer.plan)
        retained = []
        for asked in reading.asked:
            left_out = before + len(asked.tokens) - cell.slots  # not positive where all is read
            start, stop = asked.needle
            retained.append(max(stop - max(start, left_out), 0) / (stop - start))
        before = 0
    else:
        tokens = np.asarray(reading.tokens, np.int32)
        *_, part = prefill(
            model, tokens, cell.policy, slots=cell.slots, mode=mode, chunk=TILING.prefill_chunk
        )
        state, prompts = part.state, questions
        retained = [cached_share(state, asked.needle) for asked in reading.asked]
    # (...) -> (rows, ...): all questions go on from one state after the passage.
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(questions), *leaf.shape)), state)
    state, last, _ = read_prompts(
        model, state, prompts, cell.policy, mode=mode, chunk=TILING.prompt_chunk
    )
    return _Read(state, jnp.asarray(last), retained, [before + len(prompt) for prompt in prompts])


def cached_share(state: State, needle: tuple[int, int]) -> float:
    """Share of a segment of tokens that is still cached.

    Args:
      state: After the passage, before a question.
      needle: First position of the segment, and the one after its last.

    Returns:
      The share of its tokens that is cached, the mean over the decisions of all layers.
    """
    # (groups, slots) of each layer -> (decisions, slots)
    held = np.concatenate([np.asarray(layer.position) for layer in state.layers])
    start, stop = needle
    return float(((held >= start) & (held < stop)).sum() / (len(held) * (stop - start)))


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
    # (rows, size), padded with 0: what follows the end of an answer is read and not counted.
    tokens = np.stack([np.pad(answer, (0, size - len(answer))) for answer in expected])
    targets = jnp.asarray(tokens, jnp.int32)
    read = lambda state, tokens, length: advance(model, state, tokens, policy, length=length)[1]
    # (rows, size, model_dim)
    after = jax.vmap(read)(state, targets, jnp.asarray(lengths))
    # Each token is scored by the representation before it, the first by the question's last one.
    y = jnp.concatenate([last[:, None], after[:, :-1]], axis=1)
    # (rows, size, model_dim) -> (rows size, model_dim), and the losses back to (rows, size).
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
        # Ended rows are decoded on, so that no shape changes; their tokens are dropped.
        for row in np.flatnonzero(alive):
            rows[row].append(int(best[row]))
        state, y = step(state, jnp.asarray(best))
        last = y[:, 0]  # (rows, 1, model_dim) -> (rows, model_dim)
    return rows
