"""What in the rows of any study of a model must not be."""

from collections.abc import Sequence

from glassesjax.files import Row


def unfinite(rows: Sequence[Row]) -> list[str]:
    """What to say of a model whose unrounded pass is not finite.

    Args:
      rows: Of any study of a model; those with the field ``finite`` count.

    Returns:
      One line, or none. What overflows in a number format is a result and no failure.
    """
    finite = [row["finite"] for row in rows if row.get("finite") is not None]
    bad = finite.count(False)
    return [f"the unrounded pass is not finite, in {bad} of {len(finite)} rows"] if bad else []
