"""Names that are none are refused, and ALiBi's slopes by both rules."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import decoder_forward

from glassesjax.cache import policy, prefill, unroll
from glassesjax.errors import check_choice
from glassesjax.model import (
    Alibi,
    Causal,
    Decoder,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    NoPositions,
    Rotary,
    Sinusoidal,
    flat_parameters,
)
from glassesjax.model.positions import alibi_slopes
from glassesjax.model.stored_config import config_of, config_record
from glassesjax.precision import BF16, RoundingPlan, Scaling
from glassesjax.theory.rotary import rotary_kernel

CONFIG = DecoderConfig(vocab_size=5, num_layers=1, num_heads=3, model_dim=12, positions=Alibi())
F64 = jnp.dtype("float64")


def made(kind, /, **fields):
    """Settings past the checks of types that only tests have, as a user would make them."""
    settings = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(settings, field.name, fields.get(field.name, field.default))
    settings.__post_init__()
    return settings


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (
            DenseMlp,
            {"activation": "tanh"},
            "DenseMlp.activation to be one of gelu, gelu_exact, relu, got 'tanh'",
        ),
        (GatedMlp, {"activation": "SiLU"}, "GatedMlp.activation to be one of silu, .*got 'SiLU'"),
        (Sinusoidal, {"where": "keys"}, "Sinusoidal.where to be one of embedding, query_key"),
        (Rotary, {"style": "neox"}, "Rotary.style to be one of half, interleaved"),
        (Rotary, {"partial": "tail"}, "Rotary.partial to be one of head, spectrum"),
        (Alibi, {"slopes": "ladder"}, "Alibi.slopes to be one of reference, geometric"),
        (Alibi, {"slopes": None}, "Alibi.slopes to be .*one of reference, geometric, got None"),
        (RoundingPlan, {"mode": "fake"}, "mode to be one of wide, native, simulated"),
        (
            RoundingPlan,
            {"mode": "Simulated", "residual": BF16},
            "mode to be one of wide, native, simulated, got 'Simulated'",
        ),
        (Scaling, {"over": "channel"}, "over to be one of tensor, row, column, block, fixed"),
        (DecoderConfig, {"vocab_size": 5, "values": "shared"}, "values to be one of projected"),
        (DecoderConfig, {"vocab_size": 5, "block": "post"}, "block to be one of sequential"),
        (DecoderConfig, {"vocab_size": 5, "positions": "rotary"}, "positions to be a Positions"),
        (DecoderConfig, {"vocab_size": 5, "mask": NoPositions()}, "mask to be a Mask"),
        (DecoderConfig, {"vocab_size": 5, "norm": "rms"}, "norm to be one of NoNorm"),
        (DecoderConfig, {"vocab_size": 5, "mlp": "gelu"}, "mlp to be one of ZeroMlp"),
        (DecoderConfig, {"vocab_size": 5, "temperature": Causal()}, "temperature to be one of"),
    ],
)
def test_an_unknown_name_is_refused(kind, fields, text):
    with pytest.raises(ValueError, match=text):
        made(kind, **fields)


def test_an_unknown_mode_of_a_function_is_refused(key):
    decoder = Decoder(CONFIG, key=key)
    tokens = jnp.asarray([1, 2], jnp.int32)
    for run, text in (
        (lambda: decoder(tokens, keep="all"), "keep"),
        (lambda: list(prefill(unroll(decoder), tokens, policy("full"), mode="whole")), "mode"),
        (lambda: dataclasses.replace(policy("h2o"), position_ids="even"), "position_ids"),
        (lambda: rotary_kernel(*jnp.ones((2, 4)), jnp.ones(2), jnp.ones(1), style="neox"), "style"),
    ):
        # With the checks of types on, they may speak first.
        with pytest.raises(Exception, match=text):
            run()


def test_a_choice_is_equal_and_of_the_same_type():
    check_choice("norm", 1, (1, 2, "inf"))
    for wrong in (True, 1.0, "1", 3):
        with pytest.raises(ValueError, match="Expected norm to be one of 1, 2, inf, got"):
            check_choice("norm", wrong, (1, 2, "inf"))


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        # Those of 2, then of 4 the first.
        (3, [4, 8, 2]),
        # Those of 4, then of 8 the first and third.
        (6, [2, 4, 6, 8, 1, 3]),
        # Those of 8, then of 16 every other one.
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_by_the_reference_rule(heads, exponents):
    found = alibi_slopes(Alibi(), heads, F64)
    np.testing.assert_allclose(found, [2.0**-e for e in exponents], rtol=4 * 2.0**-53)
    ladder = alibi_slopes(Alibi(slopes="geometric"), heads, F64)
    np.testing.assert_allclose(
        ladder, [2.0 ** (-8 * (h + 1) / heads) for h in range(heads)], rtol=4 * 2.0**-53
    )
    assert np.array_equal(found, ladder) == (heads & (heads - 1) == 0)


@pytest.mark.parametrize("slopes", ["reference", "geometric"])
def test_three_heads_against_the_slow_reference(key, slopes):
    config = dataclasses.replace(CONFIG, positions=Alibi(slopes=slopes))
    decoder = Decoder(config, key=key, dtype=jnp.float64)
    tokens = [1, 3, 0, 2]
    params = {name: np.asarray(array) for name, array in flat_parameters(decoder).items()}
    expected = decoder_forward(config, params, tokens).y
    found = decoder(jnp.asarray(tokens, jnp.int32))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=400 * 2.0**-53 * np.max(abs(expected)))


def test_saved_settings_without_a_rule_meant_the_ladder():
    record = json.loads(json.dumps(config_record(CONFIG)))
    assert config_of(record) == CONFIG
    record["positions"]["slopes"] = None
    assert config_of(record).positions == Alibi(slopes="geometric")
    for slopes in ("geometric", (0.5, 0.25, 0.125)):
        config = dataclasses.replace(CONFIG, positions=Alibi(slopes=slopes))
        assert config_of(json.loads(json.dumps(config_record(config)))) == config


def test_layers_of_one_shape_hold_no_name_of_a_rule(key):
    leaves = jax.tree.leaves(Decoder(CONFIG, key=key))
    assert all(hasattr(leaf, "dtype") for leaf in leaves)
