"""The rows of a collapse run, found again by what they measure."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from glassesjax.records import Row
from glassesjax.trace.collapse import DecayFit, fit_decay

# ``own`` is the signal in the format's own arithmetic, native or simulated.
CurveName = Literal["signal", "own", "noise_floor", "rounded"]

WIDE_ROUNDOFF = 2.0**-53  # of float64, in which the wide curves are computed
# A signal has the rounding errors of two representations, and their size is a matter of chance.
WIDE_SLACK = 4


class Cell(NamedTuple):
    """One family of runs under one positional encoding in one number format."""

    positions: str
    family: str
    format: str


class Point(NamedTuple):
    """One measured distance of a curve."""

    length: int
    distance: float | None
    """None where it is not finite."""
    resolved: bool = True
    """False for a wide signal that float64's own rounding may have made."""

    @property
    def drawable(self) -> bool:
        """Whether it has a place on a logarithmic axis."""
        return self.resolved and self.distance is not None and self.distance > 0


class Curves:
    """Rows of a collapse run by cell, curve and norm, each with its lengths ascending.

    Args:
      rows: Rows of the collapse study, in any order.

    Raises:
      ValueError: There is no row of the collapse study.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        found = [row for row in rows if row.get("study") == "collapse"]
        if not found:
            seen = f"found none among {len(rows)}"
            raise ValueError(f"Wanted rows of the collapse study; {seen}: run the study first.")
        self.first_row = found[0]
        self.positions, self.families, self.formats = (
            tuple(dict.fromkeys(str(row[name]) for row in found))
            for name in ("positions", "family", "format")
        )
        self.lengths = tuple(sorted(set(map(length, found))))
        self._floors: dict[tuple[str, str], dict[int, float]] = {}
        self._rows: dict[tuple[Cell, str, str], list[Row]] = {}
        for row in sorted(found, key=length):
            self._rows.setdefault(_place(row), []).append(row)
        cells = {cell for cell, curve, _ in self._rows if curve == "signal"}
        self._cells = sorted(cells, key=self._order)

    def __call__(self, cell: Cell, curve: CurveName, norm: str = "relative_l1") -> list[Row]:
        """The rows of one curve, shortest run first; none where it was not measured."""
        return self._rows.get((cell, curve, norm), [])

    def cells(self, *, positions: str = "", family: str = "", format: str = "") -> list[Cell]:
        """All measured cells with the names given, in the order of the run."""
        wanted = Cell(positions, family, format)
        fits = lambda cell: all(want in ("", has) for want, has in zip(wanted, cell, strict=True))
        return list(filter(fits, self._cells))

    def mode(self, cell: Cell) -> str:
        """How the format's own arithmetic was done, native or simulated; empty if unmeasured."""
        return str(self(cell, "own")[0]["mode"]) if self(cell, "own") else ""

    def finest(self, positions: str, family: str) -> Cell | None:
        """The measured cell with the smallest unit roundoff: its weights are the least changed."""
        cells = self.cells(positions=positions, family=family)
        roundoff = lambda cell: number(self(cell, "signal")[0], "unit_roundoff") or 0.0
        return min(cells, key=roundoff, default=None)

    def wide_floor(self, positions: str, family: str) -> dict[int, float]:
        """How far float64's own rounding may carry the wide signal, by length, relative in L1.

        Only still wider arithmetic could measure it. To first order noise is proportional to
        unit roundoff, so float64 is granted the largest noise in units of its unit roundoff that
        any format of the run shows, times ``WIDE_SLACK``.
        """
        place, unit = (positions, family), WIDE_SLACK * WIDE_ROUNDOFF
        if place not in self._floors:
            floor = self._floors[place] = dict.fromkeys(self.lengths, unit)
            for cell in self.cells(positions=positions, family=family):
                for row in self(cell, "noise_floor"):
                    noise, roundoff = number(row, "distance"), number(row, "unit_roundoff")
                    floor[length(row)] = max(
                        floor[length(row)], (noise or 0) / (roundoff or 1) * unit
                    )
        return self._floors[place]

    def points(self, cell: Cell, curve: CurveName) -> list[Point]:
        """A curve's relative L1 distances; a wide signal says whether it is resolved."""
        wide = curve == "signal"
        floor = self.wide_floor(cell.positions, cell.family) if wide else {}
        pairs = [(length(row), number(row, "distance")) for row in self(cell, curve)]
        above = lambda n, gap: not gap or gap > floor.get(n, 0.0)
        return [Point(n, gap, above(n, gap)) for n, gap in pairs]

    def fit(self, cell: Cell) -> DecayFit:
        """The decay of the resolved wide signal with length."""
        kept = [point for point in self.points(cell, "signal") if point.drawable]
        return fit_decay([p.length for p in kept], [p.distance or 0.0 for p in kept])

    def _order(self, cell: Cell) -> tuple[int, ...]:
        known = (self.positions, self.families, self.formats)
        return tuple(names.index(name) for names, name in zip(known, cell, strict=True))


def _place(row: Row) -> tuple[Cell, str, str]:
    cell = Cell(str(row["positions"]), str(row["family"]), str(row["format"]))
    own = row["curve"] == "signal" and row["mode"] != "wide"
    return cell, "own" if own else str(row["curve"]), str(row["norm"])


def number(row: Row, name: str) -> float | None:
    """A field as a finite number.

    Args:
      row: A row.
      name: The field.

    Returns:
      The number; None where the field is missing, null, text or not finite.
    """
    value = row.get(name)
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return float(value)


def length(row: Row) -> int:
    """The run length n of a row."""
    return int(row["length"] or 0)


def holds_from(claims: Sequence[tuple[int, bool]]) -> int | None:
    """The measured length from which a claim holds at every longer measured length, too.

    Args:
      claims: Each length, ascending, and whether the claim holds there.

    Returns:
      The length; None where the claim fails at the longest length, or there is none.
    """
    start = None
    for n, holds in reversed(claims):
        if not holds:
            break
        start = n
    return start
