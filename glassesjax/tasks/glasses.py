"""Glasses: how an example is laid out as tokens, with the remedies that a layout can carry.

The plain layout is ``<bos> ITEM ? QUESTION = ANSWER``, without ``? QUESTION`` where a task asks one
thing only.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from glassesjax import draws
from glassesjax.borders import check_fields
from glassesjax.errors import BadInput
from glassesjax.settings import MOST, number_text
from glassesjax.tasks.sequences import BOS
from glassesjax.tasks.task import (
    ASK,
    COMMON,
    NONE,
    PAD,
    SCRATCH,
    STOP,
    LengthMix,
    Parts,
    Task,
    number,
)

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


class Example(NamedTuple):
    """One row of tokens, and what in it is to be said."""

    tokens: Int[Array, " seq"]
    scored: Bool[Array, " seq"]
    """True for a token that is to be said, given all before it."""
    final: Bool[Array, " seq"]
    """True for those of the answer proper; without ``steps`` the same."""
    item: Int[Array, " seq"]
    """Which token of the item stands here; -1 for all else."""
    source: Int[Array, " seq"]
    """Which token of the item this token of the answer copies; -1 for all else."""
    length: Int[Array, ""]
    """Tokens that count; padding follows."""


class _Piece(NamedTuple):
    """A stretch of tokens, some of which are left out."""

    tokens: Array
    valid: Array
    item: Array
    source: Array
    scored: Array
    final: Array


def _piece(tokens: Array, valid: Array | None = None, **known: Array) -> _Piece:
    nowhere, no = jnp.full(len(tokens), NONE, jnp.int32), jnp.zeros(len(tokens), bool)
    blank = {"item": nowhere, "source": nowhere, "scored": no, "final": no}
    return _Piece(tokens.astype(jnp.int32), ~no if valid is None else valid, **{**blank, **known})


def _mark(symbol: str, count: int = 1) -> _Piece:
    return _piece(jnp.full(count, COMMON.index(symbol), jnp.int32))


def lay_out(parts: Parts, glasses: Glasses) -> Example:
    """An example as a row of tokens.

    Source: arXiv 2406.04267v2, sections 5 and 7, appendix C.5; the remedies that it names or tries.
    Differs: separators in two phases; the paper's own, from the start, changes two things at once.

    Args:
      parts: What a task drew.
      glasses: The layout.

    Returns:
      The row, as wide as the longest example would need; with steps some tokens wider.

    Raises:
      BadInput: Steps of what is no count.
    """
    item = [_item(parts, glasses)]
    if glasses.twice:
        item = [*item, _mark(SEPARATOR), *item]
    asked = [_mark(ASK), _piece(parts.question)] if len(parts.question) else []
    body = [*asked, *item] if glasses.question == "before" else [*item, *asked]
    bos = [_mark(BOS)] if glasses.bos else []
    scratch = [_mark(SCRATCH, glasses.scratch)] if glasses.scratch else []
    steps = [_steps(parts, glasses.steps)] if glasses.steps else []
    stop = [_mark(STOP)] if glasses.stop else []
    pieces = [*bos, *body, *scratch, *stop, *steps, _answer(parts, glasses)]
    return _joined(pieces, _spare(len(parts.item), glasses))


def _item(parts: Parts, glasses: Glasses) -> _Piece:
    """The item, with a comma before or after some of its tokens."""
    place, every = jnp.arange(len(parts.item), dtype=jnp.int32), glasses.separators
    there = place < parts.length
    if not every:
        return _piece(parts.item, there, item=place)
    if glasses.phase == "start":
        comma, order = there & ((place + 1) % every == 0), (0, 1)
    else:
        comma, order = there & ((parts.length - place) % every == 0) & (place > 0), (1, 0)
    both = lambda own, added: jnp.stack([(own, added)[at] for at in order], axis=1).reshape(-1)
    commas = jnp.full_like(place, COMMON.index(SEPARATOR))
    item = both(place, jnp.full_like(place, NONE))
    return _piece(both(parts.item, commas), both(there, comma), item=item)


def _spare(size: int, glasses: Glasses) -> int:
    """Places of all commas that no item of that size fills: one stands beside every token."""
    every = glasses.separators
    if not every:
        return 0
    most = size // every if glasses.phase == "start" else (size - 1) // every
    return (size - most) * (2 if glasses.twice else 1)


def _steps(parts: Parts, every: int) -> _Piece:
    """The running counts at the ends of all chunks but the last, which ends in the answer."""
    if (running := parts.running) is None:
        raise BadInput("Wanted a counting task for steps; found one whose answer is no count.")
    most = len(parts.item)
    ends = jnp.arange(every, max(most, every + 1), every, dtype=jnp.int32)
    says = lambda end: number(running[jnp.minimum(end, most) - 1], most, COMMON)
    tokens, counts = jax.vmap(says)(ends)
    place = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    comma = COMMON.index(SEPARATOR)
    tokens = jnp.where(place == counts[:, None] - 1, comma, tokens)
    valid = ((place < counts[:, None]) & (ends < parts.length)[:, None]).reshape(-1)
    return _piece(tokens.reshape(-1), valid, scored=valid)


def _answer(parts: Parts, glasses: Glasses) -> _Piece:
    place = jnp.arange(len(parts.answer), dtype=jnp.int32)
    valid = place < parts.answered
    asked = valid if glasses.stop else place == 0
    return _piece(parts.answer, valid, source=parts.source, scored=asked, final=asked)


def _joined(pieces: list[_Piece], spare: int) -> Example:
    """The pieces one behind another, without what is left out, and padding at the end."""
    every = jax.tree.map(lambda *fields: jnp.concatenate(fields), *pieces)
    width = len(every.tokens) - spare
    place = jnp.cumsum(every.valid, dtype=jnp.int32) - 1
    place = jnp.where(every.valid, place, len(every.tokens))  # outside: dropped
    put = lambda values, blank: (
        jnp.full(width, blank, values.dtype).at[place].set(values, mode="drop")
    )
    return Example(
        tokens=put(every.tokens, COMMON.index(PAD)),
        scored=put(every.scored, False),
        final=put(every.final, False),
        item=put(every.item, NONE),
        source=put(every.source, NONE),
        length=jnp.sum(every.valid, dtype=jnp.int32),
    )


@draws.reproducible()  # what a task of the user draws, too
def example(task: Task, glasses: Glasses, key: Array, length: Array, size: int) -> Example:
    """One example of a given length.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      key: Of this example alone.
      length: Of the item, from the task's ``least`` to ``size``.
      size: The largest length of the batch: it fixes the width of the row.

    Returns:
      The row.
    """
    return lay_out(task.draw(key, length, size), glasses)


def batch(
    task: Task, glasses: Glasses, mix: LengthMix, key: Array, step: Int[Array, ""], count: int
) -> tuple[Example, Int[Array, " count"]]:
    """A batch as a pure function of a key and a step: nothing is stored, and resuming is free.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      mix: Which lengths, how often.
      key: Of the run; rows draw alone, under any implementation of keys.
      step: Number of the batch.
      count: Examples.

    Returns:
      Rows, and the length of each item.

    Raises:
      BadInput: The mix has lengths that mean nothing to the task.
    """
    if mix.low < task.least:
        wanted = f"Wanted lengths of {task.least} or more for {task.name}"
        raise BadInput(f"{wanted}; found {mix.low}.")

    def one(key: Array) -> tuple[Example, Array]:
        lengths, drawn = draws.split(key)
        length = mix.draw(lengths)
        return example(task, glasses, drawn, length, mix.high), length

    return draws.over(one, key)(draws.split(draws.fold_in(key, step), count))


def width(task: Task, glasses: Glasses, size: int) -> int:
    """Tokens that a row has room for.

    Args:
      task: What is asked.
      glasses: How it is laid out.
      size: The largest length.

    Returns:
      The width of ``example``'s row.

    Raises:
      BadInput: It has more tokens than int32 counts, or the task takes no items so long.
    """
    return _abstract(
        lambda key, length: example(task, glasses, key, length, size), size
    ).tokens.shape[0]


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
    return _abstract(lambda key, length: task.draw(key, length, size), size).item.shape[0]


def _abstract(make: Callable[[Array, Array], Any], size: int) -> Any:  # noqa: ANN401
    """What would be made of a key and a length: shapes alone."""
    length = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: draws.root_key(0))
    try:
        return jax.eval_shape(make, key, length)
    except OverflowError:
        expected = f"Expected rows of at most {MOST} tokens, got more at length {number_text(size)}"
        raise BadInput(f"{expected}: use shorter items.") from None


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
