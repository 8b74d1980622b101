"""A plan that rounds weights takes only weights that were rounded to its format."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.cache import policy, replay, unroll
from glassesjax.model import DecoderConfig
from glassesjax.model.stored import load_decoder, save_decoder
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F32,
    F64,
    INT8,
    INT8_CHANNEL,
    RoundingPlan,
)
from glassesjax.trace.collapse import last_representations

CONFIG = DecoderConfig(vocab_size=5, num_layers=1, model_dim=8)
TOKENS = jnp.asarray([1, 2, 3], jnp.int32)
ROUNDING = [
    RoundingPlan.everywhere(E4M3FN),
    RoundingPlan(weights=BF16, mode="simulated"),
    RoundingPlan(weights=INT8, mode="simulated"),
    RoundingPlan(weights=INT8_CHANNEL, mode="simulated"),
]

# Weights by themselves, one scale for a row and none: rounded elsewhere, all that reads is compiled
# anew; and what is checked is the weights' own format.
QUICK = (ROUNDING[1], ROUNDING[3])


@pytest.fixture(scope="module")
def decoder():
    return made(CONFIG, jax.random.key(0), jnp.float32)


READERS = (
    lambda model, plan: model(TOKENS, plan=plan),
    lambda model, plan: model.logits(jnp.zeros((1, 8), jnp.float32), plan=plan),
    lambda model, plan: jax.jit(lambda model: model(TOKENS, plan=plan))(model),
    lambda model, plan: last_representations(model, [(1, 2)], plan),
    lambda model, plan: replay(model, TOKENS, policy("full"), plan=plan),
)


@pytest.fixture(scope="module")
def operations(decoder):
    """Compiled for all plans."""
    for run in READERS:
        run(decoder.stored(ROUNDING[1]), ROUNDING[1])


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, marks=[pytest.mark.slow] * (plan not in QUICK)) for plan in ROUNDING],
    ids=lambda plan: plan.name,
)
def test_unmarked_weights_are_refused_and_stored_ones_are_not(operations, decoder, plan):
    text = rf"stored by plan {plan.weights.name}, got unmarked ones: call decoder\.stored\(plan\)"
    for run in READERS:
        with pytest.raises(ValueError, match=text):
            run(decoder, plan)
        run(decoder.stored(plan), plan)


def test_weights_of_another_format_are_refused(decoder):
    stored = decoder.stored(ROUNDING[2])
    with pytest.raises(ValueError, match="plan int8_channel, got ones stored by int8:"):
        stored(TOKENS, plan=ROUNDING[3])
    again = stored.stored(ROUNDING[3])
    assert again.stored_as == INT8_CHANNEL
    again(TOKENS, plan=ROUNDING[3])


def test_plans_that_leave_weights_alone_take_any(decoder):
    wide, others = RoundingPlan.wide(), RoundingPlan(residual=E4M3FN, mode="simulated")
    for model in (decoder, decoder.stored(ROUNDING[0])):
        for plan in (None, wide, others, RoundingPlan.everywhere(F32, carrier=F32)):
            model(TOKENS, plan=plan)
    narrow = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), decoder)
    narrow(TOKENS)
    narrow(TOKENS, plan=RoundingPlan.everywhere(BF16, mode="native"))
    double = jax.tree.map(lambda weight: weight.astype(jnp.float64), decoder)
    with pytest.raises(ValueError, match="plan f32, got unmarked"):
        double(TOKENS, plan=RoundingPlan.everywhere(F32, carrier=F64))
    with pytest.raises(ValueError, match="Expected weights of bfloat16, got float32"):
        decoder(TOKENS, plan=RoundingPlan.everywhere(BF16, mode="native"))


def test_the_mark_survives_transforms_and_no_plan_takes_it_off(decoder):
    plan = ROUNDING[1]
    stored = jax.jit(lambda decoder: decoder.stored(plan))(decoder)
    moved = jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight) + 0), stored)
    loss = jax.jit(lambda model: jnp.sum(model(TOKENS, plan=plan)[0]))
    slope = jax.jit(jax.grad(loss))(stored)
    stacked = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), stored, moved)
    seeds = jax.jit(jax.vmap(loss))(stacked)
    assert [m.stored_as for m in (stored, moved, slope, stacked)] == [BF16] * 4
    assert unroll(stored).outer.stored_as == BF16
    assert seeds.tolist() == [float(loss(stored))] * 2
    assert stored.stored(RoundingPlan.wide()).stored_as == BF16
    assert decoder.stored_as is None


def test_storing_inside_a_differentiated_function_leaves_the_masters_unmarked(decoder):
    plan = ROUNDING[1]
    loss = lambda model: jnp.sum(model.stored(plan)(TOKENS, plan=plan)[0])
    slope = jax.jit(jax.grad(loss))(decoder)
    assert slope.stored_as is None
    updated = jax.tree.map(jnp.add, decoder, slope)
    assert updated.stored_as is None


def test_the_mark_is_in_a_saved_file(decoder, tmp_path):
    path = tmp_path / "model.safetensors"
    save_decoder(path, decoder.stored(ROUNDING[2]), tuple("abcde"), {})
    again, _, _ = load_decoder(path)
    assert again.stored_as == INT8
    again(TOKENS, plan=ROUNDING[2])
    plain = tmp_path / "plain.safetensors"
    save_decoder(plain, decoder, tuple("abcde"), {})
    assert load_decoder(plain)[0].stored_as is None
    assert b"stored_as" not in plain.read_bytes()


@pytest.mark.parametrize("plan", ROUNDING, ids=lambda plan: plan.name)
def test_weights_that_moved_are_not_saved_under_their_old_mark(decoder, tmp_path, plan):
    path, stored = tmp_path / "model.safetensors", decoder.stored(plan)
    save_decoder(path, stored, tuple("abcde"), {})
    moved = jax.tree.map(lambda weight: weight + 0.01, stored)
    assert moved.stored_as == plan.weights  # of what was stored; a transform does not look
    with pytest.raises(ValueError, match=f"Expected weights of {plan.weights.name}, by which"):
        save_decoder(path, moved, tuple("abcde"), {})
    moved.stored_as = None
    save_decoder(path, moved, tuple("abcde"), {})
    assert load_decoder(path)[0].stored_as is None


def test_the_error_that_was_silent(decoder):
    plan = ROUNDING[0]
    right = decoder.stored(plan)(TOKENS, plan=plan)[0]
    marked = jax.tree.map(lambda weight: weight + 0, decoder)
    marked.stored_as = E4M3FN  # a mark that lies
    assert np.max(np.abs(right - marked(TOKENS, plan=plan)[0])) > 0.1
