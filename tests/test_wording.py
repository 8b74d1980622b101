"""Sentences by their numbers and names: in order, whole, and near each other."""

import pytest
from wording import NEAR, says

TEXT = "With 31 slots: window 2,000.5, window+4 25.00 (-0.5%), tova not finite."


@pytest.mark.parametrize(
    "parts",
    [(31, "window", "2,000.5"), ("window+4", "25.00"), ("-0.5%",), ("tova", "not finite"), (31,)],
)
def test_what_a_sentence_says(parts):
    assert says(TEXT, *parts)


@pytest.mark.parametrize(
    "parts",
    [
        (3,),
        ("2,000",),
        (2,),
        (25,),
        ("25.0",),
        ("0.5",),
        ("0.5%",),
        ("window", 31),
        ("window", 4),
        ("ova",),
    ],
)
def test_what_it_does_not_say(parts):
    assert not says(TEXT, *parts)


def test_what_stands_far_apart_is_not_one_statement():
    assert says(f"1{' ' * NEAR}2", 1, 2)
    assert not says(f"1{' ' * NEAR} 2", 1, 2)
