"""Rollout and the printed bound by blocks of rows, against dense products of the same matrices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, mlp_of, passed

from glassesjax import trace as TRACE
from glassesjax.model import (
    Bidirectional,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    Layout,
    Prefix,
    RMSNorm,
    Rotary,
    Window,
    ZeroMlp,
    build_decoder,
    flat_parameters,
)
from glassesjax.trace import block_stack, printed_rollout
from glassesjax.trace.constants import mlp_slopes, operator_norm
from glassesjax.trace.norms import norm_slopes

U = 2.0**-53
LAYERS, LENGTH, DIM = 2, 7, 8
TOKENS = jnp.asarray((0, 3, 1, 5, 2, 2, 4), jnp.int32)
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    num_heads=2,
    model_dim=DIM,
    embed_scale=3.0,
    mlp=DenseMlp(dim=DIM),
)
# One program each, in place of one an operation.
rollout = jax.jit(TRACE.rollout, static_argnames="rows")
printed_bound = jax.jit(TRACE.printed_bound, static_argnames="rows")
CLOSE = {"rtol": 1024 * LENGTH * LAYERS * U}  # sums over tokens and width, compiled otherwise


def made_of(key, **switches):
    return made(dataclasses.replace(CONFIG, **switches), key)


def vectors(key):
    return np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=(5, DIM))


GROUPED = {"positions": Rotary(base=10.0), "num_kv_heads": 1}
WINDOW = GROUPED | {"mask": Window(width=4)}


@pytest.mark.parametrize("weight", [None, 0.3])
def test_rollout_is_the_dense_product(key, weight):
    decoder = made_of(key, residual_weight=weight, **WINDOW)
    found = rollout(decoder, TOKENS, rows=3)
    trace = jax.device_get(passed(decoder, TOKENS)[1])
    kept = trace.resid if weight is None else (1 - weight) * trace.resid
    update = np.linalg.norm(trace.resid_mid - kept, axis=-1)
    shares = np.mean(update / (update + np.linalg.norm(kept, axis=-1)), axis=-1)
    np.testing.assert_allclose(found.shares, shares, **CLOSE)
    row = np.eye(LENGTH)[-1]
    np.testing.assert_array_equal(found.profile[-1], row)
    for layer in reversed(range(LAYERS)):
        mean = np.mean(trace.attn_weights[layer], axis=0)
        row = row @ ((1 - shares[layer]) * np.eye(LENGTH) + shares[layer] * mean)
        np.testing.assert_allclose(found.profile[layer], row, **CLOSE)
    np.testing.assert_allclose(found.log_gains, 0, atol=8 * LENGTH * LAYERS * U)


def test_given_shares_of_zero_and_one(key):
    decoder = made_of(key)
    nothing = rollout(decoder, TOKENS, shares=jnp.zeros(LAYERS))
    np.testing.assert_array_equal(nothing.profile, np.tile(np.eye(LENGTH)[-1], (LAYERS + 1, 1)))
    weights = np.asarray(passed(decoder, TOKENS)[1].attn_weights).mean(axis=1)
    alone = rollout(decoder, TOKENS, shares=jnp.ones(LAYERS))
    np.testing.assert_allclose(alone.profile[0], (weights[1] @ weights[0])[-1], **CLOSE)
    plain = TRACE.rollout(decoder, TOKENS, shares=jnp.ones(LAYERS))  # as a user may call it
    np.testing.assert_allclose(plain.profile, alone.profile, **CLOSE)
    with pytest.raises(ValueError, match="Expected 2 shares, got 3"):
        rollout(decoder, TOKENS, shares=jnp.ones(3))


def dense_printed(decoder, sigma):
    """The printed matrices one by one, with NumPy's norms."""
    config = decoder.config
    resid, layout, arrays = decoder.enter(TOKENS), Layout.line(LENGTH), flat_parameters(decoder)
    parallel, normed = config.block == "parallel", config.norm_place == "both"

    @jax.jit
    def one_layer(block, resid):
        after, trace = block(resid, layout, keep="attention")
        return after, trace, block.mlp(block.norm2(resid if parallel else trace.resid_mid))

    resid = np.asarray(resid)
    rms = lambda x: np.sqrt(np.mean(np.square(x), axis=-1) + config.norm.eps)
    share = config.residual_weight
    skip, moved = (1.0, 1.0) if share is None else (1 - share, share)
    product = np.eye(LENGTH)
    for layer in range(LAYERS):
        block = jax.tree.map(
            lambda weight, layer=layer: jnp.asarray(np.asarray(weight)[layer]), decoder.blocks
        )
        after, trace, update = jax.device_get(one_layer(block, resid))
        value, output = (
            np.asarray(arrays[f"blocks.attention.{n}"])[layer] for n in ("value", "output")
        )
        width = DIM // config.num_heads
        parts = [slice(h * width, (h + 1) * width) for h in range(config.num_heads)]
        norms = [np.linalg.norm(output[:, part] @ value[part], 2) for part in parts]
        attention = np.einsum("h,hts->ts", norms, trace.attn_weights) / rms(resid)
        slopes = sigma[layer] / rms(resid if parallel else trace.resid_mid)
        if normed:
            attention, slopes = attention / rms(trace.attn_out)[:, None], slopes / rms(update)
        mlp = np.diag(slopes)
        matrix = moved * attention + skip * np.eye(LENGTH)
        matrix = matrix + mlp if parallel else (np.eye(LENGTH) + mlp) @ matrix
        product, resid = matrix @ product, after
    return product[-1] / rms(resid[-1])


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"block": "parallel", "residual_weight": 0.3},
        {"norm_place": "both", "residual_weight": 0.3},
    ],
    ids=["sequential", "parallel_weighted", "norms_of_outputs_weighted"],
)
def test_the_printed_bound_is_the_dense_product(key, switches):
    decoder = made_of(key, **switches)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    sigma = rng.uniform(size=(LAYERS, LENGTH))
    found = printed_bound(decoder, TOKENS, sigma=sigma, rows=3)
    bound = np.exp(found.log_gain) * found.profile[0]
    np.testing.assert_allclose(bound, dense_printed(decoder, sigma), **CLOSE)
    np.testing.assert_allclose(np.sum(found.profile, axis=1), 1, rtol=LENGTH * U)
    with pytest.raises(ValueError, match="sigma of shape"):
        printed_bound(decoder, TOKENS, sigma=sigma[:1])


def test_the_stack_gives_the_printed_bound_of_several_prompts_at_once(key):
    decoder = made_of(key, **GROUPED)
    prompts = np.stack([TOKENS, np.asarray(TOKENS)[::-1]])

    @jax.jit
    def both(decoder, prompts):
        stacks = jax.vmap(block_stack, (None, 0))(decoder, prompts)
        return jax.lax.map(lambda stack: printed_rollout(stack, rows=3), stacks)

    found = jax.device_get(both(decoder, prompts))
    for prompt, *one in zip(prompts, found.profile, found.log_gains, strict=True):
        wanted = printed_bound(decoder, prompt)
        np.testing.assert_allclose(one[0], wanted.profile, **CLOSE)
        np.testing.assert_allclose(one[1], wanted.log_gains, **CLOSE)


def test_the_printed_bound_is_the_derivative_in_the_paper_s_equality_case(key):
    """One head, identity values, constant norms, psi a multiple, attention held fixed."""
    mlp, norm = IdentityMlp(sigma=0.5), ConstantNorm(beta=2.0)
    decoder = made_of(key, num_heads=1, values="identity", norm=norm, mlp=mlp)
    last = lambda v: decoder.represent(v, freeze_attention=True)[0][-1]
    jacobian = jax.jit(jax.jacrev(last))(decoder.enter(TOKENS))
    found = printed_bound(decoder, TOKENS)
    bound = np.exp(found.log_gain) * found.profile[0]
    by_identity = np.einsum("i,ab->aib", bound, np.eye(DIM))
    np.testing.assert_allclose(jacobian, by_identity, atol=256 * U * bound.max())


def test_the_printed_bound_with_norms_of_outputs_queries_and_keys_is_above_the_derivative(key):
    """With weights held fixed the norms of queries and keys have no part in it."""
    decoder = made_of(key, norm_place="after", qk_norm="whole", **GROUPED)
    last = lambda v: decoder.represent(v, freeze_attention=True)[0][-1]
    jacobian = np.asarray(jax.jit(jax.jacrev(last))(decoder.enter(TOKENS)))
    found = printed_bound(decoder, TOKENS)
    bound = np.exp(found.log_gain) * found.profile[0]
    norms = np.linalg.norm(jacobian.swapaxes(0, 1), 2, (-2, -1))
    assert np.all(norms <= bound * (1 + 1024 * LENGTH * LAYERS * U))


@pytest.mark.parametrize("kind", ["swiglu", "geglu", "gelu", "gelu_exact", "linear"])
def test_slopes_of_mlps_bound_their_derivative(key, kind):
    blocks = made_of(key, mlp=mlp_of(kind), bias=True).blocks
    mlp = jax.tree.map(lambda w: jnp.asarray(np.asarray(w)[0]), blocks.mlp)
    x = 3 * vectors(key)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda row: mlp(row[None])[0])))(x)
    truth = np.linalg.norm(jacobian, 2, (-2, -1))
    bound = np.asarray(jax.jit(lambda x: mlp_slopes(mlp, x))(x))
    assert np.all(truth <= bound * (1 + 256 * U))
    if kind == "linear":
        np.testing.assert_allclose(bound, truth, rtol=256 * U)


@pytest.mark.parametrize("norm", [RMSNorm(offset=1.0), LayerNorm()], ids=["rms", "layer"])
def test_slopes_of_norms_are_exact_with_equal_gains(key, norm):
    normalize, x = made_of(key, norm=norm).final_norm, vectors(key)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda row: normalize(row[None])[0])))(x)
    slopes = jax.jit(lambda x: norm_slopes(normalize, x, jnp.dtype(jnp.float64)))(x)
    np.testing.assert_allclose(np.linalg.norm(jacobian, 2, (-2, -1)), slopes, rtol=64 * U)


def test_operator_norms_by_hand():
    norm_of = jax.jit(operator_norm)
    assert float(norm_of(np.diag([3.0, -4.0]))) == pytest.approx(4, rel=8 * U, abs=0)
    assert float(norm_of(np.diag([3.0, -4.0]) @ np.eye(2, 8))) == pytest.approx(4, rel=8 * U, abs=0)
    assert float(norm_of(np.full((2, 8), 1e200))) == pytest.approx(4e200, rel=32 * U, abs=0)
    assert float(norm_of(np.zeros((2, 2)))) == 0
    assert np.isnan(norm_of(np.full((2, 2), np.nan)))


# Programs that the tests above have compiled.
@pytest.mark.parametrize(
    ("kind", "switches"),
    [(functools.partial(rollout, rows=3), WINDOW), (printed_bound, GROUPED)],
    ids=["rollout", "printed_bound"],
)
def test_strange_input(key, kind, switches):
    decoder = made_of(key, **switches)
    np.testing.assert_array_equal(kind(decoder, TOKENS[:1]).profile, 1)
    arrays = flat_parameters(decoder)
    query = "blocks.attention.query"
    times = lambda factor: {query: jnp.asarray(factor * np.asarray(arrays[query]))}
    sharp = build_decoder(decoder.config, arrays | times(700))
    assert np.all(np.isfinite(kind(sharp, TOKENS).profile))
    broken = build_decoder(decoder.config, arrays | times(np.nan))
    assert np.all(np.isnan(np.asarray(kind(broken, TOKENS).profile)[0]))
    with pytest.raises(ValueError, match="one token or more"):
        kind(decoder, TOKENS[:0])
    for mask in (Prefix(length=2), Bidirectional()):
        with pytest.raises(ValueError, match="Causal or Window"):
            kind(made_of(key, mask=mask), TOKENS)


# Both go through rows of attention in the same blocks; the bound has more beside them.
@pytest.fixture(
    params=[
        pytest.param((rollout, {"mlp": ZeroMlp(), "norm": ConstantNorm()}), marks=pytest.mark.slow),
        (printed_bound, GROUPED | {"num_heads": 4, "mlp": GatedMlp(dim=12)}),
    ],
    ids=["rollout", "printed_bound"],
    scope="module",
)
def sizes(request):
    """Bytes of a program for 4096 tokens, and of one for 8192."""
    run, switches = request.param
    decoder, sizes = made_of(jax.random.key(0), **switches), []
    for length in (4096, 8192):
        tokens = jax.ShapeDtypeStruct((length,), jnp.int32)
        memory = run.lower(decoder, tokens, rows=16).compile().memory_analysis()
        sizes.append(memory.temp_size_in_bytes)
    return sizes


def test_memory_is_linear_in_the_length(sizes):
    assert sizes[1] < 2.5 * sizes[0]  # four times, were any array quadratic
