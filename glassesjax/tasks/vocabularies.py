"""Symbols of the tasks that have more than the common ones, and the digits of a position."""

from glassesjax.errors import BadInput
from glassesjax.tasks.task import COMMON

HINT, NO_HINT = "!", "~"
HINTED = (*COMMON, HINT, NO_HINT)
SUMS = (*COMMON, "+")
WORDS = tuple("abcdefgh")
WORDED = (*COMMON, *WORDS)
KEYS = tuple("abcdefghijklmnop")
KEYED = (*COMMON, *KEYS)
PRIORITIES, CLASSES = 8, 8
ITEMS = (*COMMON, *(f"p{p}c{c}" for p in range(PRIORITIES) for c in range(CLASSES)))
POSITION_DIGITS = 5  # of a position that is asked for


def check_positions(size: int) -> None:
    """Refuses items in which a position has more digits than are asked for.

    Args:
      size: The largest length.

    Raises:
      BadInput: It is larger than all positions.
    """
    if size > 10**POSITION_DIGITS:
        raise BadInput(f"Wanted lengths up to {10**POSITION_DIGITS} for copy_at; found {size}.")
