"""Vocabularies of tasks with more than the common symbols, and the digits of a position."""

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
POSITION_DIGITS = 5  # of a queried position


def check_positions(size: int) -> None:
    """Raises an error where positions have more than ``POSITION_DIGITS`` digits.

    Args:
      size: The largest length.

    Raises:
      BadInput: The length is above 10^``POSITION_DIGITS``.
    """
    if size > 10**POSITION_DIGITS:
        expected = f"Expected lengths up to {10**POSITION_DIGITS} for copy_at"
        raise BadInput(f"{expected}, got {size}: use shorter ones.")
