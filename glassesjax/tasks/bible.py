"""Questions whose answers stand somewhere in a passage of the King James Bible.

A passage is read first, the question after it: whoever forgets must do so without knowing what will
be asked. One passage has several needles, one a depth, so that it is read once.
"""

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from glassesjax.errors import BadInput
from glassesjax.tasks.answers import first_words

Verse = Mapping[str, str | int]
Count = Callable[[str], int]

Task = Literal["verse", "said"]
TASKS: tuple[Task, ...] = ("verse", "said")
QUOTED = 8  # words of a speech that a question about its speaker quotes
LEAST_LINES = 3  # of a passage: a needle, the solved example, and one more
LEAST_SPEAKERS = 3  # of a book, with as many lines by each
# The verse begins with a connective and one name; what is spoken begins, with a capital, behind the
# first comma. Speakers of two words or with an article ("the king of Israel said") are passed over.
SAID = re.compile(
    r"(?:And|Then|But|So|Now) (?P<speaker>[A-Z][a-z]+) said(?: (?:un)?to [^,:;.]+)?,"
    r" (?P<speech>[A-Z].*)"
)


class Line(NamedTuple):
    """One line of a passage, with what may be asked about it."""

    text: str
    """As it stands there, without its end."""
    cue: str
    """The question."""
    answer: str
    speaker: str
    """For ``said``, the answer again, else empty: an example never gives away the speaker."""


class Question(NamedTuple):
    """A question about one line of a passage, behind a solved one about another line."""

    depth: float
    """As it was asked for, of the passage's tokens."""
    needle: int
    """Number of the line that holds the answer."""
    needle_depth: float
    """Where that line begins, of the passage's tokens."""
    text: str
    """What is read after the passage; the answer follows a space."""
    answer: str


class Passage(NamedTuple):
    """What is read before the questions are known."""

    task: Task
    length: int
    """Tokens that were asked for; the passage has no more."""
    number: int
    book: str
    lines: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        """All lines, each with its end."""
        return "".join(f"{line}\n" for line in self.lines)


def passages(
    task: str,
    verses: Sequence[Verse],
    *,
    length: int,
    depths: Sequence[float],
    number: int,
    words: int,
    hint: int,
    count: Count,
    seed: int,
) -> Iterator[Passage]:
    """Passages of a task with their questions, the same for the same arguments.

    ``verse``: verses in a row, each behind its reference; the reference is given again, and the
    verse's words are wanted, its first or those behind a hint. Its neighbors differ from it by one
    number. ``said``: verses of one book in which somebody says something, as many by one speaker as
    by another, in a drawn order; a speech's first words are given, and its speaker is wanted.
    Before the question stands a solved one of the same form about another line, by another speaker.

    Source: ours, in the place of QASPER and SQuALITY in arXiv 2401.06104v2.

    Args:
      task: ``verse`` or ``said``.
      verses: With ``citation``, ``text`` and ``book``, in order.
      length: Most tokens of a passage.
      depths: Where the needles lie, as shares of the passage's tokens; for each the nearest line.
      number: How many passages.
      words: Of an answer about a verse; all that follow if 0.
      hint: First words of the verse that are given beside its reference.
      count: Tokens of a text.
      seed: Of the choice of passages and examples; a passage's own is made of this, the task, the
        length and its number.

    Yields:
      Passages, by their number.

    Raises:
      BadInput: No such task, or no book has a passage of that length.
    """
    known = next((name for name in TASKS if name == task), None)
    if known is None:
        raise BadInput(f"Wanted a task out of {', '.join(TASKS)}; found {task!r}.")
    pool = _Pool(task, verses, (hint, words), count, length)
    for index in range(number):
        draw = random.Random(f"{seed} {task} {length} {index}")
        book, lines = pool.lines(draw, length)
        sizes = [count(f"{line.text}\n") for line in lines]
        starts = [0, *itertools.accumulate(sizes)]
        asked = tuple(_question(draw, lines, starts, depth) for depth in depths)
        yield Passage(known, length, index, book, tuple(line.text for line in lines), asked)


def spoken(text: str) -> tuple[str, str] | None:
    """Who says what in a verse.

    The verse must begin with And, Then, But, So or Now, one capitalized word, ``said``, at most
    ``unto`` or ``to`` somebody, and a comma; what is said begins there with a capital letter. The
    speaker is that word.

    Args:
      text: A verse.

    Returns:
      The speaker and the speech, or None where the verse is not of that form.
    """
    found = SAID.match(text)
    return None if found is None else (found["speaker"], found["speech"])


class _Pool:
    """Lines of each book that a passage can be made of."""

    def __init__(
        self,
        task: str,
        verses: Sequence[Verse],
        words: tuple[int, int],
        count: Count,
        length: int,
    ) -> None:
        make = (lambda verse: _verse_line(verse, *words)) if task == "verse" else _said_line
        made = ((str(verse["book"]), make(verse)) for verse in verses)
        found: dict[str, list[Line]] = {}
        for book, line in made:
            if line is not None:
                found.setdefault(book, []).append(line)
        # Nobody's cue stands twice.
        unique = lambda lines: list({line.cue: line for line in lines}.values())
        self.books = {book: unique(lines) for book, lines in found.items()}
        self.task, self.count = task, count
        # No book is counted further than to where it is long enough.
        sizes = {book: self._size(lines, length) for book, lines in self.books.items()}
        self.rounds: dict[str, tuple[list[int], list[int]]] = {}
        if task == "said":
            self.rounds = {book: self._equal(lines) for book, lines in self.books.items()}
            sizes = {book: max(least) for book, (least, _) in self.rounds.items() if least}
        self.sizes = sizes

    def _size(self, lines: Sequence[Line], enough: int | float = math.inf) -> int:
        total = 0
        for line in lines:
            total += self.count(f"{line.text}\n")
            if total >= enough:
                break
        return total

    def _equal(self, lines: Sequence[Line]) -> tuple[list[int], list[int]]:
        """For one line by each speaker, two by each who has two, and so on: least tokens of all.

        And the length from which some will fit, whichever are drawn: those of most tokens and one.
        """
        sizes = [sorted(self._size([line]) for line in own) for own in _by_speaker(lines)]
        least, fits = [], []
        for each in range(1, max(map(len, sizes), default=0) + 1):
            enough = [own for own in sizes if len(own) >= each]
            if len(enough) < LEAST_SPEAKERS:
                break
            longest = sorted(sum(own[-each:]) for own in enough)
            others = 2 if each == 1 else 1  # beside one: three lines by two speakers or more
            least.append(sum(sum(own[:each]) for own in enough))
            fits.append(sum(longest[-others:]) + longest[0])
        return least, fits

    def _each(self, book: str, length: int) -> int:
        """How many lines of each speaker fill a passage, the fewest; 0 if none do."""
        rounds = enumerate(zip(*self.rounds[book], strict=True), 1)
        return next((n for n, (least, fits) in rounds if fits <= length <= least), 0)

    def lines(self, draw: random.Random, length: int) -> tuple[str, list[Line]]:
        """Lines of a book that has enough of them, as many as fit."""
        books = [book for book, size in self.sizes.items() if size >= length]
        if self.task == "said":
            books = [book for book in books if self._each(book, length)]
        if not books:
            most = max(self.sizes.values(), default=0)
            wanted = f"Wanted a book with {length} tokens of lines for the task {self.task}"
            raise BadInput(f"{wanted}; the longest has {most}: use shorter --lengths.")
        book = draw.choice(books)
        every = self.books[book]
        if self.task == "verse":
            taken = self._in_a_row(draw, every, length)
        else:
            taken = self._balanced(draw, every, length, self._each(book, length))
        if len(taken) < LEAST_LINES:
            wanted = f"Wanted --lengths that hold {LEAST_LINES} verses"
            raise BadInput(f"{wanted}; {length} tokens of {book} hold {len(taken)}.")
        return book, taken

    def _in_a_row(self, draw: random.Random, lines: list[Line], length: int) -> list[Line]:
        """From a line on after which there are tokens enough."""
        left, last = 0, len(lines)
        while left < length:
            last -= 1
            left += self.count(f"{lines[last].text}\n")
        found = lines[draw.randrange(last + 1) :]
        ends = itertools.accumulate(self.count(f"{line.text}\n") for line in found)
        return [line for line, end in zip(found, ends, strict=True) if end <= length]

    def _balanced(
        self, draw: random.Random, lines: list[Line], length: int, each: int
    ) -> list[Line]:
        """As many lines by one speaker as by another, in any order."""
        speakers = [draw.sample(own, each) for own in _by_speaker(lines) if len(own) >= each]
        draw.shuffle(speakers)
        taken: list[Line] = []
        for own in speakers:
            if self._size([*taken, *own]) <= length:
                taken += own
        draw.shuffle(taken)
        return taken


def _verse_line(verse: Verse, hint: int, words: int) -> Line | None:
    reference, text = str(verse["citation"]), str(verse["text"])
    given, left = text.split()[:hint], " ".join(text.split()[hint:])
    if not left:
        return None
    return Line(f"{reference} {text}", " ".join([reference, *given]), first_words(left, words), "")


def _said_line(verse: Verse) -> Line | None:
    found = spoken(str(verse["text"]))
    if found is None or len(found[1].split()) < QUOTED:
        return None
    speaker, speech = found
    cue = f'Who said "{first_words(speech, QUOTED).rstrip(",:;.?!")}"? It was'
    return Line(str(verse["text"]), cue, speaker, speaker)


def _by_speaker(lines: Sequence[Line]) -> list[list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.speaker, []).append(line)
    return list(found.values())


def _question(
    draw: random.Random, lines: Sequence[Line], starts: Sequence[int], depth: float
) -> Question:
    away = lambda index: abs(starts[index] - depth * starts[-1])
    needle = min(range(len(lines)), key=away)
    line = lines[needle]
    others = [
        other
        for index, other in enumerate(lines)
        if index != needle and (not line.speaker or other.speaker != line.speaker)
    ]
    example = draw.choice(others)
    text = f"\n{example.cue} {example.answer}\n\n{line.cue}"
    return Question(depth, needle, starts[needle] / starts[-1], text, line.answer)
