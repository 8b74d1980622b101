"""Stored decoders that are damaged or hostile: refused in one line that names what is wrong."""

import dataclasses
import json
import math
import os
import struct
import subprocess
import sys
import time
import typing
from types import NoneType, UnionType

import jax
import numpy as np
import pytest
import safetensors.numpy

from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig, flat_parameters
from glassesjax.model.config import Mask, Positions
from glassesjax.model.stored import load_decoder, save_decoder
from glassesjax.model.stored_config import KINDS, config_record

SYMBOLS = ("<bos>", "0", "1", ",", "é")
CONFIG = DecoderConfig(vocab_size=len(SYMBOLS), num_layers=2, num_heads=2, model_dim=8)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    save_decoder(path, Decoder(CONFIG, key=jax.random.key(0)), SYMBOLS, {"weights": "made"})
    return path.read_bytes()


def with_header(content, change, encode=json.dumps):
    """The file with a changed header: a function of the object that it has."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = encode(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def with_text(content, text):
    """The file with another text in place of what ``save_decoder`` says of the model."""
    return with_header(content, lambda header: header["__metadata__"].update(glassesjax=text))


def with_fields(content, **fields):
    size = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["glassesjax"])
    return with_text(content, json.dumps({**told, **fields}))


def with_config(content, changed):
    return with_fields(content, config={**config_record(CONFIG), **changed})


def refusal(tmp_path, content):
    """The one line in which a file is refused."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"^Expected a model that glassesjax train wrote") as error:
        load_decoder(path)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 500 + len(str(path))
    return line


# Every field of the settings and of their switches, with every wrong kind of value. ---------------

BAD = {
    "null": None,
    "true": True,
    "one": 1,
    "negative": -1,
    "huge": 10**8,
    "beyond int32": 10**30,
    "beyond floats": 10**400,
    "fraction": 0.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "text": "1",
    "control characters": "\x1b[31m\n",
    "no list": [],
    "list": [0.5, None],
    "nested": json.loads("[" * 200 + "]" * 200),
    "object": {},
    "switch of numbers": {"switch": 1},
    "switch of lists": {"switch": []},
    "unknown switch": {"switch": "\x1b[2J"},
}
NEEDED = {"width": 1, "length": 1, "layers": []}  # fields of switches without a default


def parts(hint):
    """The types that a field may have."""
    if hint in (Positions, Mask):
        return tuple(kind for kind in KINDS.values() if issubclass(kind, hint))
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return typing.get_args(hint) if union else (hint,)


def fields():
    """Each field's place in the file, its type, and the settings around a value for it."""
    for name, hint in typing.get_type_hints(DecoderConfig).items():
        yield f"config.{name}", hint, lambda value, name=name: {name: value}
        for kind in filter(dataclasses.is_dataclass, parts(hint)):
            hints = typing.get_type_hints(kind)
            inner = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
            rest = {"switch": kind.__name__, **{x: NEEDED[x] for x in NEEDED if x in inner}}
            for field, inner_hint in inner.items():
                around = lambda value, at=name, field=field, rest=rest: {at: {**rest, field: value}}
                yield f"config.{name}.{field}", inner_hint, around


def may_be(value, hint):
    """Whether a value of JSON may stand in a field of a type; sizes that do not fit aside."""
    whole = type(value) is int and 0 <= value < 2**31
    number = whole or (type(value) in (int, float) and abs(value) < 1e308)
    plain = {bool: type(value) is bool, int: whole, float: number, NoneType: value is None}
    return value == [] if typing.get_origin(hint) is tuple else plain.get(hint, False)


def test_the_walk_over_the_fields_meets_them():
    places = {place for place, _, _ in fields()}
    assert {"config.vocab_size", "config.mlp", "config.mlp.dim", "config.mask.width"} <= places
    assert len(places) > 30


@pytest.mark.parametrize("bad", BAD)
def test_a_field_of_a_wrong_kind_is_named(content, tmp_path, bad):
    tried, unnamed, value = 0, {}, BAD[bad]
    for place, hint, around in fields():
        old = bad == "null" and place.endswith(".slopes")  # what older files have
        if old or any(may_be(value, part) for part in parts(hint)):
            continue
        line = refusal(tmp_path, with_config(content, around(value)))
        tried += 1
        if place not in line:
            unnamed[place] = line
    assert not unnamed
    assert tried > 10


# Sizes, weights and symbols that do not fit each other. -------------------------------------------

SIZES = {
    "a thousand layers": ({"num_layers": 1000}, "blocks."),
    "10^8 layers": ({"num_layers": 10**8}, "at most 1000 layers, got 100000000"),
    "10^9 symbols": ({"vocab_size": 10**9}, "embed.table"),
    "10^9 wide": ({"model_dim": 10**9}, "blocks."),
    "10^9 heads": ({"model_dim": 10**9, "num_heads": 10**9}, "blocks."),
    "10^9 heads of one number": ({"num_heads": 10**9, "head_dim": 1}, "blocks."),
    "heads 10^9 wide": ({"head_dim": 10**9}, "blocks."),
    "an MLP 10^9 wide": (
        {"mlp": {"switch": "Mlp", "kind": "swiglu", "dim": 10**9}},
        "blocks.mlp",
    ),
    "10^9 positions": ({"positions": {"switch": "Learned", "max_length": 10**9}}, "positions"),
    "10^9 ALiBi heads": (
        {"positions": {"switch": "Alibi"}, "num_heads": 10**9, "head_dim": 1},
        "blocks.",
    ),
    "a missing size": ({"num_heads": 3}, "config that makes a decoder, got model_dim"),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_are_compared_before_anything_is_built(content, tmp_path, kind):
    changed, text = SIZES[kind]
    begin = time.process_time()
    assert text in refusal(tmp_path, with_config(content, changed))
    assert time.process_time() - begin < 2


def test_a_missing_and_an_unknown_field_are_named(content, tmp_path):
    record = config_record(CONFIG)
    del record["vocab_size"]
    assert "config.vocab_size, got none" in refusal(tmp_path, with_fields(content, config=record))
    line = refusal(tmp_path, with_config(content, {"\x1b[2J": 1}))
    assert r"fields that DecoderConfig has, got '\x1b[2J'" in line
    line = refusal(tmp_path, with_config(content, {"mask": {"switch": "Causal", "width": 3}}))
    assert "config.mask of fields that Causal has, got 'width'" in line


def with_weights(content, change):
    """The file with other weights: a change of the arrays by name."""
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    arrays = safetensors.numpy.load(content)
    change(arrays)
    return safetensors.numpy.save(arrays, metadata)


def cast(dtype, *names):
    def change(arrays):
        for name in names or list(arrays):
            arrays[name] = arrays[name].astype(dtype)

    return change


GAIN = "final_norm.gain"
WEIGHTS = {
    **{
        f"weights of {dtype.__name__}": (cast(dtype), "of a type out of F16, F32, F64, got")
        for dtype in (np.int8, np.int32, np.int64, np.uint16, np.bool_, np.complex64)
    },
    "one integer weight": (cast(np.int32, GAIN), "'final_norm.gain' of a type"),
    "two types": (cast(np.float16, GAIN), "weights of one type, got F16 and F32"),
    "none": (lambda arrays: arrays.clear(), "got none"),
    "one missing": (lambda arrays: arrays.pop(GAIN), "final_norm.gain of shape (8,), got none"),
    "one more": (lambda arrays: arrays.update({"a\x1b[2J": np.ones(3)}), r"also 'a\x1b[2J'"),
    "another shape": (
        lambda arrays: arrays.update({GAIN: np.ones((1, 8), np.float32)}),
        "(8,), got (1, 8)",
    ),
    "a weight of no numbers": (
        lambda arrays: arrays.update({GAIN: np.ones(0, np.float32)}),
        "(8,), got (0,)",
    ),
    "a weight without axes": (
        lambda arrays: arrays.update({GAIN: np.ones((), np.float32)}),
        "(8,), got ()",
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_not_the_settings_are_refused(content, tmp_path, kind):
    change, text = WEIGHTS[kind]
    assert text in refusal(tmp_path, with_weights(content, change))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_float_types_open(content, tmp_path, dtype):
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_weights(content, cast(dtype)))
    assert load_decoder(path)[0].dtype == dtype


def test_weights_that_are_not_finite_open(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_weights(content, lambda arrays: arrays[GAIN].fill(np.nan)))
    assert np.isnan(flat_parameters(load_decoder(path)[0])[GAIN]).all()


SAID = {
    "a number for a symbol": ({"symbols": ["a", "b", 1, "c", "d"]}, "symbols[2] as a text, got 1"),
    "null for a symbol": (
        {"symbols": [None, "b", "c", "d", "e"]},
        "symbols[0] as a text, got None",
    ),
    "a list for a symbol": ({"symbols": ["a", ["b"], "c", "d", "e"]}, "symbols[1] as a text"),
    "an empty symbol": ({"symbols": ["a", "b", "", "d", "e"]}, "symbols[2] as a text"),
    "half a character": ({"symbols": ["a", "b", "\ud800", "d", "e"]}, "symbols[2] as a text"),
    "a symbol twice": ({"symbols": ["a", "b", "\x1b", "d", "\x1b"]}, r"got '\x1b' twice"),
    "too few symbols": ({"symbols": ["a"]}, "symbols for 5 tokens, got 1"),
    "too many symbols": ({"symbols": [*"abcdef"]}, "symbols for 5 tokens, got 6"),
    "no symbols": ({"symbols": []}, "symbols for 5 tokens, got 0"),
    "symbols of an object": ({"symbols": {"a": 1}}, "its symbols as a list"),
    "symbols of null": ({"symbols": None}, "its symbols as a list, got None"),
    "settings of null": ({"config": None}, "its config as an object, got None"),
    "settings of a list": ({"config": []}, "its config as an object, got []"),
    "a source of null": ({"source": None}, "its source as an object, got None"),
    "a source of numbers": ({"source": {"weights": 1}}, "got 1 under 'weights'"),
    "a source of lists": ({"source": {"weights": [1]}}, "got [1] under 'weights'"),
    "a source that is a column": ({"source": {"finite": "x"}}, "got 'x' under 'finite'"),
    "a format of numbers": ({"stored_as": 1}, "stored_as as the name of a number format, got 1"),
    "a format of lists": ({"stored_as": []}, "stored_as as the name of a number format, got []"),
    "an unknown format": ({"stored_as": "\x1b[2J"}, "stored_as"),
    "a huge format": ({"stored_as": "e99999999m9"}, "stored_as"),
    "a format of too many digits": ({"stored_as": "e" + "9" * 5000 + "m9"}, "stored_as"),
    "another kind": ({"kind": "\x1b[2J"}, r"its kind as 'decoder 1', got '\x1b[2J'"),
    "a kind of lists": ({"kind": [[1]]}, "its kind as 'decoder 1', got [[1]]"),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_said_beside_the_weights_is_checked(content, tmp_path, kind):
    changed, text = SAID[kind]
    assert text in refusal(tmp_path, with_fields(content, **changed))


# The file itself. ---------------------------------------------------------------------------------

NESTED = "[" * 5000 + "]" * 5000
TEXTS = {
    "nested lists": NESTED,
    "nested objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "nested settings": '{"kind": "decoder 1", "config": ' + NESTED + "}",
    "a number of 5000 digits": '{"kind": ' + "9" * 5000 + "}",
    "a list": "[]",
    "a key twice": '{"kind": "decoder 1", "kind": "decoder 1"}',
    "null": "null",
    "NaN": "NaN",
    "nothing": "",
    "no JSON": "kind: \x1b[2J",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_another_text_of_settings_is_refused(content, tmp_path, kind):
    assert "its metadata under 'glassesjax'" in refusal(tmp_path, with_text(content, TEXTS[kind]))


@pytest.mark.parametrize("kind", TEXTS)
def test_another_header_is_refused(content, tmp_path, kind):
    text = TEXTS[kind].encode()
    assert "header" in refusal(tmp_path, len(text).to_bytes(8, "little") + text + content[-64:])


def entry(change):
    return lambda header: header[GAIN].update(change(header[GAIN]))


HEADERS = {
    "metadata of null": lambda header: header.update(__metadata__=None),
    "metadata of a list": lambda header: header.update(__metadata__=[]),
    "no metadata": lambda header: header.pop("__metadata__"),
    "metadata of numbers": lambda header: header.update(__metadata__={"glassesjax": 1}),
    "an entry of null": lambda header: header.update({GAIN: None}),
    "an entry of a list": lambda header: header.update({GAIN: []}),
    "an entry of nothing": lambda header: header.update({GAIN: {}}),
    "a shape of text": entry(lambda it: {"shape": "8"}),
    "a shape of fractions": entry(lambda it: {"shape": [8.0]}),
    "a negative shape": entry(lambda it: {"shape": [-8]}),
    "a shape of 2^64": entry(lambda it: {"shape": [2**64]}),
    "a type of null": entry(lambda it: {"dtype": None}),
    "a type of a list": entry(lambda it: {"dtype": []}),
    "an unknown type": entry(lambda it: {"dtype": "F7"}),
    "no offsets": lambda header: header[GAIN].pop("data_offsets"),
    "offsets of null": entry(lambda it: {"data_offsets": None}),
    "one offset": entry(lambda it: {"data_offsets": [0]}),
    "negative offsets": entry(lambda it: {"data_offsets": [-32, 0]}),
    "offsets that overlap": entry(lambda it: {"data_offsets": [x - 4 for x in it["data_offsets"]]}),
    "offsets that leave a gap": entry(
        lambda it: {"data_offsets": [x + 4 for x in it["data_offsets"]]}
    ),
    "offsets beyond the file": entry(lambda it: {"data_offsets": [2**40, 2**40 + 32]}),
    "offsets of 2^64": entry(lambda it: {"data_offsets": [2**64 - 32, 2**64]}),
    "offsets the other way": entry(lambda it: {"data_offsets": it["data_offsets"][::-1]}),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_damaged_header_is_refused(content, tmp_path, kind):
    refusal(tmp_path, with_header(content, HEADERS[kind]))


@pytest.mark.parametrize("length", [0, 1, 2**22 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(content, tmp_path, length):
    assert "header" in refusal(tmp_path, length.to_bytes(8, "little") + content[8:])


def test_every_cut_is_refused(content, tmp_path):
    end = 8 + int.from_bytes(content[:8], "little")
    cuts = {*range(20), *range(20, end, 97), end - 1, end, end + 1, len(content) - 1}
    for kept in cuts:
        refusal(tmp_path, content[:kept])
    refusal(tmp_path, content + b"x")


def test_any_damaged_byte_of_the_header_is_refused_or_changes_a_word(content, tmp_path):
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
    end, refusals = 8 + int.from_bytes(content[:8], "little"), []
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(end)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_decoder(path)
        except BadInput as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(map(str.isprintable, refusals))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", "."):
        with pytest.raises(BadInput, match="no regular file"):
            load_decoder(tmp_path / name)
    with pytest.raises(BadInput, match="cannot be read"):
        load_decoder(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="cannot be read"):
        load_decoder(tmp_path / ("x" * 300 + ".safetensors"))


def test_what_could_not_be_read_again_is_not_saved(tmp_path):
    path, decoder = tmp_path / "model.safetensors", Decoder(CONFIG, key=jax.random.key(0))
    for symbols, source, text in (
        (("a", "a", "b", "c", "d"), {}, "symbols that differ"),
        (SYMBOLS[1:], {}, "symbols for 5 tokens"),
        (SYMBOLS, {"finite": "x"}, "its source"),
        (("a" * 2**22, *SYMBOLS[1:]), {}, "at most 4194304 bytes"),
    ):
        with pytest.raises(ValueError, match=text):
            save_decoder(path, decoder, symbols, source)
    assert not path.exists()


# What a refusal costs. ----------------------------------------------------------------------------

COST = """
import resource, sys, time
import jax.numpy
import safetensors.numpy
from glassesjax.errors import BadInput
from glassesjax.model.gguf_header import map_file, read_header
from glassesjax.model.chat import chat_text
from glassesjax.model.stored import load_decoder

jax.numpy.ones(3).block_until_ready()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, begin = peak(), time.process_time()
try:
    {call}
except BadInput:
    print(peak() - before, time.process_time() - begin)
"""
CALLS = {
    "a header of null bytes": "load_decoder(Path('made.safetensors'))",
    "10^8 layers": "load_decoder(Path('layers.safetensors'))",
    "a sparse array": "read_header(map_file(Path('made.gguf')), 'made', {})",
    "lists of lists": "chat_text(TEMPLATE, [], bos=None, eos=None)",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CALLS)
def test_a_refusal_takes_little(content, tmp_path, kind):
    (tmp_path / "layers.safetensors").write_bytes(with_config(content, {"num_layers": 10**8}))
    (tmp_path / "made.safetensors").write_bytes((2**30).to_bytes(8, "little"))
    # A GGUF file of one pair, which is 2^33 booleans.
    pair = struct.pack("<Q1sIIQ", 1, b"a", 9, 7, 2**33)
    (tmp_path / "made.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    os.truncate(tmp_path / "made.safetensors", 2**34)
    os.truncate(tmp_path / "made.gguf", 2**34)
    template = (
        "{% set n = namespace(a=1) %}{% for i in range(99) %}{% set n.a = [n.a, n.a] %}{% endfor %}"
    )
    code = COST.replace("{call}", CALLS[kind]).replace("TEMPLATE", repr(template))
    code = "from pathlib import Path" + code
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    megabytes, seconds = map(float, run.stdout.split())
    assert megabytes < 150
    assert seconds < 2
