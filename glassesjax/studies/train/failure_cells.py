"""Pairs n and n + 1 as readers want them: failure lengths, predicted and observed."""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
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
    cells = []
    for row in training.of(FailureRow):
        ratio, apart, collide = None, False, beyond.get((row.seed, row.format), [])
        if lengths := row.lengths:
            both = lengths.predicted, lengths.observed
            # A length, or the one that it is known to be beyond.
            first, second = (lengths.reach + 1 if n is None else n for n in both)
            apart = max(first, second) > FACTOR * min(first, second)
            # Of two bounds, or a bound and a length, no ratio is known.
            ratio = None if any(is_bound(lengths, n) for n in both) else second / first
        cells.append(
            Failure(
                setting=training.name,
                format=row.format,
                seed=row.seed,
                obstacle=row.obstacle,
                wrong=row.wrong,
                lengths=row.lengths,
                ratio=ratio,
                beyond_factor=apart,
                pairs_beyond=len(collide),
                collisions_beyond=sum(collide),
            )
        )
    return cells


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
        # e8mN has N bits; bf16, tf32 and f32 are such formats by other names.
        binary = BINARY.fullmatch(base)
        bits = int(binary[1]) if binary else NAMED_BITS.get(base)
        if cell.lengths is not None and bits is not None:
            group = groups.setdefault((cell.setting, cell.seed, sites), [])
            group.append((bits, cell.lengths))

    def line(points: Iterable[tuple[int, int | None, FailureLengths]]) -> Line:
        # A length that is only a bound would bend the line.
        kept = [(2**bits, float(n)) for bits, n, each in points if n and not is_bound(each, n)]
        slope = loglog_slope(*zip(*kept, strict=True)) if kept else math.nan
        return Line(slope, _power_of_two(slope), len(kept))

    found = []
    for key, group in groups.items():
        if len(group) > 2:  # two points are on every line
            first, theory = group[0][1], None
            # The signal falls where its whole interval does; rows of older runs have none.
            if first.exponent_high is not None and first.exponent_high < 0:
                power = -1 / first.exponent
                theory = Theory(first.exponent, power, _power_of_two(power))
            observed = line((bits, each.observed, each) for bits, each in group)
            predicted = line((bits, each.predicted, each) for bits, each in group)
            found.append(Slope(*key, observed, predicted, theory))
    return found


def _power_of_two(exponent: float) -> float:
    """Infinite beyond float64."""
    # A float power raises an error there.
    return math.inf if exponent >= 1024 else 2.0**exponent
