"""Why the policies of a run cannot be ranked, of rows that say it and of older ones."""

from glassesjax.cache.readable import DIGITS, NOTHING
from glassesjax.files import Row


def row_obstacle(row: Row) -> str:
    """Why policies cannot be ranked by a row; of one from before rows said it, by what it read.

    Args:
      row: Of the perplexity or the retention study.

    Returns:
      The reason, or nothing.
    """
    if "ranking_obstacle" in row:
        return str(row["ranking_obstacle"] or "")
    digits = row.get("text") == DIGITS or row.get("model") == "toy"
    return NOTHING if digits else ""
