"""Rows for decoders without causal mask: the answer is hidden, and only its start is scored."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from glassesjax.model import DecoderConfig, Layout
from glassesjax.model.positions import PADDING
from glassesjax.tasks.layout import Example
from glassesjax.tasks.task import COMMON, PAD
from glassesjax.train.config import sees_later


def first_scored(config: DecoderConfig, rows: Example) -> Example:
    """Rows whose scored tokens are not visible in the input.

    Args:
      config: Settings of the decoder.
      rows: One row or many.

    Returns:
      The same rows under a causal mask; otherwise scored at the first position only.
    """
    if not sees_later(config):
        return rows
    first = rows.scored & (jnp.cumsum(rows.scored, axis=-1, dtype=jnp.int32) == 1)
    return rows._replace(scored=first, final=rows.final & first)


def shown(config: DecoderConfig, row: Example) -> tuple[Int[Array, " seq"], Layout | None]:
    """The decoder's input of a row: the whole row, or the tokens before the first scored one.

    Args:
      config: Settings of the decoder.
      row: One example.

    Returns:
      Tokens and layout. Without causal mask the answer is padding that no token attends to.
    """
    if not sees_later(config):
        return row.tokens, None
    line = Layout.line(len(row.tokens))
    visible = line.position < jnp.argmax(row.scored).astype(jnp.int32)
    layout = Layout(
        position=line.position,
        branch=jnp.where(visible, 0, PADDING),
        stem=jnp.where(visible, line.stem, 0),
    )
    return jnp.where(visible, row.tokens, COMMON.index(PAD)), layout
