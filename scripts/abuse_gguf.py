"""GGUF files of several architectures, whole and damaged.

A file is a list of parts, each with what it is, so that the place of a change is known. A value
that every reader must believe makes another model and no damaged one: another base of the rotation,
another type of a token. Bytes of such parts (``free``) stay; instead their keys get values that
none can have (of another type, NaN, infinite, negative, nested), and a key is lost only if no value
holds without it (``OPTIONAL``). Bytes that are lost or added anywhere must be noticed.
"""

import math
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from abuse_models import Models
from abuse_oracle import Damage

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from model.made_gguf import Entry, Raw, string, table_of, value

SIZES = ("block_count", "embedding_length", "feed_forward_length", "vocab_size")
SIZES += ("attention.head_count_kv", "attention.key_length", "attention.value_length")
# Keys without which a file is another whole one.
OPTIONAL = ("rope.", "attn_logit", "final_logit", "attention.scale", "attention.sliding_window")
OPTIONAL += ("use_parallel_residual", "add_", "token_type", "bos_", "eos_", "unknown_token_id")
SCORES = "tokenizer.ggml.scores"


class Part(NamedTuple):
    """A few bytes of a file."""

    content: bytes
    kind: str
    """``length``, ``key``, ``type``, ``size``, ``free``, ``note``, ``word``, ``token``, ``score``,
    ``merge``, ``table`` or ``data``; ``pad`` between tensors."""


class Whole(NamedTuple):
    """What a file is made of."""

    pairs: tuple[tuple[str, Any], ...]
    table: tuple[Entry, ...]
    data: tuple[Part, ...]
    alignment: int


def whole(pairs: dict[str, Any], arrays: dict[str, np.ndarray], alignment: int) -> Whole:
    """A whole file.

    Args:
      pairs: Its keys.
      arrays: Its tensors.
      alignment: Of these, in bytes.
    """
    pairs = {**pairs, "general.alignment": alignment}
    if isinstance(scores := pairs.get(SCORES), np.ndarray):
        pairs[SCORES] = Raw(9, struct.pack("<IQ", 6, len(scores)) + scores.tobytes())
    table, content = table_of(arrays, alignment)
    data, ends = [], [entry.offset for entry in table[1:]] + [len(content)]
    for entry, end in zip(table, ends, strict=True):
        last = entry.offset + 4 * math.prod(entry.dims)
        data += [Part(content[entry.offset : last], "data"), Part(content[last:end], "pad")]
    return Whole(tuple(pairs.items()), tuple(table), tuple(data), alignment)


def file_parts(made: Whole, *, counts: tuple[int, int] | None = None) -> list[Part]:
    """The parts of a file.

    Args:
      made: What it is made of.
      counts: Its numbers of tensors and of pairs, where they are to be wrong.
    """
    parts = [Part(b"GGUF", "type"), Part(struct.pack("<I", 3), "type")]
    for number in counts or (len(made.table), len(made.pairs)):
        parts.append(Part(struct.pack("<Q", number), "length"))
    for key, given in made.pairs:
        parts += [*_string(key, "key"), *_value(key, given)]
    for entry in made.table:
        parts += _string(entry.name, "key")
        parts.append(Part(struct.pack("<I", len(entry.dims)), "length"))
        parts.append(Part(struct.pack(f"<{len(entry.dims)}Q", *entry.dims), "table"))
        parts.append(Part(struct.pack("<IQ", entry.kind, entry.offset), "table"))
    size = sum(len(part.content) for part in parts)
    return [*parts, Part(bytes(-size % made.alignment), "pad"), *made.data]


def _string(text: str, kind: str) -> list[Part]:
    content = string(text)
    return [Part(content[:8], "length"), Part(content[8:], kind)]


def _value(key: str, given: object) -> list[Part]:
    kind, content = value(given)
    parts, name = [Part(struct.pack("<I", kind), "type")], key.split(".", 1)[-1]
    if key.startswith("general.") and key != "general.architecture":
        inner = "note" if name != "alignment" else "free"
    elif name == "ggml.scores":
        inner = "score"
    else:
        inner = "size" if name in SIZES else "free"
    if isinstance(given, str):
        word = inner if inner == "note" else "word"
        return parts + _string(given, word)
    if kind != 9:
        return [*parts, Part(content, inner)]
    parts += [Part(content[:4], "type"), Part(content[4:12], "length")]
    if not (isinstance(given, list) and given and isinstance(given[0], str)):
        return [*parts, Part(content[12:], inner)]
    for text in given:
        parts += _string(text, "merge" if name == "ggml.merges" else "token")
    return parts


# Values that no key can have.
ODD: tuple[Any, ...] = (
    *("text", "", "\x1b[31m", "1", True, math.nan, math.inf, -1, -1.5, [1], ["a"]),
    *(Raw(9, struct.pack("<IQ", 9, 1)), Raw(4, b""), Raw(13, bytes(4)), Raw(255, bytes(8))),
    *(Raw(10, struct.pack("<Q", 2**64 - 1)), Raw(11, struct.pack("<q", -(2**63)))),
    *(Raw(9, struct.pack("<IQ", 8, 2**40)), Raw(9, struct.pack("<IQ", 5, 0))),
    *(Raw(12, struct.pack("<d", 1e300)), Raw(8, struct.pack("<Q", 2) + b"\xff\xfe")),
)
KINDS = (0, 1, 2, 3, 8, 12, 14, 24, 26, 28, 30, 34, 99, 2**32 - 1)
HUGE = (0, 1, 3, 2**16, 2**26, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def damaged(rng: Random, models: Models, path: Path, original: Path) -> Damage:
    """Writes a file and a damaged copy of it.

    Args:
      rng: Draws both.
      models: Among which one is drawn.
      path: Of the damaged one.
      original: Of the whole one.
    """
    family, tokenizer = rng.choice(sorted(models.gguf))
    made = whole(*models.gguf[family, tokenizer], rng.choice((32, 32, 64)))
    original.write_bytes(b"".join(part.content for part in file_parts(made)))
    way = rng.choice((_bytes, _bytes, _bytes, _pairs, _pairs, _tensors, _moved, _cut))
    content, damage = way(rng, made)
    path.write_bytes(content)
    return damage._replace(text=f"{family}, {tokenizer}: {damage.text}")


def _joined(parts: Iterable[Part]) -> bytes:
    return b"".join(part.content for part in parts)


def _drawn(rng: Random, parts: list[Part], without: tuple[str, ...] = ()) -> int:
    """The number of a part that is not empty, each kind as often as others."""
    kind = rng.choice(sorted({part.kind for part in parts if part.content} - set(without)))
    return rng.choice([at for at, part in enumerate(parts) if part.kind == kind and part.content])


MAY_CHANGE = {"data": ("logits",), **dict.fromkeys(("token", "score", "merge"), ("tokens",))}


def _bytes(rng: Random, made: Whole) -> tuple[bytes, Damage]:
    """Other bytes in one part."""
    parts = file_parts(made)
    at = _drawn(rng, parts, without=("free",))
    content, kind = bytearray(parts[at].content), parts[at].kind
    place = rng.randrange(len(content))
    match rng.choice(("flip", "flip", "noise", "number")):
        case "flip":
            content[place] ^= 1 << rng.randrange(8)
        case "noise":
            noise = rng.randbytes(min(rng.randint(1, 4), len(content) - place))
            content[place : place + len(noise)] = noise
        case _ if kind in ("length", "table", "size") and len(content) in (4, 8, 12):
            start = len(content) - 8 if len(content) == 12 else 0
            size = min(8, len(content))
            content[start:] = (rng.choice(HUGE) % 256**size).to_bytes(size, "little")
        case _:
            content[place] = rng.randrange(256)
    parts[at] = Part(bytes(content), kind)
    return _joined(parts), Damage(f"bytes of part {at}, a {kind}", MAY_CHANGE.get(kind, ()))


def _moved(rng: Random, made: Whole) -> tuple[bytes, Damage]:
    """Bytes lost, or written twice, so that all behind them is at another place."""
    parts = file_parts(made)
    at, count = _drawn(rng, parts), rng.choice((1, 2, 4, 8, 31, 32, 64, 96))
    start = sum(len(part.content) for part in parts[:at]) + rng.randrange(len(parts[at].content))
    content, twice = _joined(parts), rng.random() < 0.5
    if not twice and count == len(parts[-1].content):
        count += 1  # without the last padding the file would be a whole one
    content = content[: start + count * twice] + content[start + count * (not twice) :]
    return content, Damage(f"{count} bytes {'twice' if twice else 'lost'} at part {at}")


def _cut(rng: Random, made: Whole) -> tuple[bytes, Damage]:
    parts = file_parts(made)
    at = _drawn(rng, parts)
    kept = sum(len(part.content) for part in parts[:at]) + rng.randrange(len(parts[at].content))
    return _joined(parts)[:kept], Damage(f"cut in part {at}, a {parts[at].kind}")


def _letter(rng: Random, text: str) -> str:
    """A text with one letter lost, changed, doubled or in the other case."""
    at = rng.randrange(len(text))
    letter = rng.choice(("", rng.choice("abz.-_ \x00\n\u00e9"), 2 * text[at], text[at].swapcase()))
    return text[:at] + letter + text[at + 1 :]


def _pairs(rng: Random, made: Whole) -> tuple[bytes, Damage]:
    """A key lost, renamed or written twice, or a value that it cannot have."""
    pairs = list(made.pairs)
    # A note may be lost, or have any value; that is no damage worth many tries.
    at = rng.choice([n for n, (key, _) in enumerate(pairs) if key != "general.name"])
    key, given = pairs[at]
    optional = any(name in key for name in OPTIONAL)
    way = rng.choice(("lose", "rename", "twice", "value", "value", "type"))
    if way == "lose" and optional:
        way = "rename"
    match way:
        case "lose":
            del pairs[at]
        case "rename":
            pairs[at] = (_letter(rng, key), given)
        case "twice":
            other = given if rng.random() < 0.5 else rng.choice(ODD)
            pairs.insert(rng.randrange(len(pairs)), (key, other))
        case "type" if type(given) in (int, float):
            code, number = rng.choice(
                [(kind, code) for kind, code in ((4, "I"), (6, "f"), (10, "Q"), (12, "d"))]
            )
            exact = number in "fd" or given == int(given)
            packed = struct.pack(f"<{number}", given if number in "fd" else int(given))
            pairs[at] = (key, Raw(code, packed) if exact else str(given))
        case _:
            pairs[at] = (key, rng.choice(ODD))
    text = f"{way} {key}" + (f" as {pairs[at]!r}" if way not in ("lose", "twice") else "")
    return _joined(file_parts(made._replace(pairs=tuple(pairs)))), Damage(text[:300])


def _tensors(rng: Random, made: Whole) -> tuple[bytes, Damage]:
    """An entry of the table that is another, elsewhere, twice or lost."""
    table, at = list(made.table), rng.randrange(len(made.table))
    entry, other = table[at], rng.randrange(len(made.table))
    way = rng.choice(("name", "kind", "dims", "offset", "lost", "twice", "order"))
    match way:
        case "name":
            table[at] = entry._replace(name=_letter(rng, entry.name))
        case "kind":
            table[at] = entry._replace(kind=rng.choice(KINDS))
        case "dims":
            dims, axis = list(entry.dims), rng.randrange(len(entry.dims))
            dims[axis] = rng.choice((dims[axis] + 1, dims[axis] - 1, 2 * dims[axis], *HUGE))
            shapes = (tuple(dims), entry.dims[::-1], (*entry.dims, 1), (), (1,) * 5, (1, *dims))
            table[at] = entry._replace(dims=rng.choice(shapes))
        case "offset":
            offset = rng.choice((entry.offset + 32, entry.offset + 1, table[other].offset, *HUGE))
            table[at] = entry._replace(offset=offset)
        case "lost":
            del table[at]
        case "twice":
            table.insert(other, entry)
        case _:
            table[at], table[other] = table[other], table[at]
    content = _joined(file_parts(made._replace(table=tuple(table))))
    return content, Damage(f"tensor {entry.name}: {way}")
