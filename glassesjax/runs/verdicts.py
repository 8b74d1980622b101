"""Violations common to all studies of a model: passes that are not finite."""

import dataclasses
from collections.abc import Iterable

from glassesjax.runs.overflow_fields import OverflowFields


@dataclasses.dataclass(frozen=True)
class Passes:
    """Counts of rows with a known finiteness of the pass, and of those that are not finite."""

    known: int
    not_finite: int

    @property
    def place(self) -> str:
        """Where the pass overflows first, in words; empty where that is not known."""
        return ""

    @property
    def failures(self) -> list[str]:
        """One line where a pass is not finite, or none."""
        if not self.not_finite:
            return []
        return [f"the unrounded pass is not finite, in {self.not_finite} of {self.known} rows"]


@dataclasses.dataclass(frozen=True)
class RoundedPasses(Passes):
    """The same of a pass under a rounding plan, or of one whose first overflow is known."""

    rounding: str
    """Name of the plan; ``none``: nothing is rounded but by the dtype."""
    overflow: OverflowFields | None
    """Where it is not finite first."""

    @property
    def place(self) -> str:
        """Where the pass overflows first, in words; empty where that is not known."""
        return "" if self.overflow is None else self.overflow.place

    @property
    def failures(self) -> list[str]:
        """One line where a pass is not finite, or none."""
        if not self.not_finite:
            return []
        under = "unrounded pass" if self.rounding == "none" else f"pass under {self.rounding}"
        first = f", first at {self.place}" if self.place else ""
        return [f"the {under} is not finite, in {self.not_finite} of {self.known} rows{first}"]


def passes(
    finite: Iterable[object],
    *,
    rounding: str | None = "none",
    overflows: Iterable[OverflowFields | None] = (),
) -> Passes:
    """Counts rows by whether the pass is finite.

    Args:
      finite: Value of each row; None where it does not apply, as for a number format beside an
        unrounded pass, where an overflow is a result and no failure.
      rounding: Name of the rounding plan; ``none`` or missing where there is none.
      overflows: What rows record of an overflow.
    """
    known = [value for value in finite if value is not None]
    counts = len(known), known.count(False)
    overflow = next((each for each in overflows if each is not None), None)
    if overflow is None and rounding in ("none", None):
        return Passes(*counts)
    return RoundedPasses(*counts, rounding or "none", overflow)
