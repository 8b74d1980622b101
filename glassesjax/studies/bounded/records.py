"""Rows of a bounded run: a distance of two runs, or the influence of one token."""

import dataclasses
from typing import Any, Literal

from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.runs.row_schema import RowSchema

Norm = Literal["l2", "linf", "relative_l1"]
# Two orders of the same sums differ by their rounding; the largest difference of a run, this often,
# is taken for what rounding may make of a distance.
RESOLUTION = 8


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DistanceRow:
    """One distance between the last representations of the runs of n and n + 1."""

    kind: Literal["collapse"] = "collapse"
    """Which kind of row."""
    positions: str
    """Positional encoding."""
    policy: str
    """What each layer evicts."""
    slots: int
    """Capacity of each layer, in tokens; for ``full`` as many as the text has."""
    bounded: bool
    """Whether the policy evicts at all."""
    family: str
    """Family of runs."""
    length: int
    """Run length n, in tokens of the run."""
    norm: Norm
    """Of the distance; ``relative_l1`` is over the L1 norm of the first of the two."""
    distance: float
    """Not negative, in units of the representation, or relative; null where the arithmetic
    overflowed."""
    resolution: float
    """In the same norm: 8 times the largest distance that two computations put between the same
    representations, step by step and as one dense pass."""
    equal: bool | None = None
    """Whether ``distance`` is no larger than ``resolution``; missing where the pass is not
    finite."""
    finite: bool
    """Whether the pass gives finite representations of both runs."""
    overflow: OverflowFields | None = None
    same_bits: bool
    """Whether the two are equal bit by bit."""
    equal_from: int | None = None
    """The length from which on they must be equal, as the statement on pruned attention says;
    missing where it says nothing, as of passes that a plan rounds."""
    prompt_tokens: int
    """All tokens of the shorter prompt."""
    prompt_text: PromptText | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """What was measured with the token's own vector v, the embedding, and shares of squares.

    Rows of the first versions lack it. Null where a sum is zero or not finite.
    """

    along: float
    """L2 norm of J v, of the derivative J along the vector."""
    input_norm: float
    """L2 norm of v."""
    squared_share: float
    """Square of ``frobenius`` over its sum over tokens, from 0 to 1; null where that sum is zero or
    not finite."""
    squared_share_along: float
    """The same of ``along``."""
    squared_share_scaled: float
    """The same of ``frobenius`` times ``input_norm``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """The derivative J of the last representation in one token's embedding, under a policy.

    Under a plan that rounds the pass, J is the straight-through derivative of the rounded pass:
    each operation's derivative at the rounded values, each rounding's the identity.
    """

    kind: Literal["influence"] = "influence"
    """Which kind of row."""
    positions: str
    """Positional encoding."""
    policy: str
    """What each layer evicts."""
    slots: int
    """Capacity of each layer, in tokens; for ``full`` as many as the text has."""
    bounded: bool
    """Whether the policy evicts at all."""
    position: int
    """Of the token, from 0."""
    token: int
    """Its number."""
    token_text: str
    """Its text."""
    frobenius: float
    """Frobenius norm of J, through the states that the policy left."""
    finite: bool
    """Whether that norm and the last representation are finite."""
    overflow: OverflowFields | None = None
    standard_error: float | None = None
    """Of an estimated ``frobenius``; missing where it is exact."""
    along_standard_error: float | None = None
    """Of an estimated ``along``; missing where it is exact."""
    spectral: float | None = None
    """Operator norm of J; missing where norms are estimated."""
    vectors: Vectors | None = None
    rollout: float
    """Attention rollout over the pruned weights as the pass stores them: a share, from 0 to 1."""
    log10_repaired: float | None = None
    """Of the repaired bound over the pruned weights; null also where that is zero; missing where
    norms are estimated, or ``rounding`` rounds anything but the weights."""
    cached_layers: int
    """In how many layers the last query still sees the token."""
    last_cached: int
    """The last step at which any layer had it cached."""
    reaches: bool
    """Whether any path through what was cached leads from it to the last representation."""
    prompt_tokens: int
    """All tokens of the text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundedConstants(ArithmeticConstants):
    """Constants: study, model, weights and method of measurement."""

    num_layers: int
    """Layers of the model."""
    layer_terms: int | None = None
    """Terms of the sums behind a coordinate in one layer, those over tokens not counted; missing in
    runs of before it was recorded."""
    unit_roundoff: float | None = None
    """Of the coarsest format that the passes store in; missing in runs of before it was recorded,
    where it is that of ``dtype``."""
    method: Literal["estimated", "exact"]
    """As on the command line."""
    probes: int | None
    """Random vectors of an estimate; missing where exact."""


# What rows of schema 1 have as null where the method gives no such number.
_NOT_MEASURED = {
    "exact": ("standard_error", "along_standard_error"),
    "estimated": ("spectral", "log10_repaired"),
}


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """Converts a row of schema 1: drops nulls of unmeasured fields and adds implied ones."""
    lacking = _NOT_MEASURED.get(str(row.get("method")), ())
    new = {name: value for name, value in row.items() if name not in lacking}
    measured = "distance" if new.get("kind") == "collapse" else "frobenius"
    # A number that is not finite is null in a file.
    new.setdefault("finite", new.get(measured) is not None)
    return new


ROWS = RowSchema[DistanceRow | TokenRow, BoundedConstants](
    kinds=(DistanceRow, TokenRow),
    constants=BoundedConstants,
    key=("kind", "positions", "policy", "slots", "family", "length", "norm", "position"),
    renamed={
        "width": "model_dim",
        "layers": "num_layers",
        "pi": "rollout",
        "held_layers": "cached_layers",
        "last_held": "last_cached",
    },
    dropped=("influence_share",),  # a share of a sum of norms, which the first versions had
    converted=_converted,
)
"""How the rows of the bounded study are kept."""
