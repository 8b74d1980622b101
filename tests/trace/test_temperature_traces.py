"""Rows, derivatives and bounds of decoders whose temperature is not constant."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made
from model.test_against_reference import configured, drawn

from glassesjax.errors import BadInput
from glassesjax.model import (
    AdaptiveTemperature,
    Alibi,
    ConstantTemperature,
    DecoderConfig,
    NoNorm,
    ScalableSoftmax,
    Window,
    ZeroMlp,
    build_decoder,
    flat_parameters,
)
from glassesjax.model.tiling import Tiling
from glassesjax.theory.blocks import repaired_block_bound, repaired_bound, repaired_rollout
from glassesjax.theory.collapse import collapse_certificate
from glassesjax.trace import block_stack, certificate_rows, exact_influence, printed_bound
from glassesjax.trace import pullback as PULLBACK
from glassesjax.trace.heads import attention_rows, layer_heads, logit_slopes

U = 2.0**-53
TOKENS = jnp.asarray([3, 10, 3, 0, 7, 7, 7], jnp.int32)
SWITCHES = {"positions": Alibi(), "attn_softcap": 2.0, "mask": Window(width=4), "embed_scale": 3.0}
OTHERS = [ScalableSoftmax(), AdaptiveTemperature()]
rows_of = jax.jit(certificate_rows, static_argnames="norm")
certificate_of = jax.jit(collapse_certificate, static_argnames="norm")


def decoder_of(temperature, **switches):
    return drawn(configured(**(SWITCHES | switches), temperature=temperature), seed=7)


stack_of = jax.jit(block_stack)


@functools.cache
def first_bound(factor):
    """Of the first layer; compiled once with the factor, and once with what stands for it."""
    del factor
    first = lambda x: x[0]
    return jax.jit(lambda s: repaired_block_bound(*jax.tree.map(first, s[:2]), s.turns[0]))


@jax.jit
def slopes_of(decoder, table):
    return jax.jacrev(lambda resid: decoder.represent(resid)[0][-1])(table)[0, :, 0]


@pytest.fixture(scope="module", params=OTHERS, ids=str)
def decoder(request):
    return decoder_of(request.param)


def negative(decoder):
    """The same with an s below zero in some heads, as training may leave it."""
    return np.asarray(decoder.blocks.attention.sharpness[...]).min() < 0


# Bounds hold for scalable softmax, and the entropy has a derivative only in the other. A bounded
# state of both has its derivatives, and of the first its bound, in test_temperature_cache.
only = lambda wanted: [
    pytest.param(other, id=str(other), marks=[pytest.mark.slow] * (type(other) is not wanted))
    for other in OTHERS
]


def jacobian_of(decoder, freeze=False):
    """Of the last representation in what enters the first layer, by JAX's own transform."""
    last = lambda resid: decoder.represent(resid, freeze_attention=freeze)[0][-1]
    jacobian = jax.jit(lambda decoder: jax.jacrev(last)(decoder.enter(TOKENS)))(decoder)
    return np.asarray(jacobian).transpose(1, 0, 2)


@pytest.fixture(scope="module")
def frozen(decoder):
    return jacobian_of(decoder, freeze=True)


def test_rows_are_those_that_the_pass_keeps(decoder):
    index = jnp.asarray([6, 0, 3], jnp.int32)

    def first(decoder):
        trace = decoder(TOKENS, keep="attention")[1]
        block = jax.tree.map(lambda weight: weight[0], decoder.blocks)
        rows = attention_rows(layer_heads(block, trace.resid[0]), index)
        return rows, (trace.attn_logits[0][:, index], trace.attn_weights[0][:, index])

    found, wanted = jax.jit(first)(decoder)
    for ours, kept in zip(found, wanted, strict=True):
        finite = lambda x: np.where(np.isfinite(x), x, 0)
        np.testing.assert_allclose(finite(ours), finite(kept), rtol=0, atol=1e4 * U)
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(kept))


@pytest.mark.parametrize("decoder", only(AdaptiveTemperature), indirect=True)
def test_influence_is_that_of_the_whole_jacobian(decoder, frozen, monkeypatch):
    monkeypatch.setattr(PULLBACK, "TILING", Tiling(pullback_rows=3))  # several blocks of rows
    found = exact_influence(decoder, TOKENS, layers=(0,), batch=3)
    wanted = np.linalg.norm(jacobian_of(decoder), axis=(1, 2))
    # Some thousand roundings on the way through two layers, and logits of a few units.
    np.testing.assert_allclose(found.frobenius[0], wanted, rtol=1e5 * U)
    assert not np.allclose(np.linalg.norm(frozen, axis=(1, 2)), wanted, rtol=0.1)


@pytest.mark.parametrize("decoder", only(ScalableSoftmax), indirect=True)
def test_the_printed_bound_holds_for_frozen_attention(decoder, frozen):
    bound = jax.jit(lambda d: printed_bound(d, TOKENS))(decoder)
    norms = np.linalg.norm(frozen, 2, axis=(1, 2))
    assert np.all(norms <= np.exp(bound.log_gain) * bound.profile[0] * (1 + 1e-9))


@pytest.mark.slow  # by hand below, and of a bounded state
def test_the_repaired_bound_knows_scalable_softmax():
    decoder = decoder_of(ScalableSoftmax(), num_layers=1)
    assert negative(decoder)
    pair = jax.jit(lambda d: (repaired_bound(s := block_stack(d, TOKENS)), repaired_rollout(s)))
    bound, rolled = jax.device_get(pair(decoder))
    norms = np.linalg.norm(jacobian_of(decoder), 2, axis=(1, 2))
    assert np.all(norms <= np.asarray(bound) * (1 + 1e-9))
    np.testing.assert_allclose(np.exp(rolled.log_gain) * rolled.profile[0], bound, rtol=1e-9)


@pytest.mark.parametrize("sharpness", [3.0, -3.0])
def test_two_tokens_of_width_one_by_hand(sharpness, monkeypatch):
    """As of constant temperature (``tests/theory/test_blocks.py``), the logits times s log 2.

    W = 1, no norm, no MLP: z_2 = v_2 + a v_1 + (1 - a) v_2, where a is a sigmoid.
    """
    first, second = 2.0, 0.5
    config = DecoderConfig(
        vocab_size=2,
        num_layers=1,
        model_dim=1,
        norm=NoNorm(),
        mlp=ZeroMlp(),
        temperature=ScalableSoftmax(),
    )
    names = ("query", "key", "value", "output")
    arrays = {f"blocks.attention.{name}": jnp.ones((1, 1, 1)) for name in names}
    arrays["blocks.attention.sharpness"] = jnp.full((1, 1), sharpness)
    table = jnp.asarray([[first], [second]])
    decoder = build_decoder(config, arrays | {"embed.table": table})
    tokens, factor = jnp.asarray([0, 1], jnp.int32), sharpness * np.log(2)
    stack = stack_of(decoder, tokens)
    a = 1 / (1 + np.exp(factor * (second * second - first * second)))
    mean = a * first + (1 - a) * second
    steep = a * (first - mean) * second * factor
    covariance = (a * (first - mean) * first + (1 - a) * (second - mean) * second) * factor
    own = 1 + (1 - a) * (1 + abs((second - mean) * second * factor)) + abs(covariance)
    close = {"rtol": 256 * U}
    np.testing.assert_allclose(
        first_bound(True)(stack), [[2.0, 0.0], [a + abs(steep), own]], **close
    )
    truth = slopes_of(decoder, table)
    np.testing.assert_allclose(truth[0], a + steep, **close)
    # Without the factor the bound would be another one, and for s = 3 one that fails.
    plain = logit_slopes
    monkeypatch.setattr(
        "glassesjax.theory.blocks.logit_slopes", lambda h, i: plain(h._replace(sharpness=None), i)
    )
    assert (abs(float(truth[0])) > first_bound(False)(stack)[1, 0]) == (sharpness > 0)


def test_adaptive_temperature_has_no_bound_and_says_so():
    decoder = decoder_of(AdaptiveTemperature(), num_layers=1)
    with pytest.raises(BadInput, match="got AdaptiveTemperature: no bound is known"):
        block_stack(decoder, TOKENS)
    block = jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight)[0]), decoder.blocks)
    heads = jax.jit(lambda: layer_heads(block, decoder.enter(TOKENS)))()
    with pytest.raises(BadInput, match="no bound is known"):
        logit_slopes(heads, jnp.asarray([6], jnp.int32))


CERTIFIED = jnp.asarray([0, 3, 1, 5, 2, 4, 4], jnp.int32)


def certified_decoder(key, temperature):
    config = DecoderConfig(
        vocab_size=6, num_heads=2, model_dim=8, embed_scale=3.0, temperature=temperature
    )
    return made(config, key)


@pytest.mark.parametrize("temperature", only(ScalableSoftmax))
def test_what_a_certificate_knows_holds_and_the_rest_does_not_apply(key, temperature):
    decoder = certified_decoder(key, temperature)
    # The certificate by itself: rows have one shape, whatever the temperature.
    found = certificate_of(rows_of(decoder, CERTIFIED, norm=2), norm=2)
    assert bool(found.equal_tokens)
    for name in ("mid", "out", "row_change", "self_weight"):
        assert np.all(getattr(found.layers, name).holds(1e-9)), name
    assert not np.any(found.layers.by_increments.applies)


@pytest.mark.slow  # that it applies at constant temperature is quick in test_certificate_rows
def test_only_the_temperature_keeps_a_certificate_from_applying(key):
    decoder = certified_decoder(key, ScalableSoftmax())
    for model, applies in ((decoder, False), (build_plain(decoder), True)):
        found = certificate_of(rows_of(model, CERTIFIED, norm=2), norm=2)
        assert np.all(np.asarray(found.layers.by_increments.applies) == applies)


def build_plain(decoder):
    """The same weights at constant temperature."""
    config = dataclasses.replace(decoder.config, temperature=ConstantTemperature())
    arrays = flat_parameters(decoder)
    return build_decoder(config, {n: a for n, a in arrays.items() if "sharpness" not in n})
