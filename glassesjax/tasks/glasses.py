"""Glasses: how an example is laid out as tokens, with the remedies that a layout can carry.

The plain layout is ``<bos> ITEM ? QUESTION = ANSWER``, without ``? QUESTION`` where a task asks one
thing only.
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
MOST_COUNT = 2**20  # of a remedy's number: no row is so long


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glasses:
    """Remedies of a layout."""

    bos: bool = True
    """Whether a beginning-of-sequence token stands first: somewhere for attention to rest."""
    separators: int = 0
    """A comma to every group of so many tokens of the item; none if 0."""
    phase: Literal["start", "end"] = "start"
    """Groups are counted from the item's first token, each followed by a comma, as in the paper: a
    token more moves the last comma. Or from its last, a comma between groups: it does not."""
    twice: bool = False
    """The item, a comma, and the item again: each token stands near both ends."""
    question: Literal["after", "before"] = "after"
    """Whether the question follows the item, or comes before it."""
    steps: int = 0
    """For a count: before the answer the counts after every so many tokens, each with a comma, to
    be given as well (a chain of thought); none if 0."""
    scratch: int = 0
    """So many empty tokens before the answer, to compute on."""
    stop: bool = True
    """Whether "=" stands before the answer. Without it only the answer's first token is asked:
    after it nothing tells the item's tokens from the answer's."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps and not self.stop:
            raise BadInput("Wanted = before steps, to tell them from the item; found no_stop.")
        for name in ("separators", "steps", "scratch"):
            if not 0 <= (found := getattr(self, name)) <= MOST_COUNT:
                expected = (
                    f"Expected {name} from 0 to {MOST_COUNT} tokens, got {number_text(found)}"
                )
                raise BadInput(f"{expected}: use a count that a row has.")


PLAIN = Glasses()


def spare_places(size: int, glasses: Glasses) -> int:
    """Places of all commas that no item of that size fills: one stands beside every token.

    Args:
      size: Tokens of the item.
      glasses: The layout.

    Returns:
      How many; none without separators.
    """
    every = glasses.separators
    if not every:
        return 0
    most = size // every if glasses.phase == "start" else (size - 1) // every
    return (size - most) * (2 if glasses.twice else 1)


def width(task: Task, glasses: Glasses, size: int) -> int:
    """Tokens that a row has room for.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      size: The largest length.

    Returns:
      The width of ``example``'s row.

    Raises:
      BadInput: It has more tokens than int32 counts, steps are wanted of what is no count, or the
        task takes no items so long.
    """
    room = _room(task, size)
    item = room.item * (2 if glasses.separators else 1)
    item = 2 * item + 1 if glasses.twice else item
    asked = room.question + 1 if room.question else 0
    marks = glasses.bos + glasses.stop + glasses.scratch
    steps = _steps_width(room, glasses.steps) if glasses.steps else 0
    # Of the whole row, before it is cut to what can be filled.
    whole = _counted(item + asked + marks + steps + room.answer, size)
    return whole - spare_places(room.item, glasses)


def item_width(task: Task, size: int) -> int:
    """Tokens of an item.

    Args:
      task: What is asked.
      size: Its length.

    Returns:
      Two for each pair of a key and a value, one for most tasks.

    Raises:
      BadInput: As for ``width``.
    """
    return _counted(_room(task, size).item, size)


def _room(task: Task, size: int) -> Widths:
    if task.widths is not None:
        return task.widths(size)
    from glassesjax.tasks.layout import traced_widths  # of a user's task

    return traced_widths(task, size)


def _steps_width(room: Widths, every: int) -> int:
    """Tokens of the running counts: as many digits as the longest item's, and a comma."""
    if not room.counts:
        raise not_counted()
    ends = range(every, max(room.item, every + 1), every)
    return len(ends) * (len(str(room.item)) + 1)


def not_counted() -> BadInput:
    """What is said of steps without a count.

    Returns:
      The error, to be raised.
    """
    return BadInput("Wanted a counting task for steps; found one whose answer is no count.")


def _counted(tokens: int, size: int) -> int:
    if tokens <= MOST:
        return tokens
    raise too_long(size)


def too_long(size: int) -> BadInput:
    """What is said of rows that int32 does not count.

    Args:
      size: The length that makes them.

    Returns:
      The error, to be raised.
    """
    expected = f"Expected rows of at most {MOST} tokens, got more at length {number_text(size)}"
    return BadInput(f"{expected}: use shorter items.")


# One row a remedy: what it sets, given its number.
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


def named_glasses(text: str) -> Glasses:
    """A layout by name: ``REMEDY[-NUMBER][+REMEDY[-NUMBER]]...``.

    ``none`` is the plain layout, ``separators-5`` has a comma after every fifth token,
    ``separators_end-5+twice`` has them in phase with the end and shows the item twice.

    Args:
      text: The names.

    Returns:
      The layout.

    Raises:
      BadInput: There is no such remedy, a number is missing or too many, or one is named twice.
    """
    fields: dict = {}
    for word in text.split("+"):
        found = re.fullmatch(r"([a-z_]+)(?:-([1-9][0-9]{0,399}))?", word)
        if found is None or found[1] not in REMEDIES:
            raise _unknown(word)
        name, told = found.groups()
        if (told is not None) != (name in _NUMBERED):
            wanted = f"{name}-NUMBER" if name in _NUMBERED else f"plain {name}"
            raise BadInput(f"Wanted {wanted}; found {word!r}.")
        added = REMEDIES[name](int(told or 0))
        if set(added) & set(fields):
            raise BadInput(f"Wanted each remedy once; found {text!r}.")
        fields |= added
    return Glasses(**fields)


def _unknown(word: str) -> BadInput:
    near = difflib.get_close_matches(word.split("-")[0], REMEDIES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see the page on tasks."
    wanted = f"Wanted a remedy out of {', '.join(REMEDIES)}"
    return BadInput(f"{wanted}; found {word!r}: {hint}")
