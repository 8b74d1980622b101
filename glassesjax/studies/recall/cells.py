"""Rows of the recall study taken together: a cell is a task under one policy and size."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from glassesjax.studies.recall.records import RecallRow

Z = 1.959963984540054  # of a normal distribution 95 % lies within as many standard deviations
UNBOUNDED = "full"


class Cell(NamedTuple):
    """All answers of one task and passage length under one policy."""

    task: str
    length: int
    policy: str
    slots: int
    rows: tuple[RecallRow, ...]

    @property
    def hits(self) -> int:
        """How many answers are exact."""
        return sum(row.exact for row in self.rows)

    @property
    def nats(self) -> float:
        """Mean loss of the expected answers, in nats a token; NaN where one is not finite."""
        return _mean(row.gold_nll for row in self.rows)

    @property
    def f1(self) -> float:
        """Mean overlap of words."""
        return _mean(row.f1 for row in self.rows)

    @property
    def retained(self) -> float:
        """Mean share of the answer's line that is cached before the question."""
        return _mean(row.retained_share for row in self.rows)

    @property
    def depths(self) -> list[float]:
        """All depths, ascending."""
        return sorted({row.depth for row in self.rows})

    def at(self, depth: float) -> "Cell":
        """The answers of one depth only."""
        return self._replace(rows=tuple(row for row in self.rows if row.depth == depth))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def cell_name(policy: str, slots: int) -> str:
    """A policy and its size as text."""
    return policy if policy == UNBOUNDED else f"{policy} with {slots} slots"


def read_cells(rows: Iterable[RecallRow]) -> list[Cell]:
    """All cells, in the order of their first rows.

    Returns:
      Cells, none empty.
    """
    cells: dict[tuple[str, int, str, int], list[RecallRow]] = {}
    for row in rows:
        cells.setdefault((row.task, row.length, row.policy, row.slots), []).append(row)
    return [Cell(*key, tuple(mine)) for key, mine in cells.items()]


def panels(cells: Iterable[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """Cells of each task and passage length."""
    grouped: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.task, cell.length), []).append(cell)
    return grouped


def unbounded(cells: Sequence[Cell]) -> Cell | None:
    """The cell that kept everything.

    Returns:
      It, or None where it was not measured.
    """
    return next((cell for cell in cells if cell.policy == UNBOUNDED), None)


def wilson(hits: int, count: int, z: float = Z) -> tuple[float, float]:
    r"""Wilson's interval for a share: where it may lie, given how often something happened.

    .. math:: \frac{\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n}
       + \frac{z^2}{4 n^2}}}{1 + \frac{z^2}{n}}

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    Args:
      hits: How often it happened.
      count: Out of how many, at least 1.
      z: Half the interval's width in standard deviations; 95 % if absent.
    """
    share, wide = hits / count, z * z / count
    middle = share + wide / 2
    half = z * math.sqrt(share * (1 - share) / count + wide / (4 * count))
    low, high = (middle - half) / (1 + wide), (middle + half) / (1 + wide)
    # Rounding may leave the ends a hair outside where all or nothing was hit.
    return (0.0 if hits == 0 else low), (1.0 if hits == count else high)
