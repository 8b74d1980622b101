"""A decoder in one file: what goes in comes out, and what is not whole or foreign is refused."""

import dataclasses
import hashlib
import json
import re

import jax
import numpy as np
import pytest
from made_decoders import mlp_of
from renamed_classes import renamed

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import (
    Alibi,
    Bidirectional,
    Decoder,
    DecoderConfig,
    IdentityMlp,
    LayerNorm,
    Learned,
    NoNorm,
    Prefix,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.model.config import AdaptiveTemperature, ConstantNorm, ScalableSoftmax
from glassesjax.model.stored import load_decoder, save_decoder
from glassesjax.model.stored_config import KINDS, config_of, config_record, config_text
from glassesjax.model.weights import flat_parameters

SYMBOLS = ("<bos>", "0", "1", ",", "é")
CONFIG = DecoderConfig(vocab_size=len(SYMBOLS), num_layers=2, num_heads=2, model_dim=8)
SWITCHES = {
    "rotary": {"positions": Rotary(fraction=0.5, partial="spectrum")},
    "slopes": {"positions": Alibi(slopes=(0.5, 0.25))},
    "learned": {"positions": Learned(max_length=7), "mask": Window(width=3)},
    "sinusoidal": {"positions": Sinusoidal(where="query_key"), "mask": Bidirectional()},
    "norms": {"norm": LayerNorm(eps=1e-3), "mask": Prefix(length=2)},
    "constant": {"norm": ConstantNorm(beta=2.0), "mlp": IdentityMlp(sigma=0.5)},
    "none": {"norm": NoNorm(), "attn_softcap": 3.0, "tied": False},
    "scalable": {"temperature": ScalableSoftmax(start=0.7)},
    "adaptive": {"temperature": AdaptiveTemperature()},
}
LATER = [  # switches that no older text has
    {"norm_place": "after", "qk_norm": "whole"},
    {"positions": Rotary(divisors=(1.0, 8.0), attention_factor=1.2)},
]


@pytest.fixture(scope="module")
def decoder():
    return Decoder(CONFIG, key=jax.random.key(3))


@pytest.fixture
def saved(decoder, tmp_path):
    path = tmp_path / "model.safetensors"
    save_decoder(path, decoder, SYMBOLS, {"weights": "made here"})
    return path


def test_weights_settings_and_symbols_come_back(saved, decoder):
    found, symbols, source = load_decoder(saved)
    assert found.config == CONFIG
    assert symbols == SYMBOLS
    assert source["weights"] == "made here"
    for name, weight in flat_parameters(decoder).items():
        again = flat_parameters(found)[name]
        assert np.asarray(weight).tobytes() == np.asarray(again).tobytes(), name


def test_the_same_decoder_gives_the_same_file(saved, decoder, tmp_path):
    other = tmp_path / "other.safetensors"
    digest = save_decoder(other, decoder, SYMBOLS, {"weights": "made here"})
    assert other.read_bytes() == saved.read_bytes()
    assert load_decoder(saved)[2]["weights_sha256"] == digest
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


# What files on disk call each kind and its fields: of a class or field that is renamed, the old
# name stays here, and ``stored_config`` is to translate.
FIELDS = {
    "NoPositions": [],
    "Sinusoidal": ["base", "where"],
    "Learned": ["max_length"],
    "Rotary": [*("base", "fraction", "scale", "style", "partial", "divisors", "attention_factor")],
    "Alibi": ["slopes"],
    "Causal": [],
    "Bidirectional": [],
    "Window": ["width"],
    "Prefix": ["length"],
    "NoNorm": [],
    "ConstantNorm": ["beta"],
    "RMSNorm": ["eps", "offset"],
    "LayerNorm": ["eps"],
    "PositionsByLayer": ["layers"],
    "MaskByLayer": ["layers"],
    "ZeroMlp": [],
    "IdentityMlp": ["sigma"],
    "LinearMlp": [],
    "DenseMlp": ["activation", "dim"],
    "GatedMlp": ["activation", "dim"],
    "ConstantTemperature": [],
    "ScalableSoftmax": ["start"],
    "AdaptiveTemperature": [],
}
GATED = ("swiglu", "geglu")
OF_A_DECODER = (
    *("vocab_size", "num_layers", "num_heads", "num_kv_heads", "model_dim", "head_dim"),
    *(
        "positions",
        "mask",
        "norm",
        "norm_place",
        "qk_norm",
        "mlp",
        "values",
        "block",
        "residual_weight",
        "attn_scale",
    ),
    *("attn_softcap", "output_softcap", "qkv_bias", "bias", "tied", "embed_scale", "max_length"),
    "temperature",
)


def test_the_names_on_disk_are_these():
    layers = {"layers": ()}
    needs = {"Window": {"width": 1}, "Prefix": {"length": 1}}
    needs |= {"PositionsByLayer": layers, "MaskByLayer": layers}
    said = {
        name: [*dataclasses.asdict(kind(**needs.get(name, {})))] for name, kind in KINDS.items()
    }
    assert said == FIELDS
    assert tuple(config_record(CONFIG)) == OF_A_DECODER


# Of these settings in the saved states of before, which held Python's text of the classes of then.
DIGESTS = {
    "rotary": "7aeb5f24be7a8c07",
    "slopes": "f41bde6d898c8aad",
    "learned": "d77627ca8e9200f1",
    "sinusoidal": "d555590324f04f16",
    "norms": "b7852e1894d13976",
    "constant": "55ae990c3bd59ebf",
    "none": "f25afeba8a27047c",
    "scalable": "68a789a833fb24cf",
    "adaptive": "8d52ebff5fc7379d",
}


@pytest.mark.parametrize("kind", ["zero", "identity", "linear", "gelu", "gelu_exact", *GATED])
def test_an_older_file_has_one_class_of_mlps(kind):
    older = {"switch": "Mlp", "kind": kind, "dim": 6, "sigma": 0.5}
    config = config_of({**config_record(CONFIG), "mlp": older})
    assert config.mlp == mlp_of(kind, 6, 0.5)
    assert config.mlp.kind == kind
    text = config_text(config)
    deep, identity = kind in (*GATED, "gelu", "gelu_exact"), kind == "identity"
    numbers = f"dim={6 if deep else 0}, sigma={0.5 if identity else 1.0}"
    assert f"mlp=Mlp(kind={kind!r}, {numbers})" in text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"bogus": 3}, "config.mlp of fields that Mlp has, got 'bogus'"),
        ({"dim": "x"}, "config.mlp.dim as an integer"),
        ({"kind": "relu"}, "config.mlp.kind as one of zero"),
    ],
    ids=["unknown", "type", "kind"],
)
def test_a_wrong_field_of_an_older_mlp_is_named(field, text):
    older = {"switch": "Mlp", "kind": "zero", **field}
    with pytest.raises(ValueError, match=re.escape(text)):
        config_of({**config_record(CONFIG), "mlp": older})


@pytest.mark.parametrize("name", SWITCHES)
def test_the_text_of_settings_is_what_it_was(name):
    text = config_text(dataclasses.replace(CONFIG, **SWITCHES[name]))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name]


def test_a_class_that_is_renamed_changes_no_file(saved, decoder):
    configs = [dataclasses.replace(CONFIG, **changed) for changed in SWITCHES.values()]
    file, records = saved.read_bytes(), [config_record(config) for config in configs]
    with renamed(DecoderConfig, *KINDS.values()):
        assert repr(CONFIG).startswith("OtherDecoderConfig(")
        save_decoder(saved, decoder, SYMBOLS, {"weights": "made here"})
        assert saved.read_bytes() == file
        assert load_decoder(saved)[0].config == CONFIG
        assert [config_record(config) for config in configs] == records
        assert [config_of(record) for record in records] == configs


@pytest.mark.parametrize("changed", [*SWITCHES.values(), *LATER], ids=str)
def test_every_switch_comes_back(changed):
    config = dataclasses.replace(CONFIG, **changed)
    assert config_of(json.loads(json.dumps(config_record(config)))) == config


def test_a_trained_model_opens_by_its_file_and_by_its_folder(saved):
    model = open_model(str(saved))
    assert model.tokenizer.encode_symbols(["1", ","]) == (2, 3)
    assert model.source["weights"] == "made here"
    with pytest.raises(BadInput, match="Expected a model"):
        open_model(str(saved.parent), seed=1)
    saved.rename(saved.with_name("model-1.safetensors"))
    assert open_model(str(saved.parent), seed=1).decoder.config == CONFIG
    with pytest.raises(BadInput, match=r"got model-1.safetensors: choose another --seed"):
        open_model(str(saved.parent), seed=7)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_cut_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(BadInput, match="Expected a model that glassesjax train wrote, whole"):
        load_decoder(saved)


def changed_header(path, change):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def changed_value(value, old, new):
    """The value with a piece of its JSON replaced, or another value in its place."""
    if old is None:
        return new
    text = json.dumps(value)
    assert old in text
    return json.loads(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("kind", "decoder 1", "other", "its kind as"),
        ("config", '"model_dim": 8', '"model_dim": 16', "of shape"),
        ("config", '"switch": "Causal"', '"switch": "Spiral"', "got 'Spiral'"),
        ("config", '"num_layers": 2', '"layers": 2', "layers"),
        ("symbols", '"<bos>", ', "", "symbols for 5 tokens, got 4"),
        ("config", None, [["model_dim", 8]], "its config as an object, got"),
        ("source", None, "made here", "its source as an object, got 'made here'"),
        ("source", None, None, "its source as an object, got None"),
        ("symbols", None, "01,bé", "its symbols as a list, got"),
    ],
)
def test_a_foreign_file_is_refused(saved, name, old, new, text):
    def change(told):
        inner = json.loads(told["glassesjax"])
        told["glassesjax"] = json.dumps({**inner, name: changed_value(inner[name], old, new)})

    changed_header(saved, change)
    with pytest.raises(BadInput, match=text):
        load_decoder(saved)


def test_a_missing_file_and_a_missing_folder_are_said(tmp_path, decoder):
    with pytest.raises(BadInput, match="cannot be read"):
        load_decoder(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="Expected to save"):
        save_decoder(tmp_path / "none" / "x.safetensors", decoder, SYMBOLS, {})
