"""Index of the rows of a collapse run by panel, curve and norm."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from glassesjax.report.points import Point
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.run import Run
from glassesjax.studies.collapse.records import CollapseRow
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
      run: Of the collapse study, with at least one row.
    """

    def __init__(self, run: Run[CollapseRow, ModelConstants]) -> None:
        self.constants = run.constants
        self.positions, self.families, self.formats = (
            tuple(dict.fromkeys(getattr(row, name) for row in run.rows))
            for name in ("positions", "family", "format")
        )
        self.lengths = tuple(sorted({row.length for row in run.rows}))
        self._rows: dict[tuple[Panel, str, str], list[CollapseRow]] = {}
        for row in sorted(run.rows, key=lambda row: row.length):
            panel = Panel(row.positions, row.family, row.format)
            own = row.curve == "signal" and row.mode != "reference"
            place = panel, "own" if own else row.curve, row.norm
            self._rows.setdefault(place, []).append(row)
        panels = {panel for panel, curve, _ in self._rows if curve == "signal"}
        # In the order of the run, by encoding, then by family, then by format.
        known = self.positions, self.families, self.formats
        order = lambda panel: [names.index(name) for names, name in zip(known, panel, strict=True)]
        self._panels = sorted(panels, key=order)

    def __call__(
        self, panel: Panel, curve: CurveName, norm: str = "relative_l1"
    ) -> list[CollapseRow]:
        """The rows of one curve, shortest run first; none where it was not measured."""
        return self._rows.get((panel, curve, norm), [])

    def panels(self, *, positions: str = "", family: str = "", format: str = "") -> list[Panel]:
        """All measured panels with the names given, in the order of the run."""
        wanted = Panel(positions, family, format)  # an empty name fits all
        fits = lambda panel: all(want in ("", has) for want, has in zip(wanted, panel, strict=True))
        return list(filter(fits, self._panels))

    def mode(self, panel: Panel) -> str:
        """How the format's own arithmetic was done, native or simulated; empty for float64."""
        return self(panel, "own")[0].mode if self(panel, "own") else ""

    def finest(self, positions: str, family: str) -> Panel | None:
        """The measured panel with the smallest unit roundoff: its weights are the least changed."""
        panels = self.panels(positions=positions, family=family)
        return min(panels, key=lambda p: self(p, "signal")[0].unit_roundoff, default=None)

    def points(self, panel: Panel, curve: CurveName, norm: str = "relative_l1") -> list[Point]:
        """A curve's distances in a norm; a float64 signal has a flag whether it is resolved."""
        known = curve != "signal"
        points = []
        for row in self(panel, curve, norm):
            gap = row.distance
            # Zero and NaN count as resolved: they have no place on a logarithmic axis in any case.
            resolved = known or math.isnan(gap) or gap == 0 or gap > row.resolution
            points.append(Point(row.length, finite(gap), resolved))
        return points

    def noise(self, panel: Panel, norm: str = "relative_l1") -> list[Point]:
        """The error of the format's own arithmetic in the difference; not the noise floor."""
        rows = self(panel, "own", norm)
        return [Point(row.length, finite(row.resolution)) for row in rows]

    def stored(self, panel: Panel) -> bool:
        """Whether the format stores representations, so that some may become equal."""
        return bool(self(panel, "rounded"))

    def overflow(self, panel: Panel) -> tuple[int, OverflowFields] | tuple[None, None]:
        """The first length at which the format's own arithmetic overflows, and where it does."""
        own = self(panel, "own", "l2")
        return next(((row.length, row.overflow) for row in own if row.overflow), (None, None))

    def fit(self, panel: Panel) -> DecayFit:
        """The decay of the resolved wide signal with length."""
        kept = [point for point in self.points(panel, "signal") if point.drawable]
        return fit_decay([p.length for p in kept], [p.distance or 0.0 for p in kept])


def finite(value: float) -> float | None:
    """A measured number; none where it is not finite."""
    return value if math.isfinite(value) else None


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
