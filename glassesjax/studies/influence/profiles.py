"""The rows of an influence run as arrays of layers and tokens, passage by passage."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.studies.influence.records import (
    BoundFields,
    InfluenceConstants,
    InfluenceRow,
    Kind,
    Verdict,
)
from glassesjax.trace.shares import squared_shares

Bound = Literal["printed", "repaired"]
Measure = Literal["frobenius", "along", "scaled"]

BOUNDS: tuple[Bound, ...] = ("printed", "repaired")
# How large an influence is, in three conventions; see ``trace.Influence``.
MEASURES: Mapping[Measure, str] = {"frobenius": "|J|", "along": "|J v|", "scaled": "|J| |v|"}
KINDS: tuple[Kind, ...] = ("true", "frozen")  # in the order of the page

FIELDS: Mapping[str, Callable[[InfluenceRow], float | None]] = {
    "frobenius": lambda row: row.frobenius,
    "standard_error": lambda row: row.standard_error,
    "spectral": lambda row: row.spectral,
    "at_least": lambda row: row.at_least,
    "at_most": lambda row: row.at_most,
    "along": lambda row: row.along_vector.along if row.along_vector else None,
    "along_standard_error": lambda row: (
        row.along_vector.along_standard_error if row.along_vector else None
    ),
    "input_norm": lambda row: row.along_vector.input_norm if row.along_vector else None,
    "rollout": lambda row: row.rollout,
    "attention_share": lambda row: row.attention_share,
}
LOGARITHMS: Mapping[str, Callable[[BoundFields], float]] = {
    "log10_printed": lambda bounds: bounds.log10_printed,
    "log10_over_printed": lambda bounds: bounds.log10_over_printed,
    "log10_repaired": lambda bounds: bounds.log10_repaired,
    "log10_over_repaired": lambda bounds: bounds.log10_over_repaired,
}
VERDICTS: Mapping[Bound, Callable[[BoundFields], Verdict]] = {
    "printed": lambda bounds: bounds.printed,
    "repaired": lambda bounds: bounds.repaired,
}


class Profiles:
    """Rows of one passage by kind of attention, as arrays with the embedding first.

    Args:
      rows: Of one passage, in any order. A kind of attention without a row for every layer and
        token was cut off and is left out.
      num_layers: Of the model.
    """

    def __init__(self, rows: Sequence[InfluenceRow], num_layers: int) -> None:
        self.text, self.offset = rows[0].text, rows[0].offset
        self.shape = num_layers + 1, rows[0].prompt_tokens
        places, self._rows = list(np.ndindex(*self.shape)), {}
        for kind in KINDS:
            by_place = {(row.layer, row.position): row for row in rows if row.attention == kind}
            if by_place.keys() == set(places):
                # Layer by layer, so that ``reshape(self.shape)`` puts each in its place.
                self._rows[kind] = [by_place[at] for at in places]
        self.kinds = tuple(self._rows)
        self._arrays: dict[tuple[Kind, str], np.ndarray] = {}

    @property
    def first_row(self) -> InfluenceRow:
        """The first token at the embedding."""
        return self._rows[self.kinds[0]][0]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The conventions that the rows have numbers for; those of the first versions only one."""
        return tuple(MEASURES) if self.first_row.along_vector else ("frobenius",)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The bounds that the rows have; none where the pass is rounded."""
        return BOUNDS if self.first_row.bounds else ()

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.shape[1]

    @property
    def tokens(self) -> list[str]:
        """The text of each token."""
        return [row.token_text for row in self._rows[self.kinds[0]][: self.length]]

    def __call__(self, kind: Kind, name: str) -> np.ndarray:
        """A number for each layer and token; NaN where it is missing or not finite.

        Args:
          kind: Of attention.
          name: One of ``FIELDS`` or ``LOGARITHMS``.
        """
        if (kind, name) not in self._arrays:
            values = [_value(name, row) for row in self._rows[kind]]
            array = np.array([math.nan if value is None else value for value in values])
            finite = np.where(np.isfinite(array), array, math.nan)
            # (layers+1 * seq,) -> (layers+1, seq)
            self._arrays[kind, name] = finite.reshape(self.shape)
        return self._arrays[kind, name]

    @property
    def last_is_finite(self) -> bool:
        """Whether the last representation is finite, on which all numbers depend."""
        return self.first_row.last_finite

    def judged(self, kind: Kind, bound: Bound, verdict: Verdict) -> np.ndarray:
        """For each layer and token, whether this is the rows' verdict on a bound."""
        # (layers+1 * seq,) -> (layers+1, seq)
        matches = [
            row.bounds is not None and VERDICTS[bound](row.bounds) == verdict
            for row in self._rows[kind]
        ]
        return np.array(matches).reshape(self.shape)

    def verdict(self, kind: Kind, bound: Bound, layer: int, position: int) -> Verdict | None:
        """The verdict on a bound at one place; None where there is no bound."""
        bounds = self._rows[kind][layer * self.length + position].bounds
        return None if bounds is None else VERDICTS[bound](bounds)

    def exceeded(self, kind: Kind, bound: Bound) -> np.ndarray:
        """For each layer and token, whether a bound is exceeded."""
        return self.judged(kind, bound, "exceeded")

    def unmeasured(self, kind: Kind) -> np.ndarray:
        """For each layer and token, whether a norm came out as no finite number."""
        names = "frobenius", "at_least", "at_most"
        return np.any([np.isnan(self(kind, name)) for name in names], axis=0)

    def unbounded(self) -> int:
        """Number of bounds that are no finite numbers, where the norms beside them are."""
        kinds = self.kinds
        # Each once, whatever the kinds of attention whose verdict it spoils.
        none = lambda kind, b: self.judged(kind, b, "not_finite") & ~self.unmeasured(kind)
        return sum(
            int(np.any([none(kind, b) for kind in kinds], axis=0).sum()) for b in self.bounds
        )

    def sizes(self, kind: Kind, measure: Measure) -> np.ndarray:
        """How large each influence is, in one of the three conventions."""
        if measure == "scaled":
            return self(kind, "frobenius") * self(kind, "input_norm")
        return self(kind, measure)

    def relative_errors(self, kind: Kind, measure: Measure) -> np.ndarray:
        """Standard error over size; NaN where exact, or where the size is zero."""
        error = self(kind, "along_standard_error" if measure == "along" else "standard_error")
        # Of |J| |v| as of |J|: the length is exact.
        size = self(kind, "along" if measure == "along" else "frobenius")
        return error / np.where(size > 0, size, math.nan)

    def shares(self, kind: Kind, measure: Measure = "frobenius") -> np.ndarray:
        """Squares of the sizes as shares of their sum over the tokens of a layer."""
        return squared_shares(self.sizes(kind, measure))

    def norms(self, kind: Kind) -> np.ndarray:
        """The operator norm where it was measured, else the Frobenius norm, which is no smaller."""
        spectral = self(kind, "spectral")
        norms = np.where(np.isnan(spectral), self(kind, "frobenius"), spectral)
        # An operator norm that came out as NaN is not replaced.
        return np.where(self.unmeasured(kind), math.nan, norms)

    def is_spectral(self, kind: Kind) -> bool:
        """Whether the operator norms at the embedding were measured."""
        return not np.isnan(self(kind, "spectral")[0]).all()

    def looseness(self, kind: Kind, bound: Bound) -> np.ndarray:
        """Decades from the norm of ``norms`` up to the bound; NaN where one of them is zero."""
        norms = self.norms(kind)
        return self(kind, f"log10_{bound}") - np.log10(np.where(norms > 0, norms, math.nan))


def _value(name: str, row: InfluenceRow) -> float | None:
    if name in FIELDS:
        return FIELDS[name](row)
    return None if row.bounds is None else LOGARITHMS[name](row.bounds)


def profiles_of(run: Run[InfluenceRow, InfluenceConstants]) -> list[Profiles]:
    """Each passage of a run, in the order of its rows.

    Raises:
      BadInput: None has.
    """
    passages: dict[tuple[str, int], list[InfluenceRow]] = {}
    for row in run.rows:
        passages.setdefault((row.text, row.offset), []).append(row)
    each = [Profiles(rows, run.constants.num_layers) for rows in passages.values()]
    whole = [profiles for profiles in each if profiles.kinds]
    if not whole:
        expected = "Expected rows of the influence study with a whole kind of attention"
        raise BadInput(f"{expected}, got none among {len(run.rows)}: run the study first.")
    return whole


def effective_number(shares: np.ndarray) -> float:
    """The number of tokens that equal shares of the same entropy would have."""
    if np.isnan(shares).any():
        return math.nan
    positive = shares[shares > 0]  # 0 log 0 counts as 0
    return float(np.exp(-np.sum(positive * np.log(positive))))
