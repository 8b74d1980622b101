"""Families of runs, by hand and against the hypothesis of Theorem 4.2."""

import pytest

from glassesjax.errors import BadInput
from glassesjax.tasks.sequences import BOS, FAMILIES, SYMBOLS, repeats_last_token, run_family

LENGTHS = range(1, 20)


def pair(name, length, seed=0):
    return run_family(name).pair(length, seed)


@pytest.mark.parametrize(
    ("name", "length", "shorter", "longer"),
    [
        ("ones", 3, "111", "1111"),
        ("ones_zero", 2, "110", "1110"),
        ("alternating", 3, "101", "1011"),
        ("separators_in_phase", 4, "1,111", "11,111"),
        ("separators_in_phase", 6, "111,111", "1,111,111"),
        ("separators_confounded", 4, "111,1", "111,11"),
        ("separators_confounded", 6, "111,111,", "111,111,1"),
    ],
)
def test_prompts_by_hand(name, length, shorter, longer):
    assert tuple("".join(side) for side in pair(name, length)) == (shorter, longer)


def test_the_beginning_mark_comes_first():
    assert pair("ones_bos", 2) == ((BOS, "1", "1"), (BOS, "1", "1", "1"))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_n_items_made_of_known_symbols(name):
    for length in LENGTHS:
        shorter, longer = pair(name, length)
        assert set(shorter) | set(longer) <= set(SYMBOLS)
        items = lambda prompt: sum(symbol.isdigit() for symbol in prompt)
        extra = name == "ones_zero"
        assert (items(shorter), items(longer)) == (length + extra, length + 1 + extra)


# Which families meet the theorem's hypothesis on the prompts, at which lengths.
MEETS = {
    "ones": lambda n: True,
    "ones_bos": lambda n: True,
    "doubled_digits": lambda n: True,
    "alternating": lambda n: True,
    "ones_text": lambda n: True,  # in symbols; in tokens as the tokenizer splits the text
    "ones_zero": lambda n: False,
    "separators_in_phase": lambda n: n < 3,
    "separators_confounded": lambda n: n % 3 == 1,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_hypothesis_is_measured(name):
    measured = [repeats_last_token(*pair(name, n)) for n in LENGTHS]
    assert measured == [MEETS[name](n) for n in LENGTHS]


def test_in_phase_both_sides_end_alike_and_confounded_they_do_not():
    for n in range(3, 20):
        shorter, longer = pair("separators_in_phase", n)
        assert shorter[-3:] == longer[-3:] == ("1", "1", "1")
    ends = {tuple(side[-1] for side in pair("separators_confounded", n)) for n in LENGTHS}
    assert ("1", ",") in ends
    assert (",", "1") in ends


def test_random_digits_are_one_stream_for_each_seed():
    long, _ = pair("doubled_digits", 500, seed=3)
    assert all(pair("doubled_digits", n, seed=3)[0] == long[:n] for n in (1, 2, 17, 499))
    assert pair("doubled_digits", 500, seed=4)[0] != long
    assert len(set(long)) == 10


def test_an_unknown_family_is_named_with_the_known_ones():
    with pytest.raises(BadInput, match=r"ones_zero.*'twos'"):
        run_family("twos")
