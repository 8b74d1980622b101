"""The ledger's rows: a claim's measurements, its closing row, and what in them is a failure."""

import math
from collections.abc import Iterable, Iterator, Sequence

from glassesjax.files import Row, Value
from proofs_numeric.claim import Claim, Hypothesis, Measurement
from proofs_numeric.verify.settings import VerifySettings

# What tells one row of the ledger from another. Other code makes other rows: a claim that was
# edited is measured again, and no row of yesterday's answers for it.
KEY = ("fingerprint", "claim", "part", "setting")
MEASURED = ("ladder", "adversary", "certified")  # parts, each of which must apply somewhere


def claim_rows(claim: Claim, settings: VerifySettings) -> Iterator[Row]:
    """One row for each measurement of a claim.

    Args:
      claim: What is measured.
      settings: How far.

    Yields:
      Flat rows without the provenance; ``part`` says where a row comes from.

    Raises:
      ValueError: Two measurements of a part have one setting, so that one would hide the other.
    """
    parts: dict[str, Iterable[Measurement]] = {"ladder": claim.measure(settings.suite)}
    if claim.adversary:
        parts["adversary"] = claim.adversary(settings.suite)
    parts["counter_case"] = claim.counter_case()
    if settings.certified and claim.certify:
        parts["certified"] = claim.certify()
    for part, measurements in parts.items():
        seen = set()
        for measurement in measurements:
            if measurement.setting in seen:
                got = f"two of {measurement.setting!r} in the {part} of {claim.name}"
                raise ValueError(f"Expected different settings, got {got}: name what differs.")
            seen.add(measurement.setting)
            yield _row(claim, part, measurement)


def failures(rows: Sequence[Row]) -> list[str]:
    """What in a ledger is not as it must be, a line each; empty for a ledger that stands.

    A closing row repeats what its claim's rows say, so that it is not counted again.

    Args:
      rows: Rows of the ledger.

    Returns:
      The lines, in the order of the rows.
    """
    closed = {row["claim"] for row in rows if row["part"] == "closing"}
    cut = dict.fromkeys(str(row["claim"]) for row in rows if row["claim"] not in closed)
    found = [f"{claim}: was cut off before its closing row" for claim in cut]
    measured = [row for row in rows if row["part"] in MEASURED]
    decided = {(r["claim"], r["part"]) for r in measured if r["verdict"] != "not_applicable"}
    idle = dict.fromkeys(
        (r["claim"], r["part"]) for r in measured if (r["claim"], r["part"]) not in decided
    )
    found += [f"{claim}: nothing of its {part} met the hypotheses" for claim, part in idle]
    for row in rows:
        name = f"{row['claim']} ({row['part']}, {row['setting']})"
        if row["part"] == "closing":
            if not row["measurements"]:
                found.append(f"{row['claim']}: no measurement")
            if not row["counter_cases"]:
                found.append(f"{row['claim']}: no counter-case")
        elif row["verdict"] == "violated":
            found.append(f"{name}: violated, {row['measured']} against {row['bound']}")
        elif str(row["hypotheses"]).startswith("unmeasured"):
            found.append(f"{name}: a hypothesis could not be measured, {row['hypotheses']}")
        elif row["counter_case"] == "does not fail":
            found.append(f"{name}: a counter-case that does not fail")
        elif row["part"] == "certified" and row["verdict"] != "holds":
            found.append(f"{name}: not certified, {row['hypotheses']}")
    return found


def _row(claim: Claim, part: str, found: Measurement) -> dict[str, Value]:
    detail = "; ".join(map(_words, found.hypotheses))
    return {
        "claim": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "part": part,
        "setting": found.setting,
        "size": found.size,
        "norm": found.norm or claim.norm,
        "dtype": found.dtype,
        "rounding": found.rounding,
        "hypotheses": _state(found.hypotheses),
        "hypotheses_measured": detail,
        "measured": found.measured,
        "bound": found.bound,
        "floor": found.floor,
        "roundoff": found.roundoff,
        "tightness": found.tightness,
        "verdict": found.verdict,
        "counter_case": _bite(found) if part == "counter_case" else None,
        "certified": found.certified,
    }


def _bite(found: Measurement) -> str:
    """A counter-case must lie outside the hypotheses, and the inequality must fail by numbers."""
    outside = not found.applies and all(each.measured for each in found.hypotheses)
    known = not math.isnan(found.measured) and math.isfinite(found.bound)
    return "fails as it must" if outside and known and not found.within else "does not fail"


def _state(hypotheses: tuple[Hypothesis, ...]) -> str:
    if unmeasured := [each.name for each in hypotheses if not each.measured]:
        return f"unmeasured: {', '.join(unmeasured)}"
    if unmet := [each.name for each in hypotheses if not each.met]:
        return f"unmet: {', '.join(unmet)}"
    return "met" if hypotheses else "none needed"


def _words(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.name}: {hypothesis.distance:.3g} (allowed {hypothesis.allowed:.3g})"


def closing_row(claim: Claim, rows: Sequence[Row]) -> dict[str, Value]:
    """One row a claim: its worst tightness, and that the claim is complete.

    Args:
      claim: Whose rows they are.
      rows: All its rows.

    Returns:
      A flat row without the provenance.
    """
    tried = [row for row in rows if row["part"] != "counter_case"]
    held = [row for row in tried if row["verdict"] == "holds"]
    # Equalities are at one but for rounding; what is asked is how close an inequality comes.
    known = [
        float(row["tightness"])
        for row in held
        if row["tightness"] is not None and row["floor"] != row["bound"]
    ]
    bad = any(row["verdict"] == "violated" for row in tried)
    cases = [row["counter_case"] for row in rows if row["part"] == "counter_case"]
    return {
        "claim": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "part": "closing",
        "setting": "all",
        "norm": claim.norm,
        "measurements": len(tried),
        "holding": len(held),
        "counter_cases": len(cases),
        "tightness": max(known, default=None),
        "verdict": "violated" if bad else "holds" if held else "not_applicable",
        "counter_case": "fails as it must"
        if cases and all(case == "fails as it must" for case in cases)
        else "does not fail",
        "certified": any(row["certified"] and row["verdict"] == "holds" for row in tried),
    }
