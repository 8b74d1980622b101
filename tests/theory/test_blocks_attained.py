"""The repaired bound of one layer at instances small enough to work out, where it is attained."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import (
    DecoderConfig,
    DenseMlp,
    Layout,
    LinearMlp,
    NoNorm,
    RMSNorm,
    Rotary,
    ZeroMlp,
    build_decoder,
)
from glassesjax.theory.blocks import repaired_block_bound
from glassesjax.trace import block_stack

U = 2.0**-53
MATRICES = ("query", "key", "value", "output")


def layer_of(table, matrices, **switches):
    """A decoder of one layer, whose tokens are the rows of a table in their order."""
    length, width = np.shape(table)
    settings = {"norm": NoNorm(), "mlp": ZeroMlp()} | switches
    config = DecoderConfig(vocab_size=length, num_layers=1, model_dim=width, **settings)
    block = lambda name: name if "." in name else f"attention.{name}"
    arrays = {f"blocks.{block(name)}": jnp.asarray([array]) for name, array in matrices.items()}
    arrays |= {name: jnp.asarray([np.ones(width)]) for name in gains(config) - arrays.keys()}
    # The last norm has no part in a layer's block.
    if not isinstance(config.norm, NoNorm):
        arrays["final_norm.gain"] = jnp.ones(width)
    return build_decoder(config, arrays | {"embed.table": jnp.asarray(table, float)})


def gains(config):
    """Names of the gains of a layer's norms around attention and MLP."""
    ends = {"before": ("",), "after": ("_after",), "both": ("", "_after")}[config.norm_place]
    names = {f"blocks.norm{number}{end}.gain" for number in (1, 2) for end in ends}
    return set() if isinstance(config.norm, NoNorm) else names


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


# The rounding allowance of a gram is inside a root, of head_dim^2 terms.
GIVEN_BACK = 16 * U**0.5


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
