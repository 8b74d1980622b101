"""Which bounds must hold in the rows of an influence run, and what to say where one does not."""

from collections.abc import Sequence

from glassesjax.files import Row
from glassesjax.runs.verdicts import unfinite
from glassesjax.studies.influence.profiles import profiles_of


def bound_violations(rows: Sequence[Row]) -> int:
    """How often a bound is exceeded that must hold: the program or the statement is wrong.

    Args:
      rows: Rows of the influence study.

    Returns:
      The repaired bound's with any attention, and the printed one's with attention held fixed.

    Raises:
      ValueError: There is no whole kind of attention.
    """
    must_hold = ("true", "repaired"), ("frozen", "repaired"), ("frozen", "printed")
    return sum(
        int(profiles.exceeded(kind, bound).sum())
        for profiles in profiles_of(rows)
        for kind, bound in must_hold
        if kind in profiles.kinds
    )


def violations(rows: Sequence[Row]) -> list[str]:
    """What makes a run fail.

    Args:
      rows: Rows of the influence study.

    Returns:
      One line where the unrounded pass is not finite, and one where a bound fails.

    Raises:
      ValueError: There is no whole kind of attention.
    """
    exceeded = ["a bound that must hold is exceeded"] if bound_violations(rows) else []
    return [*unfinite(row.get("finite") for row in rows), *exceeded]
