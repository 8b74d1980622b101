"""Fields of rows as numbers: null is no number, and never zero."""

import math
from collections.abc import Sequence

from glassesjax.files import Row


def integer(row: Row, name: str) -> int:
    """A field that counts or places, which every row of its kind has.

    Args:
      row: A row.
      name: The field.

    Returns:
      The number.

    Raises:
      ValueError: The field is missing, null or no number.
    """
    value = row.get(name)
    if value is None or isinstance(value, str) or value != int(value):
        raise ValueError(f"Expected a whole number as {name} of a row, got {value!r}.")
    return int(value)


def measured(row: Row, name: str) -> float:
    """A measured field.

    Args:
      row: A row.
      name: The field.

    Returns:
      The number; NaN where the row has null, which stands for a number that is not finite, or has
      no such field.

    Raises:
      ValueError: The field is text.
    """
    value = row.get(name)
    if isinstance(value, str):
        raise ValueError(f"Expected a number as {name} of a row, got {value!r:.40}.")
    return math.nan if value is None else float(value)


def number(row: Row, name: str) -> float | None:
    """A field as a finite number.

    Args:
      row: A row.
      name: The field.

    Returns:
      The number; None where the field is missing, null, text or not finite.
    """
    value = row.get(name)
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return float(value)


def not_finite(rows: Sequence[Row], what: str = "rows") -> list[str]:
    """The first sentence on a run of a model that is not finite.

    Args:
      rows: Of any study of a model.
      what: What a row is of.

    Returns:
      One sentence, or none.
    """
    finite = [row["finite"] for row in rows if row.get("finite") is not None]
    bad, count = finite.count(False), len(finite)
    return [f"Not finite, in {bad} of {count} {what}: these have no result."] if bad else []
