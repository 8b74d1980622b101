"""Answers stay hidden from decoders whose tokens see later ones, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.errors import BadInput
from glassesjax.model import Bidirectional, Causal, DecoderConfig, Layout, Prefix
from glassesjax.tasks import LengthMix, example, named_format, named_task
from glassesjax.tasks.layout import batch
from glassesjax.train import TrainConfig, evaluate, init_state, train_steps
from glassesjax.train.config import sees_later
from glassesjax.train.step import answers
from glassesjax.train.unmasked import first_scored, shown

TASK, WORN, SIZE, COUNT = named_task("count_mixed"), named_format("no_bos+no_stop"), 5, 12
FIRST = jax.jit(lambda row: first_scored(config(Bidirectional()), row))
ANSWERS = jax.jit(lambda decoder, row: answers(decoder, row))


def config(mask):
    return DecoderConfig(vocab_size=len(TASK.symbols), num_heads=2, model_dim=8, mask=mask)


@pytest.fixture(scope="module")
def decoder():
    return made(config(Bidirectional()), jax.random.key(0), jnp.float32)


@pytest.fixture(scope="module")
def rows():
    make = lambda key, length: example(TASK, WORN, key, length, SIZE)
    keys = jax.random.split(jax.random.key(1), COUNT)
    lengths = np.arange(COUNT, dtype=np.int32) % (SIZE - 1) + 2
    return jax.device_get(jax.jit(jax.vmap(make))(keys, lengths))


def at(rows, number):
    return jax.tree.map(lambda field: field[number], rows)


def other_answer(row):
    """The same row with other tokens from the first scored one on."""
    there = np.arange(len(row.tokens)) >= np.argmax(row.scored)
    return row._replace(tokens=np.where(there, (row.tokens + 5) % 17, row.tokens))


def test_the_answer_changes_no_score_that_is_asked(decoder, rows):
    for number in range(COUNT):
        row = jax.device_get(FIRST(at(rows, number)))
        [place] = np.flatnonzero(row.scored)
        own, changed = (np.asarray(ANSWERS(decoder, r)) for r in (row, other_answer(row)))
        np.testing.assert_array_equal(own[place], changed[place])


def test_shown_as_it_is_the_answer_would_tell(decoder, rows):
    """The counter-case: without the hiding the same scores move."""
    moved, said = [], jax.jit(lambda tokens: decoder.logits(decoder(tokens)[0]))
    for number in range(COUNT):
        row = at(rows, number)
        place = int(np.argmax(row.scored))
        ends = [np.asarray(said(r.tokens))[place - 1] for r in (row, other_answer(row))]
        moved.append(np.max(np.abs(ends[0] - ends[1])))
    assert min(moved) > 1e-3


def test_only_the_first_token_of_an_answer_is_asked(decoder):
    plain = named_format("none")
    make = jax.jit(lambda key, length: example(TASK, plain, key, length, SIZE))
    row = make(jax.random.key(0), np.int32(4))
    assert int(row.scored.sum()) == int(row.final.sum()) == 2
    hidden = first_scored(decoder.config, row)
    assert int(hidden.scored.sum()) == int(hidden.final.sum()) == 1
    assert int(jnp.argmax(hidden.scored)) == int(jnp.argmax(row.scored))
    same = first_scored(config(Causal()), row)
    np.testing.assert_array_equal(same.scored, row.scored)
    assert shown(config(Causal()), row) == (row.tokens, None)
    assert sees_later(config(Prefix(length=2)))


@jax.jit
def read_alone(decoder, tokens):
    return decoder.logits(decoder(tokens, Layout.line(len(tokens)))[0])[-1]


def alone(decoder, row):
    """Scores of the token after the item, read without a row around it."""
    end = int(np.argmax(row.scored))
    scores = read_alone(decoder, jnp.asarray(row.tokens[:end]))
    return np.asarray(scores, np.float64), int(row.tokens[end])


def test_an_evaluation_is_a_loop_over_rows_without_padding(decoder, key):
    found = evaluate(decoder, TASK, WORN, key, 3, size=SIZE, count=COUNT)
    _, examples = jax.random.split(key)
    make = jax.jit(lambda key: example(TASK, WORN, key, jnp.asarray(3, jnp.int32), SIZE))
    read = jax.jit(lambda tokens: decoder.logits(decoder(tokens)[0])[-1])
    right, losses = [], []
    for one in jax.random.split(examples, COUNT):
        row = jax.device_get(make(one))
        scores, token = np.asarray(read(jnp.asarray(row.tokens[:3]))), int(row.tokens[3])
        right.append(np.argmax(scores) == token)
        losses.append(np.log(np.sum(np.exp(scores))) - scores[token])
    assert float(found.exact) == pytest.approx(np.mean(right), abs=2.0**-20)
    assert float(found.loss) == pytest.approx(np.mean(losses), rel=2.0**-18, abs=0)


def test_a_step_says_the_loss_of_rows_without_padding():
    mix = LengthMix(low=2, high=SIZE)
    training = TrainConfig(task=TASK, mix=mix, prompt_format=WORN, batch=COUNT, steps=4, warmup=1)
    state = init_state(config(Bidirectional()), training, 0, 1e-2)
    draw = jax.jit(lambda key, step: batch(TASK, WORN, mix, key, step, COUNT))
    drawn, lengths = jax.device_get(draw(state.key, state.step))
    losses = []
    for number in range(COUNT):
        scores, token = alone(state.decoder, at(drawn, number))
        losses.append(np.log(np.sum(np.exp(scores))) - scores[token])
    assert len(set(np.asarray(lengths).tolist())) > 1
    stacked = jax.jit(lambda state: jax.tree.map(lambda x: x[None], state))(state)
    _, told = train_steps(stacked, training, 1)
    assert float(told.loss[0, 0]) == pytest.approx(np.mean(losses), rel=2.0**-18, abs=0)


def test_steps_cannot_be_hidden(decoder, key):
    steps = named_format("steps-2")
    with pytest.raises(BadInput, match="causal mask for a prompt format with steps"):
        evaluate(decoder, TASK, steps, key, 3, size=SIZE, count=2)
    training = TrainConfig(
        task=TASK, mix=LengthMix(low=2, high=4), prompt_format=steps, steps=4, warmup=1
    )
    with pytest.raises(BadInput, match="causal mask for a prompt format with steps"):
        init_state(config(Bidirectional()), training, 0, 1e-2)
