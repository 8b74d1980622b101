"""Points of a curve of distances, as titles, tables and figures read them."""

from typing import NamedTuple


class Point(NamedTuple):
    """One measured distance of a curve."""

    length: int
    """Of the run, in tokens."""
    distance: float | None
    """In the curve's norm, not negative; None where it is not finite."""
    resolved: bool = True
    """False for a wide signal that is not above its measured ``resolution``: float64's own rounding
    may have made it."""

    @property
    def drawable(self) -> bool:
        """Whether it has a place on a logarithmic axis."""
        return self.resolved and self.distance is not None and self.distance > 0
