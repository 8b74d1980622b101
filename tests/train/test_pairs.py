"""Twins against rows written as lists, and answers against passes that end where they are asked."""

import jax
import jax.numpy as jnp
import made_decoders as decoders
import numpy as np
import pytest

from glassesjax.model import Bidirectional, Causal, DecoderConfig
from glassesjax.precision import BF16, RoundingPlan
from glassesjax.tasks import named_task
from glassesjax.tasks.prompt_format import named_format
from glassesjax.train.pairs import adjacent_pairs, pair_outputs

SIZE = 16


def made(name, lengths, remedy="none", key=0):
    task, prompt_format = named_task(name), named_format(remedy)
    lengths = jnp.asarray(list(lengths), jnp.int32)
    adjacent_pair = jax.jit(
        lambda key, lengths: adjacent_pairs(task, prompt_format, key, lengths, size=SIZE)
    )
    return jax.device_get(adjacent_pair(jax.random.key(key), lengths))


def read(name, pairs, at):
    """What each of a pair has read when it is asked, and what it then must say."""
    symbols = named_task(name).symbols
    rows = [
        "".join(symbols[t] for t in pairs.tokens[at, k, : int(pairs.asked[at, k])]) for k in (0, 1)
    ]
    return rows, [symbols[t] for t in pairs.right[at]]


@pytest.mark.parametrize(
    ("name", "remedy", "length", "rows", "right"),
    [
        ("count_ones", "none", 9, ["<bos>111111111=", "<bos>1111111111="], ["9", "1"]),
        ("count_ones", "none", 13, [f"<bos>{'1' * n}=1" for n in (13, 14)], ["3", "4"]),
        ("count_ones", "no_bos", 3, ["111=", "1111="], ["3", "4"]),
        ("count_ones", "separators-2", 3, ["<bos>11,1=", "<bos>11,11,="], ["3", "4"]),
        ("count_ones", "steps-2", 2, ["<bos>11=2", "<bos>111=2"], ["<eos>", ","]),
        ("sum_ones", "none", 2, ["<bos>1+1=", "<bos>1+1+1="], ["2", "3"]),
        ("sum_ones", "twice", 1, ["<bos>1,1=", "<bos>1+1,1+1="], ["1", "2"]),
    ],
)
def test_rows_by_hand(name, remedy, length, rows, right):
    pairs = made(name, [length], remedy)
    assert bool(pairs.alike[0])
    assert read(name, pairs, 0) == (rows, right)


def test_a_copy_must_stop_or_go_on():
    pairs = made("copy_string", [3])
    (short, long), (stop, on) = read("copy_string", pairs, 0)
    item = long.removeprefix("<bos>").partition("=")[0]
    assert bool(pairs.alike[0])
    assert len(item) == 4
    assert (short, long) == (f"<bos>{item[:3]}={item[:3]}", f"<bos>{item}={item[:3]}")
    assert (stop, on) == ("<eos>", item[3])


def test_nested_items_are_alike_where_the_answers_differ():
    lengths = range(1, 12)
    pairs = made("count_mixed", lengths)
    for at in range(len(lengths)):
        ones = [row.partition("=")[0].count("1") for row in read("count_mixed", pairs, at)[0]]
        assert bool(pairs.alike[at]) == (ones[0] != ones[1])
    assert 0 < int(pairs.alike.sum()) < len(lengths)


@pytest.mark.parametrize("name", ["copy_first", "copy_zero", "max_retrieval"])
def test_pairs_that_differ_in_more_than_their_length_are_not_alike(name):
    """An answer that is the same; a zero that moves, or an answer that does not; a best one."""
    pairs = made(name, range(3, 12))
    for at in np.flatnonzero(pairs.alike):
        (short, long), _ = read(name, pairs, at)
        assert long.startswith(short.partition("=")[0])
    assert not np.all(pairs.alike)
    assert name == "max_retrieval" or not np.any(pairs.alike)


ROUGH = RoundingPlan.everywhere(BF16)


@pytest.mark.parametrize(
    ("mask", "plan"),
    [
        pytest.param(Causal(), ROUGH, id="causal-bf16"),
        pytest.param(Bidirectional(), RoundingPlan.wide(), id="none-wide"),
        pytest.param(Causal(), RoundingPlan.wide(), id="causal-wide", marks=pytest.mark.slow),
        pytest.param(Bidirectional(), ROUGH, id="none-bf16", marks=pytest.mark.slow),
    ],
)
def test_answers_are_those_of_a_pass_over_what_was_read(mask, plan):
    name = "count_ones"
    symbols = named_task(name).symbols
    config = DecoderConfig(vocab_size=len(symbols), num_heads=2, model_dim=8, mask=mask)
    decoder = decoders.made(config, jax.random.key(1), jnp.float32)
    pairs = made(name, [3, 9, 12, 15])
    given = jnp.asarray(pairs.tokens), jnp.asarray(pairs.asked)
    found = jax.device_get(pair_outputs(decoder.at(plan), *given))
    stored = decoder.at(plan)

    @jax.jit
    def read(tokens):
        """What stands at the end, and its scores."""
        y = stored(tokens)[0][-1:]
        return y, stored.logits(y)

    for at, k in ((0, 0), (1, 1), (2, 0), (3, 1)):  # a program each: of its length
        y, scores = read(jnp.asarray(pairs.tokens[at, k, : int(pairs.asked[at, k])]))
        # Sums of 2 layers in other orders: some hundred roundings, of values of size one.
        loose = 2.0**-15 if plan.mode == "wide" else 2.0**-4
        np.testing.assert_allclose(found.y[at, k], y[0], atol=loose)
        np.testing.assert_allclose(found.scores[at, k], scores[0], atol=loose)


def test_what_stands_after_the_asked_token_is_not_seen():
    config = DecoderConfig(
        vocab_size=len(named_task("count_ones").symbols), model_dim=8, mask=Bidirectional()
    )
    decoder = decoders.made(config, jax.random.key(2), jnp.float32)
    pairs = made("count_ones", [3, 4, 5, 6])
    place = np.arange(pairs.tokens.shape[-1])
    hidden = place >= pairs.asked[..., None]
    asked = jnp.asarray(pairs.asked)

    def scores(tokens):
        return pair_outputs(decoder, jnp.asarray(tokens, jnp.int32), asked).scores

    first = scores(pairs.tokens)
    other = np.where(hidden, (pairs.tokens + 1) % 7, pairs.tokens)
    np.testing.assert_array_equal(first, scores(other))
    seen = np.where(place == 1, 3, pairs.tokens)  # the counter-case: a token of the item
    assert not np.array_equal(first, scores(seen))
