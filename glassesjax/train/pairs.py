"""Pairs (n, n + 1): rows of items of n and n + 1 tokens, up to where the correct answers differ."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.borders import border
from glassesjax.model import Decoder
from glassesjax.model.positions import PADDING, Layout
from glassesjax.tasks.layout import Example, format_prompt
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.tasks.task import NONE, Task

AT_ONCE = 8  # rows


class AdjacentPair(NamedTuple):
    """Two rows with the shared prefix of their answers; that of the shorter item first."""

    tokens: Int[Array, "2 seq"]
    asked: Int[Array, " 2"]
    """Position in each row of the first token in which the correct answers differ."""
    right: Int[Array, " 2"]
    """The correct token there."""
    alike: Bool[Array, ""]
    """Whether one item is a prefix of the other, the questions are equal and the correct answers
    differ: only then do the rows differ by their length alone."""
    begun: Int[Array, ""]
    """Number of tokens of both answers before that position."""


class PairOutputs(NamedTuple):
    """Outputs of a decoder for some pairs."""

    y: Float[Array, "pairs 2 model_dim"]
    """Representations from which the token is predicted in which the correct answers differ."""
    scores: Float[Array, "pairs 2 vocab"]


@border()
@draws.reproducible()
def adjacent_pair(
    task: Task, prompt_format: PromptFormat, key: Array, length: Int[Array, ""], size: int
) -> AdjacentPair:
    """The pair of rows of n and n + 1.

    Source: arXiv 2406.04267v2, Corollary 6.2: two counts whose outputs coincide.
    Differs: the two representations are those that predict the first differing token, after the
    answers' shared prefix; the corollary is on whole answers.

    Args:
      task: The task.
      prompt_format: The prompt format.
      key: PRNG key, the same for both rows.
      length: The smaller length n.
      size: Maximum length of an item, n + 1 or more.

    Returns:
      The two rows.
    """
    both = length + jnp.arange(2, dtype=length.dtype)
    parts = jax.vmap(lambda n: task.draw(key, n, size))(both)
    rows = jax.vmap(lambda parts: format_prompt(parts, prompt_format))(parts)
    start = jnp.argmax(rows.scored, axis=1).astype(jnp.int32)
    answers = jax.vmap(_answer)(rows, start)
    differ = answers[0] != answers[1]
    first = jnp.argmax(differ).astype(jnp.int32)
    right = answers[:, first]
    begins = jnp.arange(parts.item.shape[1], dtype=jnp.int32) < parts.length[0]
    nested = jnp.all(~begins | (parts.item[0] == parts.item[1]))
    asked = jnp.all(parts.question[0] == parts.question[1])
    alike = nested & asked & jnp.any(differ) & jnp.all(right != NONE)
    return AdjacentPair(rows.tokens, start + first, right, alike, first)


def _answer(row: Example, start: Array) -> Int[Array, " seq"]:
    """The answer, rolled to the start of the row."""
    return jnp.roll(jnp.where(row.scored, row.tokens, NONE), -start)


@border()
@functools.partial(jax.jit, static_argnames=("task", "prompt_format", "size"))
def adjacent_pairs(
    task: Task, prompt_format: PromptFormat, key: Array, lengths: Int[Array, " pairs"], *, size: int
) -> AdjacentPair:
    """Pairs of many lengths; one compilation serves all of a size.

    Args:
      task: The task.
      prompt_format: The prompt format.
      key: PRNG key, the same for all lengths.
      lengths: The smaller length of each pair.
      size: Maximum length of an item; over the largest.

    Returns:
      Pairs on a leading axis.
    """
    return jax.vmap(lambda length: adjacent_pair(task, prompt_format, key, length, size))(lengths)


@border()
@jax.jit
def pair_outputs(
    decoder: Decoder,
    tokens: Int[Array, "pairs 2 seq"],
    asked: Int[Array, "pairs 2"],
) -> PairOutputs:
    """Representations and logits of many pairs, a few rows at a time.

    Args:
      decoder: The decoder, with its rounding plan.
      tokens: Those of ``adjacent_pairs``; multiples of ``AT_ONCE`` rows are the most efficient.
      asked: Those of ``adjacent_pairs``.

    Returns:
      Representations and logits in the dtypes of the decoder's plan.
    """

    def one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        tokens, asked = row
        y, _ = decoder(tokens, _until(asked, len(tokens)))
        y = jax.lax.dynamic_slice_in_dim(y, asked - 1, 1)
        return y[0], decoder.logits(y)[0]

    flat = lambda x: x.reshape(-1, *x.shape[2:])  # pairs, 2 -> rows
    y, scores = jax.lax.map(one, (flat(tokens), flat(asked)), batch_size=AT_ONCE)
    paired = lambda x: x.reshape(-1, 2, x.shape[-1])
    return PairOutputs(paired(y), paired(scores))


def _until(asked: Array, width: int) -> Layout:
    """One sequence that ends before the asked token: later ones are padding under every mask."""
    position = jnp.arange(width, dtype=jnp.int32)
    read = position < asked
    branch = jnp.where(read, 0, PADDING).astype(jnp.int32)
    return Layout(position, branch, jnp.where(read, position + 1, 0).astype(jnp.int32))
