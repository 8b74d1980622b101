"""Rows of a retention run: tokens, classes of tokens, decisions of layers, and the whole."""

import dataclasses
from typing import Any, Literal

from glassesjax.cache.obstacles import (
    DIGITS,
    OBSTACLES,
    RANDOM_DIGITS,
    Obstacle,
    unstated_obstacle,
)
from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.row_schema import RowSchema
from glassesjax.tasks.word_classes import CLASSES

CLASS_NAMES = {row.name: row.name.translate(str.maketrans(" -", "__")) for row in CLASSES}
"""The classes of tokens as rows have them, by their titles."""
CLASS_TITLES = {name: title for title, name in CLASS_NAMES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetentionConstants(ArithmeticConstants):
    """Study, model and weights, the text, and how it is read."""

    positions: str
    """Positional encoding."""
    text: str | None = None
    """As on the command line; ``random_digits`` for a model that reads symbols; missing in runs of
    before it was noted."""
    ranking_obstacle: Obstacle | None = None
    """Why nothing can be ranked on this model and text; missing where it can."""
    prefill: Literal["exact"]
    """Evictions are decided as if token by token."""
    num_layers: int
    """Of the model."""
    prompt_tokens: int
    """Length of the text."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellFields:
    """Fields of each kind of row: policy and capacity."""

    policy: str
    """Canonical name of the eviction policy."""
    slots: int
    """Tokens that each layer caches between two steps."""
    finite: bool | None = None
    """Whether the representations of the pass are finite; where not, the command ends with status
    1. Missing in rows of before it was noted."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow(CellFields):
    """A token of the text, in the mean over decisions."""

    kind: Literal["token"] = "token"
    """Which kind of row."""
    position: int
    """Where the token stands, from 0."""
    token: int
    """Its number."""
    token_text: str
    """Its text."""
    word_class: str
    """Its class: ``first_token``, ``newline``, ``determiner`` and so on."""
    steps: float
    """Lifetime: the number of steps in which it could be attended to."""
    cached: float
    """Share of decisions that cache it after the last step, from 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow(CellFields):
    """A class of tokens."""

    kind: Literal["class"] = "class"
    """Which kind of row."""
    word_class: str
    """Its name."""
    tokens: int
    """How many it has."""
    steps: float
    """Mean lifetime over decisions and tokens."""
    standard_error: float | None = None
    """Of ``steps``, over its tokens; missing for one token."""
    survival_steps: float
    """The product-limit mean, which does not take the text's end for a token's end."""
    censored: float
    """Share of lifetimes that the text's end cut off, from 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow(CellFields):
    """A decision: a layer's, or that of one of its key-value heads."""

    kind: Literal["layer"] = "layer"
    """Which kind of row."""
    layer: int
    """From 0."""
    group: int
    """The key-value head for policies that decide by head, else 0."""
    recent_share: float
    """How much of what it caches is among the last ``slots`` positions, in the mean over the steps
    that evict something; null where none does."""
    first_steps: int
    """Lifetime of the first token."""
    first_cached: bool
    """Whether it is cached after the last step."""
    overlap_next: float | None = None
    """What its layer and the next both cache, of what either does, in the mean over the same steps;
    null where there are none, missing for the last layer."""
    overlap: float | None = None
    """The same with any other layer, in the mean; missing where there is but one."""
    evicted: tuple[int, ...]
    """For each token the step after which it was evicted; ``prompt_tokens`` if it never was."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SummaryRow(CellFields):
    """The whole of one policy with one number of slots; it closes the others."""

    kind: Literal["summary"] = "summary"
    """Which kind of row."""
    decisions: int
    """How many there are."""
    steps: float
    """Mean lifetime over decisions and tokens."""
    steps_of_any_policy: float
    """The mean lifetime that follows from slots and length."""
    survival_steps: float
    """As of a class."""
    censored: float
    """As of a class."""
    recent_share: float
    """As of a decision, in the mean."""
    mean_first_steps: float
    """Lifetime of the first token, in the mean over decisions."""
    first_cached_share: float
    """Share of decisions that cache the first token after the last step, from 0 to 1."""
    overlap: float | None = None
    """As of a decision, over all pairs of layers; missing where there is but one."""
    cached_somewhere: float
    """Share of tokens that at least one decision caches after the last step, from 0 to 1."""
    cached_everywhere: float
    """Share of tokens that all decisions cache after the last step, from 0 to 1."""
    overflow: OverflowFields | None = None
    text_perplexity: float | None = None
    """Of the text, with everything cached; missing for random digits, or a text of one token."""


RetentionRow = TokenRow | ClassRow | LayerRow | SummaryRow


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: steps as a list, and nulls of what does not apply left out."""
    new = dict(row)
    if new.get("kind") == "summary":  # means over decisions had the names of a decision's own
        means = {"first_steps": "mean_first_steps", "first_cached": "first_cached_share"}
        new = {means.get(name, name): value for name, value in new.items()}
    if "evicted" in new:
        steps = str(new["evicted"]).split(",")
        # What is no such list is refused when it is read.
        new["evicted"] = list(map(int, steps)) if all(map(str.isdecimal, steps)) else new["evicted"]
    if "ranking_obstacle" not in new:
        new["ranking_obstacle"] = unstated_obstacle(new.get("text"), new.get("model"))
    layers = new.get("num_layers")
    known = new["ranking_obstacle"] is None and new.get("prompt_tokens") != 1
    last = isinstance(layers, int) and new.get("layer") == layers - 1
    applies = {
        "standard_error": new.get("tokens") != 1,
        "overlap_next": not last,
        "overlap": layers != 1,
        "text_perplexity": known,
    }
    lacking = {name for name, does in applies.items() if not does and new.get(name) is None}
    return {name: value for name, value in new.items() if name not in lacking}


ROWS = RowSchema(
    kinds=(TokenRow, ClassRow, LayerRow, SummaryRow),
    constants=RetentionConstants,
    key=("policy", "slots", "kind", "position", "word_class", "layer", "group"),
    renamed={
        "width": "model_dim",
        "layers": "num_layers",
        "class": "word_class",
        "held": "cached",
        "first_held": "first_cached",
        "forgotten": "evicted",
        "held_somewhere": "cached_somewhere",
        "held_everywhere": "cached_everywhere",
    },
    values={
        "text": {DIGITS: RANDOM_DIGITS},
        "ranking_obstacle": {"": None} | {phrase: name for name, phrase in OBSTACLES.items()},
        "word_class": CLASS_NAMES,
    },
    dropped=("rankable", "item"),
    converted=_converted,
)
"""How the rows of the retention study are kept."""
