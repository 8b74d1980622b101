"""Summary of a ledger."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from glassesjax.runs.run import Run
from proofs_numeric.claim import Part, Verdict
from proofs_numeric.verify import discovery
from proofs_numeric.verify.records import (
    ClosingRow,
    CounterCase,
    MeasurementRow,
    VerifyConstants,
    VerifyRow,
)

MEASURED: tuple[Part, ...] = ("ladder", "adversary", "certified")  # each must apply somewhere
Reason = Literal[
    "cut_off",
    "never_applies",
    "no_measurement",
    "no_counter_case",
    "violated",
    "unmeasured",
    "does_not_fail",
    "not_certified",
]
Closeness = Literal["sharp", "slack", "no_ratio"]
SHARP = 0.99
"""Least share of its bound at which an inequality is called sharp."""


class ClaimRows(NamedTuple):
    """A claim's rows; an incomplete claim has no closing row."""

    measured: list[MeasurementRow]
    closing: ClosingRow | None

    def part(self, name: Part) -> list[MeasurementRow]:
        """The rows of one part, in their order."""
        return [row for row in self.measured if row.part == name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """A violation in the ledger."""

    claim: str
    reason: Reason
    part: Part | None = None
    """The part of which nothing met the hypotheses."""
    row: MeasurementRow | None = None
    """The measurement that it is about."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Closest:
    """The tightest inequality of a claim, relative to its bound."""

    part: Part
    setting: str
    measured: float
    bound: float
    slack: float
    """The bound less the number."""
    tightness: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equalities:
    """The equalities of a claim, and the largest deviation relative to its roundoff."""

    count: int
    part: Part
    setting: str
    deviation: float
    roundoff: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ascent:
    """The largest ratio that gradient ascent reached."""

    setting: str
    tightness: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimSummary:
    """Summary of one claim; fields of its closing row are None if the claim is incomplete."""

    topic: str
    """What it is about: a name of ``TOPICS`` in ``discovery``."""
    rows: int
    """All measurements."""
    tried: int
    """Those that are no counter-cases."""
    decided: int
    """Those of them that meet their hypotheses."""
    held: int
    """Those of these that hold."""
    outside: int
    """Those that are tried and do not meet their hypotheses."""
    counter_cases: int
    failing: int
    """Counter-cases that fail, as they must."""
    narrowest: float | None
    """The least factor by which a counter-case misses its bound; None where none has one."""
    closeness: Closeness
    """Whether an inequality comes within 1 % of its bound, none does, or none has a ratio."""
    tightness: float | None
    """The largest of inequalities that hold; None where there is none."""
    verdict: Verdict | None
    counter_case: CounterCase | None
    certified: bool | None
    closest: Closest | None
    """None where no inequality holds."""
    equalities: Equalities | None
    """None where there are none that hold."""
    attacked: bool
    """Whether gradient ascent was run."""
    ascent: Ascent | None
    """None where it gave no number."""
    stands: bool
    """Whether the claim holds, its counter-cases fail, and nothing in it is amiss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySummary:
    """Summary of a ledger."""

    total: int
    """How many claims there are, measured or not."""
    measured: int
    """How many of them have rows."""
    measurements: int
    """All of them, counter-cases included."""
    tried: int
    """Those that are no counter-cases."""
    decided: int
    """Those of them that meet their hypotheses."""
    held: int
    """Those of these that hold."""
    outside: int
    """Those that are tried and do not meet their hypotheses."""
    not_finite: int
    """Those that meet their hypotheses and are no number."""
    without_ratio: int
    """Those that hold and have no ratio to their bound, which is zero or less, or that are zero."""
    standing: int
    """Claims that stand."""
    broken: int
    """Claims that do not."""
    cut_off: int
    """Those of them that have no closing row."""
    sharp: int
    """Claims with an inequality that comes within 1 % of its bound."""
    inequalities: int
    """Claims with an inequality that has a ratio to its bound."""
    no_ratio: int
    """Claims without any."""
    errata: int
    """Errata that stand."""
    counter_cases: int
    failing: int
    """Counter-cases that fail, as they must."""
    attacked: int
    """Claims with a number from gradient ascent."""
    certified: int
    """Claims of which an enclosure holds."""
    violations: list[Violation]
    """Whole claims first, then parts, then row by row."""
    claims: Mapping[str, ClaimSummary]
    """By name, in the order of the ledger."""


def summarize(run: Run[VerifyRow, VerifyConstants]) -> VerifySummary:
    """Computes the summary of a ledger.

    Args:
      run: A run of the verb verify with at least one row.
    """
    violations = list(_violations(run.rows))  # first: a claim with one of them does not stand
    broken = {each.claim for each in violations}
    claims = {
        name: _claim(name, rows, sound=name not in broken)
        for name, rows in by_claim(run.rows).items()
    }
    every = claims.values()
    by_closeness = collections.Counter(each.closeness for each in every)
    decided = [row for row in run.rows if isinstance(row, MeasurementRow) and _is_decided(row)]
    held = [row for row in decided if row.verdict == "holds"]
    standing = sum(each.stands for each in every)
    return VerifySummary(
        total=len(discovery.modules()),
        measured=len(claims),
        measurements=sum(each.rows for each in every),
        tried=sum(each.tried for each in every),
        decided=len(decided),
        held=len(held),
        outside=sum(each.outside for each in every),
        not_finite=sum(not math.isfinite(row.measured) for row in decided),
        without_ratio=sum(ratio_of(row) is None for row in held),
        standing=standing,
        broken=len(claims) - standing,
        cut_off=sum(each.verdict is None for each in every),
        sharp=by_closeness["sharp"],
        inequalities=by_closeness["sharp"] + by_closeness["slack"],
        no_ratio=by_closeness["no_ratio"],
        errata=sum(each.stands and each.topic == "errata" for each in every),
        counter_cases=sum(each.counter_cases for each in every),
        failing=sum(each.failing for each in every),
        attacked=sum(each.ascent is not None for each in every),
        certified=sum(each.certified is True for each in every),
        violations=violations,
        claims=claims,
    )


def by_claim(rows: Sequence[VerifyRow]) -> dict[str, ClaimRows]:
    """The rows of each measured claim.

    Returns:
      By the claim's name, in the order of the ledger.
    """
    by_name: dict[str, list[VerifyRow]] = {}
    for row in rows:
        by_name.setdefault(row.claim, []).append(row)
    claims = {}
    for name in discovery.modules():  # rows come in the order in which a folder was filled
        if name in by_name:
            mine = by_name[name]
            closing = next((row for row in mine if isinstance(row, ClosingRow)), None)
            measured = [row for row in mine if isinstance(row, MeasurementRow)]
            claims[name] = ClaimRows(measured, closing)
    return claims


def ratio_of(row: MeasurementRow) -> float | None:
    """Ratio of a measurement to its bound, for a logarithmic axis.

    Args:
      row: Any row; for a counter-case below its floor the ratio is floor over measured.

    Returns:
      A positive number, above one outside the bound; None where it is undefined.
    """
    # Below a floor, measured over bound would be under one, as if the inequality held.
    if row.floor is not None and row.measured < row.floor and row.part == "counter_case":
        ratio = row.floor / row.measured if row.measured > 0 else None
    else:
        ratio = row.tightness
    return ratio if ratio is not None and math.isfinite(ratio) and ratio > 0 else None


def _is_decided(row: MeasurementRow) -> bool:
    return row.part != "counter_case" and row.verdict != "not_applicable"


def _claim(name: str, rows: ClaimRows, *, sound: bool) -> ClaimSummary:
    cases, closing = rows.part("counter_case"), rows.closing
    tried = [row for row in rows.measured if row.part != "counter_case"]
    held = [row for row in tried if row.verdict == "holds"]
    closest = ascent = None
    # Equalities are at one up to rounding: they would hide the closest inequality.
    if (tightest := _tightest([row for row in held if not row.is_equality])) is not None:
        row, ratio = tightest
        ends = {"measured": row.measured, "bound": row.bound, "slack": row.bound - row.measured}
        closest = Closest(part=row.part, setting=row.setting, tightness=ratio, **ends)
    if (tightest := _tightest(rows.part("adversary"))) is not None:
        ascent = Ascent(setting=tightest[0].setting, tightness=tightest[1])
    sharp = closest is not None and closest.tightness >= SHARP
    misses = [ratio_of(row) for row in cases if row.counter_case == "fails"]
    return ClaimSummary(
        topic=discovery.topic_of(name),
        rows=len(rows.measured),
        tried=len(tried),
        decided=sum(map(_is_decided, tried)),
        held=len(held),
        outside=sum(row.verdict == "not_applicable" for row in tried),
        counter_cases=len(cases),
        failing=sum(row.counter_case == "fails" for row in cases),
        narrowest=min((miss for miss in misses if miss is not None), default=None),
        closeness="no_ratio" if closest is None else "sharp" if sharp else "slack",
        tightness=closing.tightness if closing else None,
        verdict=closing.verdict if closing else None,
        counter_case=closing.counter_case if closing else None,
        certified=closing.certified if closing else None,
        closest=closest,
        equalities=_equalities([row for row in held if row.is_equality]),
        attacked=bool(rows.part("adversary")),
        ascent=ascent,
        stands=sound and closing is not None,
    )


def _tightest(rows: Sequence[MeasurementRow]) -> tuple[MeasurementRow, float] | None:
    each = [(row, row.tightness) for row in rows if row.tightness is not None]
    known = [(row, value) for row, value in each if math.isfinite(value)]  # NaN orders nothing
    return max(known, key=lambda pair: pair[1], default=None)


def _equalities(held: Sequence[MeasurementRow]) -> Equalities | None:
    if not held:
        return None
    deviation = lambda row: abs(row.measured - row.bound)

    def relative(row: MeasurementRow) -> float:
        share = deviation(row) / (row.roundoff or 1e-300)  # any counts where the roundoff is zero
        return 0.0 if math.isnan(share) else share  # rounding may do anything

    worst = max(held, key=relative)
    return Equalities(
        count=len(held),
        part=worst.part,
        setting=worst.setting,
        deviation=deviation(worst),
        roundoff=worst.roundoff,
    )


def _violations(rows: Sequence[VerifyRow]) -> Iterator[Violation]:
    """Violations of all rows but the closing ones, which repeat them."""
    closed = {row.claim for row in rows if isinstance(row, ClosingRow)}
    for claim in dict.fromkeys(row.claim for row in rows if row.claim not in closed):
        yield Violation(claim=claim, reason="cut_off")
    # A part all of whose measurements miss the hypotheses shows nothing.
    applies: dict[tuple[str, Part], bool] = {}
    for row in rows:
        if isinstance(row, MeasurementRow) and row.part in MEASURED:
            known = applies.get((row.claim, row.part), False)
            applies[row.claim, row.part] = known or row.verdict != "not_applicable"
    for (claim, part), decided in applies.items():
        if not decided:
            yield Violation(claim=claim, reason="never_applies", part=part)
    for row in rows:
        if isinstance(row, ClosingRow):
            if not row.measurements:
                yield Violation(claim=row.claim, reason="no_measurement")
            if not row.counter_cases:
                yield Violation(claim=row.claim, reason="no_counter_case")
            continue
        reasons: dict[Reason, bool] = {  # a row has one reason, the first that is true
            "violated": row.verdict == "violated",
            "unmeasured": row.hypotheses == "unmeasured",
            "does_not_fail": row.counter_case == "does_not_fail",
            "not_certified": row.part == "certified" and row.verdict != "holds",
        }
        if (reason := next((name for name, true in reasons.items() if true), None)) is not None:
            yield Violation(claim=row.claim, reason=reason, row=row)
