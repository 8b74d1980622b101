"""Rows of the ledger: measurements of a claim, and the closing row of each claim."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from glassesjax.runs.record import names
from glassesjax.runs.row_schema import RowSchema
from proofs_numeric.claim import Kind, Part, Suite, Verdict
from proofs_numeric.verify import discovery

CounterCase = Literal["fails", "does_not_fail"]
Hypotheses = Literal["met", "unmet", "unmeasured", "none_needed"]

CODES = "fingerprints"
"""Names, in ``provenance.json``, the fingerprint of each claim as the last command had it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyConstants:
    """How claims were measured."""

    study: str
    """The verb."""
    suite: Suite
    """The setting: how far ladders and ascents go."""
    matmul_default: str
    """JAX's precision of products while claims are measured, whatever it is set to: ``highest``."""
    optimized: bool
    """Whether most of XLA's optimizations were on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementRow:
    """One instance of a claim: the measured number, its floor and its bound."""

    kind: Literal["measurement"] = "measurement"
    """Of the row."""
    fingerprint: str
    """Of the code behind the claim, the versions and the device: 16 hexadecimal digits."""
    claim: str
    """Its name, which is its file's."""
    claim_kind: Kind
    """What it is about: a statement, a printed form that is false, a later paper, or a figure."""
    source: str
    """Paper and statement."""
    part: Part
    """Where the instance comes from: the ladder of sizes, gradient ascent, a dropped hypothesis, or
    an enclosure in ball arithmetic."""
    setting: str
    """What fixes the instance."""
    size: float | None = None
    """The step of the ladder, in the claim's own unit; missing where an instance is on none."""
    norm: str
    """Of the measured quantity; ``none`` for a plain number."""
    dtype: str
    """Type or number format computed with."""
    rounding: str
    """What was rounded on purpose, in words, or ``none``."""
    hypotheses: Hypotheses
    """Whether all are met, as measured; ``unmeasured`` where one has no number."""
    hypotheses_not_met: tuple[str, ...]
    """Names of those that could not be measured or, if there are none, of those that are unmet."""
    hypothesis_names: tuple[str, ...]
    """Of all hypotheses."""
    hypothesis_distances: tuple[float, ...]
    """How far each is from being met; null where that is not finite. Older code wrote
    three digits."""
    hypothesis_allowances: tuple[float, ...]
    """How far rounding alone may carry each; null where that is not finite. Older code wrote
    three digits."""
    measured: float
    """The number; null where it is not finite."""
    bound: float
    """What it must not exceed; null where that is not finite, so that it bounds nothing."""
    floor: float | None = None
    """What it must reach; missing where nothing is claimed. An equality has the bound here."""
    roundoff: float
    """How far rounding alone may carry the number past either end; null where that is not finite,
    so that it may go anywhere."""
    tightness: float | None = None
    """Measured over bound; missing where the bound is not positive or not finite, null where the
    number is not finite."""
    verdict: Verdict
    """Of the instance; one outside a hypothesis says nothing, for or against."""
    counter_case: CounterCase | None = None
    """Of counter-cases: whether the instance lies outside a hypothesis, as measured, and breaks the
    inequality by numbers, as it must."""
    certified: bool
    """Whether both numbers are outer ends of enclosures."""

    @property
    def is_equality(self) -> bool:
        """Whether floor and bound are equal."""
        return self.floor is not None and self.floor == self.bound


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClosingRow:
    """Summary of a claim's measurements; written last, it marks the claim as complete."""

    kind: Literal["closing"] = "closing"
    """Of the row."""
    fingerprint: str
    """As of a measurement."""
    claim: str
    """Its name."""
    claim_kind: Kind
    """As of a measurement."""
    source: str
    """Paper and statement."""
    norm: str
    """Of the claim; a measurement may have another."""
    measurements: int
    """How many there are, counter-cases aside."""
    holding: int
    """How many of these meet their hypotheses and hold."""
    counter_cases: int
    """How many there are."""
    tightness: float | None = None
    """The largest of those that hold, equalities aside; missing where none of these has one."""
    verdict: Verdict
    """``violated`` if one measurement is, else ``holds`` if one holds."""
    counter_case: CounterCase
    """Whether all counter-cases fail, and there is one."""
    certified: bool
    """Whether an enclosure holds."""


VerifyRow = MeasurementRow | ClosingRow


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: hypotheses as lists, and without what does not apply."""
    new = dict(row)
    for name in _NUMBERS:  # whole ones are stored without a point; True is an int as well
        if isinstance(value := row.get(name), int) and not isinstance(value, bool):
            new[name] = float(value)
    known = lambda name: isinstance(v := new.get(name), float) and math.isfinite(v)
    closing = new.get("part") == "closing"
    if closing:  # its part and setting had no other information
        lacking = {"part", "setting", *(() if known("tightness") else ("tightness",))}
    else:
        each = _HYPOTHESIS.findall(str(new.pop("hypotheses_measured", "")))
        state, _, text = str(new.get("hypotheses")).partition(": ")
        not_met = []
        for name, *_ in each:  # joined with commas, in order; names may contain commas
            if text == name or text.startswith(f"{name}, "):
                not_met.append(name)
                text = text[len(name) + 2 :]
        new |= {
            "hypotheses": state.replace(" ", "_"),
            "hypotheses_not_met": not_met,
            "hypothesis_names": [name for name, *_ in each],
            "hypothesis_distances": [float(distance) for _, distance, _ in each],
            "hypothesis_allowances": [float(allowed) for *_, allowed in each],
        }
        lacking = {name for name in ("size", "floor") if not known(name)}
        if not known("bound") or new["bound"] <= 0:
            lacking.add("tightness")
    new["kind"] = "closing" if closing else "measurement"
    # In the order in which a record is written, then the constants.
    order = dict.fromkeys([*names(ClosingRow if closing else MeasurementRow), *new])
    return {name: new[name] for name in order if name in new and name not in lacking}


_NUMBERS = ("size", "measured", "bound", "floor", "roundoff", "tightness")
_NUMBER = r"(-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|inf|nan))"
_HYPOTHESIS = re.compile(rf"(.*?): {_NUMBER} \(allowed {_NUMBER}\)(?:; |$)")


def _counting(rows: Sequence[VerifyRow], noted: Mapping[str, Any]) -> list[bool]:
    """Mask of the rows that the code of the last command has measured, for existing claims.

    Folders of schema 1 have no such fingerprint; there a claim's last rows count.
    """
    codes = noted.get(CODES)
    # A damaged record is as good as none.
    if not isinstance(codes, Mapping):
        codes = {row.claim: row.fingerprint for row in rows}
    claims = discovery.modules()
    return [row.claim in claims and row.fingerprint == codes.get(row.claim) for row in rows]


ROWS = RowSchema(
    kinds=(MeasurementRow, ClosingRow),
    constants=VerifyConstants,
    # Other code makes other rows: a claim that was edited is measured again, and no row of
    # yesterday's answers for it.
    key=("fingerprint", "claim", "kind", "part", "setting"),
    renamed={"kind": "claim_kind"},
    values={"counter_case": {"fails as it must": "fails", "does not fail": "does_not_fail"}},
    converted=_converted,
    counting=_counting,
)
"""How the rows of the ledger are kept."""
