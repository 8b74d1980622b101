"""A row of a collapse run: one distance, of one curve, in one norm, at one length."""

import dataclasses
from typing import Any, Literal

from glassesjax.runs.constants import UNROUNDED, ModelConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.runs.record import names
from glassesjax.runs.row_schema import RowSchema

Norm = Literal["l1", "l2", "linf", "relative_l1", "ulp"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The greedy token after the shorter prompt.

    With the signal, in the L2 norm, where no logit is NaN.
    """

    token: int
    """Its number."""
    token_text: str
    """Its text."""
    margin: float
    """Its logit less the next one's; not negative."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """Whether the longer prompt must have the same greedy token.

    With the signal in reference precision, in the L2 norm.
    """

    margin_used: float
    """Largest share of a competitor's gap that the distance may use up; from 1 on nothing is
    certain."""
    certified: bool
    """Whether the greedy token is the same, for certain, in reference precision."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """Whether the format's own arithmetic still carries the difference.

    With its signal, in the L2 norm, where the difference in reference precision is not zero.
    """

    cosine: float
    """Of the angle between the computed difference and the one in reference precision."""
    chance: float
    """The cosine that a difference of pure noise would reach."""
    projection: float
    """The computed difference along the one in reference precision, in units of the latter."""
    projection_noise: float
    """Its standard deviation from noise, in the same unit."""
    detectable: bool | None = None
    """Whether ``projection`` exceeds three times ``projection_noise``; missing where the noise is
    not finite."""


Inequality = Literal["R1", "R2", "R3", "R4", "R5"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerBounds:
    """Theorem 4.2 layer by layer, in the L1 norm: the distance after the last layer and its bound.

    With the signal in reference precision, in the L1 norm, at the longest length and in the finest
    format, where the longer prompt repeats the shorter one's last token.
    """

    entry_distance: float
    """Distance of the last two residuals before the first layer; 0 is a hypothesis of the
    theorem."""
    layers_distance: float
    """The same after the last layer, before the final norm."""
    layers_bound: float
    """What ``entry_distance`` and the inequalities of all layers together let it be; null where
    that is not finite."""
    without_bound: tuple[Inequality, ...]
    """The inequalities of docs/statements/collapse.md that have no finite bound in some layer or
    head: a constant is not known, a window hides a key, or it overflows."""
    exceeded: tuple[Inequality, ...]
    """Likewise of those that are exceeded by more than rounding: the statement or this
    program is wrong."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CollapseRow:
    """One distance between the last representations for n and n + 1, or what is beside it."""

    positions: str
    """Positional encoding."""
    format: str
    """Number format or rounding plan, by name."""
    family: str
    """Family of runs."""
    length: int
    """Run length n, in tokens of the run, of ``ones_text`` in characters; the other prompt's is
    n + 1."""
    prompt_tokens: int
    """All tokens of the shorter prompt."""
    longer_prompt_tokens: int
    """All tokens of the longer prompt."""
    repeats_last: bool
    """Whether the longer prompt is the shorter one with its last token repeated: Theorem 4.2's
    hypothesis on the prompts."""
    same_last: bool
    """Whether both prompts end with the same token."""
    finite: bool
    """Whether the pass without rounding gives finite representations at this length, and the
    unembedding is finite."""
    mode: Literal["reference", "native", "simulated"]
    """Arithmetic: reference precision throughout (float64; float32 where ``dtype`` says so, on a
    backend that lacks it), the backend's own in the format, or explicit rounding."""
    curve: Literal["signal", "noise_floor", "rounded"]
    """Distance of the two prompts' representations; distance that the format's arithmetic puts
    between the shorter prompt's and the same in reference precision; distance of the two in
    reference precision once both are stored in the format."""
    norm: Norm
    """Of the distance; ``relative_l1`` is over the L1 norm of the first of the two, ``ulp`` the
    largest difference of a coordinate over the spacing there: of the format, of a plan that of the
    format in which it stores a representation, and float32's where that is none or has scales."""
    distance: float
    """Not negative, in units of the representation, or as the norm says; null where the arithmetic
    overflowed."""
    resolution: float
    """The distance at or below which rounding may have made it, as measured, in the same norm. With
    the signal of the format's own arithmetic its error in the difference of the two prompts at that
    length; else that of reference precision, 8 times the largest float32 noise of the family, of
    float64 times 2^-29, of float32 times a factor that grows with the prompt (docs/devices.md). In
    ulp it is that of linf, over the finest spacing of the coordinates that it moves."""
    equal_coordinates: int
    """Coordinates in which the two are equal."""
    unit_roundoff: float
    """Of the format: half the spacing at one; of a plan, of its coarsest format (of integer codes
    half a step, over the largest)."""
    dtype: str
    """Of the arrays that the arithmetic was done in."""
    rounding: str
    """Name of the rounding plan; ``none`` where nothing is rounded on purpose."""
    prompt_text: PromptText | None = None
    answer: Answer | None = None
    certificate: Certificate | None = None
    detection: Detection | None = None
    layer_bounds: LayerBounds | None = None
    ulp_distance: int | None = None
    """With the rounded curve in ulp: steps of the format between the two, at the most; missing
    where a coordinate is NaN, and for a format with scales."""
    overflow: OverflowFields | None = None


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """Converts a row of schema 1: a group of fields that are all null does not apply."""
    lacking: set[str] = set()  # schema 1 had every field in every row
    if row.get("token") is None:
        lacking |= {"token", "token_text", "margin"}
    if all(row.get(name) is None for name in names(Detection)):
        lacking |= set(names(Detection))
    return {name: value for name, value in row.items() if name not in lacking}


ROWS = RowSchema(
    kinds=(CollapseRow,),
    constants=ModelConstants,
    key=("positions", "family", "length", "format", "mode", "curve", "norm"),
    renamed={"width": "model_dim"},
    values={"mode": {"wide": "reference"}, "rounding": UNROUNDED},
    converted=_converted,
)
"""How the rows of the collapse study are kept."""
