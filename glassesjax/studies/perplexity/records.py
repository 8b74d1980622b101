"""A row of a perplexity run: one segment of one window, under one policy with one size."""

import contextlib
import dataclasses
from typing import Annotated, Any, Literal

from glassesjax.cache.obstacles import DIGITS, OBSTACLES, RANDOM_DIGITS, Obstacle, unstated_obstacle
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.record import Stored
from glassesjax.runs.row_schema import RowSchema


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexityConstants(ModelConstants):
    """Study, model and weights, the text, and how it is read."""

    positions: str
    """Positional encoding."""
    text: str
    """As on the command line; ``random_digits`` for a model that reads symbols."""
    ranking_obstacle: Obstacle | None = None
    """Why policies cannot be ranked on this model and text; missing where they can."""
    span: Literal["windows", "book"]
    """Whether each window is read from an empty state, or the whole text with one state."""
    window_tokens: int
    """Tokens of the first window, which is the longest, or of the book."""
    position_ids: Literal["original", "compressed", "consecutive"]
    """Where rotary positions see what is cached: where it stood, with gaps over ten compressed, or
    side by side."""
    dtype: str | None = None
    """Of the arrays that the passes were done in; missing in runs of several formats."""
    rounding: str | None = None
    """Name of the rounding plan; ``none``: nothing is rounded but by ``dtype``; missing in runs of
    several formats."""
    num_layers: int
    """Of the model."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PerplexityRow:
    """One segment of positions of one window, under one policy with one size of the state.

    Segments begin at 0, 64, 128, 256 and so on to 4096, then every 4096; sums are to be added up
    by whoever reads them.
    """

    format: str | None = None
    """The plan of the passes, by a name that fixes ``dtype`` and ``rounding``; missing in runs of
    one format."""
    policy: str
    """What is evicted; ``full`` evicts nothing, and ``short`` starts anew after as many tokens as
    there are slots."""
    slots: int
    """Tokens that each layer caches between two steps; for ``full`` those of the longest window."""
    prefill: Literal["exact", "chunked"]
    """Whether evictions are decided after each token, or many tokens are read at a time, which is
    the same where nothing is evicted."""
    bytes: int
    """Of the state of one sequence: keys, values, positions and accumulated attention, of one slot
    more than ``slots``."""
    window: int
    """Which window, from 0."""
    start: int
    """Position in the window at which the segment begins."""
    tokens: int
    """Scored tokens: all positions of the segment but position 0."""
    nll: float
    """Sum of their negative log likelihoods, in nats; null where it is not finite."""
    finite: bool
    """Whether ``nll`` is finite; where it is not in the first format, the command ends with status
    1."""
    overflow: OverflowFields | None = None
    token_losses: Annotated[str, Stored(("float32", "float64"), ("tokens",))] | None = None
    """The negative log likelihood of each scored token in order, in nats, as it was computed; NaN
    and infinities are kept. Missing in rows of before they were stored."""
    block_losses: tuple[float, ...] | None = None
    """Rows without ``token_losses`` may have this instead: sums of losses over blocks of 64
    positions from ``start`` on, in nats; the last block may be shorter. No row of today has it."""
    perplexity: float
    """Of the segment: the exponential of ``nll`` over ``tokens``; null where that is beyond
    float64."""
    tokens_per_second: float
    """Of reading the segment, compilation apart."""


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: losses as a list, and what older rows leave to be inferred."""
    new = dict(row)
    if "block_losses" in new:
        with contextlib.suppress(ValueError):  # what is no such list is refused when it is read
            new["block_losses"] = [float(loss) for loss in str(new["block_losses"]).split(",")]
    # The oldest rows do not say whether a sum is finite: null where it is not.
    new.setdefault("finite", new.get("nll") is not None)
    if "ranking_obstacle" not in new:
        new["ranking_obstacle"] = unstated_obstacle(new.get("text"), new.get("model"))
    return new


ROWS = RowSchema(
    kinds=(PerplexityRow,),
    constants=PerplexityConstants,
    key=("format", "policy", "slots", "window", "start"),
    renamed={"width": "model_dim", "layers": "num_layers", "spacing": "position_ids"},
    values={
        "position_ids": {"true": "original"},
        "text": {DIGITS: RANDOM_DIGITS},
        "ranking_obstacle": {"": None} | {phrase: name for name, phrase in OBSTACLES.items()},
    },
    dropped=("rankable",),
    converted=_converted,
)
"""How the rows of the perplexity study are kept."""
