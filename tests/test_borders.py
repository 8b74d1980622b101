"""What a public function is given and cannot take: one line that names the argument."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.cache import (
    POLICIES,
    Policy,
    State,
    advance,
    empty_state,
    policy,
    prefill,
    unroll,
)
from glassesjax.errors import BadInput
from glassesjax.model import Alibi, Decoder, DecoderConfig, Mlp, RMSNorm, Rotary, Window

CONFIG = DecoderConfig(vocab_size=5, num_layers=2, num_heads=2, model_dim=8)
TOVA = POLICIES["tova"]
TEXT = jnp.asarray([1, 2, 3, 4, 0, 1], jnp.int32)
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def model():
    return unroll(Decoder(CONFIG, key=jax.random.key(0)))


def made(kind, /, **fields):
    """Settings past the checks of types that only tests have, as a user would make them."""
    settings = object.__new__(kind)
    for name in kind.__dataclass_fields__:
        object.__setattr__(settings, name, fields.get(name, getattr(kind, name, None)))
    settings.__post_init__()
    return settings


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (DecoderConfig, {"block": "x"}, "block to be one of sequential, parallel, got 'x'"),
        (DecoderConfig, {"model_dim": 64.0}, "model_dim to be a whole number, got 64.0"),
        (DecoderConfig, {"model_dim": True}, "model_dim to be a whole number, got True"),
        (DecoderConfig, {"num_layers": -1}, "num_layers at least 1, got -1"),
        (DecoderConfig, {"vocab_size": None}, "vocab_size to be a whole number, got None"),
        (DecoderConfig, {"attn_scale": NAN}, "attn_scale to be a number or None, got nan"),
        (DecoderConfig, {"embed_scale": INF}, "embed_scale to be finite, got inf"),
        (DecoderConfig, {"residual_weight": "half"}, "residual_weight to be a number or None"),
        (DecoderConfig, {"attn_softcap": 0.0}, "attn_softcap over 0, got 0.0"),
        (DecoderConfig, {"tied": 1}, "tied to be True or False, got 1"),
        (DecoderConfig, {"max_length": 0}, "max_length at least 1, got 0"),
        (Window, {"width": 2.5}, "Window.width to be a whole number, got 2.5"),
        (Rotary, {"base": NAN}, "Rotary.base to be a number, got nan"),
        (Alibi, {"slopes": (NAN,)}, "Alibi.slopes to be a sequence of .* got .nan"),
        (RMSNorm, {"eps": -1.0}, "RMSNorm.eps at least 0, got -1.0"),
        (Mlp, {"sigma": INF}, "Mlp.sigma to be finite, got inf"),
        (Policy, {"score": "weight"}, "Policy.score to be a function, got 'weight'"),
        (Policy, {"sinks": 1.0}, "Policy.sinks to be a whole number, got 1.0"),
        (Policy, {"decay": NAN}, "Policy.decay to be a number, got nan"),
    ],
)
def test_a_setting_of_another_type_or_outside_its_domain(kind, fields, text):
    needed = {DecoderConfig: {"vocab_size": 5}, Policy: {"name": "own", "score": len}}
    made(kind, **needed.get(kind, {"width": 2} if kind is Window else {}))
    with pytest.raises(BadInput, match=f"^Expected {text}"):
        made(kind, **needed.get(kind, {}) | fields)


def test_numbers_of_numpy_and_lists_become_settings_that_json_can_write():
    config = made(DecoderConfig, vocab_size=np.int64(5), attn_scale=np.float32(0.5))
    assert (type(config.vocab_size), type(config.attn_scale)) == (int, float)
    assert made(Alibi, slopes=[0.5]).slopes == (0.5,)


WRONG_SCORES = {
    "of another length": lambda places: places.weight[1:],
    "one number": lambda places: jnp.sum(places.weight),
    "a number of Python": lambda places: 0.0,
    "integers": lambda places: places.position,
    "nothing": lambda places: None,
}


@pytest.mark.parametrize("kind", WRONG_SCORES)
@pytest.mark.parametrize("mode", ["exact", "cut"])
def test_a_score_that_is_not_one_float_a_place(model, kind, mode):
    rule = made(Policy, name="own", score=WRONG_SCORES[kind])
    state = empty_state(CONFIG, TOVA, 3)
    with pytest.raises(BadInput, match=r"score of policy own as one float for each of .* places"):
        advance(model, state, TEXT, rule, mode=mode)


def nan_from_four(places):
    """NaN for all from position four on, and in empty places always."""
    return jnp.where((places.position < 0) | (places.now >= 4), jnp.nan, places.weight)


def test_a_choice_by_scores_that_are_nan_shows_in_all_that_is_read_after_it(model):
    rule = Policy(name="own", score=nan_from_four)
    _, y, _ = advance(model, empty_state(CONFIG, rule, 3), TEXT, rule)
    # Up to position four all was decided by numbers; its own decision comes after it is read.
    assert np.array_equal(np.isnan(np.asarray(y)).any(axis=1), np.arange(6) > 4)
    _, room, _ = advance(model, empty_state(CONFIG, rule, 6), TEXT, rule)
    assert np.isfinite(room).all()  # nothing had to go
    half, shown, _ = advance(model, empty_state(CONFIG, rule, 3), TEXT, rule, mode="cut")
    assert np.isfinite(shown).all()
    assert np.isnan(advance(model, half, TEXT[:1], rule, mode="cut")[1]).all()


def other(**fields):
    return empty_state(DecoderConfig(**{"vocab_size": 5, **fields}), TOVA, 3)


OWN = {"num_layers": 2, "num_heads": 2, "model_dim": 8}
STATES = {
    "layers": (lambda: other(**OWN | {"num_layers": 3}), "state of 2 layers.*got 3"),
    "no layers": (lambda: State((), jnp.int32(0)), "state of 2 layers.*got 0"),
    "heads": (lambda: other(**OWN | {"num_kv_heads": 1}), "state whose key is"),
    "head_dim": (lambda: other(**OWN | {"head_dim": 2}), "state whose key is .*got .*2[)]"),
    "dtype": (lambda: empty_state(CONFIG, TOVA, 3, jnp.bfloat16), "key is float32.*got bfloat16"),
    "policy": (lambda: empty_state(CONFIG, policy("h2o"), 3), "made for tova; found .*2 decis"),
    "slots": (
        lambda: jax.tree.map(lambda x: x[..., :2] if x.ndim == 2 else x, other(**OWN)),
        "state whose key is",
    ),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_another_model_made(model, kind):
    make, text = STATES[kind]
    with pytest.raises(BadInput, match=text):
        advance(model, make(), TEXT, TOVA)
    with pytest.raises(BadInput, match=text):
        list(prefill(model, TEXT, TOVA, state=make()))
