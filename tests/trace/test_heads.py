"""Attention rows made on demand are those that the pass keeps; products by blocks are products."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import (
    Alibi,
    Bidirectional,
    Decoder,
    DecoderConfig,
    Prefix,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.precision import RoundingPlan
from glassesjax.trace.heads import (
    attention_rows,
    by_rows,
    layer_heads,
    logit_slopes,
    times_rows,
    turns,
)

U = 2.0**-53
TOKENS = jnp.asarray((0, 3, 1, 5, 2, 2, 4), jnp.int32)
CONFIG = DecoderConfig(vocab_size=6, num_layers=2, num_heads=2, model_dim=8, embed_scale=3.0)
PLAN = RoundingPlan.of_dtype(jnp.float64)
SWITCHES = {
    "grouped_rotary_softcap": {
        "positions": Rotary(base=10.0),
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 6,
        "attn_softcap": 2.0,
        "qkv_bias": True,
    },
    "alibi_window": {"positions": Alibi(), "mask": Window(width=3), "attn_scale": 0.7},
    "wide_window": {"mask": Window(width=100)},
    "sinusoidal_prefix": {"positions": Sinusoidal(where="query_key"), "mask": Prefix(length=3)},
    "identity_both_ways": {"values": "identity", "mask": Bidirectional()},
}


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_rows_are_those_that_the_pass_keeps(key, switches):
    decoder = Decoder(dataclasses.replace(CONFIG, **switches), key=key, dtype=jnp.float64)
    trace = decoder(TOKENS, keep="attention")[1]
    index = jnp.asarray([6, 0, 3], jnp.int32)
    for number in range(CONFIG.num_layers):
        block = jax.tree.map(lambda weight, number=number: weight[number], decoder.blocks)
        heads = layer_heads(block, trace.resid[number], PLAN)
        logits, weights = attention_rows(heads, index)
        # Products over head_dim, the scale before or after; a logit's error is one of a weight.
        finite = jnp.where(jnp.isfinite(logits), logits, 0)
        allowed = 64 * U * max(1.0, float(jnp.max(jnp.abs(finite))))
        np.testing.assert_allclose(logits, trace.attn_logits[number][:, index], atol=allowed)
        np.testing.assert_allclose(weights, trace.attn_weights[number][:, index], atol=allowed)


def test_slopes_of_the_soft_cap_are_its_derivative(key):
    capped = dataclasses.replace(CONFIG, attn_softcap=0.5)
    for config in (CONFIG, capped):
        decoder = Decoder(config, key=key, dtype=jnp.float64)
        block = jax.tree.map(lambda weight: weight[0], decoder.blocks)
        heads = layer_heads(block, decoder.enter(TOKENS), PLAN)
        row = jnp.asarray([6], jnp.int32)
        scaled = lambda size, heads=heads, row=row: attention_rows(
            heads._replace(queries=size * heads.queries), row
        )[0]
        slope = jax.jvp(scaled, (jnp.ones(()),), (jnp.ones(()),))[1]
        plain = jnp.einsum("hd,hsd->hs", heads.queries[:, 6], heads.keys)
        found = logit_slopes(heads, row)[:, 0]
        np.testing.assert_allclose(found * plain, slope[:, 0], rtol=1e-10)  # tanh^2 near one
        assert bool(jnp.all((found > 0) & (found <= 1)))


def test_turns_are_the_rotations_transposed(key):
    config = dataclasses.replace(CONFIG, positions=Rotary(base=10.0))
    matrices = turns(config, 5, jnp.dtype(jnp.float64))
    product = jnp.einsum("pab,pcb->pac", matrices, matrices)
    np.testing.assert_allclose(product, jnp.tile(jnp.eye(4), (5, 1, 1)), atol=8 * U)
    np.testing.assert_array_equal(matrices[0], jnp.eye(4))
    # Pairs (0, 2) and (1, 3); the first turns by the position, e_0 towards e_2.
    np.testing.assert_allclose(matrices[1, 0], [np.cos(1), 0, np.sin(1), 0], atol=2 * U)
    np.testing.assert_array_equal(turns(CONFIG, 5, jnp.dtype(jnp.float64)), jnp.eye(4)[None])


@pytest.mark.parametrize("rows", [1, 3, 7, 256])
def test_blocks_of_rows_give_the_product(key, rows):
    row_key, matrix_key = jax.random.split(key)
    row = jax.random.uniform(row_key, (7,), jnp.float64)
    matrix = jax.random.uniform(matrix_key, (7, 7), jnp.float64)
    found = times_rows(row, lambda index: matrix[index], rows)
    np.testing.assert_allclose(found, row @ matrix, rtol=14 * U)
    np.testing.assert_array_equal(by_rows(lambda index: matrix[index].T, 7, rows), matrix.T)
