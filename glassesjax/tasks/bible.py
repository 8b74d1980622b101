"""Needle-in-a-haystack questions about passages of the King James Bible.

The passage comes first and the question after it, so a policy evicts before the question is known.
One passage has several needles, one for each depth, so that it is processed once.
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
LEAST_LINES = 3  # of a passage: a needle, the solved example, and one distractor
LEAST_SPEAKERS = 3  # of a book, with as many lines by each
# The verse begins with a connective and one name; what is spoken begins, with a capital, behind the
# first comma. Speakers of two words or with an article ("the king of Israel said") are passed over.
SAID = re.compile(
    r"(?:And|Then|But|So|Now) (?P<speaker>[A-Z][a-z]+) said(?: (?:un)?to [^,:;.]+)?,"
    r" (?P<speech>[A-Z].*)"
)


class Line(NamedTuple):
    """One line of a passage, with a question and its answer."""

    text: str
    """Text of the line, without the line end."""
    cue: str
    """The question."""
    answer: str
    speaker: str
    """For task ``said`` the answer, else empty: the solved example has another speaker."""


class Question(NamedTuple):
    """A question about one line of a passage, after a solved example about another line."""

    depth: float
    """Requested depth, as a share of the passage's tokens."""
    needle: int
    """Index of the line with the answer."""
    needle_depth: float
    """Where that line begins, as a share of the passage's tokens."""
    text: str
    """Solved example and question, to follow the passage; the answer follows after a space."""
    answer: str


class Passage(NamedTuple):
    """A passage and its questions."""

    task: Task
    length: int
    """Requested number of tokens; the passage has at most so many."""
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

    Task ``verse``: consecutive verses, each after its reference. The question is a reference, the
    answer the verse's words, its first or those after a hint. References of neighbors differ in one
    number. The other task, of speakers: verses of one book with direct speech, equally many by each
    speaker, in random order. The question is the first words of a speech, the answer its speaker.
    A solved example of the same form about another line, by another speaker, precedes the question.

    Source: ours, in place of QASPER and SQuALITY in arXiv 2401.06104v2.

    Args:
      task: One of ``TASKS``.
      verses: With ``citation``, ``text`` and ``book``, in order.
      length: Maximum tokens of a passage.
      depths: Needle positions, as shares of the passage's tokens; the nearest line for each.
      number: Number of passages.
      words: Words of an answer about a verse; all that follow if 0.
      hint: Number of first words of the verse that follow its reference in the question.
      count: Number of tokens of a text.
      seed: Seed of passages and examples; each passage is drawn from this, the task, the length and
        its number.

    Yields:
      Passages, by their number.

    Raises:
      BadInput: No such task, or no book has a passage of that length.
    """
    known = next((name for name in TASKS if name == task), None)
    if known is None:
        raise BadInput(f"Expected a task out of {', '.join(TASKS)}, got {task!r}.")
    pool = _Pool(task, verses, (hint, words), count, length)
    for index in range(number):
        # A generator of its own for each passage: the others change nothing in it.
        draw = random.Random(f"{seed} {task} {length} {index}")
        book, lines = pool.lines(draw, length)
        sizes = [count(f"{line.text}\n") for line in lines]
        starts = [0, *itertools.accumulate(sizes)]
        questions = []
        for depth in depths:
            away = [abs(start - depth * starts[-1]) for start in starts[:-1]]
            needle = away.index(min(away))
            line = lines[needle]
            # An example by the same speaker would give the answer away.
            others = [
                other
                for at, other in enumerate(lines)
                if at != needle and (not line.speaker or other.speaker != line.speaker)
            ]
            example = draw.choice(others)
            text = f"\n{example.cue} {example.answer}\n\n{line.cue}"
            share = starts[needle] / starts[-1]
            questions.append(Question(depth, needle, share, text, line.answer))
        texts = tuple(line.text for line in lines)
        yield Passage(known, length, index, book, texts, tuple(questions))


def spoken(text: str) -> tuple[str, str] | None:
    """Speaker and speech of a verse with direct speech.

    The verse must have this form: And, Then, But, So or Now; one capitalized word, the speaker; the
    verb, perhaps with ``unto`` or ``to`` and an addressee; a comma; and the speech, which begins
    with a capital letter.

    Returns:
      The speaker and the speech, or None where the verse is not of that form.
    """
    match = SAID.match(text)
    return None if match is None else (match["speaker"], match["speech"])


class _Pool:
    """Candidate lines for passages, by book."""

    def __init__(
        self,
        task: str,
        verses: Sequence[Verse],
        words: tuple[int, int],
        count: Count,
        length: int,
    ) -> None:
        candidates: dict[str, list[Line]] = {}
        for verse in verses:
            if (line := _line(verse, task, *words)) is not None:
                candidates.setdefault(str(verse["book"]), []).append(line)
        # One line for each cue.
        unique = lambda lines: list({line.cue: line for line in lines}.values())
        self.books = {book: unique(lines) for book, lines in candidates.items()}
        self.task, self.count = task, count
        # Counting the tokens of a book stops where it is long enough.
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
        """Token counts of balanced draws: one line by each speaker, two by each with two, etc.

        Returns the fewest tokens of all such lines, and the length in which some fit whichever are
        drawn: the speakers with most tokens, and one more.
        """
        sizes = [sorted(self._size([line]) for line in group) for group in _by_speaker(lines)]
        least, fits = [], []
        for each in range(1, max(map(len, sizes), default=0) + 1):
            enough = [group for group in sizes if len(group) >= each]
            if len(enough) < LEAST_SPEAKERS:
                break
            longest = sorted(sum(group[-each:]) for group in enough)
            others = 2 if each == 1 else 1  # beside one: three lines by two speakers or more
            least.append(sum(sum(group[:each]) for group in enough))
            fits.append(sum(longest[-others:]) + longest[0])
        return least, fits

    def _each(self, book: str, length: int) -> int:
        """Smallest number of lines by each speaker that fill a passage; 0 if none does."""
        rounds = enumerate(zip(*self.rounds[book], strict=True), 1)
        return next((n for n, (least, fits) in rounds if fits <= length <= least), 0)

    def lines(self, draw: random.Random, length: int) -> tuple[str, list[Line]]:
        """As many lines as fit, of a randomly drawn book that has enough of them."""
        books = [book for book, size in self.sizes.items() if size >= length]
        if self.task == "said":
            books = [book for book in books if self._each(book, length)]
        if not books:
            most = max(self.sizes.values(), default=0)
            expected = f"Expected a book with {length} tokens of lines for the task {self.task}"
            raise BadInput(f"{expected}, got at most {most}: use shorter --lengths.")
        book = draw.choice(books)
        every = self.books[book]
        if self.task == "verse":
            # Consecutive lines from a random start with enough tokens after it.
            left, last = 0, len(every)
            while left < length:
                last -= 1
                left += self.count(f"{every[last].text}\n")
            tail = every[draw.randrange(last + 1) :]
            ends = itertools.accumulate(self.count(f"{line.text}\n") for line in tail)
            taken = [line for line, end in zip(tail, ends, strict=True) if end <= length]
        else:
            # Equally many lines by each speaker, in random order.
            each = self._each(book, length)
            groups = [group for group in _by_speaker(every) if len(group) >= each]
            speakers = [draw.sample(group, each) for group in groups]
            draw.shuffle(speakers)
            taken = []
            for group in speakers:
                if self._size([*taken, *group]) <= length:
                    taken += group
            draw.shuffle(taken)
        if len(taken) < LEAST_LINES:
            expected = f"Expected --lengths of at least {LEAST_LINES} verses"
            got = f"got {len(taken)} in {length} tokens of {book}"
            raise BadInput(f"{expected}, {got}: use longer ones.")
        return book, taken


def _line(verse: Verse, task: str, hint: int, words: int) -> Line | None:
    """A line of a verse; None where the task has no question about it."""
    text = str(verse["text"])
    if task == "verse":
        reference, given = str(verse["citation"]), text.split()[:hint]
        if not (left := " ".join(text.split()[hint:])):
            return None
        cue = " ".join([reference, *given])
        return Line(f"{reference} {text}", cue, first_words(left, words), "")
    parts = spoken(text)
    if parts is None or len(parts[1].split()) < QUOTED:
        return None
    speaker, speech = parts
    cue = f'Who said "{first_words(speech, QUOTED).rstrip(",:;.?!")}"? It was'
    return Line(text, cue, speaker, speaker)


def _by_speaker(lines: Sequence[Line]) -> list[list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.speaker, []).append(line)
    return list(groups.values())
