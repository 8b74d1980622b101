"""Twins: the rows of items of n and n + 1 tokens, up to where their right answers part."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.borders import border
from glassesjax.model import Decoder
from glassesjax.model.positions import PADDING, Layout
from glassesjax.tasks.glasses import Glasses
from glassesjax.tasks.layout import Example, lay_out
from glassesjax.tasks.task import NONE, Task

AT_ONCE = 8  # rows


class Twins(NamedTuple):
    """Two rows with the common beginning of their answers; the shorter item's first."""

    tokens: Int[Array, "2 seq"]
    asked: Int[Array, " 2"]
    """Where in each row the first token stands that the right answers differ in."""
    right: Int[Array, " 2"]
    """That token."""
    alike: Bool[Array, ""]
    """Whether one item is the beginning of the other, both are asked the same, and the right
    answers differ at all: only then do the two say what they say because of their lengths."""
    begun: Int[Array, ""]
    """How many tokens of both answers stand before the asked one."""


class TwinAnswers(NamedTuple):
    """What a decoder says to some pairs."""

    y: Float[Array, "pairs 2 model_dim"]
    """The representations that must say the token in which the right answers differ."""
    scores: Float[Array, "pairs 2 vocab"]


@border()
@draws.reproducible()
def twins(task: Task, glasses: Glasses, key: Array, length: Int[Array, ""], size: int) -> Twins:
    """The rows of n and n + 1.

    Source: arXiv 2406.04267v2, Corollary 6.2: two counts whose outputs coincide.
    Differs: the two representations are those that must say the first differing token, after the
    answers' common beginning; the corollary speaks of whole answers.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      key: Of the draws; both rows have the same ones.
      length: The smaller length n.
      size: Length that rows have room for, n + 1 or more.

    Returns:
      The two rows.
    """
    both = length + jnp.arange(2, dtype=length.dtype)
    parts = jax.vmap(lambda n: task.draw(key, n, size))(both)
    rows = jax.vmap(lambda parts: lay_out(parts, glasses))(parts)
    start = jnp.argmax(rows.scored, axis=1).astype(jnp.int32)
    said = jax.vmap(_answer)(rows, start)
    differ = said[0] != said[1]
    place = jnp.argmax(differ).astype(jnp.int32)
    right = said[:, place]
    begins = jnp.arange(parts.item.shape[1], dtype=jnp.int32) < parts.length[0]
    nested = jnp.all(~begins | (parts.item[0] == parts.item[1]))
    asked = jnp.all(parts.question[0] == parts.question[1])
    alike = nested & asked & jnp.any(differ) & jnp.all(right != NONE)
    return Twins(rows.tokens, start + place, right, alike, place)


def _answer(row: Example, start: Array) -> Int[Array, " seq"]:
    """What is to be said, moved to the row's beginning."""
    return jnp.roll(jnp.where(row.scored, row.tokens, NONE), -start)


@border()
@functools.partial(jax.jit, static_argnames=("task", "glasses", "size"))
def all_twins(
    task: Task, glasses: Glasses, key: Array, lengths: Int[Array, " pairs"], *, size: int
) -> Twins:
    """The pairs of many lengths: one compilation serves all of a size.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      key: Of the draws, the same for all lengths.
      lengths: The smaller length of each pair.
      size: Length that rows have room for; over the largest.

    Returns:
      Pairs on a leading axis.
    """
    return jax.vmap(lambda length: twins(task, glasses, key, length, size))(lengths)


@border()
@jax.jit
def answer_twins(
    decoder: Decoder,
    tokens: Int[Array, "pairs 2 seq"],
    asked: Int[Array, "pairs 2"],
) -> TwinAnswers:
    """A decoder's answers to many pairs, a few rows at a time.

    Args:
      decoder: It rounds as its plan says.
      tokens: Of ``all_twins``; as many pairs as fill groups of ``AT_ONCE`` rows cost the least.
      asked: Likewise.

    Returns:
      Representations and scores in the dtypes of the decoder's plan.
    """

    def one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        tokens, asked = row
        y, _ = decoder(tokens, _until(asked, len(tokens)))
        y = jax.lax.dynamic_slice_in_dim(y, asked - 1, 1)
        return y[0], decoder.logits(y)[0]

    flat = lambda x: x.reshape(-1, *x.shape[2:])
    y, scores = jax.lax.map(one, (flat(tokens), flat(asked)), batch_size=AT_ONCE)
    paired = lambda x: x.reshape(-1, 2, x.shape[-1])
    return TwinAnswers(paired(y), paired(scores))


def _until(asked: Array, width: int) -> Layout:
    """One sequence that ends before the asked token: no mask lets a row see what follows."""
    place = jnp.arange(width, dtype=jnp.int32)
    read = place < asked
    branch = jnp.where(read, 0, PADDING).astype(jnp.int32)
    return Layout(place, branch, jnp.where(read, place + 1, 0).astype(jnp.int32))
