"""Every task: its answers against ones read off the row's text, its shares, its lengths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.read_rows import expected, item_and_question, words_of

from glassesjax.errors import BadInput
from glassesjax.tasks import TASKS, LengthMix, PromptFormat, batch, example, named_task
from glassesjax.tasks.drawing import digits_of
from glassesjax.tasks.prompt_format import width
from glassesjax.tasks.task import COMMON, NONE

SIZE, COUNT = 12, 12
PLAIN = PromptFormat()


def quick_are(*names):
    """Every task; slow are those that draw and lay out as one of these does."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in names)) for name in TASKS]


def one(name, key, length, size):
    """One example, compiled."""
    return jax.tree.map(np.asarray, example_of(named_task(name), PLAIN, key, length, size))


def several(name, count, length, size):
    """Examples under keys of their own, compiled."""
    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(np.asarray, examples_of(named_task(name), keys, np.int32(length), size))


example_of = jax.jit(example, static_argnums=(0, 1, 4))


@functools.partial(jax.jit, static_argnums=(0, 3))
def examples_of(task, keys, length, size):
    return jax.vmap(lambda key: example(task, PLAIN, key, length, size))(keys)


def some(name, length, size=SIZE):
    keys = jax.random.split(jax.random.key(3), COUNT)
    rows = examples_of(named_task(name), keys, np.int32(length), size)
    return jax.tree.map(np.asarray, rows)


@functools.cache
def drawn(name):
    """Rows of every length, by length."""
    return {n: some(name, n) for n in range(named_task(name).least, SIZE + 1)}


def each(rows):
    for index in range(COUNT):
        yield jax.tree.map(lambda x: x[index], rows)  # noqa: B023


@functools.cache
def rows_of(name):
    return [(length, row) for length, rows in drawn(name).items() for row in each(rows)]


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_those_that_the_text_gives(name):
    for length, row in rows_of(name):
        words = words_of(named_task(name), row)
        item, question = item_and_question(words)
        read = {"sum_ones": 2 * length - 1, "recall": 2 * length}.get(name, length)
        assert words[0] == "<bos>"
        assert len(item) == read
        assert words[words.index("=") + 1 :] == expected(name, item, question)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_scored_is_the_answer(name):
    for _, row in rows_of(name):
        words = words_of(named_task(name), row)
        answer = np.arange(len(row.tokens)) > words.index("=")
        np.testing.assert_array_equal(row.scored, answer & (np.arange(len(answer)) < row.length))
        np.testing.assert_array_equal(row.scored, row.final)
        assert (row.tokens[row.length :] == COMMON.index("<pad>")).all()


@pytest.mark.parametrize("name", TASKS)
def test_places_name_the_tokens_that_stand_there(name):
    for _, row in rows_of(name):
        item = row.tokens[row.item != NONE]
        np.testing.assert_array_equal(row.item[row.item != NONE], np.arange(len(item)))
        copies = row.source != NONE
        assert not (copies & ~row.scored).any()
        source, said = item[row.source[copies]], row.tokens[copies]
        if name == "max_retrieval":  # the answer is a part of the token that it comes from
            said = [f"c{named_task(name).symbols[token]}" for token in said]
            assert all(
                named_task(name).symbols[token].endswith(kind)
                for token, kind in zip(source, said, strict=True)
            )
        else:
            np.testing.assert_array_equal(source, said)
        assert copies.any() == (not name.startswith(("count", "sum")))


@pytest.mark.parametrize("name", TASKS)
def test_the_widest_row_fits(name):
    whole = width(named_task(name), PLAIN, SIZE)
    longest = max(int(row.length) for _, row in rows_of(name))
    assert longest <= whole
    assert drawn(name)[SIZE].tokens.shape == (COUNT, whole)
    if name not in ("count_mixed", "count_word"):  # whose counts may stay below two digits
        assert longest == whole


@pytest.mark.parametrize(
    ("name", "share", "of"),
    [("count_mixed", 0.7, "1"), ("copy_first", 0.5, "1"), ("copy_zero", 0.5, "ends")],
)
def test_shares_are_the_stated_ones(name, share, of):
    count = 4000
    rows = several(name, count, 2, 2)
    item = rows.tokens[rows.item != NONE].reshape(count, 2)
    hits = item[:, 1] == COMMON.index("0") if of == "ends" else item == COMMON.index(of)
    error = (share * (1 - share) / hits.size) ** 0.5
    assert abs(hits.mean() - share) < 5 * error  # five standard errors; the seed is fixed


def test_a_word_is_asked_as_often_as_stated_and_the_others_are_alike():
    task, count = named_task("count_word"), 4000
    tokens, first = several("count_word", count, 1, 1).tokens, task.token("a")
    item, asked = tokens[:, 1], tokens[:, 3]  # <bos> ITEM ? QUESTION
    shares = np.bincount((item - asked) % 8, minlength=8) / count
    stated = np.asarray([0.3] + [0.1] * 7)
    assert (item >= first).all()
    assert (np.abs(shares - stated) < 5 * np.sqrt(stated * (1 - stated) / count)).all()


@pytest.mark.parametrize("name", ["copy_at", "recall", "max_retrieval"])
def test_every_place_is_asked_for_alike(name):
    size, count = 5, 4000
    rows = several(name, count, size, size)
    place = np.max(rows.source, axis=1) // (2 if name == "recall" else 1)
    shares = np.bincount(place, minlength=size) / count
    assert (np.abs(shares - 1 / size) < 5 * np.sqrt((1 - 1 / size) / size / count)).all()


@pytest.mark.parametrize(
    "name",
    quick_are("copy_at", "copy_string", "count_mixed", "count_word", "recall", "max_retrieval"),
)
def test_examples_are_the_same_without_64_bit_types(name):
    wide = drawn(name)[9]
    with jax.enable_x64(False):
        np.testing.assert_array_equal(wide.tokens, some(name, 9).tokens)


def test_a_hint_tells_how_likely_a_zero_is():
    name, count = "copy_hint", 4000
    rows = several(name, count, 3, 3)
    hint = (rows.tokens == named_task(name).token("!")).any(1)
    zero = (rows.source != NONE) & (rows.tokens == COMMON.index("0"))
    for told, share in ((hint, 0.5), (~hint, 0.1)):
        error = (share * (1 - share) / told.sum()) ** 0.5
        assert abs(zero.any(1)[told].mean() - share) < 5 * error


# The others draw as many random numbers as there is room for.
@pytest.mark.parametrize("name", ["copy_zero", "count_ones", "copy_alternating", "copy_hint"])
def test_what_follows_the_length_leaves_no_mark(name):
    """Room for more is padding: the row of a length is a prefix, but for what is drawn by size."""
    small, large = (one(name, jax.random.key(1), np.int32(5), size) for size in (8, 80))
    at = int(small.length)
    assert int(large.length) == at
    np.testing.assert_array_equal(small.tokens[:at], large.tokens[:at])


@pytest.mark.parametrize(
    "name", quick_are("copy_at", "copy_hint", "sum_ones", "count_word", "recall", "max_retrieval")
)
def test_the_layout_does_not_depend_on_the_room(name):
    """Or an answer far beyond the training would be to another question."""
    place = lambda row: words_of(named_task(name), row).index("=")
    for small, large in zip(each(drawn(name)[5]), each(some(name, 5, 300)), strict=True):
        assert place(small) == place(large)


def test_a_position_has_five_digits_and_no_more():
    key, length = jax.random.key(0), jnp.asarray(1, jnp.int32)
    with pytest.raises(BadInput, match="100000 for copy_at"):
        example(named_task("copy_at"), PLAIN, key, length, 100_001)


def test_batches_are_functions_of_key_and_step():
    mix = LengthMix(low=2, high=9)
    make = jax.jit(
        lambda step: batch(named_task("copy_string"), PLAIN, mix, jax.random.key(0), step, 16)
    )
    first, again, other = (make(np.int32(step)) for step in (0, 0, 1))
    np.testing.assert_array_equal(first[0].tokens, again[0].tokens)
    assert (np.asarray(first[0].tokens) != np.asarray(other[0].tokens)).any()
    assert set(np.asarray(first[1]).tolist()) <= set(range(2, 10))


@pytest.mark.parametrize("kind", ["uniform", "log"])
def test_lengths_are_drawn_as_stated(kind):
    mix = LengthMix(low=3, high=17, kind=kind)
    count = 20000
    found = jax.jit(jax.vmap(mix.draw))(jax.random.split(jax.random.key(0), count))
    shares = np.bincount(np.asarray(found), minlength=18)[3:] / count
    stated = np.asarray(mix.probabilities(), float)
    assert stated.sum() == pytest.approx(1, abs=15 * 2.0**-24)
    assert (np.abs(shares - stated) < 5 * np.sqrt(stated * (1 - stated) / count)).all()


def test_doublings_are_alike_under_the_logarithm():
    stated = np.asarray(LengthMix(low=1, high=63, kind="log").probabilities(), float)
    octaves = [stated[2**k - 1 : 2 ** (k + 1) - 1].sum() for k in range(6)]
    np.testing.assert_allclose(octaves, 1 / 6, rtol=64 * 2.0**-24)


def test_a_mix_of_one_length():
    for kind in ("uniform", "log"):
        assert int(LengthMix(low=4, high=4, kind=kind).draw(jax.random.key(0))) == 4


@pytest.mark.parametrize("value", [0, 1, 9, 10, 99, 100, 101, 999])
def test_digits_by_hand(value):
    digits, count = jax.jit(digits_of, static_argnums=1)(np.int32(value), 3)
    assert [*map(str, np.asarray(digits)[: int(count)].tolist())] == list(str(value))


def test_bad_input():
    with pytest.raises(BadInput, match="did you mean 'count_ones'"):
        named_task("count_one")
    with pytest.raises(BadInput, match="1 <= low <= high"):
        LengthMix(low=0, high=4)
    with pytest.raises(BadInput, match="1 <= low <= high"):
        LengthMix(low=5, high=4)
    mix = LengthMix(low=1, high=4)
    with pytest.raises(BadInput, match="2 or more for copy_zero"):
        batch(named_task("copy_zero"), PLAIN, mix, jax.random.key(0), jnp.asarray(0, jnp.int32), 2)
