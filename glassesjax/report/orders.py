"""Which of several things is lower than which, said only where an interval leaves no tie."""

import itertools
from collections.abc import Callable, Sequence

from glassesjax.statistics.intervals import BLOCK, LEAST_BLOCKS, LEVEL, Interval

Difference = Callable[[str, str], Interval]


def told_apart(names: Sequence[str], difference: Difference) -> str:
    """All pairs, those that are told apart by which is lower.

    Args:
      names: What was measured alike.
      difference: Of the first less the second, with its interval.

    Returns:
      Plain text without an end; ``nothing is told apart`` where no interval leaves zero out.
    """
    lower = {name: [] for name in names}
    tied = []
    for first, second in itertools.combinations(names, 2):
        gap = difference(first, second)
        if gap.excludes(0.0):
            low, high = (first, second) if gap.value < 0 else (second, first)
            lower[low].append(high)
        else:
            tied.append(f"{first} and {second}")
    parts = [f"{low} lower than {', '.join(above)}" for low, above in lower.items() if above]
    if not parts:
        return "nothing is told apart"
    if tied:
        parts.append(f"not told apart: {', '.join(tied)}")
    return "; ".join(parts)


def basis(blocks: int, unit: str = f"blocks of {BLOCK} tokens") -> str:
    """What the intervals stand on.

    Args:
      blocks: How many were drawn from.
      unit: What they are, in the plural.

    Returns:
      A phrase; with too few blocks that there is no interval.
    """
    if blocks < LEAST_BLOCKS:
        return f"{blocks} {unit}; no order can be inferred from fewer than {LEAST_BLOCKS}"
    return f"{LEVEL:.0%} interval of each paired difference, {blocks} {unit}"
