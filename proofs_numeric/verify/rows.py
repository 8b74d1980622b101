"""The rows of a claim: one for each measurement, and the closing row.

Fingerprints do not cover this module: the format of rows does not require new measurements.
"""

import math
from collections.abc import Sequence

from proofs_numeric.claim import Claim, Measurement, Part
from proofs_numeric.verify.records import (
    ClosingRow,
    CounterCase,
    Hypotheses,
    MeasurementRow,
    VerifyRow,
)


def claim_rows(
    claim: Claim, measurements: Sequence[tuple[Part, Measurement]], fingerprint: str
) -> list[VerifyRow]:
    """All rows of a claim.

    Returns:
      One for each measurement, in their order, then the closing one.
    """
    rows = [_measurement_row(claim, part, each, fingerprint) for part, each in measurements]
    tried = [row for row in rows if row.part != "counter_case"]
    holding = [row for row in tried if row.verdict == "holds"]
    violated = any(row.verdict == "violated" for row in tried)
    # Inequalities only, since equalities are at one up to rounding.
    ratios = [row.tightness for row in holding if not row.is_equality]
    cases = [row.counter_case for row in rows if row.part == "counter_case"]
    closing = ClosingRow(
        fingerprint=fingerprint,
        claim=claim.name,
        claim_kind=claim.kind,
        source=claim.source,
        norm=claim.norm,
        measurements=len(tried),
        holding=len(holding),
        counter_cases=len(cases),
        tightness=max((t for t in ratios if t is not None and math.isfinite(t)), default=None),
        verdict="violated" if violated else "holds" if holding else "not_applicable",
        counter_case="fails" if cases and {*cases} == {"fails"} else "does_not_fail",
        certified=any(row.certified for row in holding),
    )
    return [*rows, closing]


def _measurement_row(
    claim: Claim, part: Part, measurement: Measurement, fingerprint: str
) -> MeasurementRow:
    hypotheses = measurement.hypotheses
    unmeasured = tuple(each.name for each in hypotheses if not each.measured)
    # NaN is not met either: unmeasured comes first.
    not_met = unmeasured or tuple(each.name for each in hypotheses if not each.met)
    met: Hypotheses = "met" if hypotheses else "none_needed"
    case: CounterCase | None = None
    if part == "counter_case":
        # It must lie outside the hypotheses, and the inequality must fail by numbers.
        known = not math.isnan(measurement.measured) and math.isfinite(measurement.bound)
        fails = not_met and not unmeasured and known and not measurement.within
        case = "fails" if fails else "does_not_fail"
    return MeasurementRow(
        fingerprint=fingerprint,
        claim=claim.name,
        claim_kind=claim.kind,
        source=claim.source,
        part=part,
        setting=measurement.setting,
        size=measurement.size,
        norm=measurement.norm or claim.norm,
        dtype=measurement.dtype,
        rounding=measurement.rounding,
        hypotheses="unmeasured" if unmeasured else "unmet" if not_met else met,
        hypotheses_not_met=not_met,
        hypothesis_names=tuple(each.name for each in hypotheses),
        hypothesis_distances=tuple(each.distance for each in hypotheses),
        hypothesis_allowances=tuple(each.allowed for each in hypotheses),
        measured=measurement.measured,
        bound=measurement.bound,
        floor=measurement.floor if math.isfinite(measurement.floor) else None,
        roundoff=measurement.roundoff,
        tightness=measurement.tightness,
        verdict=measurement.verdict,
        counter_case=case,
        certified=measurement.certified,
    )
