"""Influence by position, taken together: a cell is a decoder at one length."""

from collections.abc import Mapping
from typing import NamedTuple

from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.influence_rows import ORDERED
from glassesjax.studies.train.records import InfluenceOrderRow, InfluenceRow, RankCorrelation

LONGER = {"bound": "printed bound"}
MEASURES: Mapping[str, str] = {name: LONGER.get(name, name) for name in ORDERED}


class Order(NamedTuple):
    """Whether accuracy by position and a measure have one order, and how sure that is."""

    value: float
    low: float
    high: float

    @property
    def has_both_signs(self) -> bool:
        """Whether the interval does, which leaves the order open."""
        return self.low <= 0 <= self.high


class Places(NamedTuple):
    """All positions of one length, for one decoder."""

    name: str
    """Of the decoder, as titles and tables have it."""
    row: InfluenceOrderRow
    places: tuple[InfluenceRow, ...]
    """In order of their position."""

    @property
    def length(self) -> int:
        """Of the items."""
        return self.row.length

    def order(self, measure: str) -> Order | None:
        """The rank correlation with a measure; none where accuracy does not vary."""
        each: RankCorrelation | None = getattr(self.row, measure)
        if each is None or each.low != each.low or each.high != each.high:
            return None
        return Order(each.spearman, each.low, each.high)

    def values(self, field: str) -> list[float]:
        """One number a position."""
        return [float(getattr(row, field)) for row in self.places]


def influence_cells(training: Training) -> list[Places]:
    """All decoders and lengths, in the order of the rows."""
    places: dict[tuple[int, int], list[InfluenceRow]] = {}
    for row in training.of(InfluenceRow):
        places.setdefault((row.seed, row.length), []).append(row)
    ordered = lambda found: tuple(sorted(found, key=lambda row: row.position))
    return [
        Places(training.decoder(row.seed), row, ordered(places[row.seed, row.length]))
        for row in training.of(InfluenceOrderRow)
    ]
