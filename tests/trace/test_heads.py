"""Attention rows made on demand are those that the pass keeps; products by blocks are products."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax.errors import BadInput
from glassesjax.model import (
    Alibi,
    Bidirectional,
    DecoderConfig,
    Prefix,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.precision import BF16, F64, STORED, RoundingPlan, Site
from glassesjax.trace.certificate import certificate_rows
from glassesjax.trace.heads import (
    attention_rows,
    by_rows,
    layer_heads,
    logit_slopes,
    times_rows,
    turns,
)
from glassesjax.trace.rollout import block_stack, printed_bound

U = 2.0**-53
TOKENS = jnp.asarray((0, 3, 1, 5, 2, 2, 4), jnp.int32)
CONFIG = DecoderConfig(vocab_size=6, num_layers=2, num_heads=2, model_dim=8, embed_scale=3.0)
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


def block_of(decoder, number):
    return jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight)[number]), decoder.blocks)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_rows_are_those_that_the_pass_keeps(key, switches):
    decoder = made(dataclasses.replace(CONFIG, **switches), key)
    trace = jax.device_get(passed(decoder, TOKENS)[1])
    index = jnp.asarray([6, 0, 3], jnp.int32)
    rows = jax.jit(lambda block, resid: attention_rows(layer_heads(block, resid), index))
    for number in range(CONFIG.num_layers):
        block = block_of(decoder, number)
        logits, weights = map(np.asarray, rows(block, trace.resid[number]))
        # Products over head_dim, the scale before or after; a logit's error is one of a weight.
        finite = np.where(np.isfinite(logits), logits, 0)
        allowed = 64 * U * max(1.0, float(np.max(np.abs(finite))))
        np.testing.assert_allclose(logits, trace.attn_logits[number][:, index], atol=allowed)
        np.testing.assert_allclose(weights, trace.attn_weights[number][:, index], atol=allowed)


def test_slopes_of_the_soft_cap_are_its_derivative(key):
    # Logits of a few caps: where tanh is one to all digits, its derivative by JAX is rounding.
    plain = dataclasses.replace(CONFIG, attn_scale=0.2)
    for config in (plain, dataclasses.replace(plain, attn_softcap=0.5)):
        decoder = made(config, key)
        row = jnp.asarray([6], jnp.int32)

        @jax.jit
        def slopes(decoder, row=row):
            """By the size of the queries; their heads; and what the trace says."""
            block = jax.tree.map(lambda weight: weight[0], decoder.blocks)
            heads = layer_heads(block, decoder.enter(TOKENS))
            scaled = lambda size: attention_rows(heads._replace(queries=size * heads.queries), row)[
                0
            ]
            one = jnp.ones(())
            slope = jax.jvp(scaled, (one,), (one,))[1]
            flat = logit_slopes(heads._replace(queries=1e8 * heads.queries), row)
            return slope, heads.queries[:, 6], heads.keys, logit_slopes(heads, row), flat

        slope, query, keys, found, flat = map(np.asarray, slopes(decoder))
        product, found = np.einsum("hd,hsd->hs", query, keys), found[:, 0]
        np.testing.assert_allclose(found * product, slope[:, 0], rtol=1e-10)  # tanh^2 near one
        assert np.all((found > 0) & (found <= 1))
        # Logits of millions are in the flat part of the cap; without a cap there is none.
        np.testing.assert_array_equal(flat, float(config.attn_softcap is None))


def test_turns_are_the_rotations_transposed(key):
    decoder = made(dataclasses.replace(CONFIG, positions=Rotary(base=10.0)), key, jnp.float64)
    [matrices] = np.asarray(jax.jit(turns, static_argnums=(1, 2))(decoder, 5, jnp.dtype("float64")))
    product = np.einsum("pab,pcb->pac", matrices, matrices)
    np.testing.assert_allclose(product, np.tile(np.eye(4), (5, 1, 1)), atol=8 * U)
    np.testing.assert_array_equal(matrices[0], np.eye(4))
    # Pairs (0, 2) and (1, 3); the first turns by the position, e_0 towards e_2.
    np.testing.assert_allclose(matrices[1, 0], [np.cos(1), 0, np.sin(1), 0], atol=2 * U)
    plain = turns(made(CONFIG, key, jnp.float64), 5, jnp.dtype("float64"))
    np.testing.assert_array_equal(plain, np.eye(4)[None, None])


@pytest.mark.parametrize("rows", [1, 3, 7, 256])
def test_blocks_of_rows_give_the_product(key, rows):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    row, matrix = rng.uniform(size=7), rng.uniform(size=(7, 7))

    @jax.jit
    def both(row, matrix):
        product = times_rows(row, lambda index: matrix[index], rows)
        return product, by_rows(lambda index: matrix[index].T, 7, rows)

    product, turned = both(row, matrix)
    np.testing.assert_allclose(product, row @ matrix, rtol=14 * U)
    np.testing.assert_array_equal(turned, matrix.T)


@pytest.mark.parametrize(
    "run",
    [
        lambda decoder: block_stack(decoder, TOKENS),
        lambda decoder: printed_bound(decoder, TOKENS),
        lambda decoder: certificate_rows(decoder, TOKENS, 2),
    ],
    ids=["stack", "printed", "certificate"],
)
def test_a_pass_that_rounds_is_refused_and_rounded_weights_are_not(run):
    decoder = made(CONFIG, jax.random.key(0))
    weights = RoundingPlan(weights=BF16, mode="simulated", carrier=F64)
    narrow = RoundingPlan(weights=BF16, mode="native", carrier=F64)
    for plan in (None, weights, narrow):
        jax.eval_shape(run, decoder.at(plan))
    for site in set(STORED) - {Site.WEIGHTS}:
        plan = RoundingPlan(**{site.value: BF16}, mode="simulated", carrier=F64)
        with pytest.raises(BadInput, match=rf"rounds its weights alone.*got plan {plan.name}"):
            jax.eval_shape(run, decoder.at(plan))
