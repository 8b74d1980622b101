"""Prompt formats: how an example is written as tokens, and the remedies a format can include.

The plain format is ``<bos> ITEM ? QUESTION = ANSWER``, without ``? QUESTION`` where a task has a
single question.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Literal

from glassesjax.borders import check_fields
from glassesjax.errors import BadInput
from glassesjax.settings import MOST, number_text
from glassesjax.tasks.task import Task, Widths

SEPARATOR = ","
MOST_COUNT = 2**20  # upper bound of a remedy's number; rows are shorter


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """Settings of a prompt format, one for each remedy."""

    bos: bool = True
    """Whether a beginning-of-sequence token comes first, as an attention sink."""
    separators: int = 0
    """Group size: a comma for every so many tokens of the item; none if 0."""
    phase: Literal["start", "end"] = "start"
    """Where groups are counted from. ``start``: the first token, a comma after each group, as
    in the paper; one more token moves the last comma. ``end``: its last token, commas between
    groups; one more token does not move the last comma."""
    twice: bool = False
    """Whether the item is repeated after a comma, so that each token is near both ends."""
    question: Literal["after", "before"] = "after"
    """Whether the question follows the item, or comes before it."""
    steps: int = 0
    """Chain of thought of a counting task: running counts after every so many tokens, each with a
    comma, precede the answer and are scored too; none if 0."""
    scratch: int = 0
    """Number of filler tokens before the answer."""
    stop: bool = True
    """Whether "=" precedes the answer. Without it only the answer's first token is scored: later
    ones are ambiguous with tokens of the item."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps and not self.stop:
            raise BadInput("Expected = between item and steps, got no_stop: use one of the two.")
        for name in ("separators", "steps", "scratch"):
            if not 0 <= (number := getattr(self, name)) <= MOST_COUNT:
                expected = (
                    f"Expected {name} from 0 to {MOST_COUNT} tokens, got {number_text(number)}"
                )
                raise BadInput(f"{expected}: use a count that a row has.")


PLAIN = PromptFormat()


def unused_separators(size: int, prompt_format: PromptFormat) -> int:
    """Comma positions that no item of ``size`` tokens fills, of one position for each token."""
    every = prompt_format.separators
    if not every:
        return 0
    # From the end there is no comma after the last group.
    most = size // every if prompt_format.phase == "start" else (size - 1) // every
    return (size - most) * (2 if prompt_format.twice else 1)


def width(task: Task, prompt_format: PromptFormat, size: int) -> int:
    """Width in tokens of ``example``'s rows, for items of length up to ``size``.

    Raises:
      BadInput: The width exceeds int32, the format has steps and the task is no counting task, or
        the task has no items of that length.
    """
    room = _room(task, size)
    item = room.item * (2 if prompt_format.separators else 1)
    item = 2 * item + 1 if prompt_format.twice else item
    question = room.question + 1 if room.question else 0
    marks = prompt_format.bos + prompt_format.stop + prompt_format.scratch
    steps = 0
    if prompt_format.steps:
        if not room.counts:
            raise not_counted()
        # Running counts have as many digits as the longest item's, and a comma.
        ends = range(
            prompt_format.steps, max(room.item, prompt_format.steps + 1), prompt_format.steps
        )
        steps = len(ends) * (len(str(room.item)) + 1)
    # Width with all comma positions, before the unused ones are dropped.
    whole = _counted(item + question + marks + steps + room.answer, size)
    return whole - unused_separators(room.item, prompt_format)


def item_width(task: Task, size: int) -> int:
    """Tokens of an item of length ``size``: two for each key-value pair, one for most tasks.

    Raises:
      BadInput: As for ``width``.
    """
    return _counted(_room(task, size).item, size)


def _room(task: Task, size: int) -> Widths:
    if task.widths is not None:
        return task.widths(size)
    from glassesjax.tasks.layout import traced_widths  # of a user's task

    return traced_widths(task, size)


def not_counted() -> BadInput:
    """Error for running counts (steps) of a task that is no counting task.

    Returns:
      The error, to be raised.
    """
    return BadInput("Expected a counting task for steps, got another one: leave out steps.")


def _counted(tokens: int, size: int) -> int:
    if tokens <= MOST:
        return tokens
    raise too_long(size)


def too_long(size: int) -> BadInput:
    """Error for rows whose width exceeds int32.

    Args:
      size: The item length.

    Returns:
      The error, to be raised.
    """
    expected = f"Expected rows of at most {MOST} tokens, got more at length {number_text(size)}"
    return BadInput(f"{expected}: use shorter items.")


# The fields that each remedy sets, given its number.
REMEDIES: Mapping[str, Callable[[int], dict]] = {
    "none": lambda m: {},
    "no_bos": lambda m: {"bos": False},
    "separators": lambda m: {"separators": m, "phase": "start"},
    "separators_end": lambda m: {"separators": m, "phase": "end"},
    "twice": lambda m: {"twice": True},
    "question_first": lambda m: {"question": "before"},
    "steps": lambda m: {"steps": m},
    "scratch": lambda m: {"scratch": m},
    "no_stop": lambda m: {"stop": False},
}
_NUMBERED = ("separators", "separators_end", "steps", "scratch")


def named_format(text: str) -> PromptFormat:
    """A prompt format by name: ``REMEDY[-NUMBER][+REMEDY[-NUMBER]]...``.

    ``none`` is the plain format, ``separators-5`` has a comma after every fifth token,
    ``separators_end-5+twice`` counts groups from the end and repeats the item.

    Raises:
      BadInput: A remedy is unknown or repeated, or its number is missing or superfluous.
    """
    fields: dict = {}
    for word in text.split("+"):
        match = re.fullmatch(r"([a-z_]+)(?:-([1-9][0-9]{0,399}))?", word)
        if match is None or match[1] not in REMEDIES:
            near = difflib.get_close_matches(word.split("-")[0], REMEDIES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "see the page on tasks."
            expected = f"Expected a remedy out of {', '.join(REMEDIES)}"
            raise BadInput(f"{expected}, got {word!r}: {hint}")
        name, number = match.groups()
        if (number is not None) != (name in _NUMBERED):
            expected = f"{name}-NUMBER" if name in _NUMBERED else f"plain {name}"
            raise BadInput(f"Expected {expected}, got {word!r}: see the page on tasks.")
        added = REMEDIES[name](int(number or 0))
        if set(added) & set(fields):
            raise BadInput(f"Expected each remedy once, got {text!r}: leave out the repetition.")
        fields |= added
    return PromptFormat(**fields)
