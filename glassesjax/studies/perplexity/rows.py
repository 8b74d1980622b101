"""Losses of a text by stretch and by block, and the record of a stretch."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from glassesjax.cache.losses import Cell
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
    blocks: tuple[float, ...] = ()
    """The same sum by blocks of ``BLOCK`` positions, from ``start`` on; the last may be shorter."""


def stretches(losses: Iterable[tuple[Float[np.ndarray, " _targets"], float]]) -> Iterator[Stretch]:
    """Sums of losses, stretch by stretch, each as soon as it is whole.

    Args:
      losses: Losses of positions from 1 on, with their seconds, which are spread evenly.

    Yields:
      Stretches in order; sums are in float64.
    """
    position, open_ = 1, Stretch(0, 0, 0.0, 0.0)  # every start is a multiple of BLOCK
    for part, seconds in losses:
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


def perplexity_row(cell: Cell, size: int, window: int, stretch: Stretch) -> PerplexityRow:
    """What was measured on a stretch.

    Args:
      cell: Policy and slots.
      size: Bytes of its state.
      window: Which one.
      stretch: With at least one token.

    Returns:
      The row; a perplexity beyond float64 is infinite.
    """
    mean = stretch.nll / stretch.tokens
    return PerplexityRow(
        policy=cell.name,
        slots=cell.slots,
        prefill=cell.prefill,
        bytes=size,
        window=window,
        start=stretch.start,
        tokens=stretch.tokens,
        nll=stretch.nll,
        finite=math.isfinite(stretch.nll),
        block_losses=stretch.blocks,
        perplexity=math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf,
        tokens_per_second=stretch.tokens / stretch.seconds,
    )
