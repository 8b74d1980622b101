"""A row of an influence run: one derivative, beside its bounds."""

import dataclasses
from typing import Any, Literal

from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.row_schema import RowSchema

Kind = Literal["true", "frozen"]
"""Of attention: of the model as it is, or with its weights held fixed."""
Verdict = Literal["within", "exceeded", "undecided", "not_finite"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlongVector:
    """The derivative J along the token's own vector v.

    Rows of the first versions lack it.
    """

    along: float
    """L2 norm of J v."""
    along_standard_error: float | None = None
    """Of an estimated ``along``; missing where it is exact."""
    input_norm: float
    """L2 norm of v."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Squares over their sum over the tokens of this layer and passage, from 0 to 1.

    Rows of the first versions lack them. Null where that sum is zero or not finite.
    """

    squared_share: float
    """Of ``frobenius``; null where the sum is zero or not finite."""
    squared_share_along: float
    """Of ``along``; null likewise."""
    squared_share_scaled: float
    """Of ``frobenius`` times ``input_norm``; null likewise."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BoundFields:
    """The bounds of Theorem 5.1 beside the operator norm.

    Missing where ``rounding`` rounds anything but the weights: they are of passes without that.
    """

    log10_printed: float
    """Of the printed bound; null also where the bound is zero."""
    log10_over_printed: float
    """Of ``at_least`` over the printed bound, positive where it is exceeded; null also where one of
    the two is zero."""
    printed: Verdict
    """On the printed bound, with 1e-4 decades for rounding. ``within``: ``at_most`` is no larger;
    ``exceeded``: ``at_least`` is larger; ``undecided``: neither; ``not_finite``: a norm or the
    bound is not."""
    log10_repaired: float
    """Of the repaired bound; null also where the bound is zero."""
    log10_over_repaired: float
    """Of ``at_least`` over the repaired bound; null also where one of the two is zero."""
    repaired: Verdict
    """On the repaired bound, likewise."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InfluenceRow:
    """One derivative J of the last representation in one token's vector v, at one layer.

    Under a plan that rounds the pass, J is the straight-through derivative of the rounded pass:
    each operation's derivative at the rounded values, each rounding's the identity.
    """

    prompt_tokens: int
    """Tokens of the passage."""
    last_finite: bool
    """Whether all numbers of the last representation are finite."""
    attention: Kind
    """Of the model as it is, or with attention weights held fixed."""
    text: str
    """Which text, as on the command line; ``prompt`` for one that was given, ``digits`` of the toy;
    empty where the first versions did not say it."""
    offset: int
    """Characters of the text, or digits, before the passage."""
    layer: int
    """Which layer the residual stream enters: 0 is the embedding, ``num_layers`` the final norm."""
    position: int
    """Of the token, from 0."""
    token: int
    """Its number."""
    token_text: str
    """Its text."""
    frobenius: float
    """Frobenius norm of J, exact or estimated."""
    standard_error: float | None = None
    """Of an estimated ``frobenius``; missing where it is exact."""
    spectral: float | None = None
    """Operator norm of J; missing where it was not measured."""
    at_least: float
    """What the operator norm is at least: itself, or ``frobenius``, less three standard errors,
    over the root of ``model_dim``."""
    at_most: float
    """What it is at most: itself, or ``frobenius`` and three standard errors."""
    along_vector: AlongVector | None = None
    shares: Shares | None = None
    rollout: float
    """Attention rollout π from this layer on, of weights as the pass stores them: a share, from 0
    to 1."""
    attention_share: float | None = None
    """The attention's share of the layer's residual stream, from 0 to 1; missing after the last
    layer."""
    bounds: BoundFields | None = None
    finite: bool
    """Whether the last representation and what was measured of it for this row are finite."""
    overflow: OverflowFields | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfluenceConstants(ArithmeticConstants):
    """Constants: study, model, weights and method of measurement."""

    positions: str
    """Positional encoding."""
    method: Literal["estimated", "exact"]
    """As on the command line."""
    probes: int | None
    """Random vectors of an estimate; missing where exact."""
    norm: Literal["operator_l2"]
    """Of derivatives and bounds: the operator norm from L2 to L2, but for what is named
    otherwise."""
    num_layers: int
    """Layers of the model."""


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """Converts a row of schema 1: drops nulls of unmeasured fields and adds implied ones."""
    new = dict(row)
    # Fields that the first versions did not write, with what held of all their rows.
    for name, value in (("text", ""), ("offset", 0), ("last_finite", True)):
        new.setdefault(name, value)
    measured = new.get("frobenius"), new.get("at_most")
    new.setdefault("finite", bool(new["last_finite"]) and None not in measured)
    exact = new.get("method") == "exact"
    if exact:
        new = {name: value for name, value in new.items() if name not in _ERRORS}
    # One that was measured and is not finite leaves the bounds null beside a Frobenius norm. Where
    # that is null, too, nothing tells; then it counts as not measured.
    lost = exact and new.get("at_most") is None and new.get("frobenius") is not None
    if new.get("spectral") is None and not lost:
        new.pop("spectral", None)
    if new.get("layer") == new.get("num_layers"):
        new.pop("attention_share", None)
    return new


_ERRORS = "standard_error", "along_standard_error"

ROWS = RowSchema(
    kinds=(InfluenceRow,),
    constants=InfluenceConstants,
    key=("text", "offset", "attention", "layer", "position"),
    renamed={
        "width": "model_dim",
        "layers": "num_layers",
        "pi": "rollout",
        "share": "attention_share",
    },
    values={
        "norm": {"operator norm, L2 to L2; frobenius where named so": "operator_l2"},
        "printed": {"not_a_number": "not_finite"},
        "repaired": {"not_a_number": "not_finite"},
    },
    converted=_converted,
)
"""How the rows of the influence study are kept."""
