"""Classes of tokens on sentences whose every class is plain."""

import pytest

from glassesjax.tasks.word_classes import APOSTROPHE, CLASSES, WORDS, classify


def pairs(text):
    """Tokens cut at bars, with their classes."""
    tokens = text.split("|")
    return dict(zip(tokens, classify(tokens), strict=True))


def test_a_verse():
    found = pairs(
        "X|In| the| beginning| God| created| it|,| and| shall| thy| light|:| which|.|\n|And"
    )
    assert found == {
        "X": "first token",
        "In": "continuation",  # it goes on with the word that X begins
        " the": "determiner",
        " beginning": "other word",
        " God": "capitalized word",
        " created": "other word",
        " it": "pronoun",
        ",": "comma",
        " and": "conjunction",
        " shall": "modal",
        " thy": "possessive pronoun",
        " light": "other word",
        ":": "colon",
        " which": "wh-word",
        ".": "sentence end",
        "\n": "newline",
        "And": "conjunction",
    }


def test_capitals_name_only_within_a_sentence():
    found = pairs("Go| north|.| Many| saw| Ada|.|\n|Stones| of| Ur")
    assert found[" Many"] == found["Stones"] == "other word"
    assert found[" Ada"] == found[" Ur"] == "capitalized word"
    assert pairs("He| said|.| “|Many")["Many"] == "other word"  # a quote opens the sentence


def test_a_word_in_pieces_has_its_class_once():
    found = pairs("A| firm|ament| to| with|out| 19|47| any|\xadx")
    assert [found[" firm"], found["ament"]] == ["other word", "continuation"]
    assert [found[" with"], found["out"]] == ["preposition", "continuation"]
    assert [found[" 19"], found["47"]] == ["number", "continuation"]
    assert found[" to"] == "to"


def test_quotes_endings_and_brackets():
    found = classify(
        [
            "So",
            ' "',
            "Ada",
            "'s",
            " cat",
            '"',
            " (",
            "now",
            ")",
            " $",
            "5",
            APOSTROPHE,
            " dogs",
            "'",
        ]
    )
    assert found == [
        "first token",
        "other mark",
        "capitalized word",
        "possessive ending",
        "other word",
        "closing quote",
        "other mark",
        "other word",
        "closing bracket",
        "currency",
        "number",
        "closing quote",
        "other word",
        "possessive ending",
    ]


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        ([], []),
        (["A"], ["first token"]),
        (["1", ",", "1", "1"], ["first token", "continuation", "continuation", "continuation"]),
        (["<bos>", " ", "\n\n", "…"], ["first token", "white space", "newline", "colon"]),
        (["a", "\ufffd", ".."], ["first token", "other mark", "sentence end"]),
    ],
)
def test_borders(tokens, wanted):
    assert classify(tokens) == wanted


def test_the_lists_name_classes_and_share_no_word():
    names = [row.name for row in CLASSES]
    assert len(set(names)) == len(names)
    assert WORDS.keys() <= set(names)
    every = [word for words in WORDS.values() for word in words.split()]
    assert len(set(every)) == len(every)
    assert {row.family for row in CLASSES} == {"mark", "closed", "open", "other"}
