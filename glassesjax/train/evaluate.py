"""What a decoder can do of a task, at one length or a mix of them, and in one arithmetic."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, border
from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.tasks.glasses import Glasses
from glassesjax.tasks.layout import example
from glassesjax.tasks.task import NONE, LengthMix, Task
from glassesjax.train.recipe import check_hidden
from glassesjax.train.step import answers
from glassesjax.train.unmasked import first_asked

AT_ONCE = 16  # examples


class Score(NamedTuple):
    """How much of an evaluation was right."""

    exact: Float[Array, ""]
    """Share of examples whose whole answer is right. Ties apart, greedy writing would give the
    same: the first token that is wrong given the right ones before it is wrong there, too."""
    tokens: Float[Array, ""]
    """Share of the answers' tokens that are ranked first, given the right ones before them. A tie
    is no answer."""
    loss: Float[Array, ""]
    """Mean over the answers' tokens, in nats."""
    margin: Float[Array, ""]
    """Smallest lead of the right token's score over the next one's; negative where it is wrong."""
    right_at: Int[Array, " item"]
    """Of tokens that copy one of the item, how many are right, by which one they copy."""
    asked_at: Int[Array, " item"]
    """How many copied each."""


@border(size=COUNT, count=COUNT)
def evaluate(
    decoder: Decoder,
    task: Task,
    glasses: Glasses,
    key: Array,
    length: int | LengthMix,
    *,
    size: int,
    count: int,
) -> Score:
    """A decoder's answers to examples of one length, or of a mix.

    Args:
      decoder: It rounds as its plan says.
      task: What is asked.
      glasses: How it is laid out.
      key: Of the examples.
      length: Of each item, or how often each length: one compilation serves all of a size.
      size: Length that rows have room for.
      count: Examples.

    Returns:
      The score.

    Raises:
      BadInput: The length means nothing to the task, or is over the size; or the mask shows the
        layout's steps.
    """
    check_hidden(decoder.config, glasses)
    mix = length if isinstance(length, LengthMix) else LengthMix(low=length, high=length)
    if not task.least <= mix.low <= mix.high <= size:
        wanted = f"Expected lengths from {task.least} to {size} for {task.name}"
        raise BadInput(f"{wanted}, got {mix.low} to {mix.high}.")
    lengths, examples = draws.split(key)
    drawn = draws.over(mix.draw, key)(draws.split(lengths, count))
    return _evaluate(decoder, task, glasses, examples, drawn, size=size)


@functools.partial(jax.jit, static_argnames=("task", "glasses", "size"))
def _evaluate(
    decoder: Decoder,
    task: Task,
    glasses: Glasses,
    key: Array,
    lengths: Int[Array, " count"],
    *,
    size: int,
) -> Score:
    make = lambda key, length: example(task, glasses, key, length, size)
    rows = draws.over(make, key)(draws.split(key, len(lengths)), lengths)
    rows = first_asked(decoder.config, rows)
    # Few at a time: attention over long rows, of all examples at once, would not fit.
    scores = jax.lax.map(lambda row: answers(decoder, row), rows, batch_size=AT_ONCE)
    own = jnp.take_along_axis(scores, rows.tokens[..., None], axis=-1)[..., 0]
    others = jnp.where(jax.nn.one_hot(rows.tokens, scores.shape[-1], dtype=bool), -jnp.inf, scores)
    lead = own - jnp.max(others, axis=-1)
    right, final = lead > 0, rows.final
    losses = jax.nn.logsumexp(scores, axis=-1) - own
    mean = lambda x, of: jnp.sum(jnp.where(of, x, 0)) / jnp.sum(of, dtype=scores.dtype)
    room = 2 * size  # a pair of the item has two tokens
    copies = (final & (rows.source != NONE)).reshape(-1)
    place = jnp.where(copies, rows.source.reshape(-1), room)
    count_at = lambda x: (
        jnp.zeros(room, jnp.int32).at[place].add(x.reshape(-1).astype(jnp.int32), mode="drop")
    )
    return Score(
        exact=jnp.mean(jnp.all(right | ~final, axis=-1), dtype=scores.dtype),
        tokens=mean(right.astype(scores.dtype), final),
        loss=mean(losses, final),
        margin=jnp.min(jnp.where(final, lead, jnp.inf)),
        right_at=count_at(right),
        asked_at=count_at(copies),
    )
