"""The one-pass collapse curve against one pass a prompt, and its distances and fits by hand."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_decoders import made, passed
from reference import decoder_forward

from glassesjax.model import (
    Alibi,
    Bidirectional,
    Causal,
    DecoderConfig,
    DenseMlp,
    Learned,
    NoPositions,
    Rotary,
    Sinusoidal,
    Window,
    flat_parameters,
)
from glassesjax.model.tiling import Tiling
from glassesjax.precision import BF16, F32, F64, INT8, INT8_CHANNEL, TF32, RoundingPlan
from glassesjax.trace import collapse
from glassesjax.trace.collapse import last_representations, pack, pass_size

U64 = 2.0**-53
# Some forty operations on each shape, compiled as one program.
compiled_distance = jax.jit(collapse.distance, static_argnames="storage")
POSITIONS = {
    "none": NoPositions(),
    "sinusoidal": Sinusoidal(),
    "query_key": Sinusoidal(where="query_key"),
    "learned": Learned(max_length=40),
    "rotary": Rotary(),
    "alibi": Alibi(),
}


NO_POSITIONS, CAUSAL = NoPositions(), Causal()


def distance(first, second, storage):
    """Compiled, of arrays of NumPy."""
    return compiled_distance(jnp.asarray(first), jnp.asarray(second), storage=storage)


def decoder(key, positions=NO_POSITIONS, mask=CAUSAL):
    config = DecoderConfig(
        vocab_size=5,
        num_layers=2,
        num_heads=2,
        model_dim=16,
        positions=positions,
        mask=mask,
        mlp=DenseMlp(dim=16),
        embed_scale=4.0,
    )
    return made(config, key)


def one_by_one(model, prompts):
    """The slow oracle: each prompt alone, in NumPy."""
    params = {name: np.asarray(array) for name, array in flat_parameters(model).items()}
    return np.stack([decoder_forward(model.config, params, list(p)).y[-1] for p in prompts])


def runs(lengths):
    """Prefixes of a run, runs with a tail, and one prompt that shares nothing."""
    tails = [(1,) * n + (0,) for n in lengths] + [(1,) * n + (2, 3) for n in lengths]
    return [(1,) * n for n in lengths] + tails + [(4, 4, 2, 0, 1)]


@pytest.mark.parametrize("name", POSITIONS)
def test_one_pass_equals_a_pass_for_each_prompt(key, name):
    model, prompts = decoder(key, POSITIONS[name]), runs((1, 2, 5, 9))
    packed = last_representations(model, prompts)
    alone = one_by_one(model, prompts)
    # Sums of at most 16 terms in each of two layers, twenty products deep, on states of size one.
    atol = 2 * 20 * 16 * U64 * np.max(np.abs(alone))
    np.testing.assert_allclose(packed, alone, rtol=0, atol=atol)


def test_one_pass_with_a_window_and_in_blocks(key, monkeypatch):
    model, prompts = decoder(key, Rotary(), Window(width=3)), runs((1, 2, 5, 9))
    alone = one_by_one(model, prompts)
    monkeypatch.setattr("glassesjax.model.attention.TILING", Tiling(attention_rows=4))
    collapse._pass.clear_cache()
    packed = last_representations(model, prompts)
    collapse._pass.clear_cache()
    atol = 2 * 20 * 16 * U64 * np.max(np.abs(alone))
    np.testing.assert_allclose(packed, alone, rtol=0, atol=atol)


def test_prefix_identity_needs_a_causal_mask(key):
    model = decoder(key, mask=Bidirectional())
    alone = one_by_one(model, [(1, 2)])[0]
    as_prefix = passed(model, jnp.asarray((1, 2, 3), jnp.int32))[0][1]
    assert np.max(np.abs(alone - as_prefix)) > 1e-3  # the counter-case: it really fails
    with pytest.raises(ValueError, match="causal or window mask"):
        last_representations(model, [(1, 2)])


def test_a_scale_for_all_tokens_breaks_the_prefix_identity_and_a_scale_a_row_does_not(key):
    model = decoder(key)
    first_rows = {}
    for fmt in (INT8, INT8_CHANNEL):
        plan = RoundingPlan.everywhere(fmt, carrier=F64)
        stored = model.at(plan)
        read = jax.jit(lambda tokens, stored=stored: stored(tokens)[0])
        short, long = (
            np.asarray(read(jnp.asarray(tokens, jnp.int32)))
            for tokens in ((1, 2, 3), (1, 2, 3, 4, 0))
        )
        first_rows[fmt] = np.max(np.abs(short - long[:3]))
    assert first_rows[INT8] > 1e-3  # the counter-case: later tokens moved earlier rows
    assert first_rows[INT8_CHANNEL] == 0
    with pytest.raises(ValueError, match="a scale for each row"):
        last_representations(model.at(RoundingPlan.everywhere(INT8, carrier=F64)), [(1, 2)])


def test_a_run_is_one_trunk_without_tails():
    (tree,) = pack([(1,) * n for n in (3, 1, 7, 7)])
    assert len(tree.tokens) == 7
    assert tree.rows == {(1,) * 7: 6, (1,) * 3: 2, (1,): 0}


def test_a_late_turn_is_a_tail_and_an_early_one_a_trunk():
    early, late = pack([(1, 1, 1, 1), (1, 1, 0), (1, 0, 0, 0)])
    assert early.tokens.tolist() == [1, 0, 0, 0]
    assert late.tokens.tolist() == [1, 1, 1, 1, 0]
    assert late.layout.position.tolist() == [0, 1, 2, 3, 2]
    assert late.layout.stem.tolist() == [1, 2, 3, 4, 2]
    assert late.layout.branch[:4].tolist() == [0, 0, 0, 0]
    assert late.layout.branch[4] > 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8).map(tuple), min_size=1))
def test_packing_loses_no_token_and_no_prompt(prompts):
    trees = pack(prompts)
    assert sorted(p for tree in trees for p in tree.rows) == sorted(set(prompts))
    for tree in trees:
        position, branch, stem = (np.asarray(field) for field in tree.layout[:3])
        for prompt, row in tree.rows.items():
            mine = (branch == branch[row]) & (position <= position[row]) & (branch > 0)
            trunk = tree.tokens[: stem[row]]
            assert (*trunk, *tree.tokens[mine]) == prompt


def test_all_families_share_one_compiled_function(key):
    model = decoder(key)
    families = [[(1,) * n for n in (2, 3, 6)], [(2,) * n + (0,) for n in (1, 4)]]
    size = tuple(map(max, zip(*(pass_size(pack(family)) for family in families), strict=True)))
    before = collapse._pass._cache_size()
    for family in families:
        last_representations(model, family, size=size)
    assert collapse._pass._cache_size() == before + 1


def test_padding_changes_nothing(key):
    model = decoder(key)
    prompts = [(1,) * 5, (1, 1, 0)]
    tight = last_representations(model, prompts)
    loose = last_representations(model, prompts, size=(17, 4))
    atol = 2 * 20 * 17 * U64 * float(np.max(np.abs(tight)))
    chex.assert_trees_all_close(tight, loose, rtol=0, atol=atol)


def test_narrow_passes_come_back_in_their_carrier(key):
    plan = RoundingPlan.everywhere(BF16, mode="native", carrier=F32)
    y = last_representations(decoder(key).at(plan), [(1, 2)])
    assert y.dtype == jnp.float32
    chex.assert_trees_all_equal(y, jax.jit(BF16.round)(y))


def test_distances_by_hand():
    first, second = np.array([[1.0, -2.0, 0.5]]), np.array([[1.0, -1.0, 0.75]])
    apart = distance(first, second, BF16)
    assert float(apart.l1[0]) == 1.25
    assert float(apart.l2[0]) == math.sqrt(1.0625)
    assert float(apart.linf[0]) == 1.0
    assert float(apart.relative_l1[0]) == 1.25 / 3.5
    # The spacing of bfloat16 is 2^-6 at 2 and 2^-8 at 0.75: 64 units in both coordinates.
    assert float(apart.ulp[0]) == 64.0
    assert int(apart.equal_coordinates[0]) == 1


def test_distance_never_masks_a_nan():
    apart = distance(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]), F32)
    assert all(math.isnan(float(getattr(apart, norm)[0])) for norm in collapse.NORMS)
    assert int(apart.equal_coordinates[0]) == 1


@pytest.mark.parametrize(
    ("dtype", "fmt"),
    [(jnp.float32, BF16), (jnp.float32, TF32), (jnp.float32, F32), (jnp.float64, F64)],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_coordinate_that_is_zero_in_both_is_no_distance(dtype, fmt):
    first, second = np.array([[0, 1, 2]], dtype), np.array([[0, 1, 2.5]], dtype)
    apart = distance(first, second, fmt)
    assert float(apart.ulp[0]) == 0.25 * 2 ** (fmt.mantissa_bits)  # half of 2, over the spacing
    assert int(apart.equal_coordinates[0]) == 2
    both = distance(0 * first, 0 * second, fmt)
    assert [float(getattr(both, norm)[0]) for norm in collapse.NORMS] == [0] * 5
    # Of two zeros one is larger: a whole row of zeros against a number.
    lone = distance(0 * first, second, fmt)
    assert math.isinf(lone.relative_l1[0])
    # A number is 2^mantissa_bits spacings of its own binade and some more.
    assert float(lone.ulp[0]) == 1.25 * 2 ** (fmt.mantissa_bits)


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float32, 1e-40), (jnp.float64, 1e-320)])
def test_differences_of_subnormal_rows_are_not_flushed(dtype, size):
    first, second = np.array([[size, 0.0]], dtype), np.array([[0.0, size]], dtype)
    apart = jax.device_get(distance(first, second, F32 if dtype == jnp.float32 else F64))
    lone = np.asarray(size, first.dtype)
    assert apart.linf[0] == lone
    assert apart.l1[0] == lone + lone
    assert apart.l2[0] > lone
    assert apart.relative_l1[0] == 2
    assert apart.equal_coordinates[0] == 0
    tiny = np.finfo(first.dtype).smallest_subnormal
    assert apart.ulp[0] == lone / tiny  # a whole number of the smallest spacings


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_distance_is_zero_just_where_rows_are_equal(dtype):
    fmt, tiny = (F32, 1e-40) if dtype == np.float32 else (F64, 1e-320)
    normal = float(np.finfo(dtype).tiny)
    rows = [[0, 0], [tiny, 0], [1, tiny], [1, 0], [tiny, tiny], [normal, 0], [1.5 * normal, 0]]
    rows = np.array([*rows, [-1, np.finfo(dtype).smallest_subnormal]], dtype)
    a, b = (grid.ravel() for grid in np.meshgrid(range(len(rows)), range(len(rows))))
    apart = jax.device_get(distance(rows[a], rows[b], fmt))
    exact = np.abs(rows[a].astype(np.longdouble) - rows[b].astype(np.longdouble))
    np.testing.assert_array_equal(apart.linf, exact.max(axis=1).astype(dtype))
    # Sums and the root: a rounding each, or half of the smallest number.
    u, least = np.finfo(dtype).eps, np.finfo(dtype).smallest_subnormal
    np.testing.assert_allclose(apart.l1, exact.sum(axis=1), rtol=u, atol=least)
    np.testing.assert_allclose(apart.l2, np.sqrt((exact**2).sum(axis=1)), rtol=4 * u, atol=least)
    size = np.abs(rows[a].astype(np.longdouble)).sum(axis=1)
    some = size > 0
    with np.errstate(over="ignore"):  # one over a subnormal number
        relative = (exact.sum(axis=1)[some] / size[some]).astype(dtype)
    np.testing.assert_allclose(apart.relative_l1[some], relative, rtol=4 * u, atol=least)
    for norm in collapse.NORMS:
        np.testing.assert_array_equal(getattr(apart, norm) == 0, a == b, err_msg=norm)


def test_large_rows_are_as_far_apart_as_they_are():
    first, second = np.full((1, 4), 3e38, np.float32), np.full((1, 4), 2e38, np.float32)
    apart = distance(first, second, F32)
    assert math.isinf(apart.l1[0])  # 4e38 is too large
    assert float(apart.l2[0]) == pytest.approx(2e38, rel=1e-6, abs=0)
    assert float(apart.relative_l1[0]) == pytest.approx(1 / 3, rel=1e-6, abs=0)


def test_slopes_of_distances_of_subnormal_rows():
    first = [[0, 0], [1, 1e-40], [3e38, 0], [1e-40, 0], [1e-40, 0], [0, 0]]
    second = [[1e-40, 0], [1, 0], [2e38, 0], [1e-40, 0], [1e-40, 1e-40], [0, 0]]
    first, second = (np.asarray(rows, np.float32) for rows in (first, second))
    total = lambda norm: lambda x: jnp.sum(getattr(collapse.distance(first, x, BF16), norm))
    every = jax.jit(lambda x: {norm: jax.grad(total(norm))(x) for norm in collapse.NORMS})
    slopes = jax.tree.map(np.asarray, every(second))
    for norm in ("l1", "l2", "linf"):
        by_hand = [[1, 0], [0, -1], [-1, 0], [0, 0], [0, 1], [0, 0]]
        # A root and a quotient, of one rounding each.
        np.testing.assert_allclose(slopes[norm], by_hand, rtol=2.0**-22, err_msg=norm)
    # One over the spacing 2^-133, and over 1e-40, are too large for float32; at equal rows it is 0.
    assert slopes["ulp"][[0, 3, 5]].tolist() == [[math.inf, 0], [0, 0], [0, 0]]
    assert slopes["relative_l1"][3:].tolist() == [[0, 0], [0, math.inf], [0, 0]]
    zeros = first[-1:]
    there = lambda x: collapse.distance(zeros, x, BF16)[:5]
    forward = jax.jit(lambda x, t: jax.jvp(there, (x,), (t,))[1])
    forward = forward(zeros, zeros + 1)
    assert [float(each[0]) for each in forward] == [0] * 5


def test_jit_of_the_whole_pass_takes_a_decoder_as_a_pytree(key):
    model = decoder(key)
    tokens = jnp.asarray((1, 2, 3), jnp.int32)
    jitted = jax.jit(lambda model: model(tokens)[0])(model)
    atol = 2 * 20 * 16 * U64 * float(np.max(np.abs(jitted)))
    chex.assert_trees_all_close(jitted, model(tokens)[0], rtol=0, atol=atol)


def test_a_prompt_is_a_tail_where_it_shares_half_of_itself():
    trunk, half, less = (0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 1, 1)
    assert [set(tree.rows) for tree in pack([trunk, half])] == [{trunk, half}]
    assert [set(tree.rows) for tree in pack([trunk, less])] == [{trunk}, {less}]
