"""Statistics by blocks of rows against all attention at once, and by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax import trace as TRACE
from glassesjax.model import (
    Alibi,
    DecoderConfig,
    Prefix,
    Window,
    build_decoder,
    flat_parameters,
)
from glassesjax.theory.sinks import sink_rate

U = 2.0**-53
LENGTH = 7
TOKENS = jnp.asarray((0, 3, 1, 5, 2, 2, 4), jnp.int32)
# One program, in place of one an operation.
attention_statistics = jax.jit(TRACE.attention_statistics, static_argnames="rows")
CONFIG = DecoderConfig(vocab_size=6, num_layers=2, num_heads=2, model_dim=8, embed_scale=3.0)


def with_weights(decoder, **sizes):
    arrays = flat_parameters(decoder)
    for name, size in sizes.items():
        full = f"blocks.attention.{name}"
        arrays[full] = jnp.asarray(np.full(arrays[full].shape, size))
    return build_decoder(decoder.config, arrays)


@pytest.mark.parametrize("mask", [Window(width=3), Prefix(length=3)], ids=["window", "prefix"])
def test_blocks_agree_with_all_attention_at_once(key, mask):
    config = dataclasses.replace(CONFIG, mask=mask, positions=Alibi())
    decoder = made(config, key)
    found = attention_statistics(decoder, TOKENS, rows=3)
    trace = passed(decoder, TOKENS)[1]
    logits, weights = np.asarray(trace.attn_logits), np.asarray(trace.attn_weights)
    lowest = np.where(np.isinf(logits), np.inf, logits).min(-1)
    dense = {
        "entropy": -np.sum(weights * np.log(np.where(weights > 0, weights, 1)), axis=-1),
        "logit_range": logits.max(-1) - lowest,
        "largest_weight": weights.max(-1),
        "first_weight": weights[..., 0],
    }
    allowed = 128 * LENGTH * U * max(1.0, dense["logit_range"].max())
    for name, values in dense.items():
        whole = values.max(-1) if name == "logit_range" else values.mean(-1)
        np.testing.assert_allclose(getattr(found, name), whole, atol=allowed, err_msg=name)
        if name != "first_weight":
            np.testing.assert_allclose(
                getattr(found, f"last_{name}"), values[..., -1], atol=allowed
            )


@pytest.mark.parametrize("level", [0.0, 700.0])
def test_equal_logits_by_hand(key, level):
    decoder = made(CONFIG, key)
    arrays = flat_parameters(decoder) | {"embed.table": jnp.ones((6, 8))}
    # Norm one: queries and keys are 8 size in each of 4 coordinates; the scale is 1 / 2.
    size = (level / 128) ** 0.5
    decoder = build_decoder(CONFIG, arrays)
    found = attention_statistics(with_weights(decoder, query=size, key=size, output=0.0), TOKENS)
    lengths = np.arange(1.0, LENGTH + 1)
    close = {"rtol": 1e4 * U, "atol": 700 * 8 * U}  # rows of the same numbers, to rounding
    np.testing.assert_allclose(found.entropy, np.mean(np.log(lengths)), **close)
    np.testing.assert_allclose(found.last_entropy, np.log(LENGTH), **close)
    np.testing.assert_allclose(found.logit_range, 0, **close)
    np.testing.assert_allclose(found.largest_weight, np.mean(1 / lengths), **close)
    np.testing.assert_allclose(found.first_weight, np.mean(1 / lengths), **close)


def test_sink_rate_by_hand():
    weights = jnp.asarray([[0.9, 0.8], [0.81, 0.1]])
    assert float(sink_rate(weights)) == 0.5  # 0.8 does not exceed 0.8
    assert float(sink_rate(weights, 0.05)) == 1
    assert bool(jnp.isnan(sink_rate(jnp.asarray([[jnp.nan, 1.0]]))))


def test_one_token_one_layer_and_no_number(key):
    decoder = made(dataclasses.replace(CONFIG, num_layers=1), key)
    found = attention_statistics(decoder, TOKENS[:1])
    for name in ("entropy", "last_entropy", "logit_range", "last_logit_range"):
        np.testing.assert_array_equal(getattr(found, name), 0)
    assert float(sink_rate(found.first_weight)) == 1
    broken = attention_statistics(with_weights(decoder, query=jnp.nan), TOKENS)
    assert all(np.all(np.isnan(field)) for field in broken)
    with pytest.raises(ValueError, match="one token or more"):
        attention_statistics(decoder, TOKENS[:0])


def test_memory_is_linear_in_the_length(key):
    decoder = made(CONFIG, key)
    sizes = []
    for length in (4096, 8192):
        tokens = jax.ShapeDtypeStruct((length,), jnp.int32)
        memory = attention_statistics.lower(decoder, tokens, rows=16).compile().memory_analysis()
        sizes.append(memory.temp_size_in_bytes)
    assert sizes[1] < 2.5 * sizes[0]  # four times, were any array quadratic
