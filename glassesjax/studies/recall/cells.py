"""Rows of the recall study taken together: a cell is a task under one policy and size."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer

Z = 1.959963984540054  # of a normal distribution 95 % lies within as many standard deviations
UNBOUNDED = "full"


class Cell(NamedTuple):
    """All answers of one task and passage length under one policy."""

    task: str
    length: int
    policy: str
    slots: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """As sentences and tables name it."""
        return self.policy if self.policy == UNBOUNDED else f"{self.policy} with {self.slots} slots"

    @property
    def hits(self) -> int:
        """How many answers are exact."""
        return sum(bool(row["exact"]) for row in self.rows)

    def mean(self, field: str) -> float:
        """The mean of a field; not a number where one of its values is none."""
        values = [row[field] for row in self.rows]
        return sum(math.nan if v is None else float(v) for v in values) / len(values)

    def at(self, depth: float) -> "Cell":
        """The answers of one depth only."""
        return self._replace(rows=tuple(row for row in self.rows if row["depth"] == depth))


def read_cells(rows: Sequence[Row]) -> list[Cell]:
    """All cells, in the order of their first rows.

    Args:
      rows: Of the recall study.

    Returns:
      Cells, none empty.

    Raises:
      ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("Wanted rows of a recall run; found none.")
    found: dict[tuple[str, int, str, int], list[Row]] = {}
    for row in rows:
        length, slots = integer(row, "length"), integer(row, "slots")
        key = (str(row["task"]), length, str(row["policy"]), slots)
        found.setdefault(key, []).append(row)
    return [Cell(*key, tuple(mine)) for key, mine in found.items()]


def panels(cells: Sequence[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """Cells of each task and passage length.

    Args:
      cells: All of them.

    Returns:
      By task and length, in their order.
    """
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.task, cell.length), []).append(cell)
    return found


def unbounded(cells: Sequence[Cell]) -> Cell | None:
    """The cell that kept everything.

    Args:
      cells: Of one task and length.

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

    Returns:
      The lower and the upper end.
    """
    share, wide = hits / count, z * z / count
    middle = share + wide / 2
    half = z * math.sqrt(share * (1 - share) / count + wide / (4 * count))
    low, high = (middle - half) / (1 + wide), (middle + half) / (1 + wide)
    # Rounding may leave the ends a hair outside where all or nothing was hit.
    return (0.0 if hits == 0 else low), (1.0 if hits == count else high)
