"""Violations common to all studies of a model: passes that are not finite."""

from collections.abc import Iterable
from typing import NamedTuple


class Passes(NamedTuple):
    """Counts of rows with a known finiteness of the unrounded pass, and of those not finite."""

    known: int
    not_finite: int

    @property
    def failures(self) -> list[str]:
        """One line where a pass is not finite, or none."""
        if not self.not_finite:
            return []
        return [f"the unrounded pass is not finite, in {self.not_finite} of {self.known} rows"]


def passes(finite: Iterable[object]) -> Passes:
    """Counts rows by whether the unrounded pass is finite.

    Args:
      finite: Value of each row; None where it does not apply, as for a number format, where an
        overflow is a result and no failure.
    """
    known = [value for value in finite if value is not None]
    return Passes(len(known), known.count(False))
