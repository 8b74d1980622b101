"""Losses of the tokens of a text under a bounded cache."""

import functools
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.cache.advance import Unrolled
from glassesjax.cache.policies import SHORT, Policy
from glassesjax.cache.prefill import prefill
from glassesjax.cache.slots import State
from glassesjax.model.decoder import Decoder
from glassesjax.model.tiling import TILING

TextTokens = Int[np.ndarray, " _seq"]  # lengths differ within a signature


class Cell(NamedTuple):
    """A policy and its capacity."""

    name: str
    """As on the command line."""
    policy: Policy
    slots: int

    @property
    def prefill(self) -> Literal["exact", "chunked"]:
        """Mode of prefill: without eviction the parallel mode gives the same result."""
        return "exact" if self.policy.bounded else "chunked"

    def pieces(
        self, tokens: TextTokens, opening: tuple[int, ...]
    ) -> Iterator[tuple[TextTokens, TextTokens]]:
        """Inputs that are each read from an empty state, with their targets, the next tokens.

        One input; for ``short`` inputs of as many tokens as there are slots. Each token
        but the first is a target once.

        Args:
          tokens: One window, or the book.
          opening: Tokens that the model expects before every text; ``tokens`` begin with them.

        Yields:
          Inputs and their targets; an input with more tokens than targets begins with the opening.
        """
        # Only ``short`` starts anew; each further piece begins with what the model expects.
        size, start = self.slots if self.name == SHORT else len(tokens), 0
        while start < len(tokens) - 1:
            head = opening if start else ()
            stop = min(start + size - len(head), len(tokens) - 1)
            inputs = np.concatenate([np.asarray(head, np.int32), tokens[start:stop]])
            yield inputs, tokens[start + 1 : stop + 1]
            start = stop


@jax.jit
def token_losses(
    outer: Decoder, y: Float[Array, "rows model_dim"], targets: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Negative log likelihood of each next token, in nats, some rows of logits at a time.

    Args:
      outer: A decoder's unembedding; its layers may be missing.
      y: Last representations.
      targets: The next tokens.

    Returns:
      Losses in the dtype of the logits, float32 or wider.
    """

    def one(row: tuple[Array, Array]) -> Array:
        scores = outer.logits(row[0][None])[0]
        return jax.nn.logsumexp(scores) - scores[row[1]]

    # map over rows: (rows, model_dim) -> (rows,)
    return jax.lax.map(one, (y, targets), batch_size=min(TILING.loss_rows, len(y)))


def losses(
    model: Unrolled,
    tokens: TextTokens,
    cell: Cell,
    empty: State,
    *,
    chunk: int,
    opening: tuple[int, ...] = (),
) -> Iterator[tuple[Float[np.ndarray, " _targets"], float]]:
    """Losses of all tokens but the first, in order, as they come.

    Args:
      model: The decoder.
      tokens: One window, or the book.
      cell: How to read it.
      empty: An empty state.
      chunk: Tokens per chunk.
      opening: Tokens that the model expects before every text.

    Yields:
      Losses in nats, float32 or float64 as the logits are, and the seconds that they took.
    """
    size = min(chunk, cell.slots) if cell.name == SHORT else chunk
    mode, began = cell.prefill, time.perf_counter()
    read = functools.partial(prefill, model, policy=cell.policy, state=empty, mode=mode, chunk=size)
    for inputs, targets in cell.pieces(tokens, opening):
        # The opening has no targets: its losses are computed and cut off.
        skipped, done = len(inputs) - len(targets), 0
        every = np.concatenate([np.zeros(skipped, np.int32), targets])
        for part in read(inputs):
            count = len(part.y)
            y, target = np.asarray(part.y), every[done : done + count]
            # (count, model_dim) -> (size, model_dim)
            fill = size - count  # padding to one shape, so that the last chunk is not recompiled
            nll = token_losses(
                model.outer,
                jnp.asarray(np.pad(y, ((0, fill), (0, 0)))),
                jnp.asarray(np.pad(target, (0, fill))),
            )
            # Copied: a view would keep the device array alive as long as the losses.
            scored = np.array(nll)[max(skipped - done, 0) : count]
            now = time.perf_counter()
            yield scored, now - began
            # The caller's time between two parts does not count.
            began, done = time.perf_counter(), done + count
