"""What in the rows of a retention run must not be."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.runs.verdicts import unfinite


def violations(rows: Sequence[Row]) -> list[str]:
    """What makes a run fail.

    Args:
      rows: Of the retention study.

    Returns:
      One line where the unrounded pass is not finite, or none.
    """
    return unfinite(row.get("finite") for row in rows)
