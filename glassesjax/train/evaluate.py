"""Evaluation of a decoder on a task, at one length or a mix of lengths, under a rounding plan."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, border
from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.tasks.layout import example
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.tasks.task import NONE, LengthMix, Task
from glassesjax.train.config import check_answer_hidden
from glassesjax.train.step import answers
from glassesjax.train.unmasked import first_scored

AT_ONCE = 16  # examples


class Score(NamedTuple):
    """Metrics of an evaluation."""

    exact: Float[Array, ""]
    """Share of examples whose whole answer is correct. Apart from ties, greedy decoding gives the
    same share: the first token that is wrong given the correct ones before it is the same."""
    tokens: Float[Array, ""]
    """Share of the answers' tokens that are ranked first under teacher forcing. A tie is wrong."""
    loss: Float[Array, ""]
    """Mean over the answers' tokens, in nats."""
    margin: Float[Array, ""]
    """Smallest logit margin of the correct token over the next one; negative where it is wrong."""
    correct_at: Int[Array, " item"]
    """Number of correct copies of each token of the item."""
    targets_at: Int[Array, " item"]
    """Number of target tokens that copy each token of the item."""


@border(size=COUNT, count=COUNT)
def evaluate(
    decoder: Decoder,
    task: Task,
    prompt_format: PromptFormat,
    key: Array,
    length: int | LengthMix,
    *,
    size: int,
    count: int,
) -> Score:
    """Scores a decoder on examples of one length, or of a mix.

    Args:
      decoder: The decoder, with its rounding plan.
      task: The task.
      prompt_format: The prompt format.
      key: PRNG key of the examples.
      length: Length of each item, or its distribution; one compilation serves all of a size.
      size: Maximum length of an item, to which rows are padded.
      count: Number of examples.

    Returns:
      The score.

    Raises:
      BadInput: The length is invalid for the task, or over the size; or the mask is not causal and
        the prompt format has steps.
    """
    check_answer_hidden(decoder.config, prompt_format)
    mix = length if isinstance(length, LengthMix) else LengthMix(low=length, high=length)
    if not task.least <= mix.low <= mix.high <= size:
        expected = f"Expected lengths from {task.least} to {size} for {task.name}"
        raise BadInput(f"{expected}, got {mix.low} to {mix.high}: change the lengths.")
    lengths, examples = draws.split(key)
    drawn = draws.over(mix.draw, key)(draws.split(lengths, count))
    return _evaluate(decoder, task, prompt_format, examples, drawn, size=size)


@functools.partial(jax.jit, static_argnames=("task", "prompt_format", "size"))
def _evaluate(
    decoder: Decoder,
    task: Task,
    prompt_format: PromptFormat,
    key: Array,
    lengths: Int[Array, " count"],
    *,
    size: int,
) -> Score:
    make = lambda key, length: example(task, prompt_format, key, length, size)
    rows = draws.over(make, key)(draws.split(key, len(lengths)), lengths)
    rows = first_scored(decoder.config, rows)
    # A few at a time: the attention weights of all examples would not fit into memory.
    scores = jax.lax.map(lambda row: answers(decoder, row), rows, batch_size=AT_ONCE)
    target = jnp.take_along_axis(scores, rows.tokens[..., None], axis=-1)[..., 0]
    others = jnp.where(jax.nn.one_hot(rows.tokens, scores.shape[-1], dtype=bool), -jnp.inf, scores)
    margin = target - jnp.max(others, axis=-1)
    right, final = margin > 0, rows.final
    losses = jax.nn.logsumexp(scores, axis=-1) - target
    mean = lambda x, of: jnp.sum(jnp.where(of, x, 0)) / jnp.sum(of, dtype=scores.dtype)
    room = 2 * size  # an item of pairs has two tokens a pair
    copies = (final & (rows.source != NONE)).reshape(-1)
    index = jnp.where(copies, rows.source.reshape(-1), room)  # out of range: dropped below
    count_at = lambda x: (
        jnp.zeros(room, jnp.int32).at[index].add(x.reshape(-1).astype(jnp.int32), mode="drop")
    )
    return Score(
        exact=jnp.mean(jnp.all(right | ~final, axis=-1), dtype=scores.dtype),
        tokens=mean(right.astype(scores.dtype), final),
        loss=mean(losses, final),
        margin=jnp.min(jnp.where(final, margin, jnp.inf)),
        correct_at=count_at(right),
        targets_at=count_at(copies),
    )
