"""Rows of pairs n and n + 1 as readers want them: failing lengths, predicted and observed."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured
from glassesjax.studies.train.twin_rows import WIDE
from glassesjax.trace.decay import loglog_slope

FACTOR = 2.0  # a prediction further off is explained, not only shown
BINARY = re.compile(r"e8m(\d+)")
NAMED_BITS = {"bf16": 7, "tf32": 10, "f32": 23}  # those with eight exponent bits, too


class Failing(NamedTuple):
    """One decoder in one format."""

    setting: str
    """What tells it from other decoders, its seed apart."""
    format: str
    seed: int
    row: Row

    @property
    def applies(self) -> bool:
        """Whether the hypotheses hold."""
        return bool(self.row["applies"])

    def length(self, name: str) -> int | None:
        """A length out of the row.

        Args:
          name: Of the field.

        Returns:
          The length; None where it is beyond the reach.
        """
        value = self.row.get(name)
        return None if value is None else int(value)

    def is_bound(self, name: str) -> bool:
        """Whether the length is only known to lie below the first or above the last measured one.

        Args:
          name: Of the field.

        Returns:
          The truth value.
        """
        return self.length(name) in (None, self.length("least"))

    @property
    def is_wide(self) -> bool:
        """Whether this is the float64 pass, in which prediction and observation are one."""
        return self.format == WIDE

    @property
    def ratio(self) -> float | None:
        """Observed over predicted; None where one of the two is a bound."""
        if not self.applies or self.is_bound("predicted") or self.is_bound("observed"):
            return None
        return measured(self.row, "observed") / measured(self.row, "predicted")

    @property
    def off(self) -> bool:
        """Whether prediction and observation are more than a factor apart, so far as is known."""
        if not self.applies:
            return False
        ends = [self._end("predicted"), self._end("observed")]
        return max(ends) > FACTOR * min(ends)

    def _end(self, name: str) -> float:
        """A length, or the one that it is known to be beyond."""
        found = self.length(name)
        return measured(self.row, "reach") + 1 if found is None else float(found)


def setting_of(row: Row) -> str:
    """What tells one decoder of a run or a sweep from another, its seed apart.

    Args:
      row: Any row of the train study; a sweep's has its cell.

    Returns:
      Words for a title.
    """
    if "cell" in row:
        return str(row["cell"])
    return f"{row['task']}, positions {row['positions']}, remedy {row['remedy']}"


def failing(rows: Sequence[Row]) -> list[Failing]:
    """All failing lengths.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      In the order of the rows.
    """
    return [
        Failing(setting_of(row), str(row["format"]), integer(row, "seed"), row)
        for row in rows
        if row["kind"] == "failing"
    ]


def pair_curves(rows: Sequence[Row]) -> dict[tuple[str, int], dict[str, list[Row]]]:
    """The pairs of each decoder, by format.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Rows in order of length, by format, by setting and seed.
    """
    found: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in rows:
        if row["kind"] == "twins":
            own = found.setdefault((setting_of(row), integer(row, "seed")), {})
            own.setdefault(str(row["format"]), []).append(row)
    by_length = lambda row: integer(row, "length")
    return {
        key: {name: sorted(pairs, key=by_length) for name, pairs in curves.items()}
        for key, curves in found.items()
    }


class Line(NamedTuple):
    """A straight line through logarithms."""

    exponent: float
    points: int


class Slope(NamedTuple):
    """How far one more bit of the mantissa carries, in formats of eight exponent bits."""

    setting: str
    seed: int
    places: str
    """Where they round; empty for everywhere."""
    observed: Line
    """Of the failing length against 2 to the power of the bits; its exponent is the slope."""
    predicted: Line
    theory: float | None
    """One over the power with which the change of the lead, which noise has to meet, falls with n
    within the training; None where it does not fall."""


def slopes(cells: Sequence[Failing]) -> list[Slope]:
    """Failing length against bits, for each decoder with three formats or more.

    Args:
      cells: Of ``failing``.

    Returns:
      Fits on logarithms to base two: lengths that are bounds are left out.
    """
    groups: dict[tuple[str, int, str], list[tuple[int, Failing]]] = {}
    for cell in cells:
        base, _, places = cell.format.partition("@")
        if cell.applies and (bits := _bits(base)) is not None:
            groups.setdefault((cell.setting, cell.seed, places), []).append((bits, cell))
    return [_slope(key, group) for key, group in groups.items() if len(group) > 2]


def _bits(name: str) -> int | None:
    found = BINARY.fullmatch(name)
    return int(found[1]) if found else NAMED_BITS.get(name)


def _slope(key: tuple[str, int, str], group: Sequence[tuple[int, Failing]]) -> Slope:
    def fit(name: str) -> Line:
        kept = [(bits, cell.length(name)) for bits, cell in group if not cell.is_bound(name)]
        lengths = [(2**bits, float(n)) for bits, n in kept if n]
        return Line(
            loglog_slope(*zip(*lengths, strict=True)) if lengths else math.nan, len(lengths)
        )

    row = group[0][1].row
    fall, highest = (measured(row, f"exponent{end}") for end in ("", "_high"))
    theory = -1 / fall if highest < 0 else None  # rows of older runs have no interval
    return Slope(*key, fit("observed"), fit("predicted"), theory)
