"""Writing on: a row of a batch is what it is alone, token by token, and one step serves all."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.cache import generate as module
from glassesjax.cache import policy, replay, unroll
from glassesjax.cache.generate import Generator, generate
from glassesjax.cache.replay import eviction_steps
from glassesjax.cache.sampling import Sampling
from glassesjax.cache.step import Dropped
from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig, Rotary

CONFIG = DecoderConfig(
    vocab_size=17, num_layers=2, num_heads=2, model_dim=8, positions=Rotary(), attn_scale=2.0
)
PROMPTS = ((1, 2, 3, 4, 5, 6, 7, 8, 9), (4,), (16, 0, 3))
TOVA, DRAWN = policy("tova"), Sampling(temperature=1.5, top_k=8, top_p=0.95)
OPTIONS = {"slots": 4, "max_tokens": 6, "chunk": 4, "seed": 7}


@pytest.fixture(scope="module")
def model():
    return unroll(made(CONFIG, jax.random.key(0)))


def tokens(steps):
    return np.stack([step.token for step in steps], axis=1)


def written(model, prompts=PROMPTS, **more):
    return list(generate(model, prompts, TOVA, **{**OPTIONS, **more}))


def test_greedy_tokens_are_those_of_reading_the_whole_text_each_time(model):
    steps = written(model)
    for prompt, row in zip(PROMPTS, tokens(steps), strict=True):
        text = [*prompt, *row.tolist()]
        read = replay(model, jnp.asarray(text[:-1], jnp.int32), TOVA, slots=4, chunk=4)
        after = np.asarray(read.logits)[len(prompt) - 1 :]
        np.testing.assert_array_equal(after.argmax(axis=-1), row)


def test_log_probabilities_are_the_models_own(model):
    step = written(model, PROMPTS[:1], max_tokens=1, sampling=DRAWN)[0]
    read = replay(model, jnp.asarray(PROMPTS[0], jnp.int32), TOVA, slots=4, chunk=4)
    wanted = jax.nn.log_softmax(read.logits[-1])[step.token[0]]
    # Sums of some ten terms, in other orders: far below the gap to any other token's.
    np.testing.assert_allclose(step.logprob[0], wanted, rtol=1e-12)


# How a prompt is read and how a token is drawn do not meet: each mode with one of the two. What is
# chunked is read as in one shot, a chunk at a time, and has tests of its own where it is read.
@pytest.mark.parametrize(
    ("mode", "sampling"),
    [
        pytest.param(
            mode,
            sampling,
            id=f"{mode}-{'drawn' if sampling == DRAWN else 'greedy'}",
            marks=[pytest.mark.slow]
            * (mode == "chunked" or (mode == "one_shot") == (sampling == DRAWN)),
        )
        for mode in ("exact", "one_shot", "chunked")
        for sampling in (Sampling(), DRAWN)
    ],
)
def test_a_row_of_a_batch_is_its_single_run(model, mode, sampling):
    batch = tokens(written(model, sampling=sampling, mode=mode))
    for row, prompt in enumerate(PROMPTS):
        # One shot reads a batch in a chunk as long as its longest prompt; the rest is filled up.
        alone = written(model, [prompt], sampling=sampling, mode=mode, rows=[row])
        np.testing.assert_array_equal(tokens(alone)[0], batch[row])


def test_what_was_forgotten_is_what_replay_says(model):
    steps = written(model)
    for row, prompt in enumerate(PROMPTS):
        text = [*prompt, *tokens(steps)[row].tolist()][:-1]
        read = replay(model, jnp.asarray(text, jnp.int32), TOVA, slots=4, chunk=4)
        for layer, wanted in enumerate(read.evicted_at):
            parts = [step.dropped[layer] for step in steps]
            found = [Dropped(part.position[row], part.step[row]) for part in parts]
            np.testing.assert_array_equal(eviction_steps(found, len(text)), wanted)
        assert int(steps[-1].batch.state.seen[row]) == len(text)


def test_there_is_one_step_for_all_rows_and_lengths(model, monkeypatch):
    traced = chex.assert_max_traces(module.advance, n=1)
    module._stepper.cache_clear()
    monkeypatch.setattr(module, "advance", traced)
    written(model, sampling=DRAWN)
    written(model, PROMPTS[::-1], sampling=DRAWN, seed=8, max_tokens=3)
    module._stepper.cache_clear()


def test_a_row_that_met_its_stop_is_frozen_and_the_others_go_on(model):
    free = written(model)
    stop = int(free[1].token[0])
    steps = written(model, stop=[stop])
    for row in range(len(PROMPTS)):
        mine = tokens(free)[row].tolist()
        last = mine.index(stop) + 1 if stop in mine else len(mine)
        count = sum(bool(step.fresh[row]) for step in steps)
        assert count == last
        assert tokens(steps)[row].tolist()[:count] == mine[:count]
        assert int(steps[-1].batch.state.seen[row]) == len(PROMPTS[row]) + last - 1


def test_a_caller_may_end_a_row(model):
    ends = lambda row, token: row == 1
    steps = written(model, ended=ends)
    assert [int(step.fresh.sum()) for step in steps] == [3, 2, 2, 2, 2, 2]
    assert len(written(model, ended=lambda row, token: True)) == 1


@pytest.mark.parametrize("sampling", [Sampling(), DRAWN], ids=["greedy", "drawn"])
def test_going_on_is_as_if_there_had_been_no_break(model, sampling):
    whole = tokens(written(model, sampling=sampling))
    first = written(model, sampling=sampling, max_tokens=2)
    last = first[-1].batch
    rest = list(Generator(model=model, policy=TOVA, sampling=sampling).steps(last, 4))
    assert last.state.layers[0].key.is_deleted()  # the step wrote into it
    np.testing.assert_array_equal(np.concatenate([tokens(first), tokens(rest)], axis=1), whole)


def test_a_step_at_a_time_is_a_run(model):
    """Start and step are what ``generate`` does, and a row's keys travel with its batch."""
    generator = Generator(model=model, policy=TOVA, sampling=DRAWN)
    chosen = generator.start(PROMPTS, slots=OPTIONS["slots"], seed=OPTIONS["seed"])
    steps = [chosen]
    for _ in range(3):
        chosen = generator.step(chosen.batch)
        steps.append(chosen)
    whole = written(model, sampling=DRAWN, max_tokens=4)
    np.testing.assert_array_equal(tokens(steps), tokens(whole))
    for ours, theirs in zip(steps, whole, strict=True):
        np.testing.assert_array_equal(ours.logprob, theirs.logprob)


def test_a_row_that_has_ended_needs_no_room(model):
    generator = Generator(model=model, policy=policy("full"), ended=lambda row, token: row == 0)
    first = generator.start(((1, 2, 3, 4), (5,)), slots=4)
    assert first.batch.alive.tolist() == [False, True]
    assert len(list(generator.steps(first.batch, 3))) == 3


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda m: list(Generator(model=m, policy=TOVA).steps(None, -1)),
            "batch to be",
        ),
        (
            lambda m: Generator(model=m, policy=TOVA).start(PROMPTS, slots=4, chunk=0),
            "chunk at least 1, got 0",
        ),
    ],
    ids=["tokens", "chunk"],
)
def test_what_a_generator_cannot_take_is_refused(model, call, text):
    with pytest.raises(BadInput, match=text):
        call(model)


def test_a_policys_name_is_no_policy(model):
    generator = Generator(model=model, policy=TOVA)
    object.__setattr__(generator, "policy", "window")  # past the checks that only tests have
    with pytest.raises(BadInput, match=r"Generator\.policy to be a Policy, got str"):
        generator.__post_init__()


def test_another_seed_draws_other_tokens(model):
    drawn = lambda seed: tokens(written(model, sampling=DRAWN, seed=seed))
    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert (drawn(1) != drawn(2)).any()  # 18 tokens out of up to eight each


def test_a_full_state_writes_what_a_large_enough_one_does(model):
    full = list(generate(model, PROMPTS, policy("full"), slots=14, max_tokens=6))
    large = list(generate(model, PROMPTS, TOVA, slots=14, max_tokens=6))
    np.testing.assert_array_equal(tokens(full), tokens(large))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"prompts": []}, "one prompt or more, got none"),
        ({"prompts": [(1,), ()]}, "prompts of one token or more, got one of shape .0"),
        ({"max_tokens": 0}, "max_tokens and chunk of at least 1"),
        ({"chunk": 0}, "max_tokens and chunk of at least 1"),
        ({"rows": [1]}, "a row number for each of 3 prompts"),
        ({"slots": 0}, "at least 1 slots"),
        ({"policy": policy("full"), "slots": 13}, "slots for 14 tokens"),
    ],
)
def test_what_cannot_be_written_is_refused(model, change, text):
    given = {"prompts": PROMPTS, "policy": TOVA, **OPTIONS, **change}
    prompts, rule = given.pop("prompts"), given.pop("policy")
    with pytest.raises(BadInput, match=text):
        list(generate(model, prompts, rule, **given))
