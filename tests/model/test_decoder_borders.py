"""Inputs outside what a decoder is defined for, and the number of coordinates that rotate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.model import DecoderConfig, Layout, Learned, Rotary
from glassesjax.model.positions import rotate
from glassesjax.precision import RoundingPlan

PLAIN = DecoderConfig(vocab_size=5, model_dim=8, num_layers=1)
entered = jax.jit(lambda decoder, tokens, layout=None: decoder.enter(tokens, layout))
LEARNED = DecoderConfig(vocab_size=5, model_dim=8, num_layers=1, positions=Learned(max_length=3))


def test_more_tokens_than_learned_positions_are_refused(key):
    decoder = made(LEARNED, key, jnp.float32)
    assert np.all(np.isfinite(entered(decoder, np.zeros(3, np.int32))))
    with pytest.raises(ValueError, match=r"at most 3 tokens, .*, got 4: shorten"):
        jax.jit(lambda tokens: decoder(tokens))(jnp.zeros(4, jnp.int32))


@pytest.mark.parametrize("wrong", [3, 1000, -1, -3])
def test_a_position_without_a_row_is_nan_and_no_neighbor(key, wrong):
    decoder = made(LEARNED, key, jnp.float32)
    layout = Layout.line(3)._replace(position=jnp.array([0, wrong, 2], jnp.int32))
    resid = entered(decoder, np.zeros(3, np.int32), layout)
    assert np.isnan(resid).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("wrong", [5, 2**31 - 1, -1, -5, -(2**31)])
def test_a_token_outside_the_vocabulary_is_nan_and_no_neighbor(key, wrong, dtype):
    decoder = made(PLAIN, key, dtype)
    resid = entered(decoder, np.array([4, wrong, 0], np.int32))
    assert resid.dtype == dtype
    assert jnp.isnan(resid).all(axis=1).tolist() == [False, True, False]
    table = np.asarray(decoder.embed.table[...])
    np.testing.assert_array_equal(np.asarray(resid)[[0, 2]], table[[4, 0]])


def test_a_residual_of_another_dtype_is_refused(key):
    decoder = made(LEARNED, key, jnp.float32)
    resid = jnp.zeros((3, 8), jnp.float64)
    with pytest.raises(ValueError, match=r"stream of float32, got float64: use resid\.astype"):
        decoder.represent(resid)
    plan = RoundingPlan.of_dtype("bfloat16")
    with pytest.raises(ValueError, match=r"stream of bfloat16, got float64"):
        decoder.at(plan).represent(resid, start=1)


@pytest.mark.parametrize(("rotated", "head_dim"), [(30, 44), (62, 78), (60, 88), (32, 64), (4, 4)])
@pytest.mark.parametrize("style", ["half", "interleaved"])
def test_no_rotated_coordinate_is_lost(key, rotated, head_dim, style):
    rotary = Rotary(fraction=rotated / head_dim, base=2.0, style=style)
    config = DecoderConfig(vocab_size=5, model_dim=8, head_dim=head_dim, positions=rotary)
    assert config.rotated_dim == rotated
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    x = rng.normal(size=(1, 1, head_dim))
    turned = jax.jit(lambda x: rotate(x, jnp.ones(1, jnp.int32), rotary))(x)
    turned = np.asarray(turned)[0, 0] != x[0, 0]
    assert turned.tolist() == [True] * rotated + [False] * (head_dim - rotated)


def test_every_share_of_a_head_is_read_back():
    shares = [(part, dim) for dim in range(1, 129) for part in range(dim + 1)]
    found = [Rotary(fraction=part / dim).rotated_dim(dim) for part, dim in shares]
    assert found == [part for part, _ in shares]


@pytest.mark.parametrize("name", ["num_kv_heads", "head_dim"])
def test_sizes_of_zero_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} at least 1, got 0"):
        DecoderConfig(vocab_size=5, **{name: 0})
