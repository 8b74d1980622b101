"""Slopes of gated MLPs between two rows where they are attained, and SiLU's constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, mlp_of

from glassesjax.model import DecoderConfig
from glassesjax.trace.constants import GELU_LIPSCHITZ, mlp_lipschitz
from glassesjax.trace.pair_slopes import SILU_LIPSCHITZ, mlp_pair_slope

U = 2.0**-53
DOUBLE = jnp.dtype(jnp.float64)
NORMS = [1, 2, "inf"]
CONSTANTS = {"swiglu": SILU_LIPSCHITZ, "geglu": GELU_LIPSCHITZ}
# Where the activation's slope is largest.
STEEPEST = {"swiglu": 2.3993572805, "geglu": 1.4185007}
slope_of = jax.jit(mlp_pair_slope, static_argnums=(2, 3))
moved_by = jax.jit(lambda mlp, pair: jnp.diff(mlp(pair), axis=0)[0])


def test_the_constant_of_silu_is_its_largest_slope_rounded_up():
    """Over the line: on a grid, between its points, and beyond its ends (GELU: test_balls).

    With s the logistic function the third derivative is 3 s'' + x s''', of size at most 3 / 10 +
    max x exp(-x) < 0.7, so that between points at a distance h a slope exceeds theirs by at most
    0.7 h^2 / 8. Slopes at x and -x add up to one, and beyond 24 one is within 25 exp(-24) of it.
    """
    spacing, end = 2.0**-12, 24
    slopes = jax.jit(jax.vmap(jax.grad(jax.nn.silu)))(np.arange(-end, end + spacing, spacing))
    largest = float(np.max(np.abs(slopes)))
    assert max(largest + 0.7 * spacing**2 / 8, 1 + (end + 1) * np.exp(-end)) < SILU_LIPSCHITZ
    assert largest + 1e-7 > SILU_LIPSCHITZ  # no larger than its last digit needs


def diagonal_mlp(kind, gate, up, gate_bias=0.0, up_bias=0.0):
    """Two features and two coordinates, each apart: every norm of a matrix is its entry's size."""
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=2, mlp=mlp_of(kind, 2), bias=True)
    blocks = made(config, jax.random.key(0)).blocks
    mlp = jax.tree.map(lambda weight: weight[0], blocks).mlp
    for name, number in {"gate": gate, "up": up, "down": -1.25}.items():
        getattr(mlp, name)[...] = number * jnp.eye(2)
    mlp.gate_bias[...], mlp.up_bias[...] = jnp.full(2, gate_bias), jnp.full(2, up_bias)
    return mlp


def length(x, norm):
    return float(np.linalg.norm(x, np.inf if norm == "inf" else norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", CONSTANTS)
def test_the_slope_of_a_gated_mlp_is_attained_by_a_short_step(kind, norm):
    """Where the gate is steepest and both terms of the product grow."""
    mlp = diagonal_mlp(kind, 2.0, 0.5, STEEPEST[kind], 3.0)
    step = 2.0**-20 * np.array({1: [1.0, 0.0], 2: [0.6, 0.8], "inf": [1.0, 1.0]}[norm])
    pair = np.stack([0 * step, step])
    moved, apart = length(moved_by(mlp, pair), norm), length(step, norm)
    slope = float(slope_of(mlp, pair, DOUBLE, norm))
    # The last digit of the constant, and a curvature of about two.
    assert (1 - 1e-5) * slope * apart < moved <= slope * apart * (1 + 2**20 * 64 * U)
    # With 1 for the activation's constant the slope is too small.
    value = float(CONSTANTS[kind] - 1) * 1.25 * 3.0 * 2.0
    assert moved > (slope - value) * apart
    # Which row comes first does not matter.
    assert float(slope_of(mlp, pair[::-1], DOUBLE, norm)) == pytest.approx(slope, rel=8 * U)


@pytest.mark.parametrize("kind", CONSTANTS)
def test_the_less_of_the_two_orders(kind):
    """One row with a large product, the other with a large gate: by hand for both."""
    mlp = diagonal_mlp(kind, 1.0, -1.0)
    pair = np.array([[0.0, 0.5], [8.0, -3.0]])  # gates are x, products -x
    act = {"swiglu": jax.nn.silu, "geglu": jax.nn.gelu}[kind]
    gates, ups = np.max(np.abs(act(jnp.asarray(pair))), axis=1), np.max(np.abs(pair), axis=1)
    both = [CONSTANTS[kind] * ups[1] + gates[0], CONSTANTS[kind] * ups[0] + gates[1]]
    assert min(both) == both[1] < 0.99 * both[0]
    found = float(slope_of(mlp, pair, DOUBLE, "inf"))
    assert found == pytest.approx(1.25 * min(both), rel=64 * U, abs=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", CONSTANTS)
def test_no_pair_moves_farther(kind, norm):
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=6, mlp=mlp_of(kind, 9), bias=True)
    mlp = jax.tree.map(lambda weight: weight[0], made(config, jax.random.key(1)).blocks).mlp
    rng = np.random.default_rng(7)
    for size in 10.0 ** rng.uniform(-3, 2, size=300):
        pair = size * rng.normal(size=(2, 6))
        pair[1] = rng.choice([pair[0] * (1 + 1e-3), pair[1]])
        moved, apart = length(moved_by(mlp, pair), norm), length(pair[1] - pair[0], norm)
        bound = float(slope_of(mlp, pair, DOUBLE, norm)) * apart
        # Sums over nine features of products of two sums over six coordinates.
        assert moved <= bound + 64 * 9 * 6 * U * (1 + size) * size


@pytest.mark.parametrize("kind", ["gelu", "linear", "identity", "zero"])
def test_an_mlp_without_a_gate_has_its_constant(kind):
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=4, mlp=mlp_of(kind, 6))
    mlp = jax.tree.map(lambda weight: weight[0], made(config, jax.random.key(0)).blocks).mlp
    pair = jnp.ones((2, 4))
    found = slope_of(mlp, pair, DOUBLE, 1)
    assert float(found) == float(jax.jit(mlp_lipschitz, static_argnums=(1, 2))(mlp, DOUBLE, 1))
