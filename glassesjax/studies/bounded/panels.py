"""The rows of a bounded run by what they are of: one panel a line of a figure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer, measured
from glassesjax.trace.shares import squared_shares

NORM = "l2"


class Panel(NamedTuple):
    """What one line of a figure is of."""

    positions: str
    policy: str
    slots: int
    family: str

    @property
    def state(self) -> str:
        """The policy with its capacity."""
        return self.policy if self.policy == "full" else f"{self.policy} at {self.slots}"


def panels(rows: Sequence[Row], kind: str) -> Mapping[Panel, list[Row]]:
    """Rows of a kind by what they are of; of collapse, in one norm.

    Args:
      rows: Rows of the bounded study.
      kind: ``collapse`` or ``influence``.

    Returns:
      Rows in order of length or position.
    """
    chosen: dict[Panel, list[Row]] = {}
    for row in rows:
        if row["kind"] == kind and row.get("norm") in (NORM, None):
            key = Panel(
                str(row["positions"]),
                str(row["policy"]),
                integer(row, "slots"),
                str(row.get("family") or ""),
            )
            chosen.setdefault(key, []).append(row)
    order = "length" if kind == "collapse" else "position"
    ordered = {key: sorted(x, key=lambda row: integer(row, order)) for key, x in chosen.items()}
    return ordered if kind == "collapse" else {key: _shared(x) for key, x in ordered.items()}


def _shared(rows: list[Row]) -> list[Row]:
    """Rows of one text with their shares of squares, which earlier versions did not write."""
    if all("squared_share" in row for row in rows):
        return rows
    shares = squared_shares(np.array([measured(row, "frobenius") for row in rows]))
    return [{**row, "squared_share": float(x)} for row, x in zip(rows, shares, strict=True)]
