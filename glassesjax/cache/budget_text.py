"""A budget as a user writes it: tokens (256), a share of a text (12.5%), or bytes (2MiB)."""

import re
from fractions import Fraction

from glassesjax.errors import BadInput
from glassesjax.settings import MOST

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# Without zeros before it, which would be a second name for one number.
BUDGET = re.compile(
    rf"(?P<number>(?:0|[1-9][0-9]{{0,17}})(?:\.[0-9]{{1,18}})?)(?P<unit>%|{'|'.join(UNITS)})?"
)


def check_budget(budget: str) -> None:
    """Refuses a budget that is none, before a model is there to resolve it.

    Args:
      budget: As for ``resolve_slots``.

    Raises:
      BadInput: It is none of the three, or more tokens than int32 counts.
    """
    number, unit = read_budget(budget)
    if not unit:
        check_count(int(number), f"{budget} --slots")


def check_count(slots: int, said: str) -> None:
    """Refuses more slots than int32 counts.

    Args:
      slots: Of a layer.
      said: What they were asked for as.

    Raises:
      BadInput: There are more.
    """
    if slots > MOST:
        raise BadInput(f"Expected at most {MOST} --slots, got {said}: use fewer.")


def read_budget(budget: str) -> tuple[Fraction, str]:
    """What a budget says.

    Args:
      budget: As for ``resolve_slots``.

    Returns:
      The number and its unit; no unit for tokens.

    Raises:
      BadInput: It is none of the three.
    """
    match = BUDGET.fullmatch(budget)
    if match is None or ("." in match["number"] and not match["unit"]):
        expected = "Expected slots as tokens (256), a share (12.5%) or bytes (2MiB)"
        raise BadInput(f"{expected}, got {budget!r:.60}: write one of these.")
    return Fraction(match["number"]), match["unit"] or ""
