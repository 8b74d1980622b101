"""Slopes of MLPs and norms, and shares of the residual, each where its formula is attained."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, mlp_of

from glassesjax.model import DecoderConfig, DenseMlp, GatedMlp, LayerNorm, LinearMlp, RMSNorm
from glassesjax.trace.constants import (
    GELU_EXACT_LIPSCHITZ,
    GELU_LIPSCHITZ,
    effective_share,
    layer_constants,
    mlp_lipschitz,
    mlp_slopes,
    residual_shares,
)
from glassesjax.trace.norms import folded, inverse_roots, norm_slopes
from glassesjax.trace.pair_slopes import norm_pair_slope

U = 2.0**-53
DOUBLE = jnp.dtype(jnp.float64)


def drawn_mlp(kind, **numbers):
    """An MLP of width one: ``gate``, ``up`` and ``down``, and the biases of the first two."""
    config = DecoderConfig(
        vocab_size=2, num_layers=1, model_dim=1, mlp=mlp_of(kind, 1, -0.6), bias=True
    )
    block = first_block(config)
    for name, number in numbers.items():
        weight = getattr(block.mlp, name)
        weight[...] = jnp.asarray(np.full(weight[...].shape, number))
    return block.mlp


def first_block(config):
    blocks = made(config, jax.random.key(0)).blocks
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[0]), blocks)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("kind", ["swiglu", "geglu"])
def test_a_gated_mlp_of_width_one_attains_its_slope(kind):
    """Both branches count: the gate's slope times up, and the gate's value times up's weight."""
    numbers = {"gate": 0.8, "gate_bias": 0.3, "up": 1.7, "up_bias": 0.4, "down": -2.5}
    mlp, x = drawn_mlp(kind, **numbers), jnp.asarray([[0.5], [2.0]])
    bound = jax.jit(lambda x: mlp_slopes(mlp, x))(x)
    truth = jax.jit(jax.vmap(jax.grad(lambda row: mlp(row[None])[0, 0])))(x)
    bound, truth = np.asarray(bound), np.asarray(truth)
    np.testing.assert_allclose(bound, -truth[:, 0], rtol=64 * U)
    if kind == "swiglu":
        gate, up = 0.8 * 0.5 + 0.3, 1.7 * 0.5 + 0.4
        slope = sigmoid(gate) * (1 + gate * (1 - sigmoid(gate)))
        by_hand = 2.5 * (slope * up * 0.8 + gate * sigmoid(gate) * 1.7)
        assert float(bound[0]) == pytest.approx(by_hand, rel=64 * U, abs=0)


def block_with(config, **arrays):
    """The first layer of a drawn decoder, with other arrays, or numbers in all their entries."""
    block = first_block(config)
    for path, given in arrays.items():
        part, name = path.split("__")
        weight = getattr(getattr(block, part), name)
        weight[...] = jnp.asarray(np.broadcast_to(given, weight[...].shape))
    return block


def test_one_massive_feature_does_not_multiply_all_matrices():
    """Entries 100 and 1 of act(g), W_d = diag(0.03, 1), W_u = I: 1 + 99 times 0.03, not 100."""
    config = DecoderConfig(
        vocab_size=2, num_layers=1, model_dim=2, mlp=GatedMlp(dim=2), bias=True, norm=RMSNorm()
    )
    one = 1.2784645427610738  # where silu is 1
    arrays = {"gate": 0.0, "gate_bias": (100.0, one), "up": np.eye(2), "down": np.diag([0.03, 1.0])}
    block = block_with(config, **{f"mlp__{name}": array for name, array in arrays.items()})
    x = jnp.asarray([[0.6, 0.8]])
    [found] = np.asarray(jax.jit(lambda mlp: mlp_slopes(mlp, x))(block.mlp))
    assert float(1 + found) == pytest.approx(4.97, rel=64 * U, abs=0)  # 101 by the largest entry
    [jacobian] = jax.jit(jax.vmap(jax.jacfwd(lambda row: block.mlp(row[None])[0])))(x)
    assert float(np.linalg.norm(jacobian, 2)) == pytest.approx(3, rel=64 * U, abs=0)


def test_the_least_threshold_is_zero_where_features_add_up():
    """Width one, two features, all of one sign: the sum of both is the derivative itself."""
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=1, mlp=DenseMlp(dim=2))
    block = block_with(config, mlp__up=[[2.0], [1.0]], mlp__down=[[1.0, 2.0]])
    x = jnp.asarray([[0.7], [3.0]])
    found = jax.jit(lambda mlp: mlp_slopes(mlp, x))(block.mlp)
    truth = jax.jit(jax.vmap(jax.grad(lambda row: block.mlp(row[None])[0, 0])))(x)[:, 0]
    np.testing.assert_allclose(found, truth, rtol=64 * U)
    relu = block_with(
        DecoderConfig(
            vocab_size=2, num_layers=1, model_dim=1, mlp=DenseMlp(activation="relu", dim=2)
        ),
        mlp__up=[[2.0], [-1.0]],
        mlp__down=[[1.5, 4.0]],
    )
    # One feature each is open; at the kink both count.
    x = jnp.asarray([[1.0], [-1.0], [0.0]])
    found = jax.jit(lambda mlp: mlp_slopes(mlp, x))(relu.mlp)
    np.testing.assert_allclose(found, [3.0, 4.0, 7.0], rtol=64 * U)


def by_largest_entries(block, inside, outside):
    """The bound of before: the largest entry times all matrices, the largest gain over the root."""
    array = lambda name: np.asarray(getattr(block.mlp, name)[...])
    size = lambda name: np.linalg.norm(array(name), 2)
    if isinstance(block.mlp.mlp, DenseMlp):
        steepest = {"gelu": GELU_LIPSCHITZ, "relu": 1.0}[block.mlp.mlp.activation]
        return outside * steepest * size("up") * size("down")
    gate, up = inside @ array("gate").T, inside @ array("up").T
    weight = 1 / (1 + np.exp(-gate))
    slope, value = weight * (1 + gate * (1 - weight)), gate * weight
    first = np.max(np.abs(slope * up), axis=-1) * size("gate")
    return outside * size("down") * (first + np.max(np.abs(value), axis=-1) * size("up"))


@pytest.mark.parametrize("norm", [RMSNorm(offset=1.0), LayerNorm()], ids=["rms", "layer"])
@pytest.mark.parametrize("kind", ["swiglu", "gelu", "relu"])
def test_slopes_of_mlps_after_unequal_gains_are_above_the_truth_and_below_those_of_before(
    kind, norm
):
    rng = np.random.default_rng(1)
    mlp = DenseMlp(activation="relu", dim=96) if kind == "relu" else mlp_of(kind, 96)
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=6, mlp=mlp, norm=norm)
    gain = np.exp(rng.normal(size=6)) * np.sign(rng.normal(size=6))
    # A few features are far above the others, as in trained models.
    block = block_with(config, norm2__gain=gain)
    block.mlp.up[...] = block.mlp.up[...] * np.where(np.arange(96) < 3, 10.0, 1.0)[:, None]
    x = rng.normal(size=(5, 6))

    @jax.jit
    def measured(block, x):
        inside, roots = block.norm2(x), inverse_roots(block.norm2, x, DOUBLE)
        found = mlp_slopes(block.mlp, inside, block.norm2) * roots
        jacobian = jax.vmap(jax.jacfwd(lambda row: block.mlp(block.norm2(row[None]))[0]))(x)
        return found, jacobian, inside, norm_slopes(block.norm2, x, DOUBLE)

    found, jacobian, inside, outside = map(np.asarray, measured(block, x))
    assert np.all(np.linalg.norm(jacobian, 2, (-2, -1)) <= found * (1 + 256 * U))
    before = by_largest_entries(block, inside, outside)
    assert np.all(found <= before * (1 + 256 * U))
    assert np.all(found < 0.7 * before)


def test_folded_matrices_by_hand():
    """Gains 1/2, -3, 1, 1/4, an offset, and the mean of each row removed after its gains."""
    weight = jnp.asarray([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 0.0]])
    rms = normalize_of(RMSNorm(offset=1.0))
    by_hand = [[1.5, -4.0, 6.0, 5.0], [0.0, 0.0, 2.0, 0.0]]
    np.testing.assert_allclose(folded(weight, rms), by_hand, rtol=4 * U)
    layer = normalize_of(LayerNorm())
    scaled = np.asarray(weight) * GAIN
    by_hand = scaled - scaled.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(folded(weight, layer), by_hand, rtol=16 * U, atol=4 * U)
    np.testing.assert_array_equal(folded(weight, None), weight)


def test_value_norms_are_those_of_folded_values():
    """diag(2, 1) after gains 1/2, -3 is diag(1, -3); the second head's gains are 1 and 1/4."""
    config = DecoderConfig(vocab_size=2, num_layers=1, num_heads=2, model_dim=4)
    matrices = {"value": np.diag([2.0, 1.0, 2.0, 1.0]), "output": np.eye(4)}
    block = block_with(
        config, norm1__gain=GAIN, **{f"attention__{name}": m for name, m in matrices.items()}
    )
    resid = jnp.asarray(np.ones((3, 4)))
    found = jax.jit(lambda block: layer_constants(block, resid, resid).value_norms)(block)
    np.testing.assert_allclose(found, [3.0, 2.0], rtol=64 * U)
    identity = first_block(
        DecoderConfig(vocab_size=2, num_layers=1, num_heads=2, model_dim=4, values="identity")
    )
    identity.norm1.gain[...] = jnp.asarray(GAIN)
    found = jax.jit(lambda block: layer_constants(block, resid, resid).value_norms)(identity)
    np.testing.assert_array_equal(found, [3.0, 1.0])


CONSTANTS = {
    "zero": 0.0,
    "identity": 0.6,
    "linear": 2.5,
    "gelu": GELU_LIPSCHITZ * 1.7 * 2.5,
    "gelu_exact": GELU_EXACT_LIPSCHITZ * 1.7 * 2.5,
    "swiglu": math.nan,
}


@pytest.mark.parametrize("norm", [1, 2, "inf"])
@pytest.mark.parametrize("kind", CONSTANTS)
def test_constants_of_mlps_of_width_one(kind, norm):
    there = {"gelu": ("up", "down"), "gelu_exact": ("up", "down"), "linear": ("down",)}
    numbers = {name: {"up": 1.7, "down": -2.5}[name] for name in there.get(kind, ())}
    mlp = drawn_mlp(kind, **numbers)
    found = float(jax.jit(lambda: mlp_lipschitz(mlp, DOUBLE, norm))())
    assert found == pytest.approx(CONSTANTS[kind], rel=8 * U, nan_ok=True, abs=0)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_constants_of_a_linear_mlp_are_those_of_its_norm(norm):
    """A matrix whose three norms differ: by columns, by rows and the greatest singular value."""
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=2, mlp=LinearMlp())
    block = first_block(config)
    block.mlp.down[...] = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    found = float(jax.jit(lambda: mlp_lipschitz(block.mlp, DOUBLE, norm))())
    assert found == pytest.approx({1: 4, 2: 5, "inf": 7}[norm], rel=16 * U, abs=0)


@pytest.mark.parametrize("weight", [None, 0.3, 1.3])
def test_the_effective_share_weighs_both_parts(weight):
    """Residual (3, 4) and (0, 5); attention adds 1 to the first token and nothing to the second."""
    config = DecoderConfig(vocab_size=2, residual_weight=weight)
    keep, share = residual_shares(config)
    assert (keep, share) == ((1, 1) if weight is None else (1 - weight, weight))
    resid = np.array([[3.0, 4.0], [0.0, 5.0], [0.0, 0.0]])
    moved = share * np.array([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]])
    share_of = jax.jit(effective_share, static_argnums=2)
    first = abs(share) / (abs(share) + 5 * abs(keep))
    found = float(share_of(resid, keep * resid + moved, config))
    assert found == pytest.approx(
        first / 3, rel=64 * U, abs=0
    )  # the second's is zero, and 0 / 0 is
    counted = np.array([True, True, False])
    found = float(share_of(resid, keep * resid + moved, config, counted))
    assert found == pytest.approx(first / 2, rel=64 * U, abs=0)


GAIN = (0.5, -3.0, 1.0, 0.25)


def normalize_of(norm):
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=4, norm=norm)
    normalize = made(config, jax.random.key(0)).final_norm
    normalize.gain[...] = jnp.asarray(GAIN)
    return normalize


@pytest.mark.parametrize(
    ("norm", "x", "root"),
    [
        (RMSNorm(eps=0.5), (2.0, 0.0, 1.0, 3.0), 2.0),  # mean square 3.5
        (LayerNorm(eps=0.5), (3.0, 1.0, 2.0, 4.0), math.sqrt(1.75)),  # variance 1.25
    ],
    ids=["rms", "layer"],
)
def test_slopes_of_norms_with_unequal_gains_by_hand(norm, x, root):
    normalize = normalize_of(norm)
    found = float(jax.jit(lambda x: norm_slopes(normalize, x, DOUBLE))(np.asarray(x)))
    assert found == pytest.approx(3 / root, rel=16 * U, abs=0)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_the_norm_constant_of_a_segment_by_hand(norm):
    """Nearest zero in the middle of the segment, at its start and at its end."""
    normalize, spread = normalize_of(RMSNorm(eps=0.5)), 1.0 if norm == 2 else (1 + 2) / 2
    ends = {
        "middle": ([2.0, 2.0, 2.0, 2.0], [2.0, 2.0, -2.0, -2.0], 2.0),
        "start": ([2.0, 2.0, 0.0, 0.0], [4.0, 4.0, 2.0, 2.0], 2.0),
        "end": ([0.0, 6.0, 0.0, 6.0], [0.0, 2.0, 0.0, 2.0], 2.0),
    }
    lipschitz = jax.jit(lambda segment: norm_pair_slope(normalize, segment, norm))
    for start, end, square in ends.values():
        found = float(lipschitz(np.array([start, end])))
        by_hand = spread * 3 / math.sqrt(square + 0.5)
        # Up by what rounding may do: (4 + 16) spacings, 40 u.
        assert by_hand * (1 + 24 * U) < found <= by_hand * (1 + 56 * U)
    if norm != 2:
        other = normalize_of(LayerNorm(eps=0.5))
        lipschitz = jax.jit(lambda segment: norm_pair_slope(other, segment, norm))
        layer = float(lipschitz(np.array([[3.0, 1.0, 2.0, 4.0]] * 2)))
        assert layer == pytest.approx(
            2 * (1 - 1 / 4) * spread * 3 / math.sqrt(1.75), rel=64 * U, abs=0
        )


def test_value_norms_of_heads_that_share_values_in_pairs():
    config = DecoderConfig(vocab_size=2, num_layers=1, num_heads=4, num_kv_heads=2, model_dim=8)
    block, resid = first_block(config), jnp.asarray(np.ones((3, 8)))
    found = jax.jit(lambda block: layer_constants(block, resid, resid).value_norms)(block)
    output = np.asarray(block.attention.output[...]).reshape(8, 4, 2)
    value = np.asarray(block.attention.value[...]).reshape(2, 2, 8)
    norms = [np.linalg.norm(output[:, head] @ value[head // 2], 2) for head in range(4)]
    np.testing.assert_allclose(found, norms, rtol=64 * 8 * U)
