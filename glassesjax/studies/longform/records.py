"""Row of a longform run: one text, measured alone and against the full cache's text."""

import dataclasses
from typing import Any

from glassesjax.cache.policies import PrefillMode
from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.row_schema import RowSchema


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FullModelLoss:
    """Loss of a text under the same model with the full cache.

    Where the text has a token.
    """

    full_nll: float
    """Negative log probability of the text under the same model with everything kept, in nats a
    token, its end included; null where it is not finite."""
    finite: bool
    """Whether ``full_nll`` is finite; where it is not, the command ends with status 1."""
    full_perplexity: float
    """The exponential of ``full_nll``; null where that leaves the range of float64."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LongformRow:
    """One text.

    Shares of n-grams are over its tokens, without the one that ends it.
    """

    policy: str
    """As on the command line, or ``full``."""
    slots: int
    """Of every layer; of ``full``, room for prompt and text."""
    bytes: int
    """Size of the state of one text."""
    sample: int
    """Number of the text, from 0; texts of one number are drawn alike under all policies."""
    length: int
    """Tokens of the text, without the one that ends it."""
    ended: bool
    """Whether the model ended it."""
    distinct_1: float | None = None
    """Different tokens over all tokens, from near 0 to 1; missing where the text has none."""
    distinct_2: float | None = None
    """Different 2-grams over all 2-grams; missing where the text is shorter."""
    distinct_3: float | None = None
    """Different 3-grams over all 3-grams; missing where the text is shorter."""
    distinct_4: float | None = None
    """Different 4-grams over all 4-grams; missing where the text is shorter."""
    repetition: float | None = None
    """Share of 4-grams that stood in the text before: 1 less ``distinct_4``."""
    loss: FullModelLoss | None = None
    overflow: OverflowFields | None = None
    common_prefix: int
    """Tokens that are those of the full state's text of the same number, before the first that
    differs."""
    text: str
    """What was written, without the token that ends it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongformConstants(ArithmeticConstants):
    """Fields shared by all texts of a process."""

    positions: str
    """Positional encoding."""
    temperature: float
    """The setting."""
    top_k: int | None = None
    """The setting; missing where all tokens may be drawn."""
    max_tokens: int
    """The setting."""
    chat: bool
    """The setting."""
    top_p: float
    """The setting, or what stands for it: 0.95, and 1 at temperature 0."""
    prefill: PrefillMode
    """How the prompt was read: the setting ``mode``."""
    prompt_tokens: int
    """Tokens of the prompt."""
    num_layers: int
    """Of the model."""


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: null where a text is too short, and where a loss is not finite."""
    names = (*(f"distinct_{size}" for size in (1, 2, 3, 4)), "repetition")
    lacking = {name for name in names if row.get(name) is None}
    # A text without a token, its end included, has no loss.
    if row.get("length") == 0 and not row.get("ended"):
        lacking |= {"full_nll", "finite", "full_perplexity"}
    elif "full_nll" in row:  # the oldest rows do not say whether it is finite
        row = {**row, "finite": row["full_nll"] is not None}
    return {name: value for name, value in row.items() if name not in lacking}


ROWS = RowSchema(
    kinds=(LongformRow,),
    constants=LongformConstants,
    key=("policy", "slots", "sample"),
    renamed={"width": "model_dim", "layers": "num_layers", "agrees": "common_prefix"},
    converted=_converted,
)
"""How the rows of the longform study are kept."""
