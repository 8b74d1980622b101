"""Text as it comes: the pieces joined are the text, however the tokens cut it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassesjax.cache.stream import TextStream
from glassesjax.errors import BadInput


def shown(pieces, stops=()):
    """What each push shows, the rest, and whether a stop string was met."""
    stream = TextStream(pieces.__getitem__, stops)
    parts = [stream.push(token)[1] for token in range(len(pieces))]
    return [*parts, stream.finish()[1]], stream.stopped


def test_a_character_is_shown_when_it_is_whole():
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert shown([b"a" + first, second + b"b"]) == (["a", "éb", ""], False)


def test_bytes_that_become_no_character_are_replaced():
    assert shown([b"\xff", b"a", "é".encode()[:1]]) == (["\ufffd", "a", "", "\ufffd"], False)


def test_a_stop_string_may_straddle_tokens_and_is_not_shown():
    assert shown([b"one E", b"N", b"D two"], ["END"]) == (["one ", "", "", ""], True)


def test_what_only_looked_like_a_stop_string_is_shown():
    assert shown([b"one E", b"Nd"], ["END"]) == (["one ", "ENd", ""], False)
    assert shown([b"one E"], ["END"]) == (["one ", "E"], False)


def test_the_stop_string_that_is_complete_first_ends_the_text():
    assert shown([b"abcd"], ["abcd", "bc"]) == (["a", ""], True)
    assert shown([b"abc", b"d"], ["abcd", "bc"]) == (["a", "", ""], True)
    assert shown([b"abc"], ["bc", "abc"]) == (["", ""], True)  # both are: the longer


def test_nothing_follows_a_stop_string():
    stream = TextStream(lambda token: b"x.y"[token : token + 1], ["."])
    assert [stream.push(token) for token in range(3)] == [("x", "x"), (".", ""), ("y", "")]


def slow(text, stops):
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(
    text=st.text("abé🙂", max_size=20),
    stops=st.lists(st.text("abé🙂", min_size=1, max_size=3), max_size=3),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_the_text_does_not_depend_on_where_tokens_cut_it(text, stops, cuts):
    whole = text.encode()
    ends = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(ends)]
    parts, stopped = shown(pieces, stops)
    assert ("".join(parts), stopped) == slow(text, stops)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(BadInput, match="non-empty stop strings"):
        TextStream(lambda token: b"", [""])
