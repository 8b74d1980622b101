"""A decoder carries its rounding plan: its weights are as the plan stores them."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.cache import policy, replay, unroll
from glassesjax.model import DecoderConfig
from glassesjax.model.stored import load_decoder, save_decoder
from glassesjax.model.weights import flat_parameters
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F16,
    F32,
    F64,
    INT8,
    INT8_CHANNEL,
    STORED,
    RoundingPlan,
    Site,
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


@pytest.fixture(scope="module")
def decoder():
    return made(CONFIG, jax.random.key(0), jnp.float32)


@pytest.mark.parametrize("plan", ROUNDING, ids=lambda plan: plan.name)
def test_every_weight_is_as_the_plan_stores_it(decoder, plan):
    rounded, given = flat_parameters(decoder.at(plan)), flat_parameters(decoder)
    for name, weight in given.items():
        layers = [weight] if not name.startswith("blocks.") else weight
        wanted = np.stack([plan.weights.round(each) for each in layers])
        assert np.array_equal(np.stack([*rounded[name]]).reshape(wanted.shape), wanted)


def test_plans_that_leave_weights_alone_share_them(decoder):
    for plan in (None, RoundingPlan.wide(), RoundingPlan(residual=E4M3FN, mode="simulated")):
        other = decoder.at(plan)
        assert other.plan == (plan or RoundingPlan.wide())
        assert all(map(operator.is_, jax.tree.leaves(other), jax.tree.leaves(decoder)))
    assert decoder.plan == RoundingPlan.wide()


def test_a_pass_follows_the_plan_that_the_decoder_carries(decoder):
    """By hand, one site at a time: it is that site that moves, and what comes before does not."""
    wide, trace = decoder(TOKENS, keep="attention")
    for site in STORED:
        plan = RoundingPlan(**{site.value: E4M3FN}, mode="simulated")
        y, rounded = decoder.at(plan)(TOKENS, keep="attention")
        assert not np.array_equal(y, wide)
        moved = not np.array_equal(rounded.resid[0], trace.resid[0])
        assert moved == (site in (Site.WEIGHTS, Site.RESIDUAL))
    output = RoundingPlan(output=E4M3FN, mode="simulated")
    assert np.array_equal(decoder.at(output)(TOKENS)[0], E4M3FN.round(wide))


def test_no_plan_is_no_rounding_beside_the_dtype_of_the_weights(decoder):
    rounding = decoder.at(RoundingPlan(residual=E4M3FN, mode="simulated"))
    assert np.array_equal(rounding.at(None)(TOKENS)[0], decoder(TOKENS)[0])
    narrow = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), decoder)
    assert narrow.plan == RoundingPlan.everywhere(BF16, mode="native")
    assert np.array_equal(narrow(TOKENS)[0], decoder.at(narrow.plan)(TOKENS)[0])


@pytest.mark.parametrize(("fmt", "carrier"), [(BF16, F32), (BF16, F64), (F16, F32), (F32, F64)])
def test_weights_stored_narrow_give_the_bits_of_rounded_ones(decoder, fmt, carrier):
    """The slow way is to round them in the carrier: the same numbers, in more bytes."""
    narrow = decoder.at(RoundingPlan(weights=fmt, mode="native", carrier=carrier))
    rounded = decoder.at(RoundingPlan(weights=fmt, mode="simulated", carrier=carrier))
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype(fmt.dtype)}
    read = jax.jit(lambda model: model.logits(model(TOKENS)[0]))
    assert read(narrow).dtype == carrier.dtype
    assert np.array_equal(read(narrow), read(rounded))
    state = replay(narrow, TOKENS, policy("full"))
    assert np.array_equal(state.logits, replay(rounded, TOKENS, policy("full")).logits)


def test_weights_of_another_dtype_than_the_plans_are_refused(decoder):
    rounding = decoder.at(ROUNDING[1])
    double = jax.tree.map(lambda weight: weight.astype(jnp.float64), rounding)
    text = r"Expected weights of float32, as plan simulated bf16 weights stores them, got float64"
    for run in (
        lambda model: model(TOKENS),
        lambda model: model.logits(jnp.zeros((1, 8), jnp.float32)),
        lambda model: last_representations(model, [(1, 2)]),
        lambda model: replay(model, TOKENS, policy("full")),
    ):
        with pytest.raises(ValueError, match=text):
            run(double)


def test_the_plan_survives_transforms(decoder):
    plan = ROUNDING[1]
    stored = jax.jit(lambda decoder: decoder.at(plan))(decoder)
    moved = jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight) + 0), stored)
    loss = jax.jit(lambda model: jnp.sum(model(TOKENS)[0]))
    slope = jax.jit(jax.grad(loss))(stored)
    stacked = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), stored, moved)
    seeds = jax.jit(jax.vmap(loss))(stacked)
    assert [m.plan for m in (stored, moved, slope, stacked)] == [plan] * 4
    assert unroll(stored).outer.plan == plan
    assert seeds.tolist() == [float(loss(stored))] * 2


def test_rounding_inside_a_differentiated_function_leaves_the_masters_as_they_are(decoder):
    loss = lambda model: jnp.sum(model.at(ROUNDING[1])(TOKENS)[0])
    slope = jax.jit(jax.grad(loss))(decoder)
    assert slope.plan == decoder.plan == RoundingPlan.wide()
    updated = jax.tree.map(jnp.add, decoder, slope)
    assert updated.plan == RoundingPlan.wide()


def test_a_saved_file_names_the_format_of_its_weights(decoder, tmp_path):
    path = tmp_path / "model.safetensors"
    save_decoder(path, decoder.at(ROUNDING[2]), tuple("abcde"), {})
    again, _, _ = load_decoder(path)
    assert again.plan == RoundingPlan(weights=INT8, mode="simulated")
    plain = tmp_path / "plain.safetensors"
    save_decoder(plain, decoder, tuple("abcde"), {})
    assert load_decoder(plain)[0].plan == RoundingPlan.wide()
    assert b"stored_as" not in plain.read_bytes()


@pytest.mark.parametrize("plan", ROUNDING, ids=lambda plan: plan.name)
def test_weights_that_moved_are_not_saved_under_their_old_format(decoder, tmp_path, plan):
    path, stored = tmp_path / "model.safetensors", decoder.at(plan)
    save_decoder(path, stored, tuple("abcde"), {})
    moved = jax.tree.map(lambda weight: weight + 0.01, stored)
    assert moved.plan == plan  # a transform does not look
    with pytest.raises(ValueError, match=f"Expected weights of {plan.weights.name}, as their plan"):
        save_decoder(path, moved, tuple("abcde"), {})
    save_decoder(path, moved.at(None), tuple("abcde"), {})
    assert load_decoder(path)[0].plan == RoundingPlan.wide()
