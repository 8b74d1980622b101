"""The rows of a collapse run, found again by what they measure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer, number
from glassesjax.report.points import Point
from glassesjax.trace.decay import DecayFit, fit_decay

# ``own`` is the signal in the format's own arithmetic, native or simulated.
CurveName = Literal["signal", "own", "noise_floor", "rounded"]


class Panel(NamedTuple):
    """One family of runs under one positional encoding in one number format."""

    positions: str
    family: str
    format: str


class Curves:
    """Rows of a collapse run by panel, curve and norm, each with its lengths ascending.

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
        self._rows: dict[tuple[Panel, str, str], list[Row]] = {}
        for row in sorted(found, key=length):
            self._rows.setdefault(_place(row), []).append(row)
        panels = {panel for panel, curve, _ in self._rows if curve == "signal"}
        self._panels = sorted(panels, key=self._order)

    def __call__(self, panel: Panel, curve: CurveName, norm: str = "relative_l1") -> list[Row]:
        """The rows of one curve, shortest run first; none where it was not measured."""
        return self._rows.get((panel, curve, norm), [])

    def panels(self, *, positions: str = "", family: str = "", format: str = "") -> list[Panel]:
        """All measured panels with the names given, in the order of the run."""
        wanted = Panel(positions, family, format)
        fits = lambda panel: all(want in ("", has) for want, has in zip(wanted, panel, strict=True))
        return list(filter(fits, self._panels))

    def mode(self, panel: Panel) -> str:
        """How the format's own arithmetic was done, native or simulated; empty for float64."""
        return str(self(panel, "own")[0]["mode"]) if self(panel, "own") else ""

    def finest(self, positions: str, family: str) -> Panel | None:
        """The measured panel with the smallest unit roundoff: its weights are the least changed."""
        panels = self.panels(positions=positions, family=family)
        roundoff = lambda panel: number(self(panel, "signal")[0], "unit_roundoff") or 0.0
        return min(panels, key=roundoff, default=None)

    def points(self, panel: Panel, curve: CurveName, norm: str = "relative_l1") -> list[Point]:
        """A curve's distances in a norm; a wide signal says whether it is resolved."""
        wide = curve == "signal"
        return [
            Point(length(row), number(row, "distance"), not wide or _resolved(row))
            for row in self(panel, curve, norm)
        ]

    def noise(self, panel: Panel, norm: str = "relative_l1") -> list[Point]:
        """The error of the format's own arithmetic in the difference of the two prompts."""
        rows = self(panel, "own", norm)
        return [Point(length(row), number(row, "resolution")) for row in rows]

    def fit(self, panel: Panel) -> DecayFit:
        """The decay of the resolved wide signal with length."""
        kept = [point for point in self.points(panel, "signal") if point.drawable]
        return fit_decay([p.length for p in kept], [p.distance or 0.0 for p in kept])

    def _order(self, panel: Panel) -> tuple[int, ...]:
        known = (self.positions, self.families, self.formats)
        return tuple(names.index(name) for names, name in zip(known, panel, strict=True))


def _place(row: Row) -> tuple[Panel, str, str]:
    panel = Panel(str(row["positions"]), str(row["family"]), str(row["format"]))
    own = row["curve"] == "signal" and row["mode"] != "wide"
    return panel, "own" if own else str(row["curve"]), str(row["norm"])


def _resolved(row: Row) -> bool:
    """Whether float64 tells a distance from zero; an exact zero is one."""
    gap, finest = number(row, "distance"), number(row, "resolution")
    return not gap or (finest is not None and gap > finest)


def length(row: Row) -> int:
    """The run length n of a row."""
    return integer(row, "length")


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
