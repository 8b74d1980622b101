"""One claim's rows in a few numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import number
from proofs_numeric.claim import Claim
from proofs_numeric.verify.verdicts import violations


class Entry(NamedTuple):
    """A claim with its rows; one that was cut off has no closing row."""

    claim: Claim
    rows: Sequence[Row]

    def part(self, name: str) -> list[Row]:
        """The rows of one part, in their order."""
        return [row for row in self.rows if row["part"] == name]

    @property
    def closing(self) -> Row:
        """The row that repeats the others; empty where the claim was cut off."""
        return next(iter(self.part("closing")), {})

    @property
    def tried(self) -> list[Row]:
        """All measurements but the counter-cases."""
        return [row for row in self.rows if row["part"] not in ("closing", "counter_case")]

    @property
    def held(self) -> list[Row]:
        """Those that meet their hypotheses and hold."""
        return [row for row in self.tried if row["verdict"] == "holds"]

    @property
    def attained(self) -> list[Row]:
        """Those that hold as equalities."""
        return [row for row in self.held if is_equality(row)]

    @property
    def closest(self) -> Row | None:
        """The inequality that holds by least, relative to its bound."""
        known = [r for r in self.held if number(r, "tightness") is not None and not is_equality(r)]
        return max(known, key=lambda row: number(row, "tightness") or 0.0, default=None)

    @property
    def ascent(self) -> Row | None:
        """The closest that gradient ascent came, whatever came of it."""
        known = [row for row in self.part("adversary") if number(row, "tightness") is not None]
        return max(known, key=lambda row: number(row, "tightness") or 0.0, default=None)

    @property
    def stands(self) -> bool:
        """Whether the claim holds, its counter-cases fail, and nothing in it is amiss."""
        return bool(self.closing) and not violations(self.rows)


def is_equality(row: Row) -> bool:
    """Whether a row has no room between its two ends."""
    return number(row, "floor") is not None and row["floor"] == row["bound"]


def entries(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Entry]:
    """The claims that have rows, with their rows.

    Args:
      rows: Rows of the ledger, in any order.
      claims: In the order of the ledger.

    Returns:
      One entry a claim, in the order of ``claims``.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row["claim"]), []).append(row)
    return [Entry(claim, found[claim.name]) for claim in claims if claim.name in found]
