"""One measured panel in a dozen numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer, number
from glassesjax.report.points import Point
from glassesjax.studies.collapse.curves import Curves, Panel, holds_from, length


class Summary(NamedTuple):
    """One panel in a line of a table; ``last`` is the longest measured length."""

    panel: Panel
    mode: str
    """Whether the format's own arithmetic was native or simulated; empty where there is none."""
    unit_roundoff: float | None
    signal: list[Point]
    own_at_last: float | None
    noise_at_last: float | None
    """The error of the format's own arithmetic in the difference, at the last length."""
    detection: list[tuple[int, bool | None]]
    """For each length whether the difference is detectable in the format's own arithmetic; None
    where the two are equal, a number is not finite, or the rows do not say."""
    equal: int | None
    """Coordinates that are equal at the last length after rounding; None where some are NaN."""
    width: int
    ulp: list[Point]
    """The wide signal's largest coordinate difference, in steps of the format."""
    token: str
    """The greedy token after the longest shorter prompt; like margin and certificate, in wide
    arithmetic."""
    margin: float | None
    certified_from: int | None
    """From here on the certificate holds at each measured length."""

    @property
    def last(self) -> int:
        """The longest measured length."""
        return self.signal[-1].length

    @property
    def unfinite(self) -> int:
        """At how many lengths the wide signal is not finite: neither equal nor different."""
        return sum(point.distance is None for point in self.signal)

    @property
    def detectable(self) -> bool | None:
        """Whether the difference is detectable at the longest length; None where nobody can say."""
        return self.detection[-1][1] if self.detection else None

    @property
    def undetectable_from(self) -> int | None:
        """From here on the difference is not detectable, at each measured length."""
        return holds_from([(n, said is False) for n, said in self.detection])

    @property
    def resolved(self) -> list[Point]:
        """The wide signal where it is positive and not float64's own rounding."""
        return [point for point in self.signal if point.drawable]


def summarize(curves: Curves, panel: Panel) -> Summary:
    """The numbers of one measured panel.

    Args:
      curves: The run.
      panel: One of its panels.

    Returns:
      The numbers; None where a row is missing or not finite.
    """
    answers, rounded = curves(panel, "signal", "l2"), curves(panel, "rounded")
    signal, noise = curves.points(panel, "signal"), curves.noise(panel)
    own = [(length(row), row.get("detectable")) for row in curves(panel, "own", "l2")]
    certified = [(length(row), row.get("certified") is True) for row in answers]
    return Summary(
        panel=panel,
        mode=curves.mode(panel),
        unit_roundoff=number(curves(panel, "signal")[0], "unit_roundoff"),
        signal=signal,
        own_at_last=_last(curves(panel, "own"), "distance"),
        noise_at_last=noise[-1].distance if noise else None,
        detection=[(n, None if said is None else bool(said)) for n, said in own],
        equal=_equal(rounded[-1]) if rounded else None,
        width=integer(curves(panel, "signal")[0], "width"),
        ulp=curves.points(panel, "signal", "ulp"),
        token=str(answers[-1].get("token_text", "")) if answers else "",
        margin=_last(answers, "margin"),
        certified_from=holds_from(certified),
    )


def _equal(row: Row) -> int | None:
    return None if row["distance"] is None else integer(row, "equal_coordinates")


def _last(rows: Sequence[Row], name: str) -> float | None:
    return number(rows[-1], name) if rows else None
