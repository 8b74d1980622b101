"""The repaired over-squashing bound against true Jacobians, which it must never be below."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.model import (
    Alibi,
    Causal,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    Layout,
    Learned,
    LinearMlp,
    MaskByLayer,
    NoPositions,
    PositionsByLayer,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
    ZeroMlp,
    build_decoder,
    flat_parameters,
)
from glassesjax.theory.blocks import (
    repaired_block_bound,
    repaired_bound,
    repaired_rollout,
    schatten_norm,
)
from glassesjax.trace import block_stack, printed_bound

U = 2.0**-53
LAYERS, HEADS, DIM, LENGTH = 2, 2, 8, 6
TOKENS = jnp.asarray((0, 3, 1, 5, 2, 2), jnp.int32)
SCALES = (0.3, 1.0, 4.0, 20.0)
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    num_heads=HEADS,
    head_dim=DIM,  # so that a head's values may be a multiple of the identity
    model_dim=DIM,
    embed_scale=DIM**0.5,
    mlp=DenseMlp(dim=DIM),
)
# Of stacks of as many heads, keys and tokens, with turns or without, bounds are two programs.
GROUPED = dataclasses.replace(CONFIG, num_kv_heads=1)
LINEAR = dataclasses.replace(GROUPED, norm=ConstantNorm(beta=4.0), mlp=LinearMlp())


@jax.jit
def jacobians(decoder):
    """Of each layer at the pass, and of the final norm of its last row."""
    layout, (_, trace) = Layout.line(LENGTH), decoder(TOKENS, keep="residual")

    def layer(arrays):
        block, resid = arrays
        run = lambda resid: block(resid, layout)[0]
        return run(resid), jax.jacrev(run)(resid)

    after, layers = jax.lax.map(layer, (decoder.layers, trace.resid))
    return layers, jax.jacrev(lambda row: decoder.final_norm(row[None])[0])(after[-1, -1])


def measured(decoder):
    """Norms of every block of each layer's Jacobian, and of the last row of their product."""
    layers, row = jax.tree.map(np.asarray, jacobians(decoder))
    width = row.shape[-1]
    row = row @ np.eye(LENGTH * width)[-width:]
    for layer in layers[::-1]:
        row = row @ layer.reshape(LENGTH * width, -1)
    norms = lambda blocks: np.linalg.norm(blocks, 2, (-2, -1))
    return norms(layers.transpose(0, 1, 3, 2, 4)), norms(
        row.reshape(width, LENGTH, -1).swapaxes(0, 1)
    )


stack_of = jax.jit(block_stack)
bound_of, printed_of = map(jax.jit, (repaired_bound, printed_bound))


@jax.jit
def bounds_of(stack):
    """By itself: stacks of many decoders have one shape, and it is compiled once for them."""
    single = lambda layer: repaired_block_bound(*layer[:2], stack.turns[layer[2]])
    blocks = jax.lax.map(single, (stack.heads, stack.constants, stack.kinds))
    return blocks, repaired_rollout(stack, rows=4)


def bounded(decoder):
    stack = stack_of(decoder, TOKENS)
    blocks, rolled = jax.device_get(bounds_of(stack))
    return blocks, rolled, stack


def last_bound(rolled):
    return np.exp(rolled.log_gain) * np.asarray(rolled.profile[0])


def uneven(decoder, rng):
    """The same decoder with gains of either sign, and biases."""
    config, arrays = decoder.config, flat_parameters(decoder)
    offset = config.norm.offset if isinstance(config.norm, RMSNorm) else 0.0
    for name, array in arrays.items():
        normal = rng.normal(size=array.shape)
        if name.endswith(".gain"):
            signs = np.where(rng.random(array.shape) < 0.3, -1.0, 1.0)
            arrays[name] = jnp.asarray(signs * np.exp(0.5 * normal) - offset)
        elif "bias" in name:
            arrays[name] = jnp.asarray(0.5 * normal)
    return build_decoder(config, arrays)


def scaled(decoder, scale, names=("attention",)):
    """The same decoder with larger matrices: steeper logits, larger values."""
    arrays = flat_parameters(decoder)
    larger = lambda name: scale if any(part in name for part in names) else 1.0
    arrays = {n: jnp.asarray(larger(n) * np.asarray(array)) for n, array in arrays.items()}
    return build_decoder(decoder.config, arrays)


def roundoff(stack):
    """Relative to a bound, what rounding may do to it and to the Jacobian that it is compared with.

    In each layer a sum over tokens and head_dim, twice; three products over the width; and a
    covariance, a norm and their factors. Terms of the query's part cancel: they are at most values
    times keys times the query matrix, beside the residual's 1.
    """
    terms = 2 * LENGTH * DIM + 3 * 4 * DIM
    size = lambda x: float(np.max(np.abs(x)))
    moved = size(stack.heads.values) * size(stack.constants.output_factor) * DIM**2
    cancelled = moved * size(stack.heads.keys) * size(stack.constants.query_factor) * DIM
    steep = 1 + size(stack.heads.queries) * size(stack.heads.keys) * DIM  # error of a logit
    cancelled *= size(stack.constants.norm1_slope) * size(stack.constants.share)
    # A small query or key has a steep norm.
    for norm in (stack.constants.query_norm, stack.constants.key_norm):
        if norm is not None:
            cancelled *= max(1.0, size(norm.gain) * size(norm.inverse_root))
    return 4 * LAYERS * terms * U * (steep + cancelled)


SWITCHES = {
    "rms_swiglu_rotary_grouped": {
        "mlp": GatedMlp(dim=DIM),
        "positions": Rotary(base=10.0),
        "num_kv_heads": 1,
        "qkv_bias": True,
    },
    "rms_swiglu_rotary_pairs": {
        "mlp": GatedMlp(dim=DIM),
        "positions": Rotary(base=10.0),
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 4,
        "qkv_bias": True,
    },
    "layer_geglu_alibi": {
        "mlp": GatedMlp(activation="gelu", dim=DIM),
        "norm": LayerNorm(),
        "positions": Alibi(),
        "num_heads": 1,
    },
    "layer_gelu_rotary_window": {
        "head_dim": DIM // HEADS,
        "norm": LayerNorm(),
        "positions": Rotary(base=10.0, fraction=0.5),
        "mask": Window(width=3),
    },
    "softcap_sinusoidal_weighted": {
        "attn_softcap": 1.5,
        "positions": Sinusoidal(where="query_key"),
        "residual_weight": 0.4,
        "mlp": DenseMlp(activation="gelu_exact", dim=DIM),
    },
    "rms_gelu": {},
    "parallel_swiglu": {"block": "parallel", "mlp": GatedMlp(dim=DIM)},
    "constant_linear": {"norm": ConstantNorm(beta=2.0), "mlp": LinearMlp()},
    "identity_values": {"values": "identity", "mlp": ZeroMlp()},
    "yarn": {"positions": Rotary(base=10.0, fraction=0.5, attention_factor=1.3)},
    "neox": {
        "positions": Rotary(base=10.0, fraction=0.25),
        "norm": LayerNorm(),
        "block": "parallel",
        "bias": True,
        "qkv_bias": True,
    },
    "opt": {
        "norm": LayerNorm(),
        "mlp": DenseMlp(activation="relu", dim=DIM),
        "positions": Learned(max_length=LENGTH),
        "bias": True,
        "qkv_bias": True,
    },
    "gemma2": {
        "norm": RMSNorm(offset=1.0),
        "norm_place": "both",
        "positions": Rotary(base=10.0),
        "mask": MaskByLayer(layers=(Window(width=3), Causal())),
        "mlp": GatedMlp(activation="gelu", dim=DIM),
        "attn_softcap": 1.5,
        "num_kv_heads": 1,
    },
    "qwen3": {
        "qk_norm": "head",
        "positions": Rotary(base=10.0),
        "mlp": GatedMlp(dim=DIM),
        "num_kv_heads": 1,
    },
    "gemma3": {
        "norm": RMSNorm(offset=1.0),
        "norm_place": "both",
        "qk_norm": "head",
        "positions": PositionsByLayer(layers=(Rotary(base=10.0), Rotary(base=1e4, scale=8.0))),
        "mask": MaskByLayer(layers=(Window(width=3), Causal())),
        "mlp": GatedMlp(activation="gelu", dim=DIM),
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 4,
    },
    "olmo2": {
        "norm_place": "after",
        "qk_norm": "whole",
        "positions": Rotary(base=10.0),
        "mlp": GatedMlp(dim=DIM),
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 2,
    },
    "smollm3": {
        "positions": PositionsByLayer(layers=(Rotary(base=10.0), NoPositions())),
        "mlp": GatedMlp(dim=DIM),
        "num_kv_heads": 1,
    },
    "layer_norms_of_heads": {"norm": LayerNorm(), "qk_norm": "head", "positions": Alibi()},
    "layer_norm_of_all_heads_with_factor": {
        "norm": LayerNorm(),
        "qk_norm": "whole",
        "positions": Rotary(base=10.0, attention_factor=1.3),
        "head_dim": 4,
        "attn_softcap": 2.0,
        "qkv_bias": True,
    },
    "heads_of_width_one": {
        "norm": RMSNorm(eps=0.1),
        "qk_norm": "head",
        "head_dim": 1,
        "num_heads": 4,
    },
    "layer_norms_both_parallel_weighted": {
        "norm": LayerNorm(),
        "norm_place": "both",
        "block": "parallel",
        "residual_weight": 0.4,
        "bias": True,
    },
}


# Each compiles a Jacobian of its own; the first has most switches. Heads of half the width, and
# with keys and values of their own, are in the others.
CASES = [
    pytest.param(switches, id=name, marks=[pytest.mark.slow] * (number > 0))
    for number, (name, switches) in enumerate(SWITCHES.items())
]


@pytest.mark.parametrize("switches", CASES)
def test_no_jacobian_exceeds_the_repaired_bound(key, switches):
    config = dataclasses.replace(CONFIG, **switches)
    # Where a constant divides, the stream grows with the weights: at the largest scale rounding
    # alone could cover the bound. Gains of queries and keys multiply logits by its square.
    fewer = isinstance(config.norm, ConstantNorm) or config.qk_norm != "none"
    scales = SCALES[:-1] if fewer else SCALES
    for number, scale in enumerate(scales):
        key_here = jax.random.fold_in(key, number)
        rng = np.random.default_rng(number)
        decoder = scaled(uneven(made(config, key_here), rng), scale)
        (blocks, whole), (bounds, rolled, stack) = measured(decoder), bounded(decoder)
        allowed = roundoff(stack)
        assert allowed < 1e-3  # logits of thousands at the largest scale
        assert np.all(np.isfinite(bounds))
        np.testing.assert_array_equal(np.triu(bounds, 1), 0)
        assert np.all(blocks <= bounds * (1 + allowed)), scale
        assert np.all(whole <= last_bound(rolled) * (1 + allowed)), scale
        product = float(stack.last_slope) * np.linalg.multi_dot(np.asarray(bounds[::-1]))[-1]
        # The two ways order the same non-negative sums otherwise.
        np.testing.assert_allclose(last_bound(rolled), product, rtol=allowed)
        np.testing.assert_allclose(np.sum(rolled.profile, axis=1), 1, rtol=LENGTH * U)


def test_bounds_are_equalities_with_uniform_attention_and_linear_layers(key):
    """Zero queries and keys, W = I + I / 2, psi = 2 I, norm 1/4: norms are of multiples of I."""
    arrays, eye = flat_parameters(made(LINEAR, key)), np.eye(DIM)
    matrices = {"query": np.zeros((HEADS * DIM, DIM)), "key": 0 * eye, "value": eye}
    matrices |= {"output": np.concatenate([eye, eye / 2], axis=1), "down": 2 * eye}
    tiled = lambda name: jnp.asarray(np.tile(matrices[name.split(".")[-1]], (LAYERS, 1, 1)))
    decoder = build_decoder(
        LINEAR, {name: tiled(name) if "blocks" in name else array for name, array in arrays.items()}
    )
    uniform = np.tril(np.ones((LENGTH, LENGTH))) / np.arange(1, LENGTH + 1)[:, None]
    by_hand = (1 + 2 / 4) * (1.5 / 4 * uniform + np.eye(LENGTH))
    (blocks, whole), (bounds, rolled, stack) = measured(decoder), bounded(decoder)
    printed = jax.device_get(printed_of(decoder, TOKENS))
    tight = {"rtol": 8 * LAYERS * (LENGTH + DIM) * U}
    for layer in range(LAYERS):
        np.testing.assert_allclose(blocks[layer], by_hand, **tight)
        np.testing.assert_allclose(bounds[layer], by_hand, **tight)
    product = (by_hand @ by_hand)[-1] / 4
    for found in (whole, bound_of(stack), *map(last_bound, (rolled, printed))):
        np.testing.assert_allclose(found, product, **tight)


def test_the_norm_of_order_sixteen_is_above_the_operator_norm(key):
    norm_of = jax.jit(schatten_norm)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    matrices = rng.normal(size=(50, 4, 6))
    exact, found = np.linalg.norm(matrices, 2, (-2, -1)), np.asarray(norm_of(matrices))
    # Three products of 6 or 4 terms, each doubling what the one before it left.
    allowed = 1 + 64 * U
    assert np.all((exact <= found * allowed) & (found <= 4 ** (1 / 16) * exact * allowed))
    outer = matrices[0, :, :1] * matrices[0, :1, :]
    assert float(norm_of(outer)) == pytest.approx(np.linalg.norm(outer), rel=64 * U, abs=0)
    assert float(norm_of(np.zeros((3, 3)))) == 0
    assert np.isnan(norm_of(np.full((3, 3), np.nan)))


@pytest.mark.parametrize("level", [0.0, 700.0])
def test_equal_logits_however_large_leave_no_key_term(key, level):
    """One token, repeated: all values coincide, so that only the plain terms remain."""
    arrays = flat_parameters(made(LINEAR, key))
    # Rows of ones over the norm's 4: the first logit is (2 size)^2 times 8 over the root of 8.
    size = 4 * (level / (64 * DIM**0.5)) ** 0.5
    names = ("blocks.attention.query", "blocks.attention.key")
    arrays |= {name: jnp.full(arrays[name].shape, size) for name in names}
    arrays["blocks.mlp.down"] = jnp.zeros((LAYERS, DIM, DIM))
    arrays["embed.table"] = jnp.asarray(np.ones((6, DIM)) / DIM**0.5)
    decoder = build_decoder(LINEAR, arrays)
    bounds, _, stack = bounded(decoder)
    logits = np.sum(stack.heads.queries * stack.heads.keys, axis=-1)
    np.testing.assert_allclose(logits[0], level, rtol=64 * DIM * U)
    uniform = np.tril(np.ones((LENGTH, LENGTH))) / np.arange(1, LENGTH + 1)[:, None]
    for bound, heads in zip(bounds, stack.constants.value_norms, strict=True):
        by_hand = float(np.sum(heads)) / 4 * uniform + np.eye(LENGTH)
        np.testing.assert_allclose(bound, by_hand, rtol=roundoff(stack))


def test_one_token(key):
    one = stack_of(made(LINEAR, key), TOKENS[:1])
    np.testing.assert_array_equal(jax.jit(repaired_rollout)(one).profile, 1)


def test_no_number(key):
    decoder = made(LINEAR, key)
    arrays = flat_parameters(decoder)
    broken = arrays | {"blocks.attention.query": jnp.full((LAYERS, HEADS * DIM, DIM), jnp.nan)}
    stack = stack_of(build_decoder(decoder.config, broken), TOKENS)
    assert np.all(np.isnan(bound_of(stack)))
    assert np.isnan(bounds_of(stack)[1].log_gain)


def test_positions_none_and_rotary_at_angle_zero_agree(key):
    """A rotation by nothing: exact pairs through grams against one norm for each row."""
    plain = dataclasses.replace(GROUPED, positions=NoPositions(), norm=RMSNorm())
    still = dataclasses.replace(plain, positions=Rotary(scale=1e300))
    arrays = flat_parameters(made(plain, key))
    decoders = (build_decoder(config, arrays) for config in (plain, still))
    first, second = (last_bound(bounded(decoder)[1]) for decoder in decoders)
    np.testing.assert_array_less(first * (1 - 1e-12), second)
    # What is given back: (4 head_dim + 16) spacings of a key or query term's size, in each layer.
    np.testing.assert_allclose(second, first, rtol=16 * LAYERS * (4 * DIM + 16) * 2 * U)
