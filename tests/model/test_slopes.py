"""Slopes that are written out against those that JAX finds of the same formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model.attention import softmax
from glassesjax.model.layers import gelu

U = 2.0**-53
PLAIN = {
    "gelu": (gelu, lambda x: jax.nn.gelu(x, approximate=True)),
    "softmax": (softmax, lambda x: jnp.exp(x) / jnp.sum(jnp.exp(x), axis=-1, keepdims=True)),
}


@pytest.fixture
def drawn(key):
    return 3 * np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=(2, 4, 6))


@pytest.mark.parametrize("name", list(PLAIN))
def test_first_and_second_derivatives(name, drawn):
    """Some tens of roundings of numbers of order one; a wrong factor in a slope is off by 1e-2."""
    x, moved = drawn

    def both_orders(f, x, moved):
        slope = lambda x: jax.jvp(f, (x,), (moved,))[1]
        return f(x), slope(x), jax.vjp(f, x)[1](moved)[0], jax.jvp(slope, (x,), (moved,))[1]

    compiled = jax.jit(both_orders, static_argnums=0)
    found, wanted = (jax.device_get(compiled(f, x, moved)) for f in PLAIN[name])
    for own, plain in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, plain, rtol=0, atol=1000 * U * np.abs(plain).max())


def test_softmax_has_no_slope_where_nothing_is_seen():
    logits = jnp.asarray([[0.0, 1.0, -jnp.inf]])
    slope = jax.vjp(softmax, logits)[1](jnp.asarray([[1.0, 2.0, 3.0]]))[0]
    weight = 1 / (1 + np.e)
    by_hand = weight * (1 - weight)  # of the second token's weight in its own logit
    np.testing.assert_allclose(slope, [[-by_hand, by_hand, 0.0]], rtol=0, atol=8 * U)
