"""A row of a recall run: one answer to one question about one passage, under one policy."""

import dataclasses
from typing import Literal

from glassesjax.cache.policies import PrefillMode
from glassesjax.runs.constants import ArithmeticConstants
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.row_schema import RowSchema


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecallRow:
    """One answer: to one question about one passage, under one policy with one size."""

    task: Literal["verse", "said"]
    """How a verse begins, by its reference; or who spoke, by the words spoken."""
    length: int
    """Most tokens of the passage, as on the command line."""
    item: int
    """Number of the passage, from 0."""
    policy: str
    """As on the command line."""
    slots: int
    """Of every layer; of ``full``, room for the longest passage, question and answer of the run."""
    book: str
    """Out of which the passage is."""
    passage_tokens: int
    """Tokens of the passage."""
    bytes: int
    """Size of the state of one text."""
    depth: float
    """Where the answer was to stand, as a share of the passage from its beginning; the setting."""
    needle_depth: float
    """Where the line with the answer begins, as a share of the passage's tokens."""
    needle_tokens: int
    """Tokens of that line, its end included."""
    question: str
    """Without the solved one before it."""
    expected: str
    """The answer in the passage."""
    prefill: PrefillMode
    """How passage and question were read; where nothing is evicted in parallel, which is the same:
    ``chunked``."""
    read_tokens: int
    """Tokens that were read before the answer."""
    answer: str
    """The first line of the greedy answer: its first ``words`` words, in ``said`` its first
    word."""
    exact: bool
    """Whether answer and expected one are the same in lower case, without punctuation and
    articles."""
    f1: float
    """Overlap of their words, from 0 to 1."""
    gold_nll: float
    """Negative log probability of the expected answer, read token by token under the policy, in
    nats a token; null where it is not finite."""
    finite: bool
    """Whether ``gold_nll`` is finite; where it is not, the command ends with status 1."""
    overflow: OverflowFields | None = None
    gold_tokens: int
    """Tokens of the expected answer."""
    retained_share: float
    """Share of the tokens of the line with the answer that are cached when the question is asked,
    from 0 to 1: the mean over all layers, or over their key-value heads where each decides."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecallConstants(ArithmeticConstants):
    """Fields shared by all answers of a process."""

    positions: str
    """Positional encoding."""
    words: int
    """The setting."""
    hint: int
    """The setting."""
    num_layers: int
    """Of the model."""


ROWS = RowSchema(
    kinds=(RecallRow,),
    constants=RecallConstants,
    key=("task", "length", "item", "depth", "policy", "slots"),
    renamed={
        "width": "model_dim",
        "layers": "num_layers",
        "tokens": "read_tokens",
        "held": "retained_share",
    },
    # The oldest rows of schema 1 have no flag of a finite loss.
    converted=lambda row: (
        {**row, "finite": row["gold_nll"] is not None}
        if "gold_nll" in row and row.get("finite") is None
        else row
    ),
)
"""How the rows of the recall study are kept."""
