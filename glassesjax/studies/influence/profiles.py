"""The rows of an influence run as arrays of layers and tokens, passage by passage."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer, number
from glassesjax.trace.shares import squared_shares

BOUNDS = ("printed", "repaired")
# How large an influence is, in three conventions; see ``trace.Influence``.
MEASURES = {"frobenius": "|J|", "along": "|J v|", "scaled": "|J| |v|"}
KINDS = ("true", "frozen")  # in the order of the page


# What stands in a row where a convention was measured.
FIELDS = {"frobenius": "frobenius", "along": "along", "scaled": "input_norm"}


class Profiles:
    """Rows of one passage by kind of attention, as arrays with the embedding first.

    Args:
      rows: Rows of the influence study, in any order; of several passages the first that has a
        whole kind of attention counts. A kind that was cut off is left out.

    Raises:
      ValueError: There is no kind of attention with a row for every layer and token.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        each = ({kind: _in_order(mine, kind) for kind in KINDS} for mine in _by_passage(rows))
        self._rows = next((found for found in each if any(found.values())), {})
        self.kinds = tuple(kind for kind, mine in self._rows.items() if mine)
        if not self.kinds:
            seen = f"found none that is whole among {len(rows)}"
            raise ValueError(f"Wanted rows of the influence study; {seen}: run the study first.")
        self.first_row = self._rows[self.kinds[0]][0]
        self.shape = _shape(self.first_row)
        self._fields: dict[tuple[str, str], np.ndarray] = {}

    @property
    def passage(self) -> tuple[str, int]:
        """The text and the characters before the passage; rows of earlier versions name none."""
        return str(self.first_row.get("text", "")), int(self.first_row.get("offset") or 0)

    @property
    def measures(self) -> tuple[str, ...]:
        """The conventions that the rows have numbers for; those of earlier versions only one."""
        return tuple(name for name in MEASURES if FIELDS[name] in self.first_row)

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

    def sizes(self, kind: str, measure: str) -> np.ndarray:
        """How large each influence is, in one of the three conventions."""
        if measure == "scaled":
            return self(kind, "frobenius") * self(kind, "input_norm")
        return self(kind, measure)

    def relative_errors(self, kind: str, measure: str) -> np.ndarray:
        """Standard error over size; NaN where exact, or where the size is zero."""
        error = self(kind, "along_standard_error" if measure == "along" else "standard_error")
        size = self(kind, "along" if measure == "along" else "frobenius")
        return error / np.where(size > 0, size, math.nan)

    def shares(self, kind: str, measure: str = "frobenius") -> np.ndarray:
        """Squares of the sizes as shares of their sum over the tokens of a layer."""
        return squared_shares(self.sizes(kind, measure))

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


def profiles_of(rows: Sequence[Row]) -> list[Profiles]:
    """Each passage of a run, in the order of its rows.

    Args:
      rows: Rows of the influence study.

    Returns:
      The passages that have a whole kind of attention.

    Raises:
      ValueError: None has.
    """
    found = []
    for mine in _by_passage(rows):
        with contextlib.suppress(ValueError):
            found.append(Profiles(mine))
    return found or [Profiles(rows)]  # which says what is lacking


def effective_number(shares: np.ndarray) -> float:
    """The number of tokens that equal shares of the same entropy would have."""
    if np.isnan(shares).any():
        return math.nan
    positive = shares[shares > 0]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def _by_passage(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the study in groups of one passage, in the order of the passages."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row.get("study") == "influence":
            groups.setdefault((row.get("text"), row.get("offset")), []).append(row)
    return list(groups.values())


def _shape(row: Row) -> tuple[int, int]:
    return integer(row, "layers") + 1, integer(row, "prompt_tokens")


def _in_order(rows: Sequence[Row], kind: str) -> list[Row]:
    """The rows of a kind, layer by layer; none where one is missing."""
    mine = [row for row in rows if row.get("attention") == kind]
    place = lambda row: (integer(row, "layer"), integer(row, "position"))
    found = {place(row): row for row in mine}
    wanted = list(np.ndindex(*_shape(mine[0]))) if mine else []
    return [found[at] for at in wanted] if found.keys() == set(wanted) else []
