"""Steps against a plain loop, seeds in one program against one by one, and memory savers."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made_decoders import made

from glassesjax.errors import BadInput
from glassesjax.model import (
    DecoderConfig,
    DenseMlp,
    LayerNorm,
    ScalableSoftmax,
    flat_parameters,
)
from glassesjax.precision import BF16, RoundingPlan
from glassesjax.tasks import LengthMix, batch, named_task
from glassesjax.train import AdamW, Optimizer, TrainConfig, init_state, train_steps
from glassesjax.train.step import answers, optimizer

TRAINING = TrainConfig(
    task=named_task("count_mixed"), mix=LengthMix(low=1, high=6), batch=8, steps=20, warmup=4
)
CONFIG = DecoderConfig(
    vocab_size=len(TRAINING.task.symbols),
    num_layers=2,
    num_heads=2,
    model_dim=8,
    mlp=DenseMlp(dim=16),
)
STEPS, RATE = 6, 3e-3
U = 2.0**-24


@jax.jit
def stacked(*states):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def run(training=TRAINING, seeds=(0,), steps=STEPS, **data):
    every = (init_state(CONFIG, training, seed, RATE, **data) for seed in seeds)
    return train_steps(stacked(*every), training, steps)


def decaying(training):
    """Which weights of a decoder decay, as a tree of truth values."""
    matrices = {"query", "key", "value", "output", "up", "down", "gate", "table", "unembed"}
    every = training.optimizer.weight_decay_on == "all"
    wanted = lambda path, _: every or bool(matrices & {getattr(k, "name", None) for k in path})
    return lambda decoder: jax.tree_util.tree_map_with_path(wanted, decoder)


@jax.jit
@jax.value_and_grad
def token_loss(decoder, row, at):
    """The loss of one token of one example, and its slope: compiled once for all of them."""
    return -jax.nn.log_softmax(decoder.logits(decoder(row)[0]))[at - 1, row[at]]


@functools.cache
def plain_loop(training, seed):
    """Optax's own AdamW, one step at a time, every example and every token in a Python loop."""
    state = init_state(CONFIG, training, seed, RATE)
    shape = optax.warmup_cosine_decay_schedule(0.0, RATE, training.warmup, training.steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b2=0.98),
        # By name and not by rank: what multiplies a vector, and the two tables.
        optax.add_decayed_weights(0.01, mask=decaying(training)),
        optax.scale_by_learning_rate(shape),
    )
    decoder, opt_state = state.decoder, jax.jit(optimizer.init)(state.decoder)
    draw = jax.jit(
        lambda step: batch(
            training.task, training.prompt_format, training.mix, state.key, step, training.batch
        )[0]
    )

    @jax.jit
    def update(gradient, opt_state, decoder):
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            updates, opt_state = optimizer.update(gradient, opt_state, decoder)
            return optax.apply_updates(decoder, updates), opt_state

    losses = []
    for step in range(STEPS):
        rows = draw(np.int32(step))
        told = [
            token_loss(decoder, row, at)
            for row, on in zip(np.asarray(rows.tokens), np.asarray(rows.scored), strict=True)
            for at in np.flatnonzero(on).astype(np.int32)
        ]
        mean = lambda *values: np.float32(np.mean(values, axis=0, dtype=np.float64))
        value, gradient = jax.tree.map(mean, *told)
        decoder, opt_state = update(gradient, opt_state, decoder)
        losses.append(float(value))
    return decoder, losses


def close(found, wanted, factor=1.0):
    """Within what rounding in float32 may do over these steps: Adam divides by small numbers."""
    chex.assert_trees_all_close(found, wanted, rtol=factor * 2.0**-10, atol=factor * 2e-5)


def test_steps_are_those_of_a_plain_loop():
    states, told = run()
    decoder, losses = plain_loop(TRAINING, 0)
    np.testing.assert_allclose(told.loss[0], losses, rtol=2.0**-14)
    close(jax.tree.map(lambda x: x[0], states.decoder), decoder)
    assert int(states.step[0]) == STEPS


@pytest.mark.parametrize("on", ["matrices", "all"])
def test_which_weights_decay(on):
    training = dataclasses.replace(TRAINING, optimizer=AdamW(weight_decay_on=on))
    config = dataclasses.replace(
        CONFIG, norm=LayerNorm(), bias=True, qkv_bias=True, temperature=ScalableSoftmax()
    )
    decoder = made(config, jax.random.key(1), jnp.float32)
    decoder = jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight) + 1), decoder)
    rule = optimizer(training, init_state(CONFIG, training, 0, RATE, weight_decay=0.5))

    @jax.jit
    def second(decoder):
        """The schedule starts at a rate of zero: the second step is the first that moves."""
        nothing = jax.tree.map(jnp.zeros_like, decoder)
        with jax.numpy_dtype_promotion("standard"):
            state = rule.update(nothing, rule.init(decoder), decoder)[1]
            return rule.update(nothing, state, decoder)[0]

    updates = second(decoder)
    moved = {
        name: bool(np.any(np.asarray(leaf))) for name, leaf in flat_parameters(updates).items()
    }
    still = {"gain", "bias", "sharpness", "query_bias", "key_bias", "value_bias", "output_bias"}
    still |= {"up_bias", "down_bias"}
    for name, moves in moved.items():
        assert moves == (on == "all" or name.split(".")[-1] not in still), name
    assert {name.split(".")[-1] for name in moved} & still  # there are some


def test_an_unknown_rule_of_decay_is_refused():
    rule = AdamW()
    object.__setattr__(rule, "weight_decay_on", "some")  # past the checks that only tests have
    with pytest.raises(ValueError, match="weight_decay_on to be one of matrices, all"):
        rule.__post_init__()
    for moments in ({"b1": 1.0}, {"b2": 1.0}):
        with pytest.raises(BadInput, match="b1 and b2 below 1"):
            AdamW(**moments)


def test_another_rate_is_another_run():
    """The counter-case to the test above: its tolerance sees a rate that is off by one in ten."""
    state = init_state(CONFIG, TRAINING, 0, RATE * 1.1)
    other, _ = train_steps(stacked(state), TRAINING, STEPS)
    with pytest.raises(AssertionError):
        close(jax.tree.map(lambda x: x[0], other.decoder), plain_loop(TRAINING, 0)[0])


def test_seeds_in_one_program_are_those_one_by_one():
    together, told = run(seeds=(0, 1, 2))
    for index, seed in enumerate((0, 1, 2)):
        alone, said = run(seeds=(seed,))
        np.testing.assert_allclose(told.loss[index], said.loss[0], rtol=2.0**-14)
        pick = lambda tree, at: jax.tree.map(lambda x: x[at], tree.decoder)
        close(pick(together, index), pick(alone, 0))


def test_a_grid_of_numbers_is_one_program():
    """Rate, weight decay and clipping are data: each cell is the run of its own numbers."""
    grid = [{"weight_decay": 0.5}, {"clip": 1e-3}, {"weight_decay": 0.5, "clip": 1e-3}]
    rates = (RATE, RATE, 2 * RATE)
    cells = [
        init_state(CONFIG, TRAINING, 0, rate, **data)
        for rate, data in zip(rates, grid, strict=True)
    ]
    programs = train_steps.__wrapped__._cache_size()
    together, _ = train_steps(stacked(*cells), TRAINING, STEPS)
    assert train_steps.__wrapped__._cache_size() <= programs + 1
    each = [jax.tree.map(lambda x, at=at: x[at], together.decoder) for at in range(3)]
    close(each[0], jax.tree.map(lambda x: x[0], run(weight_decay=0.5)[0].decoder))
    plain = jax.tree.map(lambda x: x[0], run()[0].decoder)
    for cell in each:  # no number is without effect
        with pytest.raises(AssertionError):
            close(cell, plain)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent(Optimizer):
    """An update rule of one's own: the gradient itself."""

    def stages(self, weight_decay, clip):
        return (optax.identity(),)


def test_an_update_rule_of_ones_own_needs_one_class():
    training = dataclasses.replace(TRAINING, optimizer=Descent(), warmup=0)
    fresh = init_state(CONFIG, training, 0, RATE)

    @jax.jit
    @jax.grad
    def slope(decoder):
        rows, _ = batch(
            training.task,
            training.prompt_format,
            training.mix,
            fresh.key,
            fresh.step,
            training.batch,
        )
        scores = jax.vmap(lambda row: answers(decoder, row))(rows)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, rows.tokens)
        return jnp.sum(jnp.where(rows.scored, losses, 0)) / jnp.sum(rows.scored, dtype=jnp.float32)

    gradient = slope(fresh.decoder)  # before its buffers are donated
    step = lambda weight, slope: np.asarray(weight) - np.float32(RATE) * np.asarray(slope)
    wanted = jax.tree.map(step, fresh.decoder, gradient)
    states, _ = train_steps(stacked(fresh), training, 1)
    got = jax.tree.map(lambda x: x[0], states.decoder)
    chex.assert_trees_all_close(got, wanted, rtol=2.0**-18, atol=2.0**-22)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": 2, "remat": True},
        pytest.param({"parts": 4}, marks=pytest.mark.slow),
        pytest.param({"remat": True}, marks=pytest.mark.slow),
    ],
)
def test_memory_savers_change_nothing(change):
    plain, told = run()
    saved, said = run(dataclasses.replace(TRAINING, **change))
    np.testing.assert_allclose(told.loss, said.loss, rtol=2.0**-14)
    close(plain.decoder, saved.decoder)


def test_calls_continue_each_other():
    half, first = run(steps=STEPS // 2)
    programs = train_steps.__wrapped__._cache_size()
    rest, second = train_steps(half, TRAINING, STEPS // 2)
    assert (
        train_steps.__wrapped__._cache_size() == programs
    )  # what a call gives is what a call takes
    whole, told = run()
    np.testing.assert_array_equal(np.concatenate([first.loss, second.loss], axis=1), told.loss)
    chex.assert_trees_all_equal(rest.decoder, whole.decoder)


def test_one_trace_serves_all_calls():
    states, _ = run(steps=STEPS // 2)
    programs = train_steps.__wrapped__._cache_size()
    for _ in range(3):
        states, _ = train_steps(states, TRAINING, STEPS // 2)
    assert train_steps.__wrapped__._cache_size() == programs


def test_a_plan_rounds_the_pass_and_leaves_the_masters():
    plan = RoundingPlan(weights=BF16, residual=BF16, mode="simulated")
    rough = dataclasses.replace(TRAINING, plan=plan)
    states, told = run(rough)
    _, exact = run()
    assert (told.loss != exact.loss).any()
    np.testing.assert_allclose(told.loss, exact.loss, rtol=0.1)
    table = np.asarray(states.decoder.embed.table[...])
    assert (table != table.astype(jnp.bfloat16).astype(np.float32)).any()


def test_an_update_takes_the_mark_of_stored_weights_off():
    plan = RoundingPlan.everywhere(BF16, mode="simulated")
    fresh = init_state(CONFIG, TRAINING, 0, RATE)
    marked = fresh._replace(decoder=fresh.decoder.at(plan))
    states, _ = train_steps(stacked(marked), TRAINING, STEPS)
    assert states.decoder.plan == RoundingPlan.wide()
    assert marked.decoder.plan == plan


def test_bad_input():
    with pytest.raises(BadInput, match="8 in 3 parts"):
        dataclasses.replace(TRAINING, parts=3)
    with pytest.raises(BadInput, match="20 of 20"):
        dataclasses.replace(TRAINING, warmup=20)
    with pytest.raises(BadInput, match=f"got {CONFIG.vocab_size - 1}"):
        init_state(dataclasses.replace(CONFIG, vocab_size=CONFIG.vocab_size - 1), TRAINING, 0, RATE)
