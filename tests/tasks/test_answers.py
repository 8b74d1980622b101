"""How answers are compared, by hand."""

import pytest

from glassesjax.tasks.answers import exact_match, first_words, normalized, token_f1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The LORD, said:  unto a man!", "lord said unto man"),
        ("an — the a", ""),
        ("Theban another", "theban another"),  # articles are words, not letters
        ("God's\nhouse", "gods house"),
    ],
)
def test_normalization(text, words):
    assert normalized(text) == words


def test_exact_match_is_of_normalized_words():
    assert exact_match("David.", " the david")
    assert not exact_match("David and Saul", "David")


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("and Lot also went", "And Lot also,", 6 / 7),  # 3 in common, 4 said, 3 expected
        ("go go go", "go up", 2 / 5),  # the word counts once
        ("go go up", "go go down", 4 / 6),  # and twice where both have it twice
        ("nothing", "in common", 0.0),
        ("", "words", 0.0),
        ("the", "a", 1.0),  # both empty once normalized
        ("same words", "Same words.", 1.0),
    ],
)
def test_f1_by_hand(answer, expected, f1):
    assert token_f1(answer, expected) == f1


def test_first_words_end_with_the_line():
    assert first_words(" one  two three\nfour", 2) == "one two"
    assert first_words("one two\nthree", 0) == "one two"
    assert first_words("\n\none\ntwo", 5) == "one"
    assert first_words("", 3) == ""
