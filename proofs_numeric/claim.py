"""Claims: inequalities with measured hypotheses, and adversarial attempts to violate them.

Every statement has the form ``measured <= bound``: a limit becomes a bound for each n of a ladder,
an impossibility a distance that must be zero, an equality an inequality with a floor.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

Suite = Literal["quick", "full"]
Verdict = Literal["holds", "violated", "not_applicable"]
Kind = Literal["statement", "erratum", "follow_up", "figure"]
Part = Literal["ladder", "adversary", "counter_case", "certified"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A hypothesis and its measured distance from being met."""

    name: str
    """What is presumed, in words."""
    distance: float
    """How far the instance is from meeting it; NaN where that could not be measured."""
    allowed: float = 0.0
    """How far rounding alone may carry it."""

    @property
    def measured(self) -> bool:
        """Whether the distance is a number."""
        return not math.isnan(self.distance)

    @property
    def met(self) -> bool:
        """Whether the distance is within rounding error; False for NaN."""
        return self.distance <= self.allowed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One instance of ``floor <= measured <= bound``."""

    setting: str
    """What fixes the instance; different for each of a claim's measurements."""
    measured: float
    bound: float
    floor: float = -math.inf
    """Least value that ``measured`` must reach, where the statement is tight or an equality."""
    roundoff: float = 0.0
    """How far rounding alone may carry ``measured`` past either end."""
    hypotheses: tuple[Hypothesis, ...] = ()
    size: float | None = None
    """The step of the ladder: what the claim's ``climbs`` names."""
    norm: str = ""
    """In which the numbers are; the claim's if empty."""
    dtype: str = "float64"
    rounding: str = "none"
    """Where and how values were rounded on purpose."""
    certified: bool = False
    """Both numbers are outer ends of enclosures in ball arithmetic."""

    @classmethod
    def equality(
        cls, *, setting: str, measured: float, expected: float, roundoff: float, **more: object
    ) -> "Measurement":
        """An equality up to rounding: the floor is the bound."""
        ends = {"measured": measured, "bound": expected, "floor": expected, "roundoff": roundoff}
        return cls(setting=setting, **ends, **more)  # pyrefly: ignore[bad-argument-type]

    @property
    def applies(self) -> bool:
        """Whether every hypothesis is met."""
        return all(hypothesis.met for hypothesis in self.hypotheses)

    @property
    def within(self) -> bool:
        """Whether the inequality holds, up to roundoff; False for NaN and an infinite bound."""
        above = self.measured >= self.floor - self.roundoff
        return math.isfinite(self.bound) and above and self.measured <= self.bound + self.roundoff

    @property
    def verdict(self) -> Verdict:
        """Verdict on the instance; one outside the hypotheses neither holds nor fails."""
        if not self.applies:
            return "not_applicable"
        return "holds" if self.within else "violated"

    @property
    def tightness(self) -> float | None:
        """Measured over bound; None where the bound is zero or not finite."""
        useful = math.isfinite(self.bound) and self.bound > 0
        return self.measured / self.bound if useful else None


_Measures = TypeVar("_Measures", bound=Callable[..., Iterable[Measurement]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement with its measurements, adversary and counter-cases.

    The functions are named here, or decorated where they are written, by ``part``. The ledger
    counts it as a violation if there is no ladder or no counter-case.
    """

    name: str
    """The file's name."""
    title: str
    source: str
    """Paper and statement; "after" a paper that was not read in full."""
    page: str = ""
    """Its page in docs/statements; there stands the proof of what is "after" a paper."""
    statement: str
    """The inequality in LaTeX, as it is measured."""
    assumes: tuple[str, ...] = ()
    """The hypotheses in words; LaTeX between dollars."""
    kind: Kind = "statement"
    norm: str = "none"
    """The norm of the measured quantity; ``none`` for a plain number."""
    climbs: str = "n"
    """What ``size`` counts along the ladder."""
    note: str = ""
    """What to know beside the statement: what is printed, what was repaired."""
    measure: Callable[[Suite], Iterable[Measurement]] = lambda suite: ()
    """A ladder of sizes, the place where the statement is tight, and stress."""
    counter_case: Callable[[], Iterable[Measurement]] = lambda: ()
    """Hypotheses dropped: each must be measured as unmet, and the inequality must fail."""
    adversary: Callable[[Suite], Iterable[Measurement]] | None = None
    """The worst that gradient ascent on measured over bound finds."""
    certify: Callable[[], Iterable[Measurement]] | None = None
    """The same inequality of small instances, enclosed in ball arithmetic."""

    def part(self, part: Part) -> Callable[[_Measures], _Measures]:
        """A decorator that makes a function one of the claim's parts.

        Args:
          part: The ladder is ``measure``, what is certified ``certify``; the others by their names.

        Returns:
          The decorator, which returns the function itself.
        """
        field = {"ladder": "measure", "certified": "certify"}.get(part, part)

        def declare(function: _Measures) -> _Measures:
            # Frozen, but for the module that declares the claim, while it is imported.
            object.__setattr__(self, field, function)
            return function

        return declare
