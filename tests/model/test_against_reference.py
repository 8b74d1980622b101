"""The decoder against the slow one: each switch alone, then drawn combinations of them."""

import dataclasses
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import UNIT_ROUNDOFF, decoder_forward

from glassesjax.model import (
    AdaptiveTemperature,
    Alibi,
    Bidirectional,
    Causal,
    ConstantNorm,
    ConstantTemperature,
    Decoder,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    Layout,
    Learned,
    LinearMlp,
    MaskByLayer,
    NoNorm,
    NoPositions,
    PositionsByLayer,
    Prefix,
    RMSNorm,
    Rotary,
    ScalableSoftmax,
    Sinusoidal,
    Window,
    ZeroMlp,
    flat_parameters,
)
from glassesjax.model.stored_config import KINDS

TOKENS = np.array([3, 10, 3, 0, 7, 7, 7], np.int32)

# Two heads of width 4, so that every switch can stand alone on top of it.
BASE: dict[str, Any] = {"vocab_size": 11, "num_layers": 2, "num_heads": 2, "model_dim": 8}
# Away from every default that a faulty pass could hide behind.
RICH = {"num_kv_heads": 1, "norm": LayerNorm(), "mlp": GatedMlp(dim=12), "bias": True}

POSITIONS = [
    NoPositions(),
    Sinusoidal(base=50.0),
    Sinusoidal(where="query_key"),
    Learned(max_length=9),
    Rotary(),
    Rotary(style="interleaved", base=50.0),
    Rotary(scale=3.0),
    Rotary(fraction=0.5),
    Rotary(fraction=0.5, partial="spectrum"),
    Rotary(fraction=0.5, partial="spectrum", style="interleaved"),
    Rotary(fraction=0.0),
    Rotary(divisors=(1.5, 4.0), attention_factor=1.3),
    Rotary(fraction=0.5, divisors=(2.0,), attention_factor=0.8),
    Rotary(fraction=0.5, partial="spectrum", divisors=(2.0,), attention_factor=1.2, scale=2.0),
    Alibi(),
]
MASKS = [Causal(), Bidirectional(), Window(width=1), Window(width=3), Prefix(length=4)]
BY_LAYER = [  # of two layers
    {"positions": PositionsByLayer(layers=(Rotary(base=50.0), Rotary()))},
    {"positions": PositionsByLayer(layers=(NoPositions(), Rotary(style="interleaved")))},
    {"positions": PositionsByLayer(layers=(Alibi(), Sinusoidal(where="query_key")))},
    {"mask": MaskByLayer(layers=(Window(width=3), Causal()))},
    {"mask": MaskByLayer(layers=(Bidirectional(), Prefix(length=4)))},
]
NORMS = [NoNorm(), ConstantNorm(beta=2.5), RMSNorm(), RMSNorm(eps=0.5, offset=1.0), LayerNorm()]
TEMPERATURES = [ConstantTemperature(), ScalableSoftmax(), AdaptiveTemperature()]
MLPS = [
    ZeroMlp(),
    IdentityMlp(),
    LinearMlp(),
    *(DenseMlp(activation=name, dim=12) for name in ("gelu", "gelu_exact", "relu")),
    *(GatedMlp(activation=name, dim=12) for name in ("silu", "gelu")),
]
ALONE = [
    *({"positions": positions} for positions in [*POSITIONS, Alibi(slopes=(0.0, 0.7))]),
    *({"mask": mask} for mask in MASKS),
    *BY_LAYER,
    *({"norm": norm} for norm in NORMS),
    *({"mlp": mlp} for mlp in [*MLPS, IdentityMlp(sigma=-0.5), DenseMlp()]),
    *({"temperature": temperature} for temperature in TEMPERATURES),
    *({"num_layers": layers} for layers in (1, 3)),
    {"num_heads": 1},
    {"num_heads": 4, "num_kv_heads": 2},
    {"num_kv_heads": 1},
    {"head_dim": 6},
    {"values": "identity"},
    {"values": "identity", "head_dim": 6},
    {"block": "parallel"},
    *({"norm_place": place} for place in ("after", "both")),
    {"norm_place": "both", "norm": LayerNorm(), "block": "parallel", "residual_weight": 0.3},
    *({"qk_norm": of} for of in ("head", "whole")),
    {"qk_norm": "head", "norm": LayerNorm(), "num_heads": 4, "num_kv_heads": 2},
    {"qk_norm": "whole", "norm": RMSNorm(offset=1.0), "num_kv_heads": 1, "qkv_bias": True},
    {"residual_weight": 0.3},
    {"attn_scale": 1.5},
    {"attn_softcap": 2.0},
    {"attn_softcap": 2.0, "positions": Alibi()},
    {"output_softcap": 3.0},
    *({name: name != "tied"} for name in ("qkv_bias", "bias", "tied")),
    {"embed_scale": 3.0},
    {"embed_scale": 3.0, "positions": Learned(max_length=9)},
]


def configured(**switches):
    return DecoderConfig(**(BASE | switches))


def drawn(config, seed, dtype=np.float64):
    """A decoder whose every weight is random: no gain is one, no bias zero, no attention even."""
    shapes = jax.eval_shape(lambda key: Decoder(config, key=key), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        center = float("gain" in jax.tree_util.keystr(path))
        # Spread 0.6 with width 8 gives attention logits of a few units.
        return jnp.asarray(rng.normal(center, 0.6, leaf.shape).astype(dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def roundings(config, length):
    """Roundings on the longest way from an embedding to the output, sums counted term by term."""
    queries = 2 * config.model_dim + config.key_dim  # norm and matrix; the product with a key
    average = 2 * length + config.num_heads * config.value_dim  # softmax, values; output matrix
    mlp = 2 * config.model_dim + config.mlp_dim
    return config.num_layers * (queries + average + mlp) + 2 * config.model_dim


def assert_same(config, passed, wanted, dtype="float64"):
    """All that both computed, to k u times the field's size times the softmax's condition."""
    y, trace, logits = passed
    # An absolute error of a logit is a relative error of its weight: large logits magnify.
    condition = 1 + np.max(wanted.attn_terms)
    bound = roundings(config, len(y)) * UNIT_ROUNDOFF[dtype] * condition
    sized = {"attn_logits": wanted.attn_terms, "logits": wanted.logit_terms}
    for name, value in {**trace._asdict(), "y": y, "logits": logits}.items():
        expected = getattr(wanted, name)
        if expected is None:
            assert value is None, name
            continue
        assert value.dtype == dtype
        assert value.shape == expected.shape
        allowed = bound * np.max(np.abs(sized.get(name, expected)))
        np.testing.assert_allclose(value, expected, rtol=0, atol=allowed, err_msg=name)


def forward(decoder, tokens, layout=None):
    y, trace = decoder(tokens, layout, keep="attention")
    return y, trace, decoder.logits(y)


def both(config, decoder, tokens, layout=None, **tree):
    """The two passes: ours, run eagerly since no two configurations share a program."""
    with jax.disable_jit():
        ours = forward(decoder, jnp.asarray(tokens), layout)
    return ours, decoder_forward(config, flat_parameters(decoder), tokens, **tree)


@pytest.fixture(scope="module")
def operations():
    """Those of a pass, which are compiled one by one for all tests of this file."""
    both(configured(), drawn(configured(), seed=0), TOKENS)


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize("switches", ALONE, ids=str)
def test_each_switch_alone(switches):
    config = configured(**switches)
    passed, wanted = both(config, drawn(config, seed=1), TOKENS)
    assert_same(config, passed, wanted)


def kinds_of(hint):
    bases = typing.get_args(hint) or (hint,)
    return {kind for kind in KINDS.values() if issubclass(kind, bases)}


def test_no_switch_and_no_value_is_left_out():
    hints = typing.get_type_hints(DecoderConfig)
    configs = [configured(**switches) for switches in ALONE]
    for name in ("positions", "mask", "norm", "mlp", "temperature"):
        assert {type(getattr(c, name)) for c in configs} == kinds_of(hints[name])
    holders = [(DecoderConfig, configs), (Rotary, POSITIONS), (Sinusoidal, POSITIONS)]
    for holder, values in [*holders, (DenseMlp, MLPS), (GatedMlp, MLPS)]:
        for name, hint in typing.get_type_hints(holder).items():
            if typing.get_origin(hint) is typing.Literal:
                seen = {getattr(v, name) for v in values if isinstance(v, holder)}
                assert seen == set(typing.get_args(hint)), name
    turned = {name for switches in ALONE for name in switches}
    fields = {field.name for field in dataclasses.fields(DecoderConfig)}
    assert fields - turned == {"vocab_size", "model_dim", "max_length"}


HEADS = [
    {"num_heads": 1},
    {"num_heads": 1, "values": "identity"},
    {"num_heads": 4, "num_kv_heads": 1},
    {"num_heads": 4, "num_kv_heads": 2},
    {"num_heads": 4, "values": "identity"},
]
CHOICES = {
    "num_layers": [1, 2, 3],
    "positions": POSITIONS,
    "mask": MASKS,
    "norm": NORMS,
    "mlp": MLPS,
    "norm_place": ["before", "after", "both"],
    "qk_norm": ["none", "head", "whole"],
    "block": ["sequential", "parallel"],
    "residual_weight": [None, 0.3],
    "attn_scale": [None, 0.8],
    "attn_softcap": [None, 2.0],
    "output_softcap": [None, 3.0],
    "qkv_bias": [False, True],
    "bias": [False, True],
    "tied": [False, True],
    "embed_scale": [1.0, 3.0],
    "temperature": TEMPERATURES,
}


# Each number of heads, and the identity for values, is among the switches that stand alone.
@pytest.fixture(
    scope="module",
    params=[pytest.param(of, marks=[pytest.mark.slow] * (of != HEADS[3])) for of in HEADS],
    ids=str,
)
def heads(request, operations):
    """Sizes whose operations are compiled: one length and few widths serve many switches."""
    common = {"head_dim": 4, "qkv_bias": True, "bias": True, **request.param}
    for switches in (
        {"positions": Rotary(), "norm": LayerNorm(), "mlp": GatedMlp(dim=12)},
        {"positions": Alibi(), "mask": Window(width=3), "attn_softcap": 2.0, "num_layers": 3},
    ):
        config = configured(**common, **switches)
        both(config, drawn(config, seed=0), TOKENS)
    random = np.random.default_rng(0)
    for _ in range(3):
        switches = {name: of[random.integers(len(of))] for name, of in CHOICES.items()}
        config = configured(**{**common, **switches})
        both(config, drawn(config, seed=0), TOKENS)
    return request.param


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    switches=st.fixed_dictionaries({name: st.sampled_from(of) for name, of in CHOICES.items()}),
    seed=st.integers(0, 2**32 - 1),
    tokens=st.lists(st.integers(0, 10), min_size=len(TOKENS), max_size=len(TOKENS)),
)
def test_switches_together(heads, switches, seed, tokens):
    config = configured(head_dim=4, **heads, **switches)
    passed, wanted = both(config, drawn(config, seed), np.array(tokens, np.int32))
    assert_same(config, passed, wanted)


@pytest.mark.parametrize(
    ("dtype", "wide_types", "length"),
    [("float64", True, 1), ("float64", True, 9), ("float32", True, 7), ("float32", False, 7)],
)
def test_the_compiled_pass_errs_by_its_own_roundoff(dtype, wide_types, length):
    config = configured(**RICH, positions=Rotary(), qkv_bias=True, tied=False)
    tokens = np.arange(length, dtype=np.int32)
    with jax.enable_x64(wide_types):
        decoder = drawn(config, seed=2, dtype=dtype)
        passed = jax.jit(forward)(decoder, jnp.asarray(tokens))
    wanted = decoder_forward(config, flat_parameters(decoder), tokens)
    assert_same(config, passed, wanted, dtype)


@pytest.mark.parametrize("mask", [Causal(), Window(width=3)])
@pytest.mark.parametrize("positions", [Learned(max_length=9), Rotary(), Alibi()])
def test_a_tree_of_prompts(mask, positions):
    # Trunk of four tokens; one tail of two grows from all of it, another from its first two.
    position, branch, stem = [0, 1, 2, 3, 4, 5, 2], [0, 0, 0, 0, 1, 1, 2], [1, 2, 3, 4, 4, 4, 2]
    marks = ["1000000", "1100000", "1110000", "1111000", "1111100", "1111110", "1100001"]
    config = configured(**RICH, mask=mask, positions=positions)
    layout = Layout(*(jnp.array(field, jnp.int32) for field in (position, branch, stem)))
    tree = {"positions": position, "visible": np.array([[m == "1" for m in row] for row in marks])}
    passed, wanted = both(config, drawn(config, seed=3), TOKENS, layout, **tree)
    assert_same(config, passed, wanted)


@pytest.mark.parametrize(("mask", "blind"), [(m, m != Bidirectional()) for m in MASKS], ids=str)
def test_later_tokens_change_nothing_before_them(mask, blind):
    config = configured(**RICH, mask=mask)
    decoder = drawn(config, seed=4)
    changed = TOKENS.copy()
    changed[-1] += 1
    with jax.disable_jit():
        (y, _), (other, _) = (decoder(jnp.asarray(tokens)) for tokens in (TOKENS, changed))
    assert np.array_equal(y[:-1], other[:-1]) == blind
    assert not np.array_equal(y[-1], other[-1])


@pytest.mark.parametrize("start", range(3))
def test_a_pass_goes_on_from_any_layer(start):
    config = configured(**RICH, num_layers=3)
    decoder = drawn(config, seed=5)
    with jax.disable_jit():  # the same operations one by one, so the same bits
        y, trace = decoder(jnp.asarray(TOKENS), keep="attention")
        again, rest = decoder.represent(trace.resid[start], start=start, keep="attention")
    np.testing.assert_array_equal(again, y)
    jax.tree.map(
        lambda field, whole: np.testing.assert_array_equal(field, whole[start:]), rest, trace
    )
