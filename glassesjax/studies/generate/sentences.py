"""What the rows of a generate run say in plain sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import not_finite
from glassesjax.report.numbers import MISSING, short
from glassesjax.studies.generate.texts import Text, Texts

ENDED = {
    "length": "the length asked for was reached",
    "token": "the model ended it",
    "text": "a stop string ended it",
}


def generate_headlines(rows: Sequence[Row]) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      rows: Rows of the generate study.

    Returns:
      Plain text on memory, on who is still held, and on agreement with the full state.

    Raises:
      ValueError: There is no row.
    """
    texts = Texts(rows)
    each = [line for prompt in range(texts.count) for line in _of_prompt(texts, prompt)]
    return [*not_finite(rows, "written tokens"), _memory(texts), *each]


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def rate(row: dict[str, Any]) -> str:
    """New tokens a second, where enough were written to tell."""
    value = row["tokens_per_second"]
    return MISSING if value is None else short(value)


def held(text: Text) -> tuple[int, int, int]:
    """Of the tokens that were read: how many all layers hold, how many none, and their number.

    Args:
      text: Prompt and answer.
    """
    shares = [row["held_share"] for row in text.read]
    return sum(share == 1 for share in shares), sum(share == 0 for share in shares), len(shares)


def mean_logprob(text: Text) -> float:
    """Mean log-probability of the answer's tokens, each under the state that wrote it."""
    values = [row["logprob"] for row in text.answer]
    return float(np.mean(values)) if None not in values else float("nan")


def _memory(texts: Texts) -> str:
    row = texts.first_row(texts.policies[0])
    said = f"The state of {row['policy']} has {row['slots']} slots a layer, {size(row['bytes'])}"
    if len(texts.policies) < 2:
        return f"{said} a text."
    full = texts.first_row(texts.policies[1])
    times = short(full["bytes"] / row["bytes"])
    room = f"with room for all {full['slots']} tokens it would take {size(full['bytes'])}"
    return f"{said} a text; {room}, {times} times that."


def _of_prompt(texts: Texts, prompt: int) -> list[str]:
    name = f"Text {prompt + 1}: " if texts.count > 1 else ""
    text = texts(texts.policies[0], prompt)
    all_, none, count = held(text)
    if bad := sum(row.get("finite") is False for row in text.answer):
        count = f"{bad} of {len(text.answer)} tokens"
        return [f"{name}The logits are not finite, in {count}: what was written is no choice."]
    how = ENDED[text.last["ended"]]
    said = [
        f"{name}{len(text.answer)} tokens were written after {len(text.prompt)}; {how}.",
        f"{name}Of {count} tokens that were read, all layers still hold {all_} and none holds "
        f"{none}.",
    ]
    agreed = texts.agreement(prompt)
    if agreed is None:
        return said
    whole = text.tokens == texts(texts.policies[1], prompt).tokens
    first = "the same text" if whole else f"the same {agreed} tokens, then another text"
    return [*said, f"{name}With all tokens kept the model writes {first}."]
