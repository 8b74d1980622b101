"""Exact and estimated sensitivities against whole Jacobians of small decoders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax import draws
from glassesjax.model import (
    Alibi,
    Bidirectional,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    Layout,
    RMSNorm,
    Rotary,
    Window,
)
from glassesjax.model.tiling import Tiling
from glassesjax.trace import influence, pullback
from glassesjax.trace.influence import estimated_influence, exact_influence

DIM, LAYERS = 8, 3
TOKENS = jnp.array([3, 1, 4, 1, 5, 2, 0], jnp.int32)
# Float64; some thousand roundings on the way through three layers, and logits of a few units.
RTOL = 1e5 * 2.0**-53
EVERY = tuple(range(LAYERS + 1))
SPECTRAL = (0, 2, 3)  # layers 0 and 1 are one loop backwards; slow cases have every layer
PROBES = 50
SWITCHES = [
    {"positions": Rotary(), "num_heads": 2, "mlp": GatedMlp(dim=12)},
    {"positions": Alibi(), "num_heads": 4, "num_kv_heads": 2, "attn_softcap": 2.0},
    {"mask": Window(width=3), "norm": LayerNorm(), "block": "parallel", "attn_scale": 1.5},
    {"norm_place": "both", "qk_norm": "head", "positions": Rotary(), "num_heads": 2},
    {
        **{"norm_place": "after", "qk_norm": "whole", "num_heads": 4, "num_kv_heads": 2},
        "positions": Rotary(fraction=1.0, divisors=(2.0,), attention_factor=1.3),
        "mlp": DenseMlp(activation="relu"),
    },
    {"mask": Bidirectional(), "values": "identity", "residual_weight": 0.3, "num_heads": 2},
]
QUICK = [(0, False), (1, True)]  # each of the others is two programs more


def decoder_of(key, dtype=jnp.float64, **switches):
    config = DecoderConfig(
        **{"vocab_size": 6, "num_layers": LAYERS, "model_dim": DIM, "embed_scale": 3.0} | switches
    )
    return made(config, key, dtype)


@functools.partial(jax.jit, static_argnames=("mode", "freeze"))
def jacobians(decoder, tokens, mode=jax.jacrev, freeze=False):
    """Of the last representation in what is added to each layer's input, by JAX's transforms."""
    line = Layout.line(len(tokens))

    def through(resid, layer):
        block, added = layer
        return block(resid + added, line, freeze_attention=freeze)[0], None

    def last(added):
        resid, _ = jax.lax.scan(through, decoder.enter(tokens), (decoder.blocks, added))
        return decoder.final_norm(resid)[-1]

    nothing = jnp.zeros((LAYERS, len(tokens), DIM), decoder.dtype)
    return mode(last)(nothing).transpose(1, 0, 2, 3)  # layers out seq model_dim


def norms_of(jacobian):  # layers out seq model_dim
    by_token = np.asarray(jacobian).transpose(0, 2, 1, 3)
    frobenius = np.sqrt(np.sum(by_token**2, axis=(2, 3)))
    return frobenius, np.linalg.norm(by_token, ord=2, axis=(2, 3))


def along_of(jacobian, entered):
    """Of J_i v_i, by the plainest means, and what its roundings are relative to."""
    norms, sizes = norms_of(jacobian)[0], np.linalg.norm(entered, axis=-1)
    return np.linalg.norm(np.einsum("loid,lid->lio", jacobian, entered), axis=-1), norms * sizes


def rescaled(decoder, factors):
    """The decoder with other gains of its final norm."""
    copy = jax.tree.map(lambda weight: weight, decoder)
    gain = np.asarray(copy.final_norm.gain[...])
    copy.final_norm.gain[...] = jnp.asarray(gain * np.asarray(factors, gain.dtype))
    return copy


def widened(decoder):
    """The decoder with the same weights in float64."""
    return jax.tree.map(lambda weight: jnp.asarray(np.asarray(weight, np.float64)), decoder)


enter = jax.jit(lambda decoder, tokens: decoder.enter(tokens))
represented = jax.jit(lambda decoder, stream: decoder.represent(stream)[0][-1])


def in_blocks(decoder, spectral=SPECTRAL, **options):
    """In several blocks of rows and three batches, with spectral norms: one program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pullback, "TILING", Tiling(pullback_rows=4))
        return exact_influence(decoder, TOKENS, batch=3, spectral=spectral, **options)


def in_float32(decoder):
    """In three batches, with the first spectral norm: one program."""
    return exact_influence(decoder, TOKENS, batch=3, spectral=(0,))


def sampled(decoder, key):
    """In three whole batches and a part of one: one program."""
    return estimated_influence(decoder, TOKENS, key=key, probes=PROBES, batch=16)


@pytest.mark.parametrize(
    ("switches", "freeze"),
    [
        pytest.param(switches, freeze, marks=[pytest.mark.slow] * ((index, freeze) not in QUICK))
        for index, switches in enumerate(SWITCHES)
        for freeze in (False, True)
    ],
    ids=str,
)
def test_norms_are_those_of_the_whole_jacobian(key, switches, freeze):
    decoder = decoder_of(key, **switches)
    rows = SPECTRAL if (SWITCHES.index(switches), freeze) in QUICK else EVERY
    found = in_blocks(decoder, rows, freeze_attention=freeze)
    frobenius, spectral = norms_of(jacobians(decoder, TOKENS, freeze=freeze))
    size = np.max(frobenius)
    np.testing.assert_allclose(found.frobenius[:-1], frobenius, rtol=RTOL, atol=RTOL * size)
    # A root of an eigenvalue of a Gram matrix has half the digits only where it is near zero.
    spectral = spectral[list(rows[:-1])]
    np.testing.assert_allclose(found.spectral[:-1], spectral, rtol=RTOL, atol=1e-7 * size)
    assert not np.any(found.frobenius[-1, :-1])
    assert found.frobenius[-1, -1] > 0


@pytest.mark.parametrize(
    "switches", [SWITCHES[0], pytest.param(SWITCHES[1], marks=pytest.mark.slow)], ids=str
)
def test_derivatives_along_the_vectors_are_those_of_the_whole_jacobian(key, switches):
    decoder = decoder_of(key, **switches)
    entered = np.asarray(passed(decoder, TOKENS)[1].resid)
    found = in_blocks(decoder)
    jacobian = jacobians(decoder, TOKENS)
    along, scale = along_of(jacobian, entered)
    # J_i v_i may cancel: its rounding is relative to |J_i| |v_i|.
    np.testing.assert_array_less(np.abs(found.along[:-1] - along), RTOL * scale)
    np.testing.assert_allclose(found.input_norm[:-1], np.linalg.norm(entered, axis=-1), rtol=RTOL)
    assert not np.any(found.along[-1, :-1])


@pytest.mark.slow  # the other transform of JAX; the same norms as above
def test_forward_mode_agrees(key):
    decoder = decoder_of(key, **SWITCHES[0])
    frobenius, _ = norms_of(jacobians(decoder, TOKENS, mode=jax.jacfwd))
    np.testing.assert_allclose(in_blocks(decoder).frobenius[:-1], frobenius, rtol=RTOL)


def test_constant_norms_and_a_linear_map(key):
    # One token attends to itself: v -> (1 + sigma / b)(1 + 1 / b) v in each layer, then v / b.
    sigma, beta = 0.5, 2.0
    switches = {"norm": ConstantNorm(beta=beta), "mlp": IdentityMlp(sigma=sigma)}
    decoder = decoder_of(key, values="identity", **switches)
    found = exact_influence(decoder, TOKENS[:1], spectral=EVERY)
    step = (1 + sigma / beta) * (1 + 1 / beta)
    wanted = np.array([step ** (LAYERS - row) / beta for row in range(LAYERS + 1)])[:, None]
    np.testing.assert_allclose(found.spectral, wanted, rtol=RTOL)
    np.testing.assert_allclose(found.frobenius, wanted * np.sqrt(DIM), rtol=RTOL)
    # v / b at the end, from a vector that grew by the same factor in each layer.
    size = np.linalg.norm(enter(decoder, TOKENS[:1]))
    np.testing.assert_allclose(found.along, np.full((LAYERS + 1, 1), wanted[0] * size), rtol=RTOL)
    grown = np.array([size * step**row for row in range(LAYERS + 1)])[:, None]
    np.testing.assert_allclose(found.input_norm, grown, rtol=RTOL)


@pytest.mark.parametrize("method", ["exact", "estimated"])
def test_a_derivative_alone_turns_with_a_length_that_changes_nothing(key, method):
    # One layer reads all tokens but the last through a norm only: c v_i does what v_i did.
    decoder = decoder_of(key, num_layers=1, norm=RMSNorm(eps=0.0), num_heads=2)
    run = exact_influence
    if method == "estimated":
        run = functools.partial(estimated_influence, key=key, probes=4)
    plain = np.asarray(enter(decoder, TOKENS))
    factors = np.array([8.0, 1, 0.5, 1, 4, 1, 1])[:, None]
    last = lambda stream: represented(decoder, stream)
    np.testing.assert_allclose(last(plain), last(factors * plain), rtol=RTOL)
    one, other = (run(decoder, jnp.asarray(stream)) for stream in (plain, factors * plain))
    close = functools.partial(np.testing.assert_allclose, rtol=RTOL)
    close(other.frobenius[0] * factors[:, 0], one.frobenius[0])
    close(other.frobenius * other.input_norm, one.frobenius * one.input_norm)
    # A norm does not see a length: neither do the others, read here or before the last norm.
    scale = one.frobenius * one.input_norm
    assert np.all(one.along[0, :-1] <= RTOL * scale[0, :-1])
    assert one.along[1, -1] <= RTOL * scale[1, -1]
    assert one.along[0, -1] > 1e-3 * scale[0, -1]


def test_what_the_last_row_cannot_see_has_no_influence_at_all(key):
    decoder = decoder_of(key, num_layers=1, mask=Window(width=2))
    found = exact_influence(decoder, TOKENS, spectral=(0,))
    assert not np.any(found.frobenius[0, :-2])
    assert not np.any(found.spectral[0, :-2])
    assert np.all(found.frobenius[0, -2:] > 0)


@pytest.mark.parametrize(
    ("rows", "spectral"),
    [((2, 1), (3, 0, 3)), pytest.param((LAYERS,), (2,), marks=pytest.mark.slow)],
)
def test_chosen_layers_and_a_given_stream(key, rows, spectral):
    decoder = decoder_of(key, **SWITCHES[0])
    every = jax.tree.map(np.asarray, in_blocks(decoder))
    stream = enter(decoder, TOKENS)
    some = exact_influence(decoder, stream, layers=rows, spectral=spectral)
    for name in ("frobenius", "along", "input_norm"):
        wanted = getattr(every, name)[list(rows)]
        # Products with the vectors may cancel: what they are summed from counts.
        scale = (every.frobenius * every.input_norm)[list(rows)] * (name == "along")
        gap = np.abs(np.asarray(getattr(some, name)) - wanted)
        assert np.all(gap <= RTOL * np.maximum(wanted, scale))
    wanted = every.spectral[[SPECTRAL.index(row) for row in spectral]]
    np.testing.assert_allclose(some.spectral, wanted, rtol=RTOL)


def test_small_and_large_norms_lose_no_digits(key):
    decoder = decoder_of(key, dtype=jnp.float32, **SWITCHES[0])
    estimate = lambda d: sampled(d, key)
    plain = in_float32(decoder), estimate(decoder)
    wide = lambda norms, name: np.asarray(getattr(norms, name), np.float64)
    # Float32; some hundred roundings, which fall otherwise at each scale.
    rtol = 1000 * 2.0**-24
    for factor in (1e-12, 1e-20, 1e20):  # squares, or fourth powers, are outside of float32
        scaled = rescaled(decoder, factor)
        for found, wanted in zip((in_float32(scaled), estimate(scaled)), plain, strict=True):
            for name in ("frobenius", "spectral", "standard_error"):
                if getattr(found, name) is not None:
                    one, other = wide(found, name), wide(wanted, name) * factor
                    np.testing.assert_allclose(one, other, rtol=rtol)
            np.testing.assert_array_equal(found.input_norm, wanted.input_norm)
            # Products with the vectors may cancel: what they are summed from counts.
            size = wide(wanted, "frobenius") * wide(wanted, "input_norm")
            gap = np.abs(wide(found, "along") / factor - wide(wanted, "along"))
            assert np.all(gap <= rtol * size)


def test_small_vectors_lose_no_digits(key):
    # Nothing but constants on the way, so that the same token ten times as small is the same pass.
    switches = {"norm": ConstantNorm(), "values": "identity", "mlp": IdentityMlp()}
    decoder = decoder_of(key, dtype=jnp.float32, **switches)
    resid = enter(decoder, TOKENS[:1])
    plain = exact_influence(decoder, resid)
    factor = 2.0**-100  # its square is outside of float32
    found = exact_influence(decoder, jnp.asarray(np.asarray(resid) * np.float32(factor)))
    np.testing.assert_array_equal(found.frobenius, plain.frobenius)
    for name in ("along", "input_norm"):
        one, other = (np.asarray(getattr(x, name), np.float64) for x in (found, plain))
        np.testing.assert_array_equal(one, other * factor)


def test_batches_of_very_different_size_add_up(key):
    # Nothing in the first batch, then more, then less: coordinate o of y_n has gain o.
    gains = [0, 0, 0, 1e-30, 1e-25, 1e-12, 3e-12, 1e-28]
    decoder = rescaled(decoder_of(key, dtype=jnp.float32, **SWITCHES[0]), gains)
    found = in_float32(decoder)
    wide = widened(decoder)
    frobenius, spectral = norms_of(jacobians(wide, TOKENS))
    # Float32; some hundred roundings, relative to the largest of all tokens.
    close = functools.partial(np.testing.assert_allclose, rtol=0)
    atol = 1000 * 2.0**-24
    close(found.frobenius[:-1], frobenius, atol=atol * float(np.max(frobenius)))
    close(found.spectral[0], spectral[0], atol=atol * float(np.max(frobenius)))
    assert found.frobenius[-1, -1] > 0
    assert not np.any(found.frobenius[-1, :-1])


def test_nan_weights_give_nan(key):
    """As a training that diverged leaves them: no influence of zero, and frozen weights neither."""
    nan = lambda decoder: jax.tree.map(lambda w: jnp.asarray(np.full(w.shape, np.nan)), decoder)
    plain = exact_influence(nan(decoder_of(key)), TOKENS, batch=3)
    frozen = in_blocks(nan(decoder_of(key, **SWITCHES[1])), freeze_attention=True)
    for found in (plain, frozen):
        assert np.all(np.isnan(found.frobenius[:-1]))
        assert np.all(np.isnan(found.along[:-1]))
    assert np.all(np.isnan(frozen.spectral[:-1]))


@pytest.fixture(scope="module")
def estimates():
    """A decoder, its exact norms, and 20 estimates of them."""
    key = jax.random.key(5)
    decoder = decoder_of(key, **SWITCHES[0])
    runs = [sampled(decoder, seed) for seed in jax.random.split(key, 20)]
    return in_blocks(decoder), runs


@pytest.mark.parametrize(
    ("name", "error"), [("frobenius", "standard_error"), ("along", "along_standard_error")]
)
def test_estimates_lie_around_the_truth(estimates, name, error):
    of = lambda norms, field: np.asarray(getattr(norms, field))
    exact, runs = of(estimates[0], name), estimates[1]
    scale = of(estimates[0], "frobenius") * of(estimates[0], "input_norm")
    for run in runs:
        assert np.all(np.abs(of(run, name) - exact) <= 5 * of(run, error) + RTOL * scale)
    squares = np.stack([of(run, name) ** 2 for run in runs])
    spread = np.std(squares, axis=0, ddof=1) / np.sqrt(len(runs))
    gap = np.abs(np.mean(squares, axis=0) - exact**2)
    assert np.all(gap <= 5 * spread + RTOL * scale**2)


def test_mean_and_standard_error_are_those_of_the_probes(key):
    decoder = decoder_of(key, **SWITCHES[0])
    found = sampled(decoder, key)
    signs = draws.signs(key, (PROBES, DIM), jnp.dtype(jnp.float64))
    jacobian = np.asarray(jacobians(decoder, TOKENS))
    entered = np.asarray(passed(decoder, TOKENS)[1].resid)
    pulled = np.einsum("po,loid->plid", signs, jacobian)
    squares = np.sum(pulled**2, axis=-1), np.einsum("plid,lid->pli", pulled, entered) ** 2
    norms = (found.frobenius, found.along), (found.standard_error, found.along_standard_error)
    for each, norm, error in zip(squares, *norms, strict=True):
        mean = np.mean(each, axis=0)
        # A product of a probe with a vector may cancel, to a thousandth of its terms here.
        np.testing.assert_allclose(norm[:-1], np.sqrt(mean), rtol=1e3 * RTOL)
        wanted = np.std(each, axis=0, ddof=1) / np.sqrt(PROBES) / (2 * np.sqrt(mean))
        np.testing.assert_allclose(error[:-1], wanted, rtol=1e3 * RTOL)
    np.testing.assert_allclose(found.input_norm[:-1], np.linalg.norm(entered, axis=-1), rtol=RTOL)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_decoder_decides_the_dtype(key, dtype):
    decoder = decoder_of(key, dtype=jnp.dtype(dtype), **SWITCHES[0])
    # Float32 with a spectral norm, as above; bfloat16 is a program of its own, and without.
    spectral = (0,) if dtype == "float32" else ()
    found = exact_influence(decoder, TOKENS, batch=3, spectral=spectral).frobenius
    found = np.asarray(found)
    assert found.dtype == "float32"
    wide = widened(decoder)
    wanted = np.asarray(in_blocks(wide).frobenius)
    unit = {"float32": 2.0**-24, "bfloat16": 2.0**-8}[dtype]
    # A few dozen stores on the way, each of one unit roundoff of the largest.
    assert np.max(np.abs(found - wanted)) <= 100 * unit * np.max(wanted)


def test_the_estimate_is_that_of_matfree(key):
    """Its per-row norms, given the same probes; matfree estimates each row of J^T as we do."""
    matfree = pytest.importorskip("matfree.stochtrace")
    decoder = decoder_of(key, **SWITCHES[0])
    last = lambda resid: decoder.represent(resid)[0][-1]
    signs = draws.signs(key, (PROBES, DIM), jnp.dtype(jnp.float64))
    integrand = matfree.monte_carlo_rownorms_squared()

    @jax.jit
    def samples_of(resid, signs):
        pull = jax.vjp(last, resid)[1]
        return jax.vmap(lambda sign: integrand(lambda w: pull(w)[0].ravel(), sign))(signs)

    samples = samples_of(enter(decoder, TOKENS), signs)
    wanted = np.sqrt(np.mean(samples, axis=0).reshape(len(TOKENS), DIM).sum(axis=1))
    found = sampled(decoder, key)
    np.testing.assert_allclose(found.frobenius[0], wanted, rtol=RTOL)


def test_memory_grows_with_the_batch_and_not_with_the_probes(key):
    # Of the batches, not of what a layer is: that has a test of its own below.
    plain = {"norm": ConstantNorm(), "values": "identity", "mlp": IdentityMlp()}
    decoder = decoder_of(key, model_dim=16, **plain)

    def temporary(probes, batch):
        signs = jax.ShapeDtypeStruct((probes // batch, batch, 16), jnp.float64)
        compiled = influence._estimate.lower(decoder, TOKENS, signs, probes, False).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, more, wide = temporary(16, 8), temporary(64, 8), temporary(64, 32)
    assert more <= 1.02 * small
    assert small < wide <= 5 * small


@pytest.mark.parametrize(
    ("length", "size", "batch", "spectral"),
    [
        # What a batch adds is in test_memory_grows_with_the_batch_and_not_with_the_probes, too.
        pytest.param(16, 64, 64, (), id="batch", marks=pytest.mark.slow),
        pytest.param(256, 16, 4, (), id="length"),
        pytest.param(32, 32, 8, EVERY, id="spectral"),
    ],
)
def test_memory_is_what_the_docstring_says(key, length, size, batch, spectral):
    heads, hidden = 4, 4 * size
    mlp = DenseMlp(dim=hidden)
    decoder = decoder_of(key, model_dim=size, num_heads=heads, mlp=mlp)
    cotangents = jax.eval_shape(lambda: influence._batches(jnp.eye(size), batch))
    tokens = jax.ShapeDtypeStruct((length,), jnp.int32)
    options = {"rows": EVERY, "spectral": spectral, "freeze": False}
    compiled = influence._exact.lower(decoder, tokens, cotangents, **options).compile()
    numbers = compiled.memory_analysis().temp_size_in_bytes / 8
    streams, flowing = LAYERS * length * size, 8 * batch * length * (size + hidden)
    stated = streams + flowing + 3 * heads * length**2 + 3 * len(spectral) * length * size**2
    assert numbers <= stated <= 5 * numbers


def test_one_trace_for_a_shape(key):
    decoder, other = decoder_of(key), jnp.asarray(np.asarray(TOKENS)[::-1])
    whole = exact_influence(decoder, TOKENS, batch=3)
    assert whole.spectral is None
    first = whole.frobenius
    compiled = influence._exact._cache_size()
    assert not np.array_equal(first, exact_influence(decoder, other, batch=3).frobenius)
    assert influence._exact._cache_size() == compiled


def test_wrong_requests_are_refused(key):
    decoder = decoder_of(key)
    with pytest.raises(ValueError, match="one or more layers from 0 to 3"):
        exact_influence(decoder, TOKENS, layers=(4,))
    for spectral in ((LAYERS + 1,), (0, -1)):
        with pytest.raises(ValueError, match="spectral layers from 0 to 3"):
            exact_influence(decoder, TOKENS, spectral=spectral)
    with pytest.raises(ValueError, match="batch at least 1, got 0"):
        exact_influence(decoder, TOKENS, batch=0)
    with pytest.raises(ValueError, match="probes at least 2"):
        estimated_influence(decoder, TOKENS, key=key, probes=1)
