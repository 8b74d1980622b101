"""Passages and questions as a model reads them, and the ways to read."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.cache import Policy
from glassesjax.cache.prefill import PrefillMode
from glassesjax.model.pretrained import LanguageModel
from glassesjax.model.tokenizer import TextTokenizer
from glassesjax.tasks.bible import Passage, Question

MORE = 4  # tokens that an answer may be longer than the expected one


class Asked(NamedTuple):
    """A question as the model reads it."""

    question: Question
    tokens: tuple[int, ...]
    expected: tuple[int, ...]
    """Tokens of the answer, with the space before it."""
    needle: tuple[int, int]
    """Where the line that holds the answer begins and ends in the passage."""


class Reading(NamedTuple):
    """A passage as the model reads it."""

    passage: Passage
    tokens: tuple[int, ...]
    asked: tuple[Asked, ...]


def readings_text(readings: Sequence[Reading]) -> str:
    """Text that identifies a run's inputs, with fixed names that do not depend on class names."""
    question = lambda q: (
        f"Question(depth={q.depth!r}, needle={q.needle!r}, needle_depth={q.needle_depth!r}, "
        f"text={q.text!r}, answer={q.answer!r})"
    )
    asked = lambda a: (
        f"Asked(question={question(a.question)}, tokens={a.tokens!r}, expected={a.expected!r}, "
        f"needle={a.needle!r})"
    )
    # As repr has a tuple: a comma behind a single element.
    tupled = lambda each: f"({', '.join(each)}{',' if len(each) == 1 else ''})"
    return f"[{', '.join(f'({r.tokens!r}, {tupled([*map(asked, r.asked)])})' for r in readings)}]"


class Cell(NamedTuple):
    """One way to read."""

    name: str
    """As on the command line."""
    policy: Policy
    """Of ``truncated``, ``full``."""
    slots: int

    def mode(self, wanted: PrefillMode) -> PrefillMode:
        """How it reads: where nothing is dropped, the parallel way is the same."""
        return wanted if self.policy.bounded else "chunked"


class Subject(NamedTuple):
    """A model, what it reads, and how."""

    model: LanguageModel
    tokenizer: TextTokenizer
    readings: tuple[Reading, ...]
    cells: tuple[Cell, ...]


def reading(passage: Passage, tokenizer: TextTokenizer) -> Reading:
    """A passage and its questions as token numbers.

    Returns:
      Tokens of the passage, and for each question its own, the answer's, and the
      needle's positions.
    """
    tokens = tokenizer.encode(passage.text)
    # Positions in tokens of a line: the tokens of all lines before it, encoded together.
    lines = [f"{line}\n" for line in passage.lines]
    before = lambda count: len(tokenizer.encode("".join(lines[:count])))

    def asked(question: Question) -> Asked:
        # Encoded as one text and cut: tokens may differ at the edges of parts encoded alone.
        asks = tokenizer.encode(passage.text + question.text)
        whole = tokenizer.encode(f"{passage.text}{question.text} {question.answer}")
        needle = (before(question.needle), before(question.needle + 1))
        return Asked(question, asks[len(tokens) :], whole[len(asks) :], needle)

    return Reading(passage, tokens, tuple(map(asked, passage.questions)))


def written(readings: Sequence[Reading]) -> int:
    """Maximum tokens of an answer: expected or generated.

    Returns:
      Number of tokens after the longest question of ``truncated``.
    """
    return max(len(asked.expected) for one in readings for asked in one.asked) + MORE


def longest(readings: Sequence[Reading]) -> int:
    """Tokens of the longest passage with a question and as much of an answer as is written.

    Returns:
      How many a full state must hold.
    """
    each = ((len(one.tokens), asked) for one in readings for asked in one.asked)
    return max(before + len(a.tokens) + len(a.expected) + MORE for before, a in each)
