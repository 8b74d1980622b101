"""Pairs n and n + 1 as readers want them: failure lengths, predicted and observed."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.pair_rows import REFERENCE
from glassesjax.studies.train.records import (
    FailureLengths,
    FailureRow,
    Obstacle,
    PairRow,
    WrongPairs,
)
from glassesjax.trace.decay import loglog_slope

FACTOR = 2.0  # a prediction further off is explained, not only shown
BINARY = re.compile(r"e8m(\d+)")
NAMED_BITS = {"bf16": 7, "tf32": 10, "f32": 23}  # those with eight exponent bits, too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """One decoder in one format."""

    setting: str
    """What tells it from other decoders, its seed apart."""
    format: str
    seed: int
    obstacle: Obstacle | None
    """Why nothing is predicted; None where something is."""
    wrong: WrongPairs | None
    lengths: FailureLengths | None
    """None where a hypothesis does not hold."""
    ratio: float | None
    """Observed over predicted; None where one of the two is a bound, or nothing is predicted."""
    beyond_factor: bool
    """Whether prediction and observation are more than a factor apart, so far as is known."""

    pairs_beyond: int
    """Measured pairs beyond the training."""
    collisions_beyond: int
    """Those of them that collide."""

    @property
    def is_reference(self) -> bool:
        """Whether this is the float64 pass, in which prediction and observation are one."""
        return self.format == REFERENCE

    @property
    def share_beyond(self) -> float | None:
        """Share of the pairs beyond the training that collide; None where there are none."""
        return self.collisions_beyond / self.pairs_beyond if self.pairs_beyond else None


def is_bound(lengths: FailureLengths, length: int | None) -> bool:
    """Whether a length is only known to lie below the first or above the last measured one.

    Args:
      lengths: Of one decoder in one format.
      length: One of these; None beyond the reach.
    """
    return length in (None, lengths.least)


def failures(training: Training) -> list[Failure]:
    """All failure lengths."""
    beyond: dict[tuple[int, str], list[bool]] = {}
    for row in training.of(PairRow):
        if not row.in_training:
            beyond.setdefault((row.seed, row.format), []).append(row.collision)
    return [
        _failure(training.name, row, beyond.get((row.seed, row.format), []))
        for row in training.of(FailureRow)
    ]


def _failure(setting: str, row: FailureRow, beyond: Sequence[bool]) -> Failure:
    lengths = row.lengths
    return Failure(
        setting=setting,
        format=row.format,
        seed=row.seed,
        obstacle=row.obstacle,
        wrong=row.wrong,
        lengths=lengths,
        ratio=None if lengths is None else _ratio(lengths),
        beyond_factor=lengths is not None and _beyond_factor(lengths),
        pairs_beyond=len(beyond),
        collisions_beyond=sum(beyond),
    )


def _ratio(lengths: FailureLengths) -> float | None:
    predicted, observed = lengths.predicted, lengths.observed
    if predicted is None or observed is None or lengths.least in (predicted, observed):
        return None
    return observed / predicted


def _beyond_factor(lengths: FailureLengths) -> bool:
    # A length, or the one that it is known to be beyond.
    known = [lengths.reach + 1 if n is None else n for n in (lengths.predicted, lengths.observed)]
    return max(known) > FACTOR * min(known)


class Line(NamedTuple):
    """A straight line through logarithms to base two."""

    exponent: float
    factor: float
    """Two to that power: how many times as far one more bit carries."""
    points: int


class Theory(NamedTuple):
    """What follows from the power with which the signal falls with n within the training."""

    signal_exponent: float
    exponent: float
    """-1 over it: of the failure length against 2 to the power of the bits."""
    factor: float
    """Two to that power."""


class Slope(NamedTuple):
    """How far one more bit of the mantissa carries, in formats of eight exponent bits."""

    setting: str
    seed: int
    sites: str
    """Where they round; empty for everywhere."""
    observed: Line
    """Of the failure length against 2 to the power of the bits; its exponent is the slope."""
    predicted: Line
    theory: Theory | None
    """None where the signal does not fall."""


def slopes(cells: Sequence[Failure]) -> list[Slope]:
    """Failure length against bits, for each decoder with three formats or more.

    Args:
      cells: Of ``failures``.

    Returns:
      Fits on logarithms to base two: lengths that are bounds are left out.
    """
    groups: dict[tuple[str, int, str], list[tuple[int, FailureLengths]]] = {}
    for cell in cells:
        base, _, sites = cell.format.partition("@")
        if cell.lengths is not None and (bits := _bits(base)) is not None:
            group = groups.setdefault((cell.setting, cell.seed, sites), [])
            group.append((bits, cell.lengths))
    return [_slope(key, group) for key, group in groups.items() if len(group) > 2]


def _bits(name: str) -> int | None:
    found = BINARY.fullmatch(name)
    return int(found[1]) if found else NAMED_BITS.get(name)


def _slope(key: tuple[str, int, str], group: Sequence[tuple[int, FailureLengths]]) -> Slope:
    first = group[0][1]
    # Rows of older runs have no interval.
    falls = first.exponent_high is not None and first.exponent_high < 0
    power = -1 / first.exponent if falls else math.nan
    theory = Theory(first.exponent, power, _power_of_two(power)) if falls else None
    observed = [(2**bits, each.observed, each) for bits, each in group]
    predicted = [(2**bits, each.predicted, each) for bits, each in group]
    return Slope(*key, _line(observed), _line(predicted), theory)


def _line(points: Sequence[tuple[int, int | None, FailureLengths]]) -> Line:
    kept = [(at, float(n)) for at, n, lengths in points if n and not is_bound(lengths, n)]
    slope = loglog_slope(*zip(*kept, strict=True)) if kept else math.nan
    return Line(slope, _power_of_two(slope), len(kept))


def _power_of_two(exponent: float) -> float:
    """Infinite beyond float64."""
    return math.inf if exponent >= 1024 else 2.0**exponent
