"""Reading a text for its perplexity: windows, pieces, and losses by stretch and by block."""

import functools
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.cache import Policy, State, Unrolled, prefill
from glassesjax.model.decoder import Decoder
from glassesjax.runs.rows import Value
from glassesjax.statistics.intervals import BLOCK

SHORT = "short"  # the baseline that forgets everything at once; no policy of the cache
FIRST_STRETCH, LONGEST_STRETCH = 64, 4096  # positions; doubling between the two
LOSS_ROWS = 128  # rows of logits over the vocabulary that are in memory together

Tokens = Int[np.ndarray, " _seq"]  # lengths differ within a signature


class Cell(NamedTuple):
    """One way to read the text."""

    name: str
    """As on the command line."""
    policy: Policy
    slots: int

    @property
    def key(self) -> dict[str, Value]:
        """What tells its rows from those of other cells."""
        return {"policy": self.name, "slots": self.slots}

    @property
    def prefill(self) -> Literal["exact", "chunked"]:
        """How it is read: where nothing is dropped, the parallel way is the same."""
        return "exact" if self.policy.bounded else "chunked"

    def pieces(self, tokens: Tokens, opening: tuple[int, ...]) -> Iterator[tuple[Tokens, Tokens]]:
        """What is read from an empty state, each with its targets: the tokens that came next.

        The whole at once; for ``short`` as many tokens as there are slots. In all cases each token
        but the first is a target once.

        Args:
          tokens: One window, or the book.
          opening: What the model expects before every text; the window has its own.

        Yields:
          Inputs and their targets; inputs that are more in number begin with the opening.
        """
        size, start = self.slots if self.name == SHORT else len(tokens), 0
        while start < len(tokens) - 1:
            head = opening if start else ()
            stop = min(start + size - len(head), len(tokens) - 1)
            inputs = np.concatenate([np.asarray(head, np.int32), tokens[start:stop]])
            yield inputs, tokens[start + 1 : stop + 1]
            start = stop


class Stretch(NamedTuple):
    """Neighboring positions of a window, taken together."""

    start: int
    tokens: int
    """How many of them were scored: all but position 0."""
    nll: float
    """Sum of their losses, in nats."""
    seconds: float
    blocks: tuple[float, ...] = ()
    """The same sum by blocks of ``BLOCK`` positions, from ``start`` on; the last may be shorter."""


def stretch_start(position: int) -> int:
    """Where the stretch of a position begins: at 0, 64, 128, ..., 4096, 8192, 12288 and so on.

    Args:
      position: From 0.

    Returns:
      The first position of its stretch.
    """
    if position < FIRST_STRETCH:
        return 0
    if position < LONGEST_STRETCH:
        return 2 ** (position.bit_length() - 1)
    return position // LONGEST_STRETCH * LONGEST_STRETCH


def stretch_count(length: int) -> int:
    """How many stretches the positions of a text make.

    Args:
      length: Tokens of the text, at least 1. A model's own opening, if it has one, may add a
        stretch.

    Returns:
      The number of different ``stretch_start`` of them.
    """
    last = length - 1
    doubled = max(min(last, LONGEST_STRETCH).bit_length() - FIRST_STRETCH.bit_length() + 1, 0)
    return 1 + doubled + max(last // LONGEST_STRETCH - 1, 0)


@jax.jit
def token_losses(
    outer: Decoder, y: Float[Array, "rows model_dim"], targets: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Negative log likelihood of the token after each, in nats, with some logits at a time.

    Args:
      outer: A decoder's unembedding; its layers may be missing.
      y: Last representations.
      targets: The tokens that came.

    Returns:
      Losses in the type of the logits, float32 or wider.
    """

    def one(row: tuple[Array, Array]) -> Array:
        scores = outer.logits(row[0][None])[0]
        return jax.nn.logsumexp(scores) - scores[row[1]]

    return jax.lax.map(one, (y, targets), batch_size=min(LOSS_ROWS, len(y)))


def losses(
    model: Unrolled,
    tokens: Tokens,
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
      empty: A state that has seen nothing.
      chunk: Tokens at a time.
      opening: What the model expects before every text.

    Yields:
      Losses in nats and float64, and the seconds that they took.
    """
    size = min(chunk, cell.slots) if cell.name == SHORT else chunk
    mode, began = cell.prefill, time.perf_counter()
    read = functools.partial(prefill, model, policy=cell.policy, state=empty, mode=mode, chunk=size)
    for inputs, targets in cell.pieces(tokens, opening):
        skipped, done = len(inputs) - len(targets), 0
        every = np.concatenate([np.zeros(skipped, np.int32), targets])
        for part in read(inputs):
            count = len(part.y)
            y, target = np.asarray(part.y), every[done : done + count]
            fill = size - count  # one shape, so that nothing is compiled for the last
            found = token_losses(
                model.outer,
                jnp.asarray(np.pad(y, ((0, fill), (0, 0)))),
                jnp.asarray(np.pad(target, (0, fill))),
            )
            scored = np.asarray(found, np.float64)[max(skipped - done, 0) : count]
            now = time.perf_counter()
            yield scored, now - began
            began, done = time.perf_counter(), done + count


def stretches(found: Iterable[tuple[Float[np.ndarray, " _targets"], float]]) -> Iterator[Stretch]:
    """Sums of losses, stretch by stretch, each as soon as it is whole.

    Args:
      found: Losses of positions from 1 on, with their seconds, which are spread evenly.

    Yields:
      Stretches in order; sums are in float64.
    """
    position, open_ = 1, Stretch(0, 0, 0.0, 0.0)  # every start is a multiple of BLOCK
    for part, seconds in found:
        starts = [stretch_start(at) for at in range(position, position + len(part))]
        for start in sorted(set(starts)):
            first = starts.index(start)
            mine = part[first : len(starts) - starts[::-1].index(start)]
            if start != open_.start:
                yield open_
                open_ = Stretch(start, 0, 0.0, 0.0)
            spent = seconds * len(mine) / len(part)
            tokens, nll = open_.tokens + len(mine), open_.nll + float(np.sum(mine))
            blocks = _added(open_.blocks, position + first - start, mine)
            open_ = Stretch(start, tokens, nll, open_.seconds + spent, blocks)
        position += len(part)
    yield open_


def _added(
    blocks: tuple[float, ...], offset: int, losses: Float[np.ndarray, " _part"]
) -> tuple[float, ...]:
    """Sums by block with some more losses, the first of which stands so far into the stretch."""
    own = (offset + np.arange(len(losses))) // BLOCK
    sums = np.bincount(own, weights=losses, minlength=len(blocks))
    sums[: len(blocks)] += blocks
    return tuple(sums.tolist())


def block_tokens(start: int, tokens: int) -> list[int]:
    """How many tokens of a stretch are scored in each of its blocks.

    Args:
      start: Where the stretch begins, a multiple of ``BLOCK``.
      tokens: Scored in the stretch: all its positions but position 0.

    Returns:
      ``BLOCK`` each, but one less in a window's first block, and what is left in the last.
    """
    first = max(start, 1)
    edges = [first, *range(start + BLOCK, first + tokens, BLOCK), first + tokens]
    return [after - before for before, after in itertools.pairwise(edges)]


def stretch_row(stretch: Stretch) -> dict[str, Value]:
    """What was measured on a stretch.

    Args:
      stretch: With at least one token.

    Returns:
      Flat fields; a perplexity beyond float64 is infinite.
    """
    mean = stretch.nll / stretch.tokens
    return {
        "start": stretch.start,
        "tokens": stretch.tokens,
        "nll": stretch.nll,
        "finite": math.isfinite(stretch.nll),
        "block_losses": ",".join(map(repr, stretch.blocks)),
        "perplexity": math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf,
        "tokens_per_second": stretch.tokens / stretch.seconds,
    }
