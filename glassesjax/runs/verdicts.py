"""What in the rows of any study of a model must not be."""

from collections.abc import Sequence

from glassesjax.runs.rows import Row


def unfinite(rows: Sequence[Row]) -> list[str]:
    """What to say of a model whose unrounded pass is not finite.

    Args:
      rows: Of any study of a model; those with the field ``finite`` count.

    Returns:
      One line, or none. What overflows in a number format is a result and no failure.
    """
    bad, count = count_unfinite(rows)
    return [f"the unrounded pass is not finite, in {bad} of {count} rows"] if bad else []


def count_unfinite(rows: Sequence[Row]) -> tuple[int, int]:
    """How many rows are not finite, and how many say whether they are.

    Args:
      rows: Of any study of a model.

    Returns:
      The two counts.
    """
    finite = [row["finite"] for row in rows if row.get("finite") is not None]
    return finite.count(False), len(finite)
