"""Rows of the longform study taken together, and what they say in plain sentences."""

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer, not_finite
from glassesjax.report.numbers import percent

UNBOUNDED = "full"


class Cell(NamedTuple):
    """All texts of one policy and size."""

    policy: str
    slots: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """As sentences and tables name it."""
        return self.policy if self.policy == UNBOUNDED else f"{self.policy} with {self.slots} slots"

    def values(self, field: str) -> list[float]:
        """A field of all texts that have a number there."""
        found = (row[field] for row in self.rows)
        return [float(v) for v in found if v is not None and not math.isnan(float(v))]

    def mean(self, field: str) -> float:
        """The mean over the texts that have a number; not a number if none has."""
        values = self.values(field)
        return sum(values) / len(values) if values else math.nan

    @property
    def perplexity(self) -> float:
        """Under the full model, over all texts: of the mean loss, each text as one.

        Infinite where float64 ends.
        """
        mean = self.mean("full_nll")
        return math.inf if mean >= math.log(sys.float_info.max) else math.exp(mean)


def read_cells(rows: Sequence[Row]) -> list[Cell]:
    """All cells, in the order of their first rows.

    Args:
      rows: Of the longform study.

    Returns:
      Cells, none empty.

    Raises:
      ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("Wanted rows of a longform run; found none.")
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((str(row["policy"]), integer(row, "slots")), []).append(row)
    return [Cell(*key, tuple(mine)) for key, mine in found.items()]


def longform_headlines(rows: Sequence[Row]) -> list[str]:
    """A sentence on each policy and size.

    Args:
      rows: Rows of the longform study.

    Returns:
      Plain text.

    Raises:
      ValueError: There are no rows.
    """
    return [*not_finite(rows, "texts"), *map(_cell, read_cells(rows))]


def _cell(cell: Cell) -> str:
    count = len(cell.rows)
    if bad := sum(row.get("finite") is False for row in cell.rows):
        return f"{cell.name}: not finite, in {bad} of {count} texts."
    ended = sum(bool(row["ended"]) for row in cell.rows)
    parts = [f"{ended} of {count} texts end by themselves", f"{cell.mean('length'):.0f} tokens"]
    parts.append(f"{told_share(cell.mean('repetition'))} of the 4-grams stood there before")
    parts.append(f"perplexity under the full model {told_number(cell.perplexity)}")
    if cell.policy != UNBOUNDED:
        same = f"the same as the full model's for {told_number(cell.mean('agrees'))} tokens"
        parts.append(same)
    return f"{cell.name}: {', '.join(parts)} (means over texts)."


def told_share(value: float) -> str:
    """A share in percent, or a dash.

    Args:
      value: From 0 to 1, or not a number.

    Returns:
      Plain text.
    """
    return "an unknown share" if math.isnan(value) else percent(value)


def told_number(value: float) -> str:
    """A number with one decimal, or a word where there is none.

    Args:
      value: Any.

    Returns:
      Plain text.
    """
    return "unknown" if math.isnan(value) else f"{value:.1f}"
