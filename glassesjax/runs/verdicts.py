"""What must not be in the rows of a study of a model, whichever study it is."""

from collections.abc import Iterable
from typing import NamedTuple


class Passes(NamedTuple):
    """How many rows say whether the unrounded pass is finite, and of how many it is not."""

    known: int
    not_finite: int

    @property
    def failures(self) -> list[str]:
        """One line where a pass is not finite, or none."""
        if not self.not_finite:
            return []
        return [f"the unrounded pass is not finite, in {self.not_finite} of {self.known} rows"]

    def phrases(self, what: str = "rows") -> list[str]:
        """What a headline begins with where the model is not finite."""
        if not self.not_finite:
            return []
        return [f"not finite, in {self.not_finite} of {self.known} {what}"]


def passes(finite: Iterable[object]) -> Passes:
    """Counts rows by whether the unrounded pass is finite.

    Args:
      finite: Of each row; None where one says nothing, as of a number format, where what overflows
        is a result and no failure.
    """
    known = [value for value in finite if value is not None]
    return Passes(len(known), known.count(False))
