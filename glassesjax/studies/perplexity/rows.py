"""Losses of a text by stretch and by block, and the record of a stretch."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from glassesjax.cache.losses import Cell
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.statistics.intervals import BLOCK
from glassesjax.studies.perplexity.records import PerplexityRow
from glassesjax.studies.perplexity.stretches import stretch_start


class Stretch(NamedTuple):
    """Neighboring positions of a window, taken together."""

    start: int
    tokens: int
    """How many of them were scored: all but position 0."""
    nll: float
    """Sum of their losses, in nats."""
    seconds: float
    losses: Float[np.ndarray, " _tokens"]
    """Of each token, in the type in which they were computed."""


def stretches(losses: Iterable[tuple[Float[np.ndarray, " _targets"], float]]) -> Iterator[Stretch]:
    """Losses by stretch, each as soon as it is whole.

    Args:
      losses: Losses of positions from 1 on, with their seconds, which are spread evenly.

    Yields:
      Stretches in order; sums are in float64.
    """
    # Position 0 has no loss: nothing is before it.
    position, open_ = 1, _Open(0)
    for part, seconds in losses:
        starts = [stretch_start(at) for at in range(position, position + len(part))]
        for start in sorted(set(starts)):
            # Positions of a stretch are neighbors: from the first to the last of them in this part.
            mine = part[starts.index(start) : len(starts) - starts[::-1].index(start)]
            if start != open_.start:
                yield open_.whole()
                open_ = _Open(start)
            open_.add(mine, seconds * len(mine) / len(part))
        position += len(part)
    yield open_.whole()


class _Open:
    """A stretch of which some tokens may be to come."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._nll, self._seconds = 0.0, 0.0
        self._parts: list[Float[np.ndarray, " _part"]] = []

    def add(self, losses: Float[np.ndarray, " _part"], seconds: float) -> None:
        # In float64: thousands of float32 losses would lose digits of their sum.
        self._nll += float(np.sum(losses.astype(np.float64)))
        self._seconds += seconds
        self._parts.append(losses)

    def whole(self) -> Stretch:
        losses = np.concatenate(self._parts)
        return Stretch(self.start, len(losses), self._nll, self._seconds, losses)


def block_sums(start: int, losses: Float[np.ndarray, " _tokens"]) -> Float[np.ndarray, " _blocks"]:
    """Sums of a stretch's losses by blocks of ``BLOCK`` positions from its start on.

    Args:
      start: Where the stretch begins, a multiple of ``BLOCK``.
      losses: Of all its positions but position 0.

    Returns:
      In float64; the last block may be shorter.
    """
    # Window positions: the first stretch has no loss of position 0, so its first block is shorter.
    positions = max(start, 1) + np.arange(len(losses))
    return np.bincount((positions - start) // BLOCK, weights=losses)


def block_tokens(start: int, tokens: int) -> list[int]:
    """Number of scored tokens of a segment in each of its blocks.

    Args:
      start: Where the stretch begins, a multiple of ``BLOCK``.
      tokens: Scored in the stretch: all its positions but position 0.

    Returns:
      ``BLOCK`` each, but one less in a window's first block, and what is left in the last.
    """
    # Blocks begin at multiples of ``BLOCK`` from the start on; that of position 0 lacks it.
    first = max(start, 1)
    edges = [first, *range(start + BLOCK, first + tokens, BLOCK), first + tokens]
    return [after - before for before, after in itertools.pairwise(edges)]


def token_losses_name(format: str | None, cell: Cell, window: int, start: int) -> str:
    """Under which name the losses of a stretch are stored."""
    first = "" if format is None else f"{format}/"
    return f"token_losses/{first}{cell.name}/{cell.slots}/{window}/{start}"


def perplexity_row(
    cell: Cell,
    size: int,
    window: int,
    stretch: Stretch,
    *,
    format: str | None = None,
    overflow: OverflowFields | None = None,
) -> PerplexityRow:
    """The row of a segment.

    Args:
      cell: Policy and slots.
      size: Bytes of its state.
      window: Which one.
      stretch: With at least one token.
      format: The plan's name, in a run of several formats.
      overflow: Where the passes of this format overflow first, if they do.

    Returns:
      The row; a perplexity beyond float64 is infinite.
    """
    mean = stretch.nll / stretch.tokens  # beyond float64 math.exp raises an error
    finite = math.isfinite(stretch.nll)
    return PerplexityRow(
        format=format,
        policy=cell.name,
        slots=cell.slots,
        prefill=cell.prefill,
        bytes=size,
        window=window,
        start=stretch.start,
        tokens=stretch.tokens,
        nll=stretch.nll,
        finite=finite,
        overflow=None if finite else overflow,
        token_losses=token_losses_name(format, cell, window, stretch.start),
        perplexity=math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf,
        tokens_per_second=stretch.tokens / stretch.seconds,
    )
