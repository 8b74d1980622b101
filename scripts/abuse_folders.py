"""Folders of several families with their tokenizers, whole and damaged.

JSON is compared before and after, so that the path of each change is known. A value that every
reader must believe makes another model and no damaged one: a base of the rotation, an expression
that splits texts, flags of an added token. Under such keys (``FREE``, ``PARTS``) a value of the
same type stays and none is lost; they get values that none can have: a text for a number, NaN, one
that is huge, negative or nested. A key under another name must be noticed, but for keys of
``tokenizer_config.json`` that are not read: anyone may add some there.
"""

import copy
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from abuse_models import Models
from abuse_oracle import Damage
from abuse_values import LONG

from glassesjax.model.tokenizer_keys import READ

CONFIG, TOKENIZER, NAMES = "config.json", "tokenizer.json", "tokenizer_config.json"
GENERATION, INDEX = "generation_config.json", "model.safetensors.index.json"
SHARDS = tuple(f"model-{part:05}-of-00002.safetensors" for part in (1, 2))
# Numbers, switches and names that make another whole model, in the configuration.
FREE = {
    *("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "rope_theta"),
    *("sliding_window", "use_sliding_window", "max_window_layers", "rope_scaling", "rotary_pct"),
    *("max_position_embeddings", "n_positions", "hidden_act", "activation_function"),
    *("num_attention_heads", "n_head", "original_max_position_embeddings", "query_pre_attn_scalar"),
    *("rope_type", "short_factor", "long_factor"),
}
# Keys of a tokenizer without which it is another whole one, in ``tokenizer.json``.
PARTS = {
    *("added_tokens", "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor"),
    *("decoder", "dropout", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges"),
    *("use_regex", "add_prefix_space", "trim_offsets", "normalizers", "pretokenizers", "decoders"),
    *("processors", "single", "pair", "invert", "continuing_subword_prefix", "end_of_word_suffix"),
}
FLAGS = {"special", "single_word", "lstrip", "rstrip", "normalized"}
Path_ = tuple[str | int, ...]


def damaged(rng: Random, models: Models, path: Path, original: Path) -> Damage:
    """Writes a folder and a damaged copy of it.

    Args:
      rng: Draws both.
      models: Among which one is drawn.
      path: Of the damaged one.
      original: Of the whole one.
    """
    family, tokenizer = rng.choice(sorted(models.folders))
    contents = models.folders[family, tokenizer]
    for folder in (path, original):
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    way = rng.choice((_json, _json, _json, _bytes, _bytes, _weights, _header, _places))
    damage = way(rng, path)
    return damage._replace(text=f"{family}, {tokenizer}: {damage.text}")


def leaves(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Values within a value of JSON with their paths, itself the first.

    Args:
      value: Of JSON.
      path: Its own.
    """
    yield path, value
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key), inner


def changes(old: object, new: object, path: Path_ = ()) -> Iterator[tuple[Path_, Any, Any]]:
    """Where two values of JSON differ, by the outermost path; ``...`` for what is not there.

    Args:
      old: A value.
      new: Another.
      path: Of both.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key, ...), new.get(key, ...), (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from changes(one, other, (*path, at))
    elif type(old) is not type(new) or old != new:
        yield path, old, new


def judged(name: str, old: object, new: object) -> tuple[str, ...] | None:
    """What a change of JSON may change, from its place; None where it makes another whole model.

    Args:
      name: Of the file.
      old: Its value before.
      new: Its value now.
    """
    may: set[str] = set()
    every = list(changes(old, new))
    renamed = {path[:-1] for path, before, _ in every if before is ...}
    for path, before, after in every:
        key = path[-1] if path else None
        same_kind = type(before) is type(after) or {type(before), type(after)} == {int, float}
        # A key under another name is no loss of it, but where any name may stand.
        open_names = name == NAMES and len(path) == 1 and key not in READ
        lost = after is ... and (open_names or path[:-1] not in renamed)
        gone = lost or after is None or after in ({}, [])
        if name == CONFIG and FREE & set(path) and (same_kind or gone) and not _odd(after):
            return None
        if name == CONFIG and key == "model_type":
            return None
        if name in (TOKENIZER, NAMES):
            if path[:2] in (("model", "vocab"), ("model", "merges")) and not (
                gone and len(path) < 3
            ):
                may.add("tokens")
            elif key == "content" or str(key).endswith("_token"):
                may.add("tokens")  # a token's text
            elif path[:1] == ("added_tokens_decoder",):
                if gone or (FLAGS & set(path) and same_kind):
                    return None
            elif name == TOKENIZER and (same_kind or (gone and PARTS & set(path))):
                return None
    return tuple(sorted(may))


def _odd(value: object) -> bool:
    """Whether a number is one that no key can have."""
    number = isinstance(value, int | float)
    return number and not 0 <= value <= 1e30  # NaN is not within


def _value(rng: Random, old: object) -> object:
    """A value that is odd where another stood."""
    odd: list[Any] = [None, True, "", LONG, [], {}, [old, old], {"x": old}, "\x1b[31m\0", math.nan]
    odd += [math.inf, -1, -0.5, 10**400, 1e300, 2**63, str(old), [[[old]]], "\ud800"]
    if isinstance(old, int | float):
        odd += [-old, float(old), old + 1]
    if isinstance(old, list):
        odd += [old[:-1], old[::-1], [None] * len(old)]
    if isinstance(old, str):
        odd += [old + "x", old.upper(), old[:-1], len(old)]
    return rng.choice(odd)


def _json(rng: Random, path: Path) -> Damage:
    """A key lost, renamed or written twice, or another value, in one file."""
    names = (CONFIG, CONFIG, TOKENIZER, NAMES, GENERATION, INDEX)
    while True:
        name = rng.choice(names)
        old = json.loads((path / name).read_text())
        new = copy.deepcopy(old)
        place, value = _place(rng, new)
        around = new
        for key in place[:-1]:
            around = around[key]
        key, twice = place[-1], ""
        way = rng.choice(("value", "value", "value", "lose", "rename", "twice"))
        if way == "value" or not isinstance(around, dict):
            around[key] = _value(rng, value)
            text = f"{around[key]!r}"
        elif way == "lose":
            text = "lost"
            del around[key]
        elif way == "rename":
            text = _renamed(rng, str(key))
            moved = {text if each == key else each: it for each, it in around.items()}
            around.clear()
            around.update(moved)
        else:
            other = value if rng.random() < 0.3 else _value(rng, value)
            text = twice = json.dumps(other)
        may = judged(name, old, new)
        if way == "twice" and isinstance(around, dict):
            around["\ufffe"] = 0
            pair = f"{json.dumps(key)}: {twice}"
            content = json.dumps(new).replace('"\\ufffe": 0', pair)
            may = judged(name, old, json.loads(content))
            text = f"twice, {text}"
        else:
            content = json.dumps(new)
        if may is not None:
            (path / name).write_text(content)
            return Damage(f"{name}, {place}: {text}"[:300], may)


def _place(rng: Random, value: object) -> tuple[Path_, Any]:
    """A path within a value, each depth as often as others: vocabularies are long."""
    every = [(path, inner) for path, inner in leaves(value) if path]
    kind = rng.choice(sorted({(len(path), str(path[0])) for path, _ in every}))
    return rng.choice([each for each in every if (len(each[0]), str(each[0][0])) == kind])


def _renamed(rng: Random, key: str) -> str:
    at = rng.randrange(len(key)) if key else 0
    return rng.choice((key + "x", key[:at] + key[at + 1 :], key[:at] + "z" + key[at + 1 :], ""))


def _bytes(rng: Random, path: Path) -> Damage:
    """Another byte of a file of JSON, or one that is cut."""
    while True:
        name = rng.choice((CONFIG, TOKENIZER, NAMES, GENERATION, INDEX))
        content = (path / name).read_bytes()
        at = rng.randrange(len(content))
        if rng.random() < 0.3:
            (path / name).write_bytes(content[:at])
            return Damage(f"{name} cut at {at}")
        byte = rng.choice((content[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
        new = content[:at] + bytes([byte]) + content[at + 1 :]
        try:
            may = judged(name, json.loads(content), json.loads(new))
        except (ValueError, RecursionError):
            may = ()
        if may is not None:
            (path / name).write_bytes(new)
            return Damage(f"{name}, byte {at} is {byte}", may)


def _weights(rng: Random, path: Path) -> Damage:
    """Bytes of a shard: another one, some that are lost or twice, or none from there on."""
    name = rng.choice(SHARDS)
    content = (path / name).read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    at = rng.randrange(8) if rng.random() < 0.2 else rng.randrange(len(content))
    at = rng.randrange(size) if rng.random() < 0.4 else at
    match rng.choice(("flip", "flip", "cut", "lost", "twice", "length")):
        case "flip":
            new = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
            may = ("logits",) if at >= size else ()
        case "cut":
            new, may = content[:at], ()
        case "lost":
            new, may = content[:at] + content[at + rng.choice((1, 4, 32)) :], ()
        case "twice":
            new, may = content[: at + 4] + content[at:], ()
        case _:
            length = rng.choice((0, size - 9, size - 7, len(content), 2**32, 2**63, 2**64 - 1))
            new, may = length.to_bytes(8, "little") + content[8:], ()
    (path / name).write_bytes(new)
    return Damage(f"{name}, byte {at} of {len(content)} with a header of {size}", may)


def _header(rng: Random, path: Path) -> Damage:
    """Another value in the header of a shard."""
    name = rng.choice(SHARDS)
    content = (path / name).read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    tensor = rng.choice(sorted(header))
    entry, other = header[tensor], rng.choice(sorted(header))
    way = rng.choice(("value", "value", "lose", "rename", "offsets", "extra", "type"))
    key = rng.choice(sorted(entry))
    match way:
        case "value":
            entry[key] = _value(rng, entry[key])
        case "lose":
            if rng.random() < 0.5:
                del header[tensor]
            else:
                del entry[key]
        case "rename":
            header[_renamed(rng, tensor)] = header.pop(tensor)
        case "offsets":
            entry["data_offsets"] = header[other]["data_offsets"][:: rng.choice((1, -1))]
        case "extra":
            header["__metadata__"] = _value(rng, {"format": "pt"})
        case _:
            entry["dtype"] = rng.choice(("F16", "BF16", "I32", "F64", "f32", "U32", ""))
    # Two tensors of one shape that are exchanged are no damage that a reader could see.
    text = json.dumps(header).encode()
    (path / name).write_bytes(len(text).to_bytes(8, "little") + text + content[size:])
    return Damage(f"{name}, {tensor}: {way} {key} {entry}"[:300])


def _places(rng: Random, path: Path) -> Damage:
    """Shards that are exchanged, missing, elsewhere or no files, and indices of other ones."""
    one, other = (path / name for name in rng.sample(SHARDS, 2))
    index = json.loads((path / INDEX).read_text())
    places, way = index["weight_map"], rng.randrange(10)
    tensor = rng.choice(sorted(places))
    match way:
        case 0:
            content = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case 1:
            one.unlink()
        case 2:
            one.unlink()
            one.symlink_to("/etc/hostname" if rng.random() < 0.5 else one.name)
        case 3:
            one.unlink()
            one.mkdir() if rng.random() < 0.5 else os.mkfifo(one)
        case 4:
            one.write_bytes(other.read_bytes())
        case 5:
            (path / INDEX).unlink()
        case 6:
            names = ("../x", "/etc/passwd", "", ".", INDEX, CONFIG, "a\0b", LONG, one.name + "/")
            places[tensor] = rng.choice(names)
        case 7:
            places[tensor] = one.name
        case 8:
            names = ("../original/" + SHARDS[0], f"./{SHARDS[0]}", "model.safetensors")
            places |= {name: rng.choice(names) for name in places}
        case _:
            name = rng.choice((CONFIG, TOKENIZER, NAMES, GENERATION))
            (path / name).unlink()
            if in_place := rng.random() < 0.5:
                (path / name).mkdir() if rng.random() < 0.5 else (path / name).symlink_to(name)
            # A folder without the one opens for token numbers, and without the other with fewer
            # added tokens: no file says that they are to be there.
            if name in (TOKENIZER, NAMES) and not in_place:
                return Damage(f"no {name}", ("tokens",))
    if way in (6, 7, 8):
        (path / INDEX).write_text(json.dumps(index))
    return Damage(f"places, {way}: {tensor}")
