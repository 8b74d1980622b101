"""Rows on what answers hear of each place, taken together: a cell is a decoder at one length."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured
from glassesjax.studies.train.failing_cells import setting_of
from glassesjax.studies.train.heard_rows import ORDERED

LONGER = {"bound": "printed bound"}
MEASURES: Mapping[str, str] = {name: LONGER.get(name, name) for name in ORDERED}


class Order(NamedTuple):
    """Whether accuracy by place and a measure have one order, and how sure that is."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The coefficient and its interval, and that it tells no order if it has both signs."""
        both = ": no order" if self.low <= 0 <= self.high else ""
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f}{both})"


class Places(NamedTuple):
    """All places of one length, for one decoder."""

    row: Row
    """Of kind ``heard_order``."""
    places: tuple[Row, ...]
    """Of kind ``heard``, in order."""

    @property
    def name(self) -> str:
        """As titles and tables name it."""
        return decoder_name(self.row)

    @property
    def length(self) -> int:
        """Of the items."""
        return integer(self.row, "length")

    def order(self, measure: str) -> Order | None:
        """The rank correlation with a measure; none where accuracy does not vary."""
        value, low, high = (self.row[f"{of}_{measure}"] for of in ("spearman", "low", "high"))
        if value is None or low is None or high is None:
            return None
        return Order(float(value), float(low), float(high))

    def values(self, field: str) -> list[float]:
        """One number a place."""
        return [measured(row, field) for row in self.places]


def decoder_name(row: Row) -> str:
    """What tells one decoder from another, on a page.

    Args:
      row: Any row of the train study; a sweep's has its cell.

    Returns:
      Its setting, layers and seed.
    """
    plural = "" if row["layers"] == 1 else "s"
    return f"{setting_of(row)}, {row['layers']} layer{plural}, seed {row['seed']}"


def heard_cells(rows: Sequence[Row]) -> list[Places]:
    """All decoders and lengths, in the order of the rows.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Cells; none where nothing was heard.
    """
    of = lambda row: (setting_of(row), *(row[name] for name in ("layers", "seed", "length")))
    places: dict[tuple, list[Row]] = {}
    for row in rows:
        if row["kind"] == "heard":
            places.setdefault(of(row), []).append(row)
    ordered = lambda found: tuple(sorted(found, key=lambda row: integer(row, "place")))
    ends = [row for row in rows if row["kind"] == "heard_order"]
    return [Places(row, ordered(places[of(row)])) for row in ends]
