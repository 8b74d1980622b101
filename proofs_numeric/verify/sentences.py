"""What the ledger says, in plain sentences."""

import math

from glassesjax.report.numbers import MISSING, decimal, short
from proofs_numeric.claim import Part
from proofs_numeric.verify.records import MeasurementRow
from proofs_numeric.verify.summary import ClaimSummary, VerifySummary, Violation
from proofs_numeric.verify.words import COUNTER_CASES

FEW = 3  # claims that a headline names one by one


def headline(summary: VerifySummary) -> str:
    """The ledger in a line, its numbers first.

    Args:
      summary: Of the ledger.

    Returns:
      How many claims stand and how many counter-cases fail, and each claim where they are few.
    """
    certified = f"{summary.certified} certified in ball arithmetic"
    parts = [
        f"{summary.standing} of {summary.measured} claims stand",
        f"{summary.failing} of {summary.counter_cases} counter-cases fail, as they must",
        *([certified] if summary.certified else []),
    ]
    each = summary.claims.items() if len(summary.claims) <= FEW else ()
    return "; ".join([*parts, *(_claim_headline(name, claim) for name, claim in each)])


def _claim_headline(name: str, claim: ClaimSummary) -> str:
    tightness = "" if claim.tightness is None else f", tightness {ratio(claim.tightness)}"
    return f"{name}: {verdict_words(claim)}{tightness}"


def verdict_words(claim: ClaimSummary) -> str:
    """The verdict on a claim."""
    return (claim.verdict or "cut_off").replace("_", " ")


def violation_line(violation: Violation) -> str:
    """What is not as it must be.

    Args:
      violation: Of the summary.

    Returns:
      Plain text that begins with the claim's name.
    """
    claim, row = violation.claim, violation.row
    if row is None:
        part = violation.part
        return {
            "cut_off": f"{claim}: was cut off before its closing row",
            "never_applies": f"{claim}: nothing of its {part} met the hypotheses",
            "no_measurement": f"{claim}: no measurement",
            "no_counter_case": f"{claim}: no counter-case",
        }[violation.reason]
    state = hypotheses_words(row)
    what = {
        "violated": f"violated, {_number(row.measured)} against {_number(row.bound)}",
        "unmeasured": f"a hypothesis could not be measured, {state}",
        "does_not_fail": "a counter-case that does not fail",
        "not_certified": f"not certified, {state}",
    }[violation.reason]
    return f"{claim} ({row.part}, {row.setting}): {what}"


def _number(value: float) -> str:
    """All digits; what is not finite is no number."""
    return str(value if math.isfinite(value) else None)


def hypotheses_words(row: MeasurementRow) -> str:
    """Whether the hypotheses of a measurement are met, with the names of those that are not."""
    state = row.hypotheses.replace("_", " ")
    return f"{state}: {', '.join(row.hypotheses_not_met)}" if row.hypotheses_not_met else state


def measured_hypotheses(row: MeasurementRow) -> str:
    """The hypotheses of a measurement with their numbers; empty where there are none."""
    each = zip(
        row.hypothesis_names, row.hypothesis_distances, row.hypothesis_allowances, strict=True
    )
    return "; ".join(
        f"{name}: {_digits(distance)} (allowed {_digits(allowed)})"
        for name, distance, allowed in each
    )


def _digits(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "not finite"


def ratio(value: float | None) -> str:
    """A tightness with as many digits as tell it from one."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.3f}" if 0.001 <= abs(value) < 0.999 else f"{value:.6g}"


def claim_sentences(claim: ClaimSummary) -> list[str]:
    """What was measured of a claim, and how close it came.

    Args:
      claim: Its numbers.

    Returns:
      Plain text.
    """
    return [
        text for text in (_count(claim), _closest(claim), _attained(claim), _ascent(claim)) if text
    ]


def _count(claim: ClaimSummary) -> str:
    beside = f"; {claim.outside} lie outside the hypotheses" if claim.outside else ""
    return f"Holds in {claim.held} of {claim.tried} measurements{beside}."


def _closest(claim: ClaimSummary) -> str:
    near = claim.closest
    if near is None:
        return ""
    pair = f"{short(near.measured)} against a bound of {short(near.bound)}, {ratio(near.tightness)}"
    where = _where(near.part, near.setting)
    return f"Closest: {pair} of it, with a slack of {short(near.slack)} ({where})."


def _attained(claim: ClaimSummary) -> str:
    worst = claim.equalities
    if worst is None:
        return ""
    times = "once" if worst.count == 1 else f"{worst.count} times"
    allowed = f"where rounding alone may make {decimal(worst.roundoff)}"
    gap = f"{decimal(worst.deviation)} apart, {allowed}"
    where = _where(worst.part, worst.setting)
    return f"An equality {times}, to within rounding: the worst is {gap} ({where})."


def _ascent(claim: ClaimSummary) -> str:
    if claim.ascent is None:
        return "" if claim.attacked else "No gradient ascent was run on it."
    found = ratio(claim.ascent.tightness)
    return f"Gradient ascent came to {found} of the bound ({claim.ascent.setting})."


def _where(part: Part, setting: str) -> str:
    return setting if part == "ladder" else f"{part}: {setting}"


def counter_sentence(row: MeasurementRow) -> str:
    """What happens without a hypothesis.

    Args:
      row: A counter-case.

    Returns:
      Plain text with the numbers.
    """
    end = "it fails, as it must." if row.counter_case == "fails" else "IT DOES NOT FAIL."
    dropped = f"hypotheses as measured: {measured_hypotheses(row) or 'none'}"
    return f"{row.setting} ({dropped}). {_beyond(row)}: {end}"


def _beyond(row: MeasurementRow) -> str:
    measured, bound, tightness = row.measured, row.bound, row.tightness
    if not (math.isfinite(measured) and math.isfinite(bound)):
        return f"{decimal(measured).capitalize()} against {decimal(bound)}"
    if row.floor is not None and measured < row.floor:
        return f"{short(measured)}, where at least {short(row.floor)} is claimed"
    times = f", {short(tightness)} times as much" if tightness and tightness >= 1.05 else ""
    return f"{short(measured)} against a bound of {short(bound)}{times}"


def counter_case_words(row: MeasurementRow) -> str:
    """Whether a counter-case fails; a dash for what is none."""
    return COUNTER_CASES[row.counter_case] if row.counter_case else MISSING
