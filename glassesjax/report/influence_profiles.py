"""The rows of an influence run, found again as arrays of layers and tokens."""

import math
from collections.abc import Sequence

import numpy as np

from glassesjax.records import Row
from glassesjax.report.curves import number

BOUNDS = ("printed", "repaired")
KINDS = ("true", "frozen")  # in the order of the page


class Profiles:
    """Rows of an influence run by kind of attention, as arrays with the embedding first.

    Args:
      rows: Rows of the influence study, in any order. A kind that was cut off is left out.

    Raises:
      ValueError: There is no kind of attention with a row for every layer and token.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        found = [row for row in rows if row.get("study") == "influence"]
        self._rows = {kind: _in_order(found, kind) for kind in KINDS}
        self.kinds = tuple(kind for kind, mine in self._rows.items() if mine)
        if not self.kinds:
            seen = f"found none that is whole among {len(rows)}"
            raise ValueError(f"Wanted rows of the influence study; {seen}: run the study first.")
        self.first_row = self._rows[self.kinds[0]][0]
        self.shape = _shape(self.first_row)
        self._fields: dict[tuple[str, str], np.ndarray] = {}

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.shape[1]

    @property
    def pairs(self) -> int:
        """Number of pairs of layer and token."""
        return math.prod(self.shape)

    @property
    def tokens(self) -> list[str]:
        """The text of each token."""
        embedding = self._rows[self.kinds[0]][: self.length]
        return [str(row.get("token_text", "")) for row in embedding]

    def __call__(self, kind: str, name: str) -> np.ndarray:
        """A field for each layer and token; NaN where it is missing, null or not finite."""
        if (kind, name) not in self._fields:
            values = [number(row, name) for row in self._rows[kind]]
            array = np.array([math.nan if value is None else value for value in values])
            self._fields[kind, name] = array.reshape(self.shape)
        return self._fields[kind, name]

    @property
    def last_is_finite(self) -> bool:
        """Whether the last representation is, of which all numbers speak."""
        return self.first_row.get("last_finite") is not False

    def judged(self, kind: str, bound: str, verdict: str) -> np.ndarray:
        """For each layer and token, whether this is the rows' verdict on a bound."""
        found = np.array([row[bound] == verdict for row in self._rows[kind]])
        return found.reshape(self.shape)

    def exceeded(self, kind: str, bound: str) -> np.ndarray:
        """For each layer and token, whether the rows say that a bound is exceeded."""
        return self.judged(kind, bound, "exceeded")

    def unmeasured(self, kind: str) -> np.ndarray:
        """For each layer and token, whether a norm came out as no finite number."""
        names = "frobenius", "at_least", "at_most"
        return np.any([np.isnan(self(kind, name)) for name in names], axis=0)

    def unbounded(self) -> int:
        """Number of bounds that are no finite numbers, where the norms beside them are."""
        kinds = self.kinds
        none = lambda kind, b: self.judged(kind, b, "not_a_number") & ~self.unmeasured(kind)
        return sum(int(np.any([none(kind, b) for kind in kinds], axis=0).sum()) for b in BOUNDS)

    def shares(self, kind: str) -> np.ndarray:
        """Frobenius norms as shares of their sum over the tokens of a layer."""
        norms = self(kind, "frobenius")
        totals = norms.sum(axis=1, keepdims=True)
        return norms / np.where(totals == 0, math.nan, totals)

    def norms(self, kind: str) -> np.ndarray:
        """The operator norm where it was measured, else the Frobenius norm, which is no smaller."""
        spectral = self(kind, "spectral")
        norms = np.where(np.isnan(spectral), self(kind, "frobenius"), spectral)
        # An operator norm that came out as NaN is not replaced.
        return np.where(self.unmeasured(kind), math.nan, norms)

    def is_spectral(self, kind: str) -> bool:
        """Whether the operator norms at the embedding were measured."""
        return not np.isnan(self(kind, "spectral")[0]).all()

    def looseness(self, kind: str, bound: str) -> np.ndarray:
        """Decades from the norm of ``norms`` up to the bound; NaN where one of them is zero."""
        norms = self.norms(kind)
        return self(kind, f"log10_{bound}") - np.log10(np.where(norms > 0, norms, math.nan))


def contradictions(rows: Sequence[Row]) -> int:
    """How often a bound is exceeded that must hold: the program or the statement is wrong.

    Args:
      rows: Rows of the influence study.

    Returns:
      The repaired bound's with any attention, and the printed one's with attention held fixed.

    Raises:
      ValueError: There is no whole kind of attention.
    """
    profiles = Profiles(rows)
    must_hold = [(kind, "repaired") for kind in profiles.kinds]
    must_hold += [("frozen", "printed")] if "frozen" in profiles.kinds else []
    return sum(int(profiles.exceeded(kind, bound).sum()) for kind, bound in must_hold)


def effective_number(shares: np.ndarray) -> float:
    """The number of tokens that equal shares of the same entropy would have."""
    if np.isnan(shares).any():
        return math.nan
    positive = shares[shares > 0]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def _shape(row: Row) -> tuple[int, int]:
    return int(row["layers"] or 0) + 1, int(row["prompt_tokens"] or 0)


def _in_order(rows: Sequence[Row], kind: str) -> list[Row]:
    """The rows of a kind, layer by layer; none where one is missing."""
    mine = [row for row in rows if row.get("attention") == kind]
    place = lambda row: (int(row["layer"] or 0), int(row["position"] or 0))
    found = {place(row): row for row in mine}
    wanted = list(np.ndindex(*_shape(mine[0]))) if mine else []
    return [found[at] for at in wanted] if found.keys() == set(wanted) else []
