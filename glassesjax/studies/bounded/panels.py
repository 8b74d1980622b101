"""The rows of a bounded run grouped in panels, one for each line of a figure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from glassesjax.studies.bounded.records import DistanceRow, TokenRow
from glassesjax.trace.shares import squared_shares

NORM = "l2"


class Panel(NamedTuple):
    """Key of one line of a figure."""

    positions: str
    policy: str
    slots: int
    family: str

    @property
    def state(self) -> str:
        """The policy with its capacity."""
        return self.policy if self.policy == "full" else f"{self.policy} at {self.slots}"


class Token(NamedTuple):
    """One token of a text, with its share of squares."""

    row: TokenRow
    share: float
    """NaN where it is not finite."""


def distance_panels(
    rows: Iterable[DistanceRow | TokenRow],
) -> Mapping[Panel, list[DistanceRow]]:
    """Rows of distances by what they are of, in one norm."""
    chosen: dict[Panel, list[DistanceRow]] = {}
    for row in rows:
        if isinstance(row, DistanceRow) and row.norm == NORM:
            panel = Panel(row.positions, row.policy, row.slots, row.family)
            chosen.setdefault(panel, []).append(row)
    return {panel: sorted(mine, key=lambda row: row.length) for panel, mine in chosen.items()}


def token_panels(rows: Iterable[DistanceRow | TokenRow]) -> Mapping[Panel, list[Token]]:
    """Rows of tokens by what they are of."""
    chosen: dict[Panel, list[TokenRow]] = {}
    for row in rows:
        if isinstance(row, TokenRow):
            # One text a run, so that no family tells panels apart.
            panel = Panel(row.positions, row.policy, row.slots, "")
            chosen.setdefault(panel, []).append(row)
    panels = {}
    for panel, mine in chosen.items():
        ordered = sorted(mine, key=lambda row: row.position)
        shares = [row.vectors.squared_share for row in ordered if row.vectors]
        if len(shares) < len(ordered):  # the first versions did not write them
            shares = squared_shares(np.array([row.frobenius for row in ordered])).tolist()
        panels[panel] = list(map(Token, ordered, shares))
    return panels
