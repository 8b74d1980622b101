"""Reading on: modes, chunks, batches, fills, positions and formats agree where they should."""

import dataclasses
import functools
import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, drawn, held_after, text_of, told
from cache_reference import Rule, bounded_forward

from glassesjax.cache import advance, empty_state, logits, policy, prefill, replay, unroll
from glassesjax.cache.position_ids import reindexed
from glassesjax.cache.slots import EMPTY
from glassesjax.cache.step import RowPositions, layer_step
from glassesjax.errors import BadInput
from glassesjax.model import Window, flat_parameters
from glassesjax.model.tiling import Tiling
from glassesjax.precision import BF16, F64, INT8, RoundingPlan

LENGTH, SLOTS = 16, 5
U = 2.0**-53
# Two routes through two layers differ by the order of their sums: some hundred roundings.
SAME = {"rtol": 0, "atol": 1024 * U}


def start(config, rule, slots=SLOTS, dtype=jnp.float64):
    return empty_state(config, rule, slots, dtype)


@functools.cache
def model_of(name, seed=1):
    return unroll(drawn(CONFIGS[name], seed))


def text(seed=1, length=LENGTH):
    return jnp.asarray(text_of(seed, length))


def close(found, wanted):
    """Representations of size one, as a norm leaves them."""
    np.testing.assert_allclose(found, wanted, **SAME)


@functools.cache
def whole(name, rule, slots=SLOTS):
    """One call for the whole text: what others are compared with."""
    model = model_of(name)
    return advance(model, start(model.outer.config, rule, slots), text(), rule)


def same_state(state, other):
    """Equal as sets of tokens, with what they hold."""
    assert int(state.seen) == int(other.seen)
    state, other = jax.device_get((state, other))
    for cache, twin in zip(state.layers, other.layers, strict=True):
        order, orders = (np.argsort(c.position[0]) for c in (cache, twin))
        np.testing.assert_array_equal(cache.position[0][order], twin.position[0][orders])
        filled = np.sort(np.asarray(cache.position[0])) != EMPTY
        for field in ("key", "value", "mass"):
            ours, theirs = getattr(cache, field)[:, order], getattr(twin, field)[:, orders]
            close(ours[:, filled], theirs[:, filled])


# Five chunks of three and one token more, filled up, and all at once.
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(1, marks=pytest.mark.slow),  # which decoding does below
        3,
        pytest.param(8, marks=pytest.mark.slow),
        LENGTH,
    ],
)
def test_chunks_change_nothing_in_mode_exact(chunk):
    rule = policy("tova")
    wanted, y, _ = whole("half", rule)
    parts = list(prefill(model_of("half"), text(), rule, slots=SLOTS, chunk=chunk))
    close(np.concatenate([part.y for part in parts]), y)
    same_state(parts[-1].state, wanted)


def test_one_program_for_all_rows_and_lengths():
    model, rule = model_of("half"), policy("tova")
    traced = chex.assert_max_traces(layer_step, n=1)
    step = jax.jit(traced, static_argnums=(4, 5))
    chex.clear_trace_counter()
    state = start(model.outer.config, rule)
    for now, length in ((0, 3), (3, 1), (4, 16), (20, 0)):
        index = jnp.arange(LENGTH, dtype=jnp.int32)
        here = RowPositions(now + index, index < length)
        resid = jnp.ones((LENGTH, model.outer.config.model_dim))
        for block, cache in zip(model.blocks, state.layers, strict=True):
            step(block, cache, resid, here, rule, "exact")


def counted(function, traces):
    def traced(*args):
        traces.append(None)
        return function(*args)

    return traced


def test_one_program_behind_prefill_for_all_lengths_of_a_chunk(monkeypatch):
    model, rule, traces = model_of("half"), policy("tova"), []
    layer = jax.jit(counted(layer_step, traces), static_argnums=(4, 5))
    monkeypatch.setattr(importlib.import_module("glassesjax.cache.advance"), "_layer", layer)
    for chunk, programs in ((4, 1), (8, 2), (4, 2)):
        for length in (1, 7, 16):
            parts = prefill(model, text(length=length), rule, slots=SLOTS, chunk=chunk)
            assert len(list(parts)) == -(-length // chunk)
            assert len(traces) == programs


def test_one_program_for_a_batch_of_any_lengths():
    model, rule, traces = model_of("half"), policy("tova"), []

    def step(state, tokens, length):
        return advance(model, state, tokens, rule, length=length)[:2]

    run = jax.jit(jax.vmap(counted(step, traces)))
    tokens = jnp.asarray(np.stack([text_of(seed, 4) for seed in range(3)]))
    tripled = lambda x: jnp.asarray(np.stack([np.asarray(x)] * 3))
    state = jax.tree.map(tripled, start(model.outer.config, rule))
    for lengths in ((4, 1, 0), (0, 2, 3), (1, 1, 1)):
        state, _ = run(state, tokens, jnp.array(lengths, jnp.int32))
    assert state.seen.tolist() == [5, 4, 4]
    assert len(traces) == 1


@pytest.mark.parametrize(("length", "counts"), [(17, 16), (1000, 16), (-3, 0)])
def test_a_length_counts_no_more_tokens_than_there_are(length, counts):
    rule, model = policy("tova"), model_of("half")
    runs = [
        advance(model, start(model.outer.config, rule), text(), rule, length=jnp.int32(count))[0]
        for count in (length, counts)
    ]
    assert int(runs[0].seen) == counts
    same_state(*runs)


def test_eviction_after_a_chunk_does_not_depend_on_blocks_of_rows(monkeypatch):
    model, rule = model_of("half"), policy("h2o~0.5")
    cache = start(model.outer.config, rule).layers[0]
    index = jnp.arange(LENGTH, dtype=jnp.int32)
    resid = model.outer.enter(text())
    runs = []
    for rows in (LENGTH, 3):  # one block; five and one that is filled up
        monkeypatch.setattr("glassesjax.cache.step.TILING", Tiling(attention_rows=rows))
        chunked = lambda *args: layer_step(*args, rule, "chunked")
        runs.append(
            jax.jit(chunked)(model.blocks[0], cache, resid, RowPositions(index, index < 14))
        )
    (state, y, gone), (other, rows, dropped) = jax.device_get(runs)
    np.testing.assert_array_equal(gone.position, dropped.position)
    np.testing.assert_array_equal(state.position, other.position)
    close(other.mass, state.mass)
    close(rows[:14], y[:14])


def decode(model, state, token, rule):
    state, y, _ = advance(model, state, token[None], rule)
    return state, y[0]


def test_decoding_is_one_program_and_gives_its_state_away():
    model, rule, traces = model_of("half"), policy("tova"), []

    def step(model, state, token):
        traces.append(None)
        return decode(model, state, token, rule)

    compiled = jax.jit(step, donate_argnums=1)
    wanted, y, _ = whole("half", rule)
    state = start(model.outer.config, rule)
    for index, token in enumerate(text()):
        before = state
        state, row = compiled(model, state, token)
        close(row, y[index])
        assert before.layers[0].key.is_deleted()
        assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, state)
    assert len(traces) == 1
    same_state(state, wanted)


# Two hundred programs, one an operation. The compiled functions are checked by loops of NumPy, in
# test_against_reference; this adds that they can be run without, as a layer is below.
@pytest.mark.slow
def test_without_compiling_it_is_the_same():
    model, rule = model_of("half"), policy("tova")
    with jax.disable_jit():
        state, y, _ = advance(model, start(model.outer.config, rule, 2), text(length=4), rule)
    wanted, rows, _ = advance(
        model, start(model.outer.config, rule, 2), text(), rule, length=jnp.int32(4)
    )
    close(y, rows[:4])
    same_state(state, wanted)


@pytest.fixture(scope="module")
def layer():
    """A step that evicts, and what it gives one operation after another; each is a program."""
    model, rule = told(np.random.default_rng(0).normal(size=(1, 2, 2))), policy("tova")
    cache = start(model.outer.config, rule, 1).layers[0]
    here = RowPositions(jnp.arange(2, dtype=jnp.int32), jnp.ones(2, bool))
    resid = jnp.eye(2)
    step = lambda: layer_step(model.blocks[0], cache, resid, here, rule, "exact")
    with jax.disable_jit():
        return step, step()


def test_a_layer_without_compiling_is_the_same(layer):
    step, (state, y, gone) = layer
    wanted, rows, dropped = jax.jit(step)()
    close(y, rows)
    for ours, theirs in zip((*state, *gone), (*wanted, *dropped), strict=True):
        close(ours, theirs)


def test_a_batch_of_unequal_lengths_is_its_rows():
    model, rule, lengths = model_of("half"), policy("h2o"), (16, 3, 9, 1)
    tokens = jnp.asarray(np.stack([text_of(seed, LENGTH) for seed in range(4)]))
    run = lambda tokens, length: advance(
        model, start(model.outer.config, rule), tokens, rule, length=length
    )
    each = jax.jit(jax.vmap(run))(tokens, jnp.array(lengths, jnp.int32))
    states, y, dropped = jax.device_get(each)
    for row, length in enumerate(lengths):
        state, single, gone = jax.device_get(run(tokens[row], jnp.int32(length)))
        close(y[row, :length], single[:length])
        same_state(jax.tree.map(lambda x, row=row: x[row], states), state)
        np.testing.assert_array_equal(dropped[0].position[row], gone[0].position)


@pytest.mark.parametrize("mode", ["exact", "chunked"])
@pytest.mark.parametrize("name", ["half", "learned"])
@pytest.mark.parametrize("filler", [0, 31, -1, 10_000])
def test_what_fills_an_array_leaves_no_mark(mode, name, filler):
    model, rule = model_of(name), policy("tova@1")
    state, tokens = start(model.outer.config, rule), text()
    for length in (2, 9, 8):  # 19 tokens and fills up to position 26; then beyond what is learned
        full, others = (
            jnp.asarray(np.where(np.arange(LENGTH) < length, tokens, fill).astype(np.int32))
            for fill in (filler, 1)
        )
        options = {"length": jnp.int32(length), "mode": mode}
        filled, y, _ = advance(model, state, full, rule, **options)
        state, rows, _ = advance(model, state, others, rule, **options)
        y, rows = np.asarray(y), np.asarray(rows)
        np.testing.assert_array_equal(y[:length], rows[:length])
        for cache, twin in zip(*jax.device_get((filled.layers, state.layers)), strict=True):
            np.testing.assert_array_equal(cache.position, twin.position)
            np.testing.assert_array_equal(cache.mass, twin.mass)
            held = np.asarray(cache.position[0]) != EMPTY
            np.testing.assert_array_equal(cache.key[:, held], twin.key[:, held])
        assert np.all(np.isfinite(y[:length]))
        state = filled


def test_a_chunk_may_reach_beyond_the_learned_positions_with_its_fills():
    model, rule = model_of("learned"), policy("window")
    tokens = jnp.asarray(np.resize(text_of(1, LENGTH), 32))  # as many as there are vectors
    for mode in ("exact", "chunked"):
        parts = list(prefill(model, tokens, rule, slots=SLOTS, mode=mode, chunk=20))
        assert all(np.all(np.isfinite(part.y)) for part in parts)


def test_one_shot_shows_all_and_is_not_exact():
    model, rule = model_of("half"), policy("tova")
    shot = replay(model, text(), rule, slots=SLOTS, mode="one_shot")
    full = replay(model, text(), policy("full"), slots=LENGTH)
    exact = replay(model, text(), rule, slots=SLOTS)
    close(shot.logits, full.logits)
    assert np.max(np.abs(shot.logits[SLOTS + 1 :] - exact.logits[SLOTS + 1 :])) > 0.1
    kept = lambda run: [c.position[0].tolist() for c in run.state.layers]
    assert [sorted(k) for k in kept(shot)] != [sorted(k) for k in kept(exact)]
    assert all(sum(p != EMPTY for p in layer) == SLOTS for layer in kept(shot))


def test_one_token_too_many_is_one_cut_in_all_modes():
    # k + 1 tokens: exactly one decision, by the same query.
    model, rule = model_of("half"), policy("tova")
    runs = [
        replay(model, text(length=SLOTS + 1), rule, slots=SLOTS, mode=mode, chunk=SLOTS + 1)
        for mode in ("exact", "one_shot", "chunked")
    ]
    for run in runs[1:]:
        close(run.logits, runs[0].logits)
        same_state(run.state, runs[0].state)


def banded(config, layers, width):
    """The decoder of some depth whose mask is a band."""
    deep = dataclasses.replace(config, num_layers=layers)
    return dataclasses.replace(deep, mask=Window(width=width)), deep


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_window_is_a_band_at_any_depth_and_dense_attention_to_the_last_only_at_one(layers):
    band, plain = banded(CONFIGS["half"], layers, SLOTS + 1)
    decoder, rule = drawn(plain, seed=3), policy("window")
    state = start(plain, rule)
    y = advance(unroll(decoder), state, text(), rule)[1]
    pass_of = jax.jit(lambda decoder, tokens: decoder(tokens)[0])
    close(y, pass_of(drawn(band, seed=3), text()))
    # Rotary positions are relative: the last tokens alone may stand at the beginning.
    dense = np.asarray(pass_of(decoder, jnp.asarray(text_of(1, LENGTH)[-(SLOTS + 1) :])))
    far = np.max(np.abs(dense[-1] - np.asarray(y)[-1]))
    assert far < SAME["atol"] if layers == 1 else far > 0.1


@pytest.mark.parametrize(
    ("name", "blind"),
    [("half", True), ("interleaved", True), ("alibi", True), ("none", True), ("learned", False)],
)
def test_only_distances_count(name, blind):
    model, rule = model_of(name), policy("tova")
    state = start(model.outer.config, rule)
    shift = 5_000 if blind else 16
    later = state._replace(seen=jnp.int32(shift))
    runs = [jax.device_get(advance(model, s, text(), rule)) for s in (state, later)]
    gap = np.max(np.abs(runs[0][1] - runs[1][1]))
    if not blind:
        assert gap > 0.1
        return
    # An angle of 5,000 radians has 13 bits less after the point: 2^13 roundings of a unit angle.
    assert gap < 2**16 * U
    for gone, other in zip(runs[0][2], runs[1][2], strict=True):
        moved = np.where(gone.position == EMPTY, EMPTY, gone.position + shift)
        np.testing.assert_array_equal(moved, other.position)


def test_a_model_with_a_window_sees_no_further_than_it_does():
    # With room for all, the cache of a model with a sliding window is that model.
    decoder = drawn(CONFIGS["sliding"], seed=1)
    wanted = jax.jit(lambda d: d(text())[0])(decoder)
    _, y, _ = whole("sliding", policy("full"), LENGTH)
    close(y, wanted)
    # A window that holds one less than the model's own width shows it all it would see.
    _, narrow, _ = whole("sliding", policy("window"), CONFIGS["sliding"].mask.width - 1)
    close(narrow, wanted)


def test_bfloat16_runs_in_its_own_type_with_scores_in_float32():
    config, rule = CONFIGS["half"], policy("h2o")
    narrow = jax.tree.map(lambda w: w.astype(jnp.bfloat16), drawn(config, seed=1))
    model, state = unroll(narrow), start(config, rule, dtype=jnp.bfloat16)
    state, y, _ = advance(model, state, text(), rule)
    assert y.dtype == state.layers[0].key.dtype == state.layers[0].value.dtype == jnp.bfloat16
    assert state.layers[0].mass.dtype == logits(model, y).dtype == jnp.float32
    # What is held to the end was paid sums that bfloat16 could not hold.
    mass = state.layers[0].mass
    assert np.any(mass != mass.astype(jnp.bfloat16).astype(jnp.float32))


def test_a_plan_rounds_in_the_cache_as_it_does_in_the_decoder():
    config, plan = CONFIGS["half"], RoundingPlan.everywhere(BF16)
    decoder = drawn(config, seed=1, dtype=np.float32).at(plan)
    wanted = jax.jit(lambda d: d(text())[0])(decoder)
    model, rule = unroll(decoder), policy("full")
    state = start(config, rule, LENGTH, plan.dtype)
    _, y, _ = advance(model, state, text(), rule)
    assert np.array_equal(y, BF16.round(y))
    # Sums in another order may round to the neighbor, and again in the second layer.
    np.testing.assert_allclose(y, wanted, rtol=0, atol=8 * 2.0**-8 * float(jnp.max(jnp.abs(y))))
    plain = advance(unroll(decoder.at(None)), state, text(), rule)[1]
    assert not np.array_equal(y, plain)


def test_a_plan_with_one_scale_for_all_tokens_is_refused():
    plan = RoundingPlan(residual=INT8, mode="simulated", carrier=F64)
    model, rule = unroll(drawn(CONFIGS["half"], seed=1).at(plan)), policy("tova")
    with pytest.raises(BadInput, match=r"rounds each token by itself, got .*one scale"):
        advance(model, start(model.outer.config, rule), text(), rule)


def test_full_without_room_is_not_a_number_and_a_text_too_long_is_refused():
    model, rule = model_of("half"), policy("full")
    state, y, _ = advance(model, start(model.outer.config, rule, LENGTH), text(), rule)
    assert np.all(np.isfinite(y))
    assert np.all(np.isnan(advance(model, state, text(), rule)[1]))
    with pytest.raises(BadInput, match="free slots for 1 tokens, got 0"):
        next(prefill(model, text(length=1), rule, state=state))


def test_what_does_not_go_together_is_refused():
    model, rule = model_of("half"), policy("tova")
    config, state = model.outer.config, start(model.outer.config, rule)
    with pytest.raises(BadInput, match="made for tova-head, got one with 1 decisions"):
        advance(model, state, text(), policy("tova-head"))
    moved = dataclasses.replace(rule, position_ids="compressed")
    with pytest.raises(BadInput, match=r"mode exact for position ids compressed.*got chunked"):
        advance(model, state, text(), moved, mode="chunked")
    with pytest.raises(BadInput, match="rotary positions for position ids compressed, got Alibi"):
        advance(model_of("alibi"), start(CONFIGS["alibi"], rule), text(), moved)
    with pytest.raises(BadInput, match=r"at least 6 slots for window[+]5"):
        advance(model, state, text(), policy("window+5"))
    with pytest.raises(BadInput, match="one number of slots, or 2, one a layer, got 3"):
        empty_state(config, rule, (4, 4, 4))
    with pytest.raises(BadInput, match="one token or more to read, got none"):
        advance(model, state, text(length=0), rule)
    with pytest.raises(BadInput, match="slots or a state, got both"):
        next(prefill(model, text(), rule, state=state, slots=SLOTS))
    for tokens, chunk in ((text(length=0), 4), (text(), 0)):
        with pytest.raises(BadInput, match=f"got {len(tokens)} and {chunk}"):
            next(prefill(model, tokens, rule, slots=SLOTS, chunk=chunk))


def test_each_layer_has_its_own_budget():
    rule, slots = policy("tova"), (2, 7)
    state, y, dropped = whole("half", rule, slots)
    wanted = bounded_forward(
        CONFIGS["half"],
        flat_parameters(drawn(CONFIGS["half"], 1)),
        text_of(1, LENGTH),
        Rule(score="weight"),
        slots,
    )
    held = [held_after([gone], LENGTH) for gone in dropped]
    for step in range(LENGTH):
        assert [layer[step] for layer in held] == wanted.held[step]
    assert [cache.slots for cache in state.layers] == [2, 7]
    assert len(y) == LENGTH


@pytest.mark.parametrize(
    ("position_ids", "wanted"),
    [
        ("consecutive", [0, 1, 2, 3]),
        ("compressed", [0, 10, 10 + np.log(np.log(11)), 10 + np.log(np.log(11)) + 1]),
    ],
)
def test_where_tokens_seem_to_stand(position_ids, wanted):
    position = jnp.array([21, -1, 0, 22, 10], jnp.int32)
    moved = np.asarray(reindexed(position, position_ids, jnp.dtype("float64")))
    held = np.argsort(position)[1:]
    np.testing.assert_allclose(moved[held], wanted, rtol=4 * U)


def test_a_spacing_that_moves_nothing_changes_nothing():
    # A window of 5 has gaps of one and so no gap over ten.
    rule = policy("window")
    for position_ids in ("compressed", "consecutive"):
        moved = dataclasses.replace(rule, position_ids=position_ids)
        close(whole("half", moved)[1], whole("half", rule)[1])


def test_where_tokens_are_stored_changes_no_representation():
    model, rule = model_of("half"), policy("h2o")
    state, _, _ = whole("half", rule)
    order = np.random.default_rng(0).permutation(SLOTS + 1)
    layers = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[:, order]), state.layers)
    shuffled = state._replace(layers=layers)
    runs = [advance(model, s, text(2), rule) for s in (state, shuffled)]
    close(runs[0][1], runs[1][1])
    same_state(runs[0][0], runs[1][0])


def test_memory_does_not_grow_with_the_text():
    model, rule = model_of("half"), policy("tova")
    state = start(model.outer.config, rule)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for part in prefill(model, jnp.tile(text(), 8), rule, slots=SLOTS, chunk=LENGTH):
        assert jax.tree.map(lambda x: (x.shape, x.dtype), part.state) == shapes
    assert int(part.state.seen) == 8 * LENGTH


def test_layers_apart_share_the_stack_on_a_cpu_and_donation_leaves_it():
    # (2, 64, 64) and wider: the address of each layer is aligned, so that it can be shared.
    config = dataclasses.replace(CONFIGS["half"], model_dim=64)
    decoder = drawn(config, seed=1, dtype=np.float32)
    blocks, stacks = unroll(decoder).blocks, jax.tree.map(np.asarray, decoder.layers)
    for index, block in enumerate(blocks):
        chex.assert_trees_all_equal(block, jax.tree.map(lambda stack, i=index: stack[i], stacks))
        query, stack = block.attention.query[...], stacks.attention.query[...]
        assert query.unsafe_buffer_pointer() == stack[index].ctypes.data
    before = stacks.attention.query[...].copy()
    jax.jit(jnp.negative, donate_argnums=0)(blocks[0].attention.query[...]).block_until_ready()
    assert np.array_equal(decoder.layers.attention.query[...], before)
    # Inside a traced function there is no buffer to share, and the same weights.
    traced = jax.jit(lambda decoder: unroll(decoder).blocks)(decoder)
    chex.assert_trees_all_equal(traced, unroll(decoder).blocks)
