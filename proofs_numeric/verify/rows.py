"""One claim's rows: all that measures, and no more, since a claim's fingerprint covers this module.

An edit here measures every claim again. What lists, decides and shows stands beside it, and what
has no part in a row is not imported: not even the type of a row from ``glassesjax.files``.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import jax

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

Row = dict[str, str | int | float | bool | None]
MATMUL = "highest"  # precision of products, whatever the caller's is


def claim_rows(claim: Claim, suite: Suite, *, certified: bool) -> list[Row]:
    """All rows of a claim: one for each measurement, then the closing one.

    It may run in a thread of its own, as JAX's contexts are the thread's; the caller's are not
    touched.

    Args:
      claim: What is measured.
      suite: How far.
      certified: Whether small instances are enclosed as well.

    Returns:
      Flat rows without the provenance; ``part`` says where a row comes from.

    Raises:
      ValueError: Two measurements of a part have one setting, so that one would hide the other.
    """
    # Proofs are read in float64. Counter-cases put NaN in and look for it in what comes out: it is
    # no fault there.
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision(MATMUL),
        jax.debug_nans(False),
    ):
        rows = list(_measured(claim, suite, certified=certified))
    return [*rows, _closing_row(claim, rows)]


def _measured(claim: Claim, suite: Suite, *, certified: bool) -> Iterator[Row]:
    parts: dict[str, Iterable[Measurement]] = {"ladder": claim.measure(suite)}
    if claim.adversary:
        parts["adversary"] = claim.adversary(suite)
    parts["counter_case"] = claim.counter_case()
    if certified and claim.certify:
        parts["certified"] = claim.certify()
    for part, measurements in parts.items():
        seen = set()
        for measurement in measurements:
            if measurement.setting in seen:
                got = f"two of {measurement.setting!r} in the {part} of {claim.name}"
                raise ValueError(f"Expected different settings, got {got}: name what differs.")
            seen.add(measurement.setting)
            yield _row(claim, part, measurement)


def _row(claim: Claim, part: str, measurement: Measurement) -> Row:
    detail = "; ".join(map(_words, measurement.hypotheses))
    return {
        "claim": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "part": part,
        "setting": measurement.setting,
        "size": measurement.size,
        "norm": measurement.norm or claim.norm,
        "dtype": measurement.dtype,
        "rounding": measurement.rounding,
        "hypotheses": _state(measurement.hypotheses),
        "hypotheses_measured": detail,
        "measured": measurement.measured,
        "bound": measurement.bound,
        "floor": measurement.floor,
        "roundoff": measurement.roundoff,
        "tightness": measurement.tightness,
        "verdict": measurement.verdict,
        "counter_case": _bite(measurement) if part == "counter_case" else None,
        "certified": measurement.certified,
    }


def _bite(measurement: Measurement) -> str:
    """A counter-case must lie outside the hypotheses, and the inequality must fail by numbers."""
    outside = not measurement.applies and all(each.measured for each in measurement.hypotheses)
    known = not math.isnan(measurement.measured) and math.isfinite(measurement.bound)
    return "fails as it must" if outside and known and not measurement.within else "does not fail"


def _state(hypotheses: tuple[Hypothesis, ...]) -> str:
    if unmeasured := [each.name for each in hypotheses if not each.measured]:
        return f"unmeasured: {', '.join(unmeasured)}"
    if unmet := [each.name for each in hypotheses if not each.met]:
        return f"unmet: {', '.join(unmet)}"
    return "met" if hypotheses else "none needed"


def _words(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.name}: {hypothesis.distance:.3g} (allowed {hypothesis.allowed:.3g})"


def _closing_row(claim: Claim, rows: Sequence[Row]) -> Row:
    """The claim's worst tightness, and that the claim is complete."""
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
