"""A row of a generate run: one token of a prompt or of its answer, under one policy."""

import dataclasses
from typing import Any, Literal

from glassesjax.cache.policies import PrefillMode
from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.row_schema import RowSchema


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """Which layers cache the token.

    Of tokens that were read: all but the last, which was chosen and not read.
    """

    retained_layers: int
    """Layers (for ``-head``, layers with a head) that cache it after the last token that was
    read."""
    retained_share: float
    """Share of layers, or of their key-value heads, that do; from 0 to 1."""
    first_evicted_at: int | None = None
    """Position of the token after which the first of them had evicted it; missing where none
    did."""
    last_evicted_at: int | None = None
    """Position of the token after which all of them had; missing where some never did."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    """One token of a text."""

    policy: str
    """What it evicts; ``full`` stands beside it."""
    position_ids: Literal["original", "compressed", "consecutive"]
    """Where rotary positions see what is cached: where it stood, with gaps over ten compressed, or
    side by side; the setting of this name."""
    slots: int
    """Tokens that each layer caches between two steps."""
    bytes: int
    """Size of the state of one text, positions and accumulated attention included."""
    tokens_per_second: float | None = None
    """New tokens of all prompts together, without the prompts and the step that compiles; missing
    where too few were written to tell."""
    prompt: int
    """Which prompt, from 0."""
    position: int
    """Of the token, from 0 at the beginning of the prompt."""
    prompt_tokens: int
    """Tokens of the prompt."""
    token: int
    """Its number."""
    token_text: str
    """Its name."""
    text: str
    """The characters that it completes; empty for the model's end token and for a part of a
    character."""
    retention: Retention | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PromptToken(_Token):
    """One token of a prompt, under one policy."""

    kind: Literal["prompt"] = "prompt"
    """Of which part of the text it is."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerToken(_Token):
    """One token that was written, under one policy."""

    kind: Literal["answer"] = "answer"
    """Of which part of the text it is."""
    step: int
    """Which of the new tokens it is, from 0."""
    logprob: float
    """Its log-probability under the state that it was chosen with, before temperature, ``top_k``
    and ``top_p``; null where it is not finite."""
    ended: Literal["length", "token", "text"] | None = None
    """With the last token, what ended the text: ``max_tokens``, the model's end token, or a stop
    string."""
    finite: bool
    """Whether ``logprob`` is finite; where it is not, the command ends with status 1."""
    overflow: OverflowFields | None = None


TokenRow = PromptToken | AnswerToken


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConstants(ArithmeticConstants):
    """Fields shared by all tokens of a process."""

    num_layers: int
    """Of the model."""
    positions: str
    """Positional encoding."""
    mode: PrefillMode
    """How the prompts were read; the setting."""
    temperature: float
    """The setting."""
    top_k: int | None = None
    """The setting; missing where all tokens may be drawn."""
    top_p: float
    """The setting."""


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: null where a field does not apply, and where a number is not finite."""
    optional = ("tokens_per_second", "retained_share")
    lacking = {name for name in optional if row.get(name) is None}
    # A prompt's tokens were not drawn, and have no probability.
    if row.get("kind") == "prompt":
        lacking |= {"logprob", "finite"}
    elif "logprob" in row and row.get("finite") is None:  # the oldest rows do not say
        row = {**row, "finite": row["logprob"] is not None}
    return {name: value for name, value in row.items() if name not in lacking}


ROWS: RowSchema[TokenRow, GenerateConstants] = RowSchema(
    kinds=(PromptToken, AnswerToken),
    constants=GenerateConstants,
    key=("policy", "prompt", "position"),
    renamed={
        "width": "model_dim",
        "layers": "num_layers",
        "spacing": "position_ids",
        "part": "kind",
        "held": "retained_layers",
        "held_share": "retained_share",
        "first_forgotten": "first_evicted_at",
        "last_forgotten": "last_evicted_at",
    },
    values={"position_ids": {"true": "original"}},
    converted=_converted,
)
"""How the rows of the generate study are kept."""
