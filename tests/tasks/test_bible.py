"""Passages and questions out of a made Bible, and out of the real one."""

import collections
import re

import pytest
from studies.made_reader import made_verses, verse

from glassesjax.errors import BadInput
from glassesjax.tasks.bible import passages, spoken
from glassesjax.tasks.text import king_james_verses

DEPTHS = (0.0, 0.5, 1.0)


def made(task, verses=None, **changed):
    options = {"length": 250, "depths": DEPTHS, "number": 3, "words": 3, "hint": 0, "seed": 0}
    verses = made_verses() if verses is None else verses
    return list(passages(task, verses, **{**options, "count": len, **changed}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("And God said, Let there be light: now.", ("God", "Let there be light: now.")),
        ("Then Saul said unto his servants, Seek me a woman.", ("Saul", "Seek me a woman.")),
        ("But Abram said to the king, I have lift.", ("Abram", "I have lift.")),
        ("And the king said, Bring me a sword.", None),  # an article
        ("And Nathan David said, No.", None),  # two words
        ("And he said, Who art thou?", None),  # no name
        ("And David said in his heart, I shall perish.", None),  # to nobody
        ("And David said unto him, and wept.", None),  # nothing is spoken
        ("Now when David said, Go.", None),
    ],
)
def test_who_says_what(text, found):
    assert spoken(text) == found


def test_a_verse_is_asked_for_by_its_reference():
    for passage in made("verse"):
        assert passage.book == "Made"  # the other one is too short
        assert len(passage.text) <= 250
        numbers = [int(re.match(r"Made 1:(\d+) ", line)[1]) for line in passage.lines]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        for question in passage.questions:
            cue = question.text.rpartition("\n")[2]
            line = passage.lines[question.needle]
            assert line.startswith(f"{cue} {question.answer}")
            assert len(question.answer.split()) <= 3
            assert not line.startswith(question.text.split("\n")[1])  # solved is another


def test_a_hint_gives_the_first_words():
    for question in (q for p in made("verse", hint=2, words=2) for q in p.questions):
        reference, *given = question.text.rpartition("\n")[2].split(" ", 2)
        assert (reference, len(given[-1].split())) == ("Made", 2)
    assert made("verse", hint=2)[0].lines == made("verse")[0].lines
    with pytest.raises(BadInput, match="a book with 250 tokens"):
        made("verse", hint=40)


def test_a_speaker_is_asked_for_by_the_words():
    for passage in made("said"):
        for question in passage.questions:
            solved, _, cue = question.text.strip().split("\n")
            quote = re.fullmatch(r'Who said "(.*)"\? It was', cue)[1]
            assert len(quote.split()) == 8
            (holder,) = [line for line in passage.lines if quote in line]
            assert holder == passage.lines[question.needle]
            assert question.answer == spoken(holder)[0]
            assert not solved.endswith(question.answer)


def said_by(counts):
    """A book in which each speaker has so many lines, all of about the same length."""
    words = lambda name, n: f"And {name} said, Line {n} of {name} has these many words in it."
    texts = [words(name, n) for name, count in counts.items() for n in range(count)]
    return [verse("Uneven", number, text) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(("length", "each"), [(250, 1), (510, 3)])
def test_no_speaker_is_right_by_being_frequent(length, each):
    verses = said_by({"David": 20, "Saul": 9, "Joab": 5, "Abner": 1, "Ziba": 1})
    first = set()
    for passage in made("said", verses, length=length, number=20):
        speakers = [spoken(line)[0] for line in passage.lines]
        assert set(collections.Counter(speakers).values()) == {each}
        first.add(speakers[0])
    assert len(first) >= 3  # no order of speakers, either


@pytest.mark.parametrize("task", ["verse", "said"])
def test_needles_lie_where_they_were_asked_for(task):
    for passage in made(task):
        sizes = [len(line) + 1 for line in passage.lines]
        starts = [sum(sizes[:index]) / sum(sizes) for index in range(len(sizes))]
        for depth, question in zip(DEPTHS, passage.questions, strict=True):
            assert question.depth == depth
            assert question.needle_depth == starts[question.needle]
            assert abs(question.needle_depth - depth) == min(abs(s - depth) for s in starts)
        assert passage.questions[0].needle == 0
        assert passage.questions[2].needle == len(sizes) - 1


def test_all_follows_from_the_arguments():
    assert made("said") == made("said")
    assert made("said", number=5)[:3] == made("said")
    assert made("said", seed=1) != made("said")
    # Depths choose questions, and nothing else.
    assert made("verse", depths=(0.5,))[0].lines == made("verse")[0].lines


@pytest.mark.parametrize(
    ("task", "changed", "wanted"),
    [
        ("verses", {}, "a task out of verse, said"),
        ("said", {"length": 5000}, "a book with 5000 tokens of lines for the task said"),
        ("verse", {"length": 30}, "at least 3 verses"),
        ("said", {"verses": [v for v in made_verses() if "Adah" in v["text"]]}, "a book with"),
    ],
)
def test_what_cannot_be_asked_is_said(task, changed, wanted):
    with pytest.raises(BadInput, match=wanted):
        made(task, **changed)


@pytest.mark.slow
@pytest.mark.models
def test_the_real_bible_has_questions_enough():
    verses = king_james_verses()
    said = [found for verse in verses if (found := spoken(verse["text"]))]
    assert len(said) > 300
    assert ("Cain", "My punishment is greater than I can bear.") in said
    for task in ("verse", "said"):
        found = made(task, verses, length=2000, number=4)
        assert len(found) == 4
        assert all(1600 < len(passage.text) <= 2000 for passage in found)
