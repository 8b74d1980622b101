"""The numbers that an influence run comes down to, over all its passages."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.files import Row
from glassesjax.statistics.ranks import spearman
from glassesjax.studies.influence.profiles import BOUNDS, Profiles, effective_number, profiles_of


class Spread(NamedTuple):
    """One number a passage, summed up; NaN where a passage has none."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Spread":
        """Median and range."""
        found = np.array(list(values), np.float64)
        return cls(float(np.median(found)), float(np.min(found)), float(np.max(found)))


class Distance(NamedTuple):
    """Decades from what was measured up to a bound; NaN where there is no finite one."""

    embedding_median: float
    embedding_least: float
    median: float
    least: float


@dataclasses.dataclass(frozen=True)
class InfluenceSummary:
    """What the rows of a run come down to, at the embedding unless said otherwise."""

    passages: int
    effective: Mapping[tuple[str, str], Spread]
    """By attention and convention: the exponential of the entropy of the shares of squares."""
    correlation: Mapping[str, Spread]
    """By convention: Spearman's coefficient with 1 / |v| over tokens, first kind of attention."""
    distance: Mapping[tuple[str, str], Distance]
    """By attention and bound, over the tokens of all passages, and over those of all layers."""


def influence_summary(rows: Sequence[Row]) -> InfluenceSummary:
    """The numbers of a run.

    Args:
      rows: Rows of the influence study.

    Returns:
      Medians and ranges over passages.

    Raises:
      ValueError: No passage has a whole kind of attention.
    """
    every = profiles_of(rows)
    first, pairs = every[0], [(kind, b) for kind in every[0].kinds for b in BOUNDS]
    having = {kind: [x for x in every if kind in x.kinds] for kind in first.kinds}
    effective = {
        (kind, name): Spread.over(effective_number(x.shares(kind, name)[0]) for x in having[kind])
        for kind in first.kinds
        for name in first.measures
    }
    correlation = {
        name: Spread.over(_with_length(x, first.kinds[0], name) for x in having[first.kinds[0]])
        for name in (first.measures if "scaled" in first.measures else ())
    }
    distance = {(kind, bound): _distance(having[kind], kind, bound) for kind, bound in pairs}
    return InfluenceSummary(len(every), effective, correlation, distance)


def _with_length(profiles: Profiles, kind: str, measure: str) -> float:
    """Rank correlation of sizes with the inverse length of the tokens' vectors."""
    lengths = profiles(kind, "input_norm")[0]
    # The order of inverse lengths is that of the lengths, turned round: none is divided by.
    return float(spearman(profiles.sizes(kind, measure)[0], -lengths))


def _distance(every: Sequence[Profiles], kind: str, bound: str) -> Distance:
    decades = [profiles.looseness(kind, bound) for profiles in every]
    ends = []
    for found in ([x[0] for x in decades], [x.ravel() for x in decades]):
        known = np.concatenate(found)
        known = known[np.isfinite(known)]
        ends += [np.median(known), np.min(known)] if len(known) else [np.nan, np.nan]
    return Distance(*map(float, ends))
