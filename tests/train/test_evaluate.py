"""Scores of a task against loops over examples and tokens, and against greedy writing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.errors import BadInput
from glassesjax.model import DecoderConfig
from glassesjax.tasks import LengthMix, PromptFormat, example, named_task
from glassesjax.train import evaluate
from glassesjax.train.evaluate import _evaluate

PLAIN, SIZE, COUNT, LENGTH = PromptFormat(), 6, 40, 4


def decoder_for(name, seed=0):
    config = DecoderConfig(vocab_size=len(named_task(name).symbols), num_heads=2, model_dim=8)
    return made(config, jax.random.key(seed), jnp.float32)


def rows_of(name, key, mix=LengthMix(low=LENGTH, high=LENGTH)):  # noqa: B008
    make = lambda key, length: example(named_task(name), PLAIN, key, length, SIZE)

    @jax.jit
    def every(key):
        lengths, examples = jax.random.split(key)
        drawn = jax.vmap(mix.draw)(jax.random.split(lengths, COUNT))
        return jax.vmap(make)(jax.random.split(examples, COUNT), drawn)

    return jax.device_get(every(key))


def scored(name, decoder, key, length=LENGTH):
    return evaluate(decoder, named_task(name), PLAIN, key, length, size=SIZE, count=COUNT)


@pytest.mark.parametrize(
    ("name", "mixed"),
    [
        ("copy_string", True),
        ("copy_at", False),
        # The same sums over rows of other tasks.
        pytest.param("count_mixed", True, marks=pytest.mark.slow),
        pytest.param("recall", False, marks=pytest.mark.slow),
    ],
)
def test_scores_are_those_of_loops(name, mixed, key):
    decoder = decoder_for(name)
    mix = LengthMix(low=2 if mixed else LENGTH, high=SIZE if mixed else LENGTH)
    found, rows = scored(name, decoder, key, mix if mixed else LENGTH), rows_of(name, key, mix)
    found = jax.device_get(found)
    assert (len(set(rows.length.tolist())) > 1) == mixed
    exact, tokens, losses, margins, places = [], [], [], [], {}
    run = jax.jit(lambda tokens: jax.nn.log_softmax(decoder.logits(decoder(tokens)[0])))
    for row in range(COUNT):
        said, whole = np.asarray(run(rows.tokens[row])), True
        for at in np.flatnonzero(rows.final[row]):
            token = int(rows.tokens[row, at])
            others = np.delete(said[at - 1], token)
            right = said[at - 1, token] > others.max()
            whole &= bool(right)
            tokens.append(right)
            losses.append(-said[at - 1, token])
            margins.append(said[at - 1, token] - others.max())
            if (place := int(rows.source[row, at])) >= 0:
                places.setdefault(place, []).append(right)
        exact.append(whole)
    assert float(found.exact) == pytest.approx(np.mean(exact), abs=2.0**-20)
    assert float(found.tokens) == pytest.approx(np.mean(tokens), abs=2.0**-20)
    assert float(found.loss) == pytest.approx(np.mean(losses), rel=2.0**-18, abs=0)
    assert float(found.margin) == pytest.approx(np.min(margins), abs=2.0**-16)
    for place, count in enumerate(np.asarray(found.targets_at)):
        assert count == len(places.get(place, []))
        assert int(found.correct_at[place]) == sum(map(int, places.get(place, [])))


def test_a_whole_answer_is_right_when_greedy_writing_gives_it(key):
    name, decoder = "count_mixed", decoder_for("count_mixed", seed=59)  # right now and then
    rows, right = rows_of(name, key), []
    run = jax.jit(lambda tokens: jnp.argmax(decoder.logits(decoder(tokens)[0]), axis=-1))
    for row in range(COUNT):
        text = np.array(rows.tokens[row])
        for at in np.flatnonzero(rows.final[row]):
            text[at] = int(np.asarray(run(jnp.asarray(text)))[at - 1])
        right.append((text == rows.tokens[row]).all())
    assert 0 < np.mean(right) < 1
    assert float(scored(name, decoder, key).exact) == pytest.approx(np.mean(right), abs=2.0**-20)


def test_a_tie_is_no_answer(key):
    """All logits alike: argmax would name the first token, and be right by luck."""
    name = "copy_first"
    decoder = decoder_for(name)
    flat = jax.tree.map(lambda weight: jnp.asarray(np.zeros(weight.shape, np.float32)), decoder)
    found = scored(name, flat, key)
    assert float(found.exact) == 0
    assert float(found.margin) == 0
    assert float(found.loss) == pytest.approx(
        np.log(len(named_task(name).symbols)), rel=2.0**-20, abs=0
    )


def test_one_compilation_serves_all_lengths(key):
    decoder, task = decoder_for("copy_last"), named_task("copy_last")
    before = _evaluate._cache_size()
    for length in range(1, SIZE + 1):
        evaluate(decoder, task, PLAIN, key, length, size=SIZE, count=4)
    assert _evaluate._cache_size() == before + 1


@pytest.mark.parametrize(("name", "length"), [("copy_zero", 1), ("copy_last", SIZE + 1)])
def test_lengths_that_mean_nothing_are_refused(name, length, key):
    with pytest.raises(BadInput, match=f"to {SIZE} for {name}, got {length}"):
        evaluate(decoder_for(name), named_task(name), PLAIN, key, length, size=SIZE, count=4)
