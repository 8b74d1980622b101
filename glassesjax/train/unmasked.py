"""Rows for decoders whose tokens see later ones: the answer is hidden, and its beginning asked."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from glassesjax.model import DecoderConfig, Layout
from glassesjax.model.positions import PADDING
from glassesjax.tasks.layout import Example
from glassesjax.tasks.task import COMMON, PAD
from glassesjax.train.recipe import sees_later


def first_asked(config: DecoderConfig, rows: Example) -> Example:
    """Rows that ask for no token which another asked one gives away.

    Args:
      config: Of the decoder that reads them.
      rows: One or many.

    Returns:
      The same rows where tokens see none that follow; else scored at the first place only.
    """
    if not sees_later(config):
        return rows
    first = rows.scored & (jnp.cumsum(rows.scored, axis=-1, dtype=jnp.int32) == 1)
    return rows._replace(scored=first, final=rows.final & first)


def shown(config: DecoderConfig, row: Example) -> tuple[Int[Array, " seq"], Layout | None]:
    """What the decoder gets of a row: all of it, or what stands before the first scored token.

    Args:
      config: Of the decoder that reads it.
      row: One example.

    Returns:
      Tokens and layout. Where tokens see later ones the answer is padding that no other row sees.
    """
    if not sees_later(config):
        return row.tokens, None
    line = Layout.line(len(row.tokens))
    there = line.position < jnp.argmax(row.scored).astype(jnp.int32)
    layout = Layout(
        position=line.position,
        branch=jnp.where(there, 0, PADDING),
        stem=jnp.where(there, line.stem, 0),
    )
    return jnp.where(there, row.tokens, COMMON.index(PAD)), layout
