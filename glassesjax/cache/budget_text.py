"""Parses a budget: tokens (256), a share of a text (12.5%), or bytes (2MiB)."""

import re
from fractions import Fraction

from glassesjax.errors import BadInput
from glassesjax.settings import MOST

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# No leading zeros: each number has one spelling.
BUDGET = re.compile(
    rf"(?P<number>(?:0|[1-9][0-9]{{0,17}})(?:\.[0-9]{{1,18}})?)(?P<unit>%|{'|'.join(UNITS)})?"
)


def check_budget(budget: str) -> None:
    """Validates the text of a budget, without a model.

    Args:
      budget: As for ``resolve_slots``.

    Raises:
      BadInput: It is not a budget, or more tokens than int32 counts.
    """
    number, unit = read_budget(budget)
    if not unit:
        check_count(int(number), f"{budget} --slots")


def check_count(slots: int, described: str) -> None:
    """Validates that the number of slots fits in int32.

    Args:
      slots: Capacity of a layer.
      described: The text of the setting, for the message.

    Raises:
      BadInput: There are more.
    """
    if slots > MOST:
        raise BadInput(f"Expected at most {MOST} --slots, got {described}: use fewer.")


def read_budget(budget: str) -> tuple[Fraction, str]:
    """Parses a budget.

    Args:
      budget: As for ``resolve_slots``.

    Returns:
      The number and its unit; no unit for tokens.

    Raises:
      BadInput: The text is not a budget.
    """
    match = BUDGET.fullmatch(budget)
    if match is None or ("." in match["number"] and not match["unit"]):
        expected = "Expected slots as tokens (256), a share (12.5%) or bytes (2MiB)"
        raise BadInput(f"{expected}, got {budget!r:.60}: write one of these.")
    return Fraction(match["number"]), match["unit"] or ""
