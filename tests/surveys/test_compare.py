"""Where two nested values differ."""

import math

import pytest

from glassesjax.surveys.compare.differences import MISSING, differences


@pytest.mark.parametrize(
    ("first", "second", "places"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, ["a"]),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": math.nan}, {"a": 0.0}, ["a"]),
        ({"a": [1, {"b": 2}]}, {"a": (1, {"b": 3})}, ["a.1.b"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a.1"]),
        ({"a": "ab"}, {"a": ["a", "b"]}, ["a"]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, ["a", "c"]),
        (1, None, [""]),
    ],
)
def test_the_innermost_differences_are_given_by_path(first, second, places):
    assert [each.path for each in differences(first, second)] == places


def test_what_one_side_lacks_is_missing_and_not_none():
    (one,) = differences({"a": None}, {})
    assert (one.first, one.second) == (None, MISSING)
