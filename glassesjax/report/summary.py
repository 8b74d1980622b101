"""One measured cell in a dozen numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.records import Row
from glassesjax.report.curves import Cell, Curves, Point, holds_from, length, number


class Summary(NamedTuple):
    """One cell in a line of a table; ``last`` is the longest measured length."""

    cell: Cell
    mode: str
    """Whether the format's own arithmetic was native or simulated."""
    unit_roundoff: float | None
    signal: list[Point]
    own_at_last: float | None
    noise_at_last: float | None
    under_noise_from: int | None
    """From here on the wide signal is smaller than the noise floor at each measured length."""
    equal: int
    """Coordinates that are equal at the last length after rounding."""
    width: int
    ulp_at_last: float | None
    token: str
    """The greedy token after the longest shorter prompt, in wide arithmetic."""
    margin: float | None
    certified_from: int | None
    """From here on the certificate holds at each measured length."""

    @property
    def last(self) -> int:
        """The longest measured length."""
        return self.signal[-1].length

    @property
    def resolved(self) -> list[Point]:
        """The wide signal where it is positive and not float64's own rounding."""
        return [point for point in self.signal if point.drawable]


def summarize(curves: Curves, cell: Cell) -> Summary:
    """The numbers of one measured cell.

    Args:
      curves: The run.
      cell: One of its cells.

    Returns:
      The numbers; None where a row is missing or not finite.
    """
    answers, rounded = curves(cell, "signal", "l2"), curves(cell, "rounded")
    signal, noise = curves.points(cell, "signal"), curves.points(cell, "noise_floor")
    certified = [(length(row), row.get("certified") is True) for row in answers]
    return Summary(
        cell=cell,
        mode=curves.mode(cell),
        unit_roundoff=number(curves(cell, "signal")[0], "unit_roundoff"),
        signal=signal,
        own_at_last=_last(curves(cell, "own"), "distance"),
        noise_at_last=_last(curves(cell, "noise_floor"), "distance"),
        under_noise_from=holds_from(_under(signal, noise)),
        equal=int(_last(rounded, "equal_coordinates") or 0),
        width=int(_last(rounded, "width") or 0),
        ulp_at_last=_last(curves(cell, "signal", "ulp"), "distance"),
        token=str(answers[-1].get("token_text", "")) if answers else "",
        margin=_last(answers, "margin"),
        certified_from=holds_from(certified),
    )


def _last(rows: Sequence[Row], name: str) -> float | None:
    return number(rows[-1], name) if rows else None


def _under(signal: Sequence[Point], noise: Sequence[Point]) -> list[tuple[int, bool]]:
    floor = {point.length: point.distance for point in noise}
    pairs = [(p.length, p.distance, floor.get(p.length)) for p in signal]
    return [(n, gap is not None and high is not None and gap < high) for n, gap, high in pairs]
