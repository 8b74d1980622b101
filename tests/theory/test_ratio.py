"""The best answer from a ratio against all items counted one by one."""

import itertools
from fractions import Fraction

import pytest

from glassesjax.theory.ratio import ratio_only_accuracy

HALF = Fraction(1, 2)


def counted(lengths, share):
    """Every item in a list of lists: the likeliest count of each ratio and last token."""
    seen = {}
    for length, drawn in lengths.items():
        for item in itertools.product((0, 1), repeat=length):
            ones = sum(item)
            counts = seen.setdefault((Fraction(ones, length), item[-1]), {})
            chance = drawn * share**ones * (1 - share) ** (length - ones)
            counts[ones] = counts.get(ones, 0) + chance
    return sum(max(counts.values()) for counts in seen.values())


@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 3), Fraction(7, 10), Fraction(1)])
@pytest.mark.parametrize("lengths", [(1,), (2, 3), (2, 4), (1, 2, 3, 4, 5, 6, 7, 8, 9)])
def test_the_best_answer_is_that_of_a_table_of_all_items(lengths, share):
    weights = range(1, len(lengths) + 1)
    drawn = {n: Fraction(w, sum(weights)) for n, w in zip(lengths, weights, strict=True)}
    assert ratio_only_accuracy(drawn, share) == counted(drawn, share)


def test_one_length_is_told_by_its_ratio():
    assert ratio_only_accuracy({7: Fraction(1)}, Fraction(7, 10)) == 1


def test_ones_alone_are_told_by_luck():
    """The counter-case of a count: any length may be the one."""
    drawn = {n: Fraction(1, 8) for n in range(2, 10)}
    assert ratio_only_accuracy(drawn, Fraction(1)) == Fraction(1, 8)
    assert ratio_only_accuracy(drawn, Fraction(0)) == 1
