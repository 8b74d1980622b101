"""Packed slots: what is read of them is what wide slots have, bit for bit, in fewer bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, drawn, text_of

from glassesjax.cache import advance, empty_state, policy, prefill, resolve_slots, state_bytes
from glassesjax.cache.advance import unroll
from glassesjax.cache.generate import generate
from glassesjax.cache.saved import grown, load_state, save_state
from glassesjax.cache.slots import EMPTY
from glassesjax.cache.stored import read as read_slots
from glassesjax.errors import BadInput
from glassesjax.precision import BF16, F64, Packed, RoundingPlan, named_plan

# A head of 20: a block of 16 and one of 4; two value heads, each shared by two queries.
CONFIG = dataclasses.replace(CONFIGS["half"], head_dim=20)
SLOTS, LENGTH = 5, 16
TEXT = jnp.asarray(text_of(1, LENGTH))
FORMATS = ("int8*row", "int4*block16", "mxfp8", "nvfp4_row", "e4m3fn", "bf16")
BYTES = {  # of a row of 20 numbers, by hand; scales in float32, or a byte of a power of two
    "int8*row": 20 + 4,
    "int4*block16": 10 + 2 * 4,
    "mxfp8": 20 + 1,
    "nvfp4_row": 10 + 2 * 4,
    "e4m3fn": 20,
    "bf16": 2 * 20,
}


read = jax.jit(read_slots, static_argnums=(1, 2, 3))
dense = jax.jit(lambda decoder, tokens: decoder(tokens)[0])


def plan_of(name):
    return named_plan(f"{name}@state")


def in_float32(plan, config=CONFIG):
    return drawn(config, 1, np.float32).at(plan)


def run(model, rule, how, slots=SLOTS, mode="exact", chunk=LENGTH):
    state = empty_state(model.outer.config, rule, slots, how)
    parts = list(prefill(model, TEXT, rule, state=state, mode=mode, chunk=chunk))
    return parts[-1].state, np.concatenate([np.asarray(part.y) for part in parts])


def same_bits(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    assert one.tobytes() == other.tobytes()


def assert_same(packed, wide, fmt, config=CONFIG):
    """The same tokens in the same slots, and what is read of them."""
    assert isinstance(packed.key, Packed)
    for name in ("position", "mass"):
        same_bits(getattr(packed, name), getattr(wide, name))
    filled = np.broadcast_to(np.asarray(wide.position) != EMPTY, wide.key.shape[:2])
    for name, width in (("key", config.key_dim), ("value", config.value_dim)):
        own = getattr(wide, name)
        found = read(getattr(packed, name), fmt, width, own.dtype)
        same_bits(np.asarray(found)[filled], np.asarray(own)[filled])


@pytest.mark.parametrize("rule", ["window", "h2o", "tova"])
@pytest.mark.parametrize("name", FORMATS)
def test_packed_slots_are_wide_ones_bit_for_bit(name, rule):
    plan, rule = plan_of(name), policy(rule)
    model = unroll(in_float32(plan))
    packed, y = run(model, rule, plan)
    wide, wide_y = run(model, rule, plan.dtype)
    same_bits(y, wide_y)
    for one, other in zip(packed.layers, wide.layers, strict=True):
        assert_same(one, other, plan.state)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_cache_is_the_dense_pass_bit_for_bit(name):
    plan = plan_of(name)
    decoder = in_float32(plan)
    y = dense(decoder, TEXT)
    state, own = run(unroll(decoder), policy("full"), plan, LENGTH)
    assert isinstance(state.layers[0].key, Packed)
    np.testing.assert_array_equal(own, y)
    unrounded = dense(decoder.at(RoundingPlan.wide()), TEXT)
    assert np.abs(unrounded - y).max() > 1e-4  # the format does something here


def test_a_format_of_activations_too_is_rounded_once():
    # Rounding an int8 row again would move its scale.
    plan = named_plan("int8*row")
    decoder = in_float32(plan)
    state, y = run(unroll(decoder), policy("full"), plan, LENGTH)
    np.testing.assert_array_equal(y, dense(decoder, TEXT))
    wide, wide_y = run(unroll(decoder), policy("full"), plan.dtype, LENGTH)
    same_bits(y, wide_y)
    for one, other in zip(state.layers, wide.layers, strict=True):
        assert_same(one, other, plan.state)


@pytest.mark.parametrize("mode", ["one_shot", "chunked"])
@pytest.mark.parametrize("name", ["int4*block16", "e4m3fn"])
@pytest.mark.parametrize("heads", [1, 4])
def test_eviction_after_many_tokens_moves_scales_with_codes(name, mode, heads):
    plan, rule = plan_of(name), policy("h2o" if heads > 1 else "h2o-layer")
    config = dataclasses.replace(CONFIG, num_kv_heads=heads)
    model = unroll(in_float32(plan, config))
    packed, y = run(model, rule, plan, mode=mode, chunk=6)
    wide, wide_y = run(model, rule, plan.dtype, mode=mode, chunk=6)
    same_bits(y, wide_y)
    for one, other in zip(packed.layers, wide.layers, strict=True):
        assert_same(one, other, plan.state, config)


def test_position_ids_turn_what_is_read():
    plan, rule = (
        plan_of("int8*row"),
        dataclasses.replace(policy("tova"), position_ids="consecutive"),
    )
    model = unroll(in_float32(plan))
    _, y = run(model, rule, plan)
    _, wide_y = run(model, rule, plan.dtype)
    same_bits(y, wide_y)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rule", ["tova", "h2o"])
def test_bytes_are_those_of_codes_and_scales(name, rule):
    plan, rule = plan_of(name), policy(rule)
    state = jax.eval_shape(lambda: empty_state(CONFIG, rule, SLOTS, plan))
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.layers)]
    groups = 2 if rule.head_wise else 1
    slot = 2 * 2 * BYTES[name] + groups * (4 + 4)
    size = CONFIG.num_layers * (SLOTS + 1) * slot
    assert sum(sizes) == state_bytes(CONFIG, rule, SLOTS, plan) == size
    bought = resolve_slots(f"{size}B", CONFIG, rule, length=1000, dtype=plan)
    assert bought == SLOTS
    assert resolve_slots(f"{size - 1}B", CONFIG, rule, length=1000, dtype=plan) == SLOTS - 1
    wide = state_bytes(CONFIG, rule, SLOTS, plan.dtype)
    assert wide - size == CONFIG.num_layers * (SLOTS + 1) * 2 * 2 * (80 - BYTES[name])


def test_types_of_slots():
    kinds = {"int8*row": ("int8", "float32"), "mxfp8": ("uint8", "uint8"), "bf16": ("uint16", None)}
    for name, (elements, scale) in kinds.items():
        state = empty_state(CONFIG, policy("tova"), SLOTS, plan_of(name))
        for stored in (state.layers[0].key, state.layers[0].value):
            assert stored.elements.dtype == elements
            assert (None if stored.scale is None else stored.scale.dtype) == scale


def test_what_is_not_packed():
    rule = policy("tova")
    identity = dataclasses.replace(
        CONFIGS["half"], num_kv_heads=4, head_dim=None, values="identity"
    )
    by_layer = RoundingPlan.by_layer(lambda i: plan_of(["int8*row", "bf16"][i]), 2)
    alike = RoundingPlan.by_layer(lambda i: plan_of("int8*row"), 2)
    native = RoundingPlan.everywhere(BF16, mode="native")
    packed = lambda config, plan: isinstance(
        empty_state(config, rule, SLOTS, plan).layers[0].key, Packed
    )
    for plan in (by_layer, native, RoundingPlan.wide(), plan_of("tf32"), plan_of("e2m1")):
        assert not packed(CONFIG, plan)
    assert packed(CONFIG, alike)
    assert packed(identity, plan_of("bf16"))
    assert not packed(identity, plan_of("int8*row"))  # a row of two heads shares its scale
    assert packed(CONFIG, RoundingPlan(state=BF16, mode="simulated", carrier=F64))


def test_generation_goes_on_from_a_file(tmp_path):
    plan, rule, path = plan_of("int4*block16"), policy("h2o"), tmp_path / "state"
    model = unroll(in_float32(plan))
    state, _ = run(model, rule, plan)
    save_state(path, state, rule, config=CONFIG, plan=plan)
    loaded = load_state(path, rule, config=CONFIG, dtype=plan).state
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(state), strict=True):
        same_bits(one, other)
    _, y, _ = advance(model, loaded, TEXT, rule)
    _, again, _ = advance(model, state, TEXT, rule)
    same_bits(y, again)
    larger = grown(loaded, SLOTS + 3)
    expected = empty_state(CONFIG, rule, SLOTS + 3, plan)
    assert [x.shape for x in jax.tree.leaves(larger)] == [
        x.shape for x in jax.tree.leaves(expected)
    ]
    for other in (plan_of("int4*block4"), plan_of("int8*row"), plan.dtype):
        with pytest.raises(BadInput, match=r"with (stored|dtype) .*got"):
            load_state(path, rule, config=CONFIG, dtype=other)
    with pytest.raises(BadInput, match="the plan of a state with packed keys"):
        save_state(path, state, rule, config=CONFIG)


def test_a_file_of_wide_slots_is_read_under_every_plan(tmp_path):
    plan, rule, path = plan_of("int8*row"), policy("tova"), tmp_path / "state"
    model = unroll(in_float32(plan))
    wide, _ = run(model, rule, plan.dtype)
    save_state(path, wide, rule, config=CONFIG, plan=plan)
    loaded = load_state(path, rule, config=CONFIG, dtype=plan).state
    same_bits(advance(model, loaded, TEXT, rule)[1], advance(model, wide, TEXT, rule)[1])


def test_a_state_of_another_format_is_refused():
    rule, model = policy("tova"), unroll(in_float32(plan_of("int8*row")))
    with pytest.raises(BadInput, match=r"key.elements is int8 .*got uint8"):
        advance(model, empty_state(CONFIG, rule, SLOTS, plan_of("e4m3fn*row")), TEXT, rule)


def test_a_batch_generates_what_wide_slots_do():
    plan, rule = plan_of("int8*row"), policy("h2o")
    model = unroll(in_float32(plan))
    prompts = [[1, 2, 3, 4, 5, 6, 7], [8, 9]]
    chosen = [one.token for one in generate(model, prompts, rule, slots=SLOTS, max_tokens=4)]
    for row, prompt in enumerate(prompts):
        state, tokens = empty_state(CONFIG, rule, SLOTS, plan.dtype), prompt
        for step in chosen:
            state, y, _ = advance(model, state, jnp.asarray(tokens), rule)
            best = int(jnp.argmax(model.outer.logits(y[-1:])[0]))
            assert int(step[row]) == best
            tokens = [best]
