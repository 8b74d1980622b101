"""Influence of rounded passes against ``jax.jacrev`` of the decoder under the same plan."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.model import DecoderConfig, GatedMlp, Layout, RMSNorm, Rotary
from glassesjax.model.layer_scan import scan_layers
from glassesjax.precision import F64, Site, named_plan
from glassesjax.precision.arithmetic import model_plan
from glassesjax.trace.influence import exact_influence
from glassesjax.trace.rollout import rollout

LAYERS, DIM = 2, 8
TOKENS = jnp.array([3, 1, 4, 1, 5, 2, 0], jnp.int32)
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    model_dim=DIM,
    num_heads=4,
    num_kv_heads=2,
    norm=RMSNorm(),
    positions=Rotary(),
    mlp=GatedMlp(dim=12),
    embed_scale=3.0,
)
# Sums in float64, where two orders all but never round to two numbers of a narrow format; then some
# thousand roundings through two layers.
RTOL = 1e5 * 2.0**-53
PLANS = (
    "bf16-flash",
    "w4a16",
    "e4m3fn@all",
    "e4m3fn@residual",  # attention by its own rule, as without rounding
    "bf16-flash,e5m10@product_sum:chunked4,e5m10@softmax_sum,e4m3fn*256@attn_exp:4",
    "w8a8",
    "nvfp4",
    "bf16@attn_weights,f16@product_sum:pairwise,f16@softmax_sum:split2",
    "tf32-products",
)
QUICK = PLANS[:5]
both = pytest.mark.parametrize("freeze", [False, True])
plans = pytest.mark.parametrize(
    "name", [pytest.param(p, marks=[pytest.mark.slow] * (p not in QUICK)) for p in PLANS]
)


def under(decoder, name):
    """The plan in float64 arithmetic."""
    return decoder.at(dataclasses.replace(named_plan(name), carrier=F64))


@functools.partial(jax.jit, static_argnames="freeze")
def jacobians(decoder, tokens, freeze=False):
    """Of the last representation in what is added to each layer's input, straight through."""
    line = Layout.line(len(tokens))

    def through(resid, layer):
        block, added = layer
        return block(resid + added, line, freeze_attention=freeze)[0], None

    def last(added):
        resid, _ = scan_layers(through, decoder.enter(tokens), (decoder.layers, added))
        return decoder.plan.store(Site.OUTPUT, decoder.final_norm(resid))[-1]

    nothing = jnp.zeros((LAYERS, len(tokens), DIM), decoder.plan.dtype)
    return jax.jacrev(last)(nothing).transpose(1, 0, 2, 3)  # layers out seq model_dim


def norms_of(jacobian):
    """Frobenius norms of each layer and token: layers out seq model_dim -> layers seq."""
    return np.sqrt(np.sum(np.square(np.asarray(jacobian, np.float64)), axis=(1, 3)))


@both
@plans
def test_derivatives_are_those_of_the_rounded_pass_straight_through(key, name, freeze):
    decoder = under(made(CONFIG, key), name)
    found = exact_influence(decoder, TOKENS, freeze_attention=freeze, spectral=(0,))
    jacobian = np.asarray(jacobians(decoder, TOKENS, freeze=freeze))
    wanted = norms_of(jacobian)
    atol = RTOL * np.max(wanted)
    np.testing.assert_allclose(found.frobenius[:-1], wanted, rtol=RTOL, atol=atol)
    largest = np.linalg.norm(jacobian[0].transpose(1, 0, 2), ord=2, axis=(1, 2))
    np.testing.assert_allclose(found.spectral[0], largest, rtol=RTOL, atol=atol)


def test_derivatives_of_the_exact_pass_are_others(key):
    """The counter-case: what is rounded has a part in every derivative."""
    decoder = made(CONFIG, key)
    exact = norms_of(jacobians(decoder.at(named_plan("f32")), TOKENS))
    for name in QUICK:
        rounded = norms_of(jacobians(under(decoder, name), TOKENS))
        assert np.max(np.abs(rounded / exact - 1)) > 2.0**-9


@pytest.mark.parametrize("freeze", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_native_bfloat16_rounds_the_derivatives_too(key, freeze):
    decoder = made(CONFIG, key, jnp.float32)
    native, simulated = (
        exact_influence(decoder.at(model_plan(name)), TOKENS, freeze_attention=freeze, spectral=())
        for name in ("bf16", "bf16@all")
    )
    # A derivative is stored some 20 times in a layer, and so is what it is taken at; the errors of
    # one norm's many entries are of either sign.
    rtol = 20 * LAYERS * 2.0**-8
    size = np.max(simulated.frobenius)
    assert native.frobenius.dtype == jnp.float32
    np.testing.assert_allclose(
        native.frobenius, simulated.frobenius, rtol=rtol, atol=rtol * size * 2.0**-4
    )
    assert np.max(np.abs(native.frobenius[0] / simulated.frobenius[0] - 1)) > 2.0**-16


represent = jax.jit(
    lambda decoder, until: decoder.represent(decoder.enter(TOKENS), until=until, keep="attention")[
        1
    ]
)


@pytest.mark.parametrize("evicts", [False, True])
@plans
def test_the_rollout_is_of_the_weights_that_the_pass_stores(key, name, evicts):
    decoder, until = under(made(CONFIG, key), name), None
    if evicts:  # the first group of heads keeps the last four tokens, the second the last two
        seen = jnp.arange(len(TOKENS), dtype=jnp.int32)[:, None] + jnp.array([[3, 1]], jnp.int32)
        until = jnp.stack([seen] * LAYERS)
    found = jax.jit(rollout, static_argnames="rows")(decoder, TOKENS, rows=3, until=until)
    weights = np.asarray(represent(decoder, until).attn_weights).mean(axis=1)
    assert bool(weights[0, -1, 0]) != evicts
    row, shares = np.eye(len(TOKENS))[-1], np.asarray(found.shares)
    for layer in reversed(range(LAYERS)):
        row = row @ ((1 - shares[layer]) * np.eye(len(row)) + shares[layer] * weights[layer])
        np.testing.assert_allclose(found.profile[layer], row / row.sum(), rtol=RTOL)
        np.testing.assert_allclose(np.exp(found.log_gains[layer]), row.sum(), rtol=RTOL)
