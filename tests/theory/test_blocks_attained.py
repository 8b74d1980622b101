"""The repaired bound of one layer at instances small enough to work out, where it is attained."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import passed

from glassesjax.model import (
    Causal,
    DecoderConfig,
    DenseMlp,
    LayerNorm,
    Layout,
    LinearMlp,
    MaskByLayer,
    NoNorm,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
    ZeroMlp,
    build_decoder,
)
from glassesjax.model.weights import parameter_shapes
from glassesjax.theory.blocks import repaired_block_bound, repaired_bound
from glassesjax.trace import block_stack, largest_products, layer_heads

U = 2.0**-53
MATRICES = ("query", "key", "value", "output")


def layer_of(table, matrices, **switches):
    """A decoder of one layer, whose tokens are the rows of a table in their order."""
    length, width = np.shape(table)
    settings = {"norm": NoNorm(), "mlp": ZeroMlp()} | switches
    config = DecoderConfig(vocab_size=length, num_layers=1, model_dim=width, **settings)
    block = lambda name: name if "." in name else f"attention.{name}"
    arrays = {f"blocks.{block(name)}": jnp.asarray([array]) for name, array in matrices.items()}
    arrays["embed.table"] = jnp.asarray(table, float)
    return build_decoder(config, standard_norms(config) | arrays)


def standard_norms(config):
    """Gains of one and biases of zero, of all norms."""
    parts = {name: shape for name, shape in parameter_shapes(config).items() if "norm" in name}
    filled = lambda name, shape: jnp.full(shape, 1.0 if name.endswith("gain") else 0.0)
    return {name: filled(name, shape) for name, shape in parts.items()}


@jax.jit
def measured(decoder, tokens):
    """Norms of the blocks of the layer's Jacobian, and what its bound is made of."""
    block = jax.tree.map(lambda weight: weight[0], decoder.layers)
    layout = Layout.line(len(tokens))
    jacobian = jax.jacrev(lambda resid: block(resid, layout)[0])(decoder.enter(tokens))
    return jacobian.transpose(0, 2, 1, 3), block_stack(decoder, tokens)


@jax.jit
def bound_of(stack, turns):
    first = jax.tree.map(lambda x: x[0], (stack.heads, stack.constants))
    return repaired_block_bound(*first, turns)


def both(decoder):
    """Norms of a layer's blocks, their bounds, and what the bounds are made of."""
    tokens = jnp.arange(decoder.config.vocab_size, dtype=jnp.int32)
    jacobian, stack = measured(decoder, tokens)
    norms = np.linalg.norm(np.asarray(jacobian), 2, (-2, -1))
    return norms, np.asarray(bound_of(stack, stack.turns[0])), stack


near = functools.partial(pytest.approx, abs=0)
sigmoid = lambda x: 1 / (1 + math.exp(-x))

EYE, ONE = np.eye(2), np.ones((1, 1))
SWAP = [[0.0, 1.0], [0.0, 0.0]]  # (1, 0)(0, 1)^T
ROOT2 = math.sqrt(2)


def quarter_turn(factor):
    positions = Rotary(scale=2 / math.pi, attention_factor=factor)  # a quarter turn a token
    matrices = {"query": EYE, "key": EYE, "value": SWAP, "output": EYE}
    switches = {"positions": positions, "attn_scale": 1 / ROOT2}
    return layer_of([[0.0, 3.0], [1.0, 0.0]], matrices, **switches)


# Of norm, map and product: (4 head_dim + 16) spacings of the largest they may be, and its own.
GIVEN_BACK = 128 * U


@pytest.mark.parametrize(("factor", "number"), [(1.0, 1.1381612474), (1.3, 1.1917213769)])
def test_the_attention_factor_enters_through_the_turns(factor, number):
    """k_1 = m (0, 3), q_2 = m (0, 1): a (1 + 3 (1 - a) m^2 / sqrt 2), a = sigmoid(sqrt 2 m^2)."""
    norms, bounds, stack = both(quarter_turn(factor))
    a = sigmoid(ROOT2 * factor**2)
    by_hand = a * (1 + 3 * (1 - a) * factor**2 / ROOT2)
    assert by_hand == near(number, rel=1e-10)
    assert norms[1, 0] == near(by_hand, rel=64 * U)
    assert bounds[1, 0] == near(by_hand, rel=GIVEN_BACK)
    # Negative: turns without the factor are those of another layer, and no bound.
    plain = both(quarter_turn(1.0))[2].turns[0]
    without = float(bound_of(stack, plain)[1, 0])
    assert without == near(a * (1 + 3 * (1 - a) * factor / ROOT2), rel=GIVEN_BACK)
    if factor > 1:
        assert norms[1, 0] > 1.05 * without
        nowhere = a * (1 + 3 * (1 - a) / ROOT2)  # neither in the turns nor in the query
        assert nowhere == near(1.0792, rel=1e-4)
        assert norms[1, 0] > 1.1 * nowhere


def test_the_attention_factor_multiplies_the_turned_coordinates_alone():
    """The same with a third coordinate, which does not turn and is not multiplied."""
    pad = lambda matrix: np.pad(matrix, [(0, 1), (0, 1)])
    turned = pad(EYE)
    rotary = Rotary(scale=2 / math.pi, fraction=2 / 3, attention_factor=1.3)
    matrices = {"query": turned, "key": turned, "value": pad(SWAP), "output": turned}
    switches = {"positions": rotary, "attn_scale": 1 / ROOT2}
    norms, bounds, stack = both(layer_of([[0, 3, 0], [1, 0, 0]], matrices, **switches))
    np.testing.assert_allclose(stack.turns[0][:, 2], np.tile([0, 0, 1], (2, 1)))
    assert norms[1, 0] == near(1.1917213769, rel=1e-10)
    assert bounds[1, 0] == near(norms[1, 0], rel=GIVEN_BACK)


def test_relu_of_width_one():
    """W_1 = 2, W_2 = 3/2, uniform attention with W = 1, v = (1, 2): (2, 6)."""
    matrices = {"query": 0 * ONE, "key": 0 * ONE, "value": ONE, "output": ONE}
    matrices |= {"mlp.up": 2 * ONE, "mlp.down": 1.5 * ONE}
    norms, bounds, _ = both(
        layer_of([[1.0], [2.0]], matrices, mlp=DenseMlp(activation="relu", dim=1))
    )
    np.testing.assert_allclose(bounds, [[8, 0], [2, 6]], rtol=64 * U)
    np.testing.assert_allclose(bounds, norms, rtol=64 * U)


# Uniform attention with W = I: zero queries and keys.
UNIFORM = {"query": 0 * EYE, "key": 0 * EYE, "value": EYE, "output": EYE}
BOTH_ALONG = [[1.0, 1.0], [2.0, 2.0]]  # the derivative's largest direction is (1, -1)
PLAIN = RMSNorm(eps=0.0)


def test_norms_of_outputs_alone():
    """a_2 = (3/2, 3/2) and psi(z_2) = (3, 3): B_21 = (4/3) (1/3), B_22 = (4/3) (1 + 1/3)."""
    matrices = UNIFORM | {"mlp.up": EYE, "mlp.down": EYE}
    switches = {"norm": PLAIN, "norm_place": "after", "mlp": DenseMlp(activation="relu", dim=2)}
    norms, bounds, _ = both(layer_of(BOTH_ALONG, matrices, **switches))
    np.testing.assert_allclose(bounds[1], [4 / 9, 16 / 9], rtol=64 * U)
    np.testing.assert_allclose(bounds, norms, rtol=64 * U)


def test_norms_of_inputs_and_outputs_with_gains():
    """Gains 2, 3, 5 and 1/2 of norm_1, attention's output, norm_2 and the MLP's output."""
    gained = {"norm1": 2.0, "norm1_after": 3.0, "norm2": 5.0, "norm2_after": 0.5}
    matrices = UNIFORM | {"mlp.up": EYE, "mlp.down": EYE}
    matrices |= {f"{name}.gain": np.full(2, gain) for name, gain in gained.items()}
    switches = {"norm": PLAIN, "norm_place": "both", "mlp": DenseMlp(activation="relu", dim=2)}
    norms, bounds, _ = both(layer_of(BOTH_ALONG, matrices, **switches))
    np.testing.assert_allclose(bounds[1], [1.65, 1.925], rtol=64 * U)
    np.testing.assert_allclose(bounds, norms, rtol=64 * U)


def test_norms_of_inputs_and_outputs_in_a_parallel_block():
    """The MLP 3 I has r_2 = 2 and its output's root 3: 1 + 1/4 + 1/2 on the diagonal."""
    switches = {"norm": PLAIN, "norm_place": "both", "block": "parallel", "mlp": LinearMlp()}
    norms, bounds, _ = both(layer_of(BOTH_ALONG, UNIFORM | {"mlp.down": 3 * EYE}, **switches))
    np.testing.assert_allclose(bounds[1], [0.5, 1.75], rtol=64 * U)
    np.testing.assert_allclose(bounds, norms, rtol=64 * U)


def only_of_queries_and_keys(decoder):
    """The decoder with no norm before its attention."""
    decoder.blocks.norm1.norm, decoder.blocks.norm1.gain = NoNorm(), None
    decoder.blocks.norm1.bias = None
    return decoder


ONES = dict.fromkeys(MATRICES, ONE)
HEAD = {"norm": RMSNorm(eps=1.0), "qk_norm": "head"}


def test_norms_of_queries_and_keys_of_width_one():
    """Of x = (2, 1/2), q = k = x / sqrt(x^2 + 1): the slope of k_1 is 5^(-3/2)."""
    decoder = only_of_queries_and_keys(layer_of([[2.0], [0.5]], ONES, **HEAD))
    norms, bounds, _ = both(decoder)
    q, k = 0.5 / 1.25**0.5, 2 / 5**0.5
    a = sigmoid(q * (k - q))
    by_hand = a * (1 + (1 - a) * 1.5 * 5**-1.5 * q)
    assert by_hand == near(0.5646849917, rel=1e-10)
    assert norms[1, 0] == near(by_hand, rel=64 * U)
    assert bounds[1, 0] == near(by_hand, rel=64 * U)


def test_norms_of_queries_and_keys_on_the_diagonal():
    """Of x = (1/2, 2): residual, value, key term and the covariance's, all of one sign."""
    decoder = only_of_queries_and_keys(layer_of([[0.5], [2.0]], ONES, **HEAD))
    norms, bounds, _ = both(decoder)
    k, q, slope = 0.5 / 1.25**0.5, 2 / 5**0.5, 5**-1.5
    a = sigmoid(q * (q - k))
    by_hand = 1 + a * (1 + (1 - a) * 1.5 * slope * q) + a * (1 - a) * 1.5 * (q - k) * slope
    assert by_hand == near(1.6419345943, rel=1e-10)
    assert norms[1, 1] == near(by_hand, rel=64 * U)
    assert bounds[1, 1] == near(by_hand, rel=128 * U)


def test_a_norm_removes_the_direction_of_the_key():
    """W_K = I, W_Q = -I: of the key term only what is across x_1 = (1, 0) is left, 4/5."""
    matrices = {"query": -EYE, "key": EYE, "value": SWAP, "output": EYE}
    switches = {"norm": PLAIN, "qk_norm": "head"}
    norms, bounds, _ = both(
        only_of_queries_and_keys(layer_of([[1.0, 0.0], [0.6, 0.8]], matrices, **switches))
    )
    a = sigmoid(0.4 * ROOT2)
    by_hand = a * (1 + 0.64 * ROOT2 * (1 - a))
    assert by_hand == near(0.8468626756, rel=1e-10)
    assert norms[1, 0] == near(by_hand, rel=64 * U)
    assert bounds[1, 0] == near(by_hand, rel=128 * U)


def test_one_norm_over_heads_is_not_one_a_head():
    """Two heads of width one, the second silent: a norm of each would leave no key term at all."""
    value = np.array([[1.0, -1.0], [0.0, 0.0]]) / ROOT2
    matrices = {"query": EYE, "key": EYE, "value": value, "output": np.diag([1.0, 0.0])}
    switches = {"norm": PLAIN, "qk_norm": "whole", "num_heads": 2}
    decoder = only_of_queries_and_keys(layer_of([[1.0, 1.0], [0.6, 0.8]], matrices, **switches))
    norms, bounds, stack = both(decoder)
    assert norms[1, 0] == near(0.5532137099, rel=1e-10)
    assert bounds[1, 0] == near(norms[1, 0], rel=128 * U)
    # Negative: e of length one in each head, and nothing outside the head's own range.
    norm, factor = stack.constants.key_norm, stack.constants.key_factor
    along = jnp.ones_like(norm.along)
    across = jnp.einsum("lhrc,lhsc->lhsr", factor, along)
    each = norm._replace(along=along, across=across, rest=None)
    wrong = stack._replace(constants=stack.constants._replace(key_norm=each))
    assert norms[1, 0] > 1.03 * float(bound_of(wrong, stack.turns[0])[1, 0])


ATTAINED = {
    "gains": {"qk_norm": "head"},
    "gains_turned": {"qk_norm": "head", "positions": Rotary(base=2.0, attention_factor=1.3)},
    "layer_norm": {"qk_norm": "head", "norm": LayerNorm(), "positions": Rotary(base=2.0)},
    "whole_gains": {"qk_norm": "whole", "num_heads": 2},
    "whole_layer_norm": {"qk_norm": "whole", "num_heads": 2, "norm": LayerNorm()},
    "whole_turned": {
        **{"qk_norm": "whole", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4},
        "positions": Rotary(base=2.0, fraction=0.5, attention_factor=0.8),
    },
}


@pytest.mark.parametrize("switches", ATTAINED.values(), ids=ATTAINED)
def test_values_along_the_slope_of_the_key_attain_the_bound(switches):
    r"""W = p c^T with c along the logit's slope: |B_21| = a (1 + c . (x_1 - mean) |slope|)."""
    rng, dim = np.random.default_rng(5), 4
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=dim, mlp=ZeroMlp(), **switches)
    shapes = parameter_shapes(config)
    arrays = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    name = "blocks.attention."
    arrays |= {name + part: jnp.zeros(shapes[name + part]) for part in ("value", "output")}

    @jax.jit
    def slope(decoder):
        block, layout = jax.tree.map(lambda weight: weight[0], decoder.layers), Layout.line(2)
        resid = decoder.enter(jnp.arange(2, dtype=jnp.int32))
        logit = lambda resid: block(resid, layout, keep="attention")[1].attn_logits[0, 1, 0]
        return jax.grad(logit)(resid)[0], resid

    build = lambda: only_of_queries_and_keys(build_decoder(config, arrays))
    along, resid = map(np.asarray, slope(build()))
    if along @ (resid[0] - resid[1]) < 0:  # the other sign, so that both terms add up
        turned = [name + part for part in ("query", "query_norm.bias")]
        arrays |= {part: -arrays[part] for part in turned if part in arrays}
        along = -along
    across = along / np.linalg.norm(along)
    arrays[name + "value"] = arrays[name + "value"].at[0, 0].set(across)
    arrays[name + "output"] = arrays[name + "output"].at[0, 1, 0].set(1.0)
    norms, bounds, _ = both(build())
    weights = np.asarray(passed(build(), jnp.arange(2, dtype=jnp.int32))[1].attn_weights)[0, 0]
    a, apart = weights[1, 0], across @ (resid[0] - resid[1])
    by_hand = a * (1 + (1 - a) * apart * np.linalg.norm(along))
    assert (1 - a) * apart * np.linalg.norm(along) > 0.01  # the key term counts
    assert norms[1, 0] == near(by_hand, rel=256 * U)
    # Of norm, map and product: (4 head_dim + 16) spacings of the largest they may be.
    assert bounds[1, 0] == near(by_hand, rel=32 * 2 * U * 16)


def test_no_product_of_normed_queries_and_keys_is_above_its_bound():
    """Attained at width one without eps: |s| = |scale| |g_q| |g_k|."""
    matrices = ONES | {"attention.query_norm.gain": [-3.0], "attention.key_norm.gain": [0.5]}
    switches = {"norm": PLAIN, "qk_norm": "head", "attn_scale": -2.0}
    decoder = layer_of([[7.0], [-0.5]], matrices, **switches)
    block = jax.tree.map(lambda weight: weight[0], decoder.layers)
    heads = jax.jit(layer_heads)(block, jnp.asarray([[7.0], [-0.5]]))
    products = np.asarray(heads.queries)[0] @ np.asarray(heads.keys)[0].T
    largest = jax.jit(lambda block: largest_products(block, 2))
    np.testing.assert_allclose(np.abs(products), 3.0, rtol=16 * U)
    np.testing.assert_allclose(largest(block), [3.0], rtol=16 * U)
    # No norm, no bound.
    free = layer_of([[7.0], [-0.5]], ONES, norm=PLAIN)
    block = jax.tree.map(lambda weight: weight[0], free.layers)
    np.testing.assert_array_equal(largest(block), [np.inf])


@pytest.mark.parametrize("of", ["head", "whole"])
@pytest.mark.parametrize("norm", [RMSNorm(offset=1.0), LayerNorm()], ids=["rms", "layer"])
def test_products_of_normed_queries_and_keys_are_below_their_bound(of, norm):
    rng = np.random.default_rng(7)
    config = DecoderConfig(
        **{"vocab_size": 40, "num_layers": 1, "model_dim": 8, "num_heads": 4, "num_kv_heads": 2},
        positions=Rotary(base=3.0, attention_factor=1.2),
        norm=norm,
        qk_norm=of,
    )
    shapes = parameter_shapes(config)
    arrays = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    block = jax.tree.map(lambda weight: weight[0], build_decoder(config, arrays).layers)

    @jax.jit
    def largest(block):
        heads = layer_heads(block, arrays["embed.table"])
        keys = jnp.repeat(heads.keys, 2, axis=0)
        products = jnp.einsum("hqc,hkc->hqk", heads.queries, keys)
        return jnp.max(jnp.abs(products), axis=(1, 2)), largest_products(block, 40)

    seen, bound = map(np.asarray, largest(block))
    assert np.all(seen <= bound * (1 + 64 * U))
    assert np.max(seen / bound) > 0.3


def test_what_positions_add_to_normed_queries_and_keys_is_in_their_bound():
    """Attained: q = k = (0, 1/2) and at position 0 (sin, cos) = (0, 1) beside it, 9/4."""
    matrices = dict.fromkeys(MATRICES, EYE)
    gains = [2**-1.5] * 2  # of (0, 1) over its root of 1/2
    matrices |= {f"attention.{of}_norm.gain": gains for of in ("query", "key")}
    positions = Sinusoidal(where="query_key")
    switches = {"norm": PLAIN, "qk_norm": "head", "attn_scale": 1.0, "positions": positions}
    decoder = layer_of([[0.0, 1.0]], matrices, **switches)
    block = jax.tree.map(lambda weight: weight[0], decoder.layers)
    heads = jax.jit(layer_heads)(block, jnp.asarray([[0.0, 1.0]]))
    largest = jax.jit(lambda block: largest_products(block, 1))
    np.testing.assert_allclose(heads.queries[0] @ heads.keys[0].T, [[2.25]], rtol=16 * U)
    np.testing.assert_allclose(largest(block), [2.25], rtol=16 * U)


def test_the_mask_of_another_layer_is_no_bound():
    """Width one, W = 1, uniform: of token 2 first itself alone, then both: (1, 3)."""
    settings = {"vocab_size": 2, "num_layers": 2, "model_dim": 1, "norm": NoNorm()}
    mask = MaskByLayer(layers=(Window(width=1), Causal()))
    tokens = jnp.arange(2, dtype=jnp.int32)

    @jax.jit
    def last_row(decoder):
        last = lambda resid: decoder.represent(resid)[0][-1, 0]
        return jax.grad(last)(decoder.enter(tokens))[:, 0], repaired_bound(
            block_stack(decoder, tokens)
        )

    def row_with(mask):
        config = DecoderConfig(**settings, mask=mask, mlp=ZeroMlp())
        one = jnp.ones((2, 1, 1))
        matrices = {"query": 0 * one, "key": 0 * one, "value": one, "output": one}
        arrays = {f"blocks.attention.{name}": array for name, array in matrices.items()}
        table = {"embed.table": jnp.asarray([[1.0], [2.0]])}
        return map(np.asarray, last_row(build_decoder(config, arrays | table)))

    truth, bound = row_with(mask)
    np.testing.assert_allclose(truth, [1, 3], rtol=16 * U)
    np.testing.assert_allclose(bound, truth, rtol=64 * U)
    # Negative: both layers see all.
    _, wrong = row_with(Causal())
    np.testing.assert_allclose(wrong, [1.75, 2.25], rtol=64 * U)
    assert wrong[1] < 0.8 * truth[1]


def test_the_turns_of_another_layer_are_no_bound():
    """A quarter turn a token, W_K = diag(1, 3), keys 2 and 3 seen: 3 along (0, 1), 1 unturned."""
    positions = Rotary(scale=2 / math.pi)
    matrices = {"query": EYE, "key": np.diag([1.0, 3.0]), "value": SWAP, "output": EYE}
    switches = {"mask": Window(width=2), "attn_scale": 1 / ROOT2}
    table = [[0.0, 0.0], [0.0, 0.4], [1.0, 0.0]]
    norms, bounds, stack = both(layer_of(table, matrices, positions=positions, **switches))
    a = sigmoid(0.2 / ROOT2)
    by_hand = a * (1 + 0.4 * (1 - a) * 3 / ROOT2)
    assert by_hand == near(0.7463714, rel=1e-6)
    assert norms[2, 1] == near(by_hand, rel=64 * U)
    assert bounds[2, 1] == near(by_hand, rel=GIVEN_BACK)
    # Negative: this pass, with the turns of a layer that does not turn.
    still = both(layer_of(table, matrices, **switches))[2].turns[0]
    wrong = float(bound_of(stack, still)[2, 1])
    assert wrong == near(0.6057, rel=1e-4)
    assert norms[2, 1] > 1.2 * wrong
