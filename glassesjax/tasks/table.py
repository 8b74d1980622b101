"""Table of all tasks by name: meaning, drawing function and widths."""

import dataclasses
import difflib
from collections.abc import Mapping

from glassesjax import tasks  # modules that draw are imported where an example is drawn
from glassesjax.arrays import Array, Int
from glassesjax.errors import BadInput
from glassesjax.tasks.task import Parts, Task, Widths
from glassesjax.tasks.vocabularies import (
    HINTED,
    ITEMS,
    KEYED,
    POSITION_DIGITS,
    SUMS,
    WORDED,
    check_positions,
)


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A drawing function by its names; its module, which needs JAX, is imported by the first call.

    A value, since settings with a task are pickled for other processes, which a lambda cannot be.
    """

    module: str
    function: str

    def __call__(self, key: Array, length: Int[Array, ""], size: int) -> Parts:
        return getattr(getattr(tasks, self.module), self.function)(key, length, size)


def _at_widths(size: int) -> Widths:
    # Refused with the settings, before anything is drawn.
    check_positions(size)
    return Widths(size, question=POSITION_DIGITS)


def _string_widths(size: int) -> Widths:
    # One more, for the end mark.
    return Widths(size, answer=size + 1)


def _hinted_widths(size: int) -> Widths:
    return Widths(size, question=1)


def _count_widths(size: int) -> Widths:
    """The answer is a number up to the length, and the end mark."""
    return Widths(size, answer=len(str(size)) + 1, counts=True)


def _total_widths(size: int) -> Widths:
    return _count_widths(size)._replace(item=2 * size - 1)


def _word_widths(size: int) -> Widths:
    return _count_widths(size)._replace(question=1)  # the word that is counted


def _recall_widths(size: int) -> Widths:
    return Widths(2 * size, question=1)


_ROWS = (
    Task(
        name="copy_first",
        title="The first token",
        meaning="A string of random zeros and ones; the answer is its first one.",
        draw=_Drawn("copying", "first"),
        widths=Widths,
    ),
    Task(
        name="copy_last",
        title="The last token",
        meaning="A string of random zeros and ones; the answer is its last one.",
        draw=_Drawn("copying", "last"),
        widths=Widths,
    ),
    Task(
        name="copy_zero",
        title="The only zero",
        meaning="Ones with one zero at either end, 1...10 or 01...1; the answer is the last token.",
        draw=_Drawn("copying", "only_zero"),
        widths=Widths,
        least=2,
    ),
    Task(
        name="copy_at",
        title="The token at a position",
        meaning="Random zeros and ones and a position from 0; the answer is the token there.",
        draw=_Drawn("copying", "at"),
        widths=_at_widths,
    ),
    Task(
        name="copy_string",
        title="The whole string",
        meaning="A string of random digits; the answer is the string, then the end mark.",
        draw=_Drawn("copying", "string"),
        widths=_string_widths,
    ),
    Task(
        name="copy_alternating",
        title="The last of alternating tokens",
        meaning="0101... or 1010...; the answer is the last token.",
        draw=_Drawn("copying", "alternating"),
        widths=Widths,
    ),
    Task(
        name="copy_hint",
        title="The last token, with or without a hint",
        meaning="Ones, and at the end a one or a zero; a hint shows whether zeros are likely (half"
        " of the time) or rare (one in ten). The answer is the last token.",
        draw=_Drawn("copying", "hinted"),
        widths=_hinted_widths,
        symbols=HINTED,
    ),
    Task(
        name="count_ones",
        title="Ones in a run of ones",
        meaning="A run of ones; the answer is their number.",
        draw=_Drawn("counting", "ones"),
        widths=_count_widths,
    ),
    Task(
        name="count_mixed",
        title="Ones among zeros",
        meaning="Random zeros and ones, seven in ten of them ones; the answer is how many ones.",
        draw=_Drawn("counting", "mixed"),
        widths=_count_widths,
    ),
    Task(
        name="sum_ones",
        title="The sum of ones",
        meaning="1+1+...+1; the answer is the sum. The length counts the ones.",
        draw=_Drawn("counting", "total"),
        widths=_total_widths,
        symbols=SUMS,
    ),
    Task(
        name="count_word",
        title="A word among other words",
        meaning="Words out of eight, three in ten of them the queried one; the answer is"
        " how often it occurs.",
        draw=_Drawn("counting", "word"),
        widths=_word_widths,
        symbols=WORDED,
    ),
    Task(
        name="recall",
        title="Key and value",
        meaning="Pairs of a key and a digit, and a key that occurs in one pair; the answer is"
        " its digit. The length counts the pairs.",
        draw=_Drawn("retrieval", "recall"),
        widths=_recall_widths,
        symbols=KEYED,
    ),
    Task(
        name="max_retrieval",
        title="The class of the largest",
        meaning="Tokens of a priority and a class each, one priority larger than all others; the"
        " answer is the class of that token.",
        draw=_Drawn("retrieval", "largest"),
        widths=Widths,
        symbols=ITEMS,
    ),
)

TASKS: Mapping[str, Task] = {row.name: row for row in _ROWS}


def named_task(name: str) -> Task:
    """The task of that name.

    Args:
      name: A key of ``TASKS``.

    Returns:
      The task.

    Raises:
      BadInput: There is no such task.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see the page on tasks."
    raise BadInput(f"Expected a task out of {', '.join(TASKS)}, got {name!r}: {hint}")
