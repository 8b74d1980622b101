"""Rows of a sweep as readers want them: cell by cell."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.studies.train.cells import answered, learned, reach


class Cell(NamedTuple):
    """One training of a sweep."""

    name: str
    learned: tuple[tuple[str, float], ...]
    """Share of right answers in distribution, by format."""
    reach: dict[str, int | None]
    """The longest length up to which every tested one is learned, by format."""
    rows: tuple[Row, ...]


def by_cell(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each cell, in the order of the sweep.

    Args:
      rows: Of a sweep.

    Returns:
      By the cell's name.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row["cell"]), []).append(row)
    return found


def cells(rows: Sequence[Row]) -> list[Cell]:
    """Every cell of a sweep.

    Args:
      rows: Of a sweep.

    Returns:
      In its order.
    """
    return [_cell(name, mine) for name, mine in by_cell(rows).items()]


def _cell(name: str, rows: Sequence[Row]) -> Cell:
    shares = tuple((fmt, told.mean) for fmt, told in learned(rows).items())
    return Cell(name, shares, {n: reach(c) for n, c in answered(rows).items()}, tuple(rows))
