"""Scalable softmax and adaptive temperature in the decoder: closed forms, and which keys count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.test_against_reference import TOKENS, assert_same, configured, drawn, forward
from reference import beta_of_entropy, decoder_forward

from glassesjax.errors import BadInput
from glassesjax.model import (
    AdaptiveTemperature,
    Alibi,
    ConstantTemperature,
    Decoder,
    DecoderConfig,
    Layout,
    NoNorm,
    Rotary,
    ScalableSoftmax,
    Window,
    ZeroMlp,
    build_decoder,
    flat_parameters,
)
from glassesjax.model.stored_config import config_of, config_record
from glassesjax.model.temperature import tempered
from glassesjax.model.tiling import Tiling
from glassesjax.precision import RoundingPlan, float_format
from glassesjax.theory.sharpness import adapted_logits, ssmax_greatest_weight

U = 2.0**-53
OTHERS = [ScalableSoftmax(), AdaptiveTemperature()]
GAPS = (2.0, 2.5)


def gap_decoder(temperature, sharpness=0.43, **switches):
    """Two heads whose logit of any query is their gap at token 0 and zero at token 1."""
    config = DecoderConfig(
        vocab_size=2,
        num_layers=1,
        num_heads=2,
        model_dim=2,
        head_dim=1,
        norm=NoNorm(),
        mlp=ZeroMlp(),
        attn_scale=1.0,
        temperature=temperature,
        **switches,
    )
    arrays = {
        "embed.table": np.eye(2),
        "blocks.attention.query": np.repeat(GAPS, 2).reshape(1, 2, 2),
        "blocks.attention.key": np.tile([1.0, 0.0], (1, 2, 1)),
        "blocks.attention.value": np.tile([1.0, 0.0], (1, 2, 1)),
        "blocks.attention.output": np.eye(2)[None],
    }
    if isinstance(temperature, ScalableSoftmax):
        arrays["blocks.attention.sharpness"] = np.full((1, 2), sharpness)
    return build_decoder(config, {name: jnp.asarray(array) for name, array in arrays.items()})


def kept(decoder, tokens):
    return jax.jit(lambda d, t: d(t, keep="attention")[1])(decoder, jnp.asarray(tokens, jnp.int32))


def test_constant_temperature_adds_nothing(monkeypatch):
    config = configured(positions=Rotary(), mask=Window(width=3))
    assert config == configured(
        positions=Rotary(), mask=Window(width=3), temperature=ConstantTemperature()
    )
    decoder = drawn(config, seed=1)
    assert not [name for name in flat_parameters(decoder) if "sharpness" in name]
    # A new function each time: a trace of the same one is kept.
    program = lambda: str(jax.make_jaxpr(lambda *given: forward(*given))(decoder, TOKENS))
    with_switch = program()
    monkeypatch.setattr("glassesjax.model.attention.tempered", lambda t, s, logits, seen: logits)
    assert program() == with_switch
    monkeypatch.setattr(
        "glassesjax.model.attention.tempered", lambda t, s, logits, seen: logits * 1.5
    )
    assert program() != with_switch


def test_s_is_a_weight_only_where_the_switch_asks_for_it(key):
    config = configured(temperature=ScalableSoftmax(start=0.5))
    arrays = flat_parameters(Decoder(config, key=key, dtype=jnp.float64))
    np.testing.assert_array_equal(arrays["blocks.attention.sharpness"], np.full((2, 2), 0.5))
    adaptive = Decoder(configured(temperature=AdaptiveTemperature()), key=key, dtype=jnp.float64)
    assert arrays.keys() - flat_parameters(adaptive).keys() == {"blocks.attention.sharpness"}
    del arrays["blocks.attention.sharpness"]
    with pytest.raises(ValueError, match=r"sharpness of shape \(2, 2\), got none"):
        build_decoder(config, arrays)
    assert build_decoder(configured(), arrays).config == configured()  # files from before
    with pytest.raises(ValueError, match=r"Expected ScalableSoftmax\.start to be"):
        ScalableSoftmax(start=float("nan"))


def test_settings_go_through_a_file_and_old_ones_open():
    for temperature in (ConstantTemperature(), ScalableSoftmax(start=0.2), AdaptiveTemperature()):
        config = configured(temperature=temperature)
        assert config_of(config_record(config)) == config
    old = config_record(configured())
    del old["temperature"]
    assert config_of(old) == configured()


def test_scalable_softmax_has_the_weight_of_its_closed_form():
    """One logit g above n - 1 others; the values for s = 0.43 are those worked out on paper."""
    trace = kept(gap_decoder(ScalableSoftmax()), [0] + [1] * 999)
    n = np.arange(1, 1001)
    for head, (gap, by_hand) in enumerate(zip(GAPS, [(0.446, 0.276), (0.569, 0.627)], strict=True)):
        found = np.asarray(trace.attn_weights[0, head, :, 0])
        # A sum of 1000 terms, and an exponent of size six.
        close = {"rtol": 1010 * U}
        np.testing.assert_allclose(found, 1 / (1 + (n - 1.0) * n ** (-0.43 * gap)), **close)
        theory = ssmax_greatest_weight(jnp.asarray(n), jnp.full(1000, gap), 0.43)
        np.testing.assert_allclose(found, theory, **close)
        np.testing.assert_allclose(found[[9, 999]], by_hand, atol=5e-4)
        assert found[0] == 1  # log 1 is zero, and a single key has all the weight
        assert trace.attn_logits[0, head, 0, 0] == 0
    critical = kept(gap_decoder(ScalableSoftmax(), sharpness=0.5), [0] + [1] * 999)
    # s g = 1: one half in the limit, n / (2 n - 1) before it.
    np.testing.assert_allclose(critical.attn_weights[0, 0, :, 0], n / (2 * n - 1), **close)
    assert critical.attn_weights[0, 1, 999, 0] > 0.8  # s g = 1.25: sharper with every token


def windowed(width=5, place=10, length=16):
    """The weight on one token, from each row that sees it in a window."""
    tokens = np.ones(length, np.int32)
    tokens[place] = 0
    decoder = gap_decoder(ScalableSoftmax(), mask=Window(width=width))
    return np.asarray(kept(decoder, tokens).attn_weights[0, 0, place : place + width, place])


def test_only_keys_in_the_window_count(monkeypatch):
    by_hand = 1 / (1 + 4 * 5 ** (-0.43 * 2.0))
    np.testing.assert_allclose(windowed(), by_hand, rtol=16 * U)
    every = lambda t, s, logits, seen: tempered(t, s, logits, jnp.ones_like(seen))
    monkeypatch.setattr("glassesjax.model.attention.tempered", every)
    wrong = 1 / (1 + 4 * 16 ** (-0.43 * 2.0))  # all 16 keys of the array
    np.testing.assert_allclose(windowed(), wrong, rtol=16 * U)
    assert abs(wrong - by_hand) > 0.2
    config = configured(temperature=ScalableSoftmax(), mask=Window(width=3))
    decoder = drawn(config, seed=1)
    passed = jax.jit(lambda *given: forward(*given))(decoder, TOKENS)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same(config, passed, decoder_forward(config, flat_parameters(decoder), TOKENS))


def test_adaptive_temperature_sharpens_flat_rows_between_its_thresholds():
    """Rows of equal logits: row n has the entropy log n, and its logits become g beta(log n)."""
    trace = kept(gap_decoder(AdaptiveTemperature()), [0] * 400)
    factors = np.asarray(trace.attn_logits[0, :, :, 0]) / np.array(GAPS)[:, None]
    wanted = [beta_of_entropy(np.log(n))[0] for n in range(1, 401)]
    # Terms of the polynomial up to 50, and the entropy's own error of 400 terms times its slope.
    np.testing.assert_allclose(factors, np.tile(wanted, (2, 1)), atol=1e4 * U)
    same = np.flatnonzero(np.all(factors == 1, axis=0)) + 1
    # One from H = 0.849 down and from 5.944 up: two tokens, and 382.
    np.testing.assert_array_equal(same, [1, 2, *range(382, 401)])
    assert np.argmax(factors[0]) + 1 == 82  # log 82 = 4.407 is the nearest to 4.412
    assert abs(np.max(factors) - 2.421) < 5e-4
    np.testing.assert_allclose(trace.attn_weights[0, 0, 399], 1 / 400, rtol=400 * U)


def test_adaptive_temperature_sharpens_a_row_that_has_a_maximum():
    trace = kept(gap_decoder(AdaptiveTemperature()), [0] + [1] * 63)
    before = np.exp(GAPS) / (np.exp(GAPS) + 63)
    entropy = -before * np.log(before) - (1 - before) * np.log((1 - before) / 63)
    factors = np.array([beta_of_entropy(each)[0] for each in entropy])
    after = np.exp(factors * GAPS) / (np.exp(factors * GAPS) + 63)
    np.testing.assert_allclose(trace.attn_weights[0, :, 63, 0], after, rtol=1e4 * U)
    assert np.all(after > 2 * before)


@pytest.mark.parametrize("temperature", OTHERS, ids=str)
def test_trees_and_blocks_of_rows_are_the_slow_pass(temperature, monkeypatch):
    # Trunk of four tokens; one tail of two grows from all of it, another from its first two: its
    # rows see three keys, whatever else stands in the array.
    position, branch, stem = [0, 1, 2, 3, 4, 5, 2], [0, 0, 0, 0, 1, 1, 2], [1, 2, 3, 4, 4, 4, 2]
    marks = ["1000000", "1100000", "1110000", "1111000", "1111100", "1111110", "1100001"]
    config = configured(temperature=temperature, positions=Alibi(), attn_softcap=4.0)
    layout = Layout(*(jnp.array(field, jnp.int32) for field in (position, branch, stem)))
    tree = {"positions": position, "visible": np.array([[m == "1" for m in row] for row in marks])}
    decoder, tokens = drawn(config, seed=3), jnp.asarray(TOKENS)
    passed = jax.jit(lambda *given: forward(*given))(decoder, tokens, layout)
    assert_same(config, passed, decoder_forward(config, flat_parameters(decoder), TOKENS, **tree))
    monkeypatch.setattr("glassesjax.model.attention.TILING", Tiling(attention_rows=3))

    def blocks(decoder):
        # The prefix identity: each row is the last one of its own prompt.
        prompt = tokens[jnp.asarray([0, 1, 6])]
        last = decoder(prompt)[0][-1]
        return decoder(tokens, layout)[0], last

    y, last = jax.jit(blocks)(decoder)
    # Some hundred sums in another order, of terms that logits of a few units magnify.
    close = {"rtol": 0, "atol": 4096 * U * float(jnp.max(jnp.abs(y)))}
    np.testing.assert_allclose(y, passed[0], **close)
    np.testing.assert_allclose(last, y[-1], **close)


def test_the_derivative_in_s_and_none_where_attention_is_frozen():
    r"""The weight's: :math:`\alpha (1 - \alpha) g \log n`; the value of token 0 is one."""
    tokens = jnp.asarray([0] + [1] * 15, jnp.int32)

    def last(decoder, freeze):
        return decoder(tokens, freeze_attention=freeze)[0][-1]

    decoder = gap_decoder(ScalableSoftmax())
    slopes, frozen = (
        jax.jit(jax.jacrev(last), static_argnums=1)(decoder, f).blocks.attention.sharpness[...]
        for f in (False, True)
    )
    n, gaps = 16, np.array(GAPS)
    weight = 1 / (1 + (n - 1) * n ** (-0.43 * gaps))
    by_hand = np.diag(weight * (1 - weight) * gaps * np.log(n))
    np.testing.assert_allclose(slopes[:, 0], by_hand, rtol=256 * U)
    np.testing.assert_array_equal(frozen, 0)


def test_derivatives_flow_through_the_entropy(key):
    logits = 2 * jax.random.normal(key, (1, 3, 12), jnp.float64)
    ours = lambda x: tempered(AdaptiveTemperature(), None, x, jnp.ones((1, 3, 12), bool))
    stopped = lambda x: x * jax.lax.stop_gradient(ours(x) / x)
    every = jax.jit(lambda x: [jax.jacrev(f)(x) for f in (ours, adapted_logits, stopped)])
    found, wanted, without = every(logits)
    # Tens of roundings of terms of size ten, and a weight may be as small as exp(-10).
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e4 * U * np.max(np.abs(wanted)))
    assert np.max(np.abs(without - wanted)) > 0.1  # the share of the entropy is no trifle
    underflowing = every(jnp.where(logits == logits[0, 0, 0], -2000.0, logits))[0]
    assert bool(jnp.all(jnp.isfinite(underflowing)))


@pytest.mark.parametrize("temperature", OTHERS, ids=str)
def test_a_plan_rounds_the_tempered_logits(temperature):
    config = configured(temperature=temperature, num_layers=1, attn_softcap=4.0)
    fmt, decoder = float_format("e4m3fn"), drawn(config, seed=1)
    tokens, options = jnp.asarray(TOKENS), {"mode": "simulated", "carrier": float_format("f64")}
    plan = RoundingPlan(attn_logits=fmt, **options)
    # One layer: what is rounded are the logits of the same pass.
    read = jax.jit(
        lambda d, t, plan=None: d.at(plan)(t, keep="attention")[1].attn_logits, static_argnums=2
    )
    wide, found = np.asarray(read(decoder, tokens)), np.asarray(read(decoder, tokens, plan))
    seen = np.isfinite(wide)
    np.testing.assert_array_equal(found[seen], fmt.round(jnp.asarray(wide[seen])))
    assert not np.array_equal(found[seen], wide[seen])


# Quick is the same of the whole decoder: each temperature is a switch in test_against_reference.
@pytest.fixture(scope="module")
def uncompiled():
    """Each decoder, and its attention one operation after another; each is a program."""
    decoders = [gap_decoder(temperature) for temperature in OTHERS]
    with jax.disable_jit():
        return [(d, d(jnp.asarray([0, 1], jnp.int32), keep="attention")[1]) for d in decoders]


@pytest.mark.slow
def test_attention_without_compiling_is_the_same(uncompiled):
    for decoder, found in uncompiled:
        wanted = kept(decoder, [0, 1])
        np.testing.assert_allclose(found.attn_logits, wanted.attn_logits, rtol=16 * U)
        np.testing.assert_allclose(found.attn_weights, wanted.attn_weights, rtol=16 * U)


def test_scalable_softmax_without_its_numbers_is_refused():
    with pytest.raises(BadInput, match="s of each head"):
        tempered(ScalableSoftmax(), None, jnp.ones((1, 1, 2)), jnp.ones((1, 1, 2), bool))
