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
from glassesjax.train import AdamW, Optimizer, Recipe, begin, learn
from glassesjax.train.step import answers, optimizer

RECIPE = Recipe(
    task=named_task("count_mixed"), mix=LengthMix(low=1, high=6), batch=8, steps=20, warmup=4
)
CONFIG = DecoderConfig(
    vocab_size=len(RECIPE.task.symbols),
    num_layers=2,
    num_heads=2,
    model_dim=8,
    mlp=DenseMlp(dim=16),
)
STEPS, RATE = 6, 3e-3
U = 2.0**-24


@jax.jit
def stacked(*learners):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *learners)


def run(recipe=RECIPE, seeds=(0,), steps=STEPS, **data):
    every = (begin(CONFIG, recipe, seed, RATE, **data) for seed in seeds)
    return learn(stacked(*every), recipe, steps)


def decaying(recipe):
    """Which weights of a decoder decay, as a tree of truth values."""
    matrices = {"query", "key", "value", "output", "up", "down", "gate", "table", "unembed"}
    every = recipe.optimizer.weight_decay_on == "all"
    wanted = lambda path, _: every or bool(matrices & {getattr(k, "name", None) for k in path})
    return lambda decoder: jax.tree_util.tree_map_with_path(wanted, decoder)


@jax.jit
@jax.value_and_grad
def token_loss(decoder, row, at):
    """The loss of one token of one example, and its slope: compiled once for all of them."""
    return -jax.nn.log_softmax(decoder.logits(decoder(row)[0]))[at - 1, row[at]]


@functools.cache
def plain_loop(recipe, seed):
    """Optax's own AdamW, one step at a time, every example and every token in a Python loop."""
    learner = begin(CONFIG, recipe, seed, RATE)
    shape = optax.warmup_cosine_decay_schedule(0.0, RATE, recipe.warmup, recipe.steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b2=0.98),
        # By name and not by rank: what multiplies a vector, and the two tables.
        optax.add_decayed_weights(0.01, mask=decaying(recipe)),
        optax.scale_by_learning_rate(shape),
    )
    decoder, moments = learner.decoder, jax.jit(optimizer.init)(learner.decoder)
    draw = jax.jit(
        lambda step: batch(
            recipe.task, recipe.glasses, recipe.mix, learner.key, step, recipe.batch
        )[0]
    )

    @jax.jit
    def update(gradient, moments, decoder):
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            updates, moments = optimizer.update(gradient, moments, decoder)
            return optax.apply_updates(decoder, updates), moments

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
        decoder, moments = update(gradient, moments, decoder)
        losses.append(float(value))
    return decoder, losses


def close(found, wanted, factor=1.0):
    """Within what rounding in float32 may do over these steps: Adam divides by small numbers."""
    chex.assert_trees_all_close(found, wanted, rtol=factor * 2.0**-10, atol=factor * 2e-5)


def test_steps_are_those_of_a_plain_loop():
    learners, told = run()
    decoder, losses = plain_loop(RECIPE, 0)
    np.testing.assert_allclose(told.loss[0], losses, rtol=2.0**-14)
    close(jax.tree.map(lambda x: x[0], learners.decoder), decoder)
    assert int(learners.step[0]) == STEPS


@pytest.mark.parametrize("on", ["matrices", "all"])
def test_which_weights_decay(on):
    recipe = dataclasses.replace(RECIPE, optimizer=AdamW(weight_decay_on=on))
    config = dataclasses.replace(
        CONFIG, norm=LayerNorm(), bias=True, qkv_bias=True, temperature=ScalableSoftmax()
    )
    decoder = made(config, jax.random.key(1), jnp.float32)
    decoder = jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight) + 1), decoder)
    rule = optimizer(recipe, begin(CONFIG, recipe, 0, RATE, weight_decay=0.5))

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
    with pytest.raises(ValueError, match="weight_decay_on to be one of matrices, all"):
        AdamW(weight_decay_on="some")


def test_another_rate_is_another_run():
    """The counter-case to the test above: its tolerance sees a rate that is off by one in ten."""
    learner = begin(CONFIG, RECIPE, 0, RATE * 1.1)
    other, _ = learn(stacked(learner), RECIPE, STEPS)
    with pytest.raises(AssertionError):
        close(jax.tree.map(lambda x: x[0], other.decoder), plain_loop(RECIPE, 0)[0])


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
    cells = [begin(CONFIG, RECIPE, 0, rate, **data) for rate, data in zip(rates, grid, strict=True)]
    programs = learn.__wrapped__._cache_size()
    together, _ = learn(stacked(*cells), RECIPE, STEPS)
    assert learn.__wrapped__._cache_size() <= programs + 1
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
    recipe = dataclasses.replace(RECIPE, optimizer=Descent(), warmup=0)
    fresh = begin(CONFIG, recipe, 0, RATE)

    @jax.jit
    @jax.grad
    def slope(decoder):
        rows, _ = batch(
            recipe.task, recipe.glasses, recipe.mix, fresh.key, fresh.step, recipe.batch
        )
        scores = jax.vmap(lambda row: answers(decoder, row))(rows)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, rows.tokens)
        return jnp.sum(jnp.where(rows.scored, losses, 0)) / jnp.sum(rows.scored, dtype=jnp.float32)

    gradient = slope(fresh.decoder)  # before its buffers are donated
    step = lambda weight, slope: np.asarray(weight) - np.float32(RATE) * np.asarray(slope)
    wanted = jax.tree.map(step, fresh.decoder, gradient)
    learners, _ = learn(stacked(fresh), recipe, 1)
    got = jax.tree.map(lambda x: x[0], learners.decoder)
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
    saved, said = run(dataclasses.replace(RECIPE, **change))
    np.testing.assert_allclose(told.loss, said.loss, rtol=2.0**-14)
    close(plain.decoder, saved.decoder)


def test_calls_continue_each_other():
    half, first = run(steps=STEPS // 2)
    programs = learn.__wrapped__._cache_size()
    rest, second = learn(half, RECIPE, STEPS // 2)
    assert learn.__wrapped__._cache_size() == programs  # what a call gives is what a call takes
    whole, told = run()
    np.testing.assert_array_equal(np.concatenate([first.loss, second.loss], axis=1), told.loss)
    chex.assert_trees_all_equal(rest.decoder, whole.decoder)


def test_one_trace_serves_all_calls():
    learners, _ = run(steps=STEPS // 2)
    programs = learn.__wrapped__._cache_size()
    for _ in range(3):
        learners, _ = learn(learners, RECIPE, STEPS // 2)
    assert learn.__wrapped__._cache_size() == programs


def test_a_plan_rounds_the_pass_and_leaves_the_masters():
    plan = RoundingPlan(weights=BF16, residual=BF16, mode="simulated")
    rough = dataclasses.replace(RECIPE, plan=plan)
    learners, told = run(rough)
    _, exact = run()
    assert (told.loss != exact.loss).any()
    np.testing.assert_allclose(told.loss, exact.loss, rtol=0.1)
    table = np.asarray(learners.decoder.embed.table[...])
    assert (table != table.astype(jnp.bfloat16).astype(np.float32)).any()


def test_an_update_takes_the_mark_of_stored_weights_off():
    plan = RoundingPlan.everywhere(BF16, mode="simulated")
    fresh = begin(CONFIG, RECIPE, 0, RATE)
    marked = fresh._replace(decoder=fresh.decoder.at(plan))
    learners, _ = learn(stacked(marked), RECIPE, STEPS)
    assert learners.decoder.plan == RoundingPlan.wide()
    assert marked.decoder.plan == plan


def test_bad_input():
    with pytest.raises(BadInput, match="8 in 3 parts"):
        dataclasses.replace(RECIPE, parts=3)
    with pytest.raises(BadInput, match="20 of 20"):
        dataclasses.replace(RECIPE, warmup=20)
    with pytest.raises(BadInput, match=f"got {CONFIG.vocab_size - 1}"):
        begin(dataclasses.replace(CONFIG, vocab_size=CONFIG.vocab_size - 1), RECIPE, 0, RATE)
