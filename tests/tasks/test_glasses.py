"""Layouts by hand, what remedies keep, and how they are named."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.read_rows import words_of

from glassesjax.errors import BadInput
from glassesjax.tasks import (
    REMEDIES,
    TASKS,
    PromptFormat,
    example,
    named_format,
    named_task,
    run_family,
)
from glassesjax.tasks.layout import format_prompt, traced_widths
from glassesjax.tasks.prompt_format import item_width, width
from glassesjax.tasks.task import NONE

SIZE = 13


@functools.cache
def made(name, remedies):
    """Rows of a task in a layout, of any length: compiled once."""
    task, prompt_format = named_task(name), named_format(remedies)
    return jax.jit(lambda key, length: example(task, prompt_format, key, length, SIZE))


def text(name, remedies, length, seed=0):
    row = made(name, remedies)(jax.random.key(seed), np.int32(length))
    row = jax.tree.map(np.asarray, row)
    return "".join(words_of(named_task(name), row)), row


@pytest.mark.parametrize(
    ("remedies", "length", "wanted"),
    [
        ("none", 4, "<bos>1111=4<eos>"),
        ("none", 12, "<bos>111111111111=12<eos>"),
        ("no_bos", 3, "111=3<eos>"),
        ("separators-3", 4, "<bos>111,1=4<eos>"),
        ("separators-3", 6, "<bos>111,111,=6<eos>"),
        ("separators_end-3", 4, "<bos>1,111=4<eos>"),
        ("separators_end-3", 6, "<bos>111,111=6<eos>"),
        ("separators-1", 3, "<bos>1,1,1,=3<eos>"),
        ("twice", 2, "<bos>11,11=2<eos>"),
        ("scratch-3", 2, "<bos>11...=2<eos>"),
        ("steps-5", 12, "<bos>111111111111=5,10,12<eos>"),
        ("steps-5", 10, "<bos>1111111111=5,10<eos>"),
        ("steps-5", 3, "<bos>111=3<eos>"),
        ("steps-20", 13, "<bos>1111111111111=13<eos>"),
        ("no_stop", 3, "<bos>1113<eos>"),
        ("no_bos+no_stop", 2, "112<eos>"),
        ("separators_end-2+twice+scratch-1+no_bos", 3, "1,11,1,11.=3<eos>"),
    ],
)
def test_layouts_by_hand(remedies, length, wanted):
    assert text("count_ones", remedies, length)[0] == wanted


def test_separators_are_those_of_the_families():
    for length in range(1, SIZE + 1):
        for remedy, family in (
            ("separators-3", "separators_confounded"),
            ("separators_end-3", "separators_in_phase"),
        ):
            shorter, _ = run_family(family).pair(length, 0)
            found = text("count_ones", remedy, length)[0]
            assert found.removeprefix("<bos>").split("=")[0] == "".join(shorter)


def test_the_question_may_come_first():
    plain, _ = text("count_word", "none", 5)
    turned, _ = text("count_word", "question_first", 5)
    body, answer = plain.removeprefix("<bos>").split("=")
    item, question = body.split("?")
    assert turned == f"<bos>?{question}{item}={answer}"


def test_steps_are_scored_and_the_answer_alone_is_final():
    found, row = text("count_mixed", "steps-4", 11)
    words = words_of(named_task("count_mixed"), row)
    scored = "".join(word for word, on in zip(words, row.scored, strict=False) if on)
    final = "".join(word for word, on in zip(words, row.final, strict=False) if on)
    item, said = found.removeprefix("<bos>").split("=")
    counts = [item[:4].count("1"), item[:8].count("1"), item.count("1")]
    assert said == scored == ",".join(map(str, counts)) + "<eos>"
    assert final == f"{counts[-1]}<eos>"


@functools.cache
def parts_of(name, length):
    """What a task draws, by one program for all lengths."""
    return drawer(name)(jax.random.key(0), np.int32(length))


@functools.cache
def drawer(name):
    return jax.jit(lambda key, length: named_task(name).draw(key, length, SIZE))


laid_out = jax.jit(format_prompt, static_argnums=1)  # one program for all tasks that draw as much


WORN = ["no_bos", "separators-3", "separators_end-4", "twice", "question_first", "scratch-2"]


def worn_by_tasks():
    """Every task with every remedy: quick are one for each task, in turn, and all that reads twice.

    Where a task has no question, as ``copy_string``, asking it first changes nothing.
    """
    for (i, name), (j, remedies) in itertools.product(enumerate(TASKS), enumerate(WORN)):
        quick = (i - j) % len(WORN) == 0 or remedies == "twice"
        yield pytest.param(name, remedies, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "remedies"), list(worn_by_tasks()))
def test_a_remedy_changes_neither_item_nor_answer(name, remedies):
    for length in (named_task(name).least, 7, SIZE):
        parts = parts_of(name, length)
        plain = jax.device_get(laid_out(parts, PromptFormat()))
        worn = jax.device_get(laid_out(parts, named_format(remedies)))
        kept = lambda row, of: np.asarray(row.tokens)[np.asarray(of)]
        seen = kept(worn, worn.item != NONE)
        times = 2 if "twice" in remedies else 1
        np.testing.assert_array_equal(seen, np.tile(kept(plain, plain.item != NONE), times))
        np.testing.assert_array_equal(kept(worn, worn.final), kept(plain, plain.final))
        np.testing.assert_array_equal(worn.source[worn.final], plain.source[plain.final])
        assert int(worn.length) <= len(worn.tokens)


def test_every_remedy_has_a_name():
    numbered = {"separators", "separators_end", "steps", "scratch"}
    for name in REMEDIES:
        assert isinstance(named_format(f"{name}-2" if name in numbered else name), PromptFormat)
    assert named_format("none") == PromptFormat()


@pytest.mark.parametrize(
    ("remedies", "wanted"),
    [
        ("seperators-3", "did you mean 'separators'"),
        ("separators", "Expected separators-NUMBER"),
        ("separators-0", "out of none"),
        ("twice-2", "plain twice"),
        ("twice+twice", "once"),
        ("separators-2+separators_end-3", "once"),
        ("", "out of none"),
    ],
)
def test_names_that_mean_nothing(remedies, wanted):
    with pytest.raises(BadInput, match=wanted):
        named_format(remedies)


def test_without_a_stop_the_first_token_alone_is_asked():
    """After it the row could as well be a longer item."""
    for name in ("count_ones", "copy_string"):
        _, row = text(name, "no_stop", 12)
        [at] = np.flatnonzero(row.scored)
        np.testing.assert_array_equal(row.scored, row.final)
        assert at == 13
        _, plain = text(name, "none", 12)
        assert row.tokens[at] == plain.tokens[np.flatnonzero(plain.scored)[0]]
    with pytest.raises(BadInput, match="= between item and steps"):
        named_format("no_stop+steps-3")


def test_only_a_count_has_steps():
    with pytest.raises(BadInput, match="counting task"):
        text("copy_last", "steps-3", 5)


def test_what_no_layout_has_is_refused():
    with pytest.raises(BadInput, match="scratch from 0 to"):
        PromptFormat(scratch=-1)


@pytest.mark.parametrize("remedies", ["separators-3", "separators_end-3", "twice+separators-5"])
def test_rows_are_as_wide_as_the_longest_needs(remedies):
    _, row = text("count_ones", remedies, SIZE)
    assert int(row.length) == len(row.tokens)


LAYOUTS = (
    "none", "no_bos+no_stop", "separators-3", "separators_end-3+twice", "question_first+twice",
    "scratch-5+separators-1", "steps-4", "steps-20+separators_end-2",
)  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_stated_widths_are_those_of_the_arrays(name):
    task = named_task(name)
    key, length = jax.random.key(0), jnp.asarray(task.least, jnp.int32)
    for size in (task.least, 13):
        stated = task.widths(size)
        assert stated == traced_widths(task, size)
        assert item_width(task, size) == stated.item
        for layout in LAYOUTS:
            prompt_format = named_format(layout)
            if prompt_format.steps and not stated.counts:
                with pytest.raises(BadInput, match="a counting task for steps"):
                    width(task, prompt_format, size)
                continue
            row = jax.eval_shape(lambda k, n: example(task, prompt_format, k, n, size), key, length)  # noqa: B023
            assert width(task, prompt_format, size) == row.tokens.shape[0], (size, layout)


def test_a_task_that_states_no_widths_is_traced_for_them():
    task = dataclasses.replace(named_task("sum_ones"), widths=None)
    prompt_format = named_format("steps-3+separators-2")
    assert width(task, prompt_format, 9) == width(named_task("sum_ones"), prompt_format, 9)


@pytest.mark.parametrize("widths", [None, lambda size: named_task("recall").widths(size)])
def test_rows_longer_than_int32_counts_are_refused(widths):
    task = dataclasses.replace(named_task("recall"), widths=widths)
    with pytest.raises(BadInput, match="got more at length 2000000000"):
        width(task, PromptFormat(), 2_000_000_000)
