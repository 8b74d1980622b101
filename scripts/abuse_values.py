"""What a user, a shell or a damaged disk may put where a number, a name or a path is expected."""

import dataclasses
import math
import os
import types
import typing
from pathlib import Path
from random import Random

LONG = "x" * 300  # over the 255 bytes of a file's name
NUMBERS = (
    *("-1", "0", "1", "3.0", "1e3", "+8", " 8", "1_000", "0x8", "", "nan", "-inf", "1e400"),
    *("true", "\u0663", "\uff18", str(2**31), str(2**63), str(10**13), "9" * 400, "8 8"),
)
NAMES = (
    *("", " ", ".", "-", "null", "[]", "{}", "toy", "x", LONG, "\udcff", "a\0b", "e\u0301"),
    *("\x1b[31mred\x07", "gs://bucket/x", "e05m07", "f32@", "native", "bf16+bf16", "int0"),
    *("window+-1", "window+\u0663", "tova-head-head", "h2o@@", "tova~nan", "full+1", "101%"),
    *("separators-999999999", "steps-0", "a+a", "a=b", "=", "--", "0:0", "packaged:", "packaged:x"),
)
SPECIAL = ("fifo", "folder", "loop", "noise", "empty", "missing/deep", "noise/below")
ENDLESS = ("/dev/zero", "/dev/stdin")  # to be read only: as root, a rename would replace a device


def special_files(folder: Path) -> None:
    """What ``SPECIAL`` names: a pipe that nobody writes, a link to itself, a file of noise.

    Args:
      folder: Where they are made.
    """
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "noise").write_bytes(Random(0).randbytes(5000))
    (folder / "empty").touch()


def word(rng: Random, kind: type, *, read: bool = True) -> str:
    """One hostile word of a command line.

    Args:
      rng: Draws it.
      kind: Of the setting: int, float, Path or str.
      read: Whether a path behind the setting is read only.
    """
    paths = (*SPECIAL, *(ENDLESS if read else ()), *NAMES[:14], "gs://bucket/x")
    own: tuple[str, ...]
    if kind in (int, float):
        own = NUMBERS
    elif kind is Path:
        return rng.choice(paths)
    else:
        own = (*NAMES, *(paths if read else ()))
    return rng.choice(own if rng.random() < 0.8 else (*NUMBERS, *NAMES))


TEMPLATES = (
    *("", "{% for %}", "{{", "{% endfor %}", "{{ 1 / 0 }}", "{{ messages[9].content }}", "\0"),
    *("{{ raise_exception('no\nsystem') }}", "{{ raise_exception(7) }}", "{% include 'x' %}"),
    *("{{ messages.append(messages) }}", "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__ }}"),
    *("{% for i in range(10 ** 9) %}x{% endfor %}", "{{ 'x' * 10 ** 10 }}", "{{ 9 ** 9 ** 9 }}"),
    *("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{" * 100_000, "{{ '\ud800' }}"),
    *("\x1b[31m{{ bos_token }}\n{{ eos_token }}", "{{ strftime_now('%' * 999) }}"),
)


def hostile_template(rng: Random) -> bytes:
    """A template of a conversation that is no template, does not end, or reaches for more.

    Args:
      rng: Draws it.
    """
    template = rng.choice(TEMPLATES).encode("utf-8", "surrogatepass")
    return template + rng.choice((b"", b"", b"\xff"))


def json_value(rng: Random, old: object) -> object:
    """A hostile value for one that stood in JSON.

    Args:
      rng: Draws it.
      old: What stood there.
    """
    near: list[object] = [None, True, "", LONG, [], {}, [old, old], {"x": old}, "\x1b[31m\0"]
    if isinstance(old, int | float):
        near += [-old, old + 1, float(old), old * 10**8, 10**30, 0, -1, math.nan, math.inf, 0.5]
    if isinstance(old, list) and old:
        near += [old[:-1], [*old, old[0]], old[::-1], [None] * len(old), [[each] for each in old]]
    if isinstance(old, str):
        near += [old + "x", old.upper(), old[:-1], 7]
    return rng.choice(near)


def damage_json(rng: Random, value: object) -> object:
    """A copy of a JSON value with something changed, lost, added or nested somewhere.

    Args:
      rng: Draws what.
      value: Nested mappings, lists and plain values.
    """
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        match rng.choice(("into", "into", "into", "into", "lose", "rename")):
            case "into":
                return {**value, key: damage_json(rng, value[key])}
            case "lose":
                return {name: each for name, each in value.items() if name != key}
            case _:
                return {name + "x" * (name == key): each for name, each in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], damage_json(rng, value[at]), *value[at + 1 :]]
    return json_value(rng, value)


def damage_bytes(rng: Random, content: bytes, *, within: int) -> bytes:
    """Bytes cut off, flipped, doubled, or overwritten by a number that is a size somewhere.

    Args:
      rng: Draws what.
      content: Of a file.
      within: Most of the damage begins before this byte, where a header is.
    """
    at = rng.randrange(within if rng.random() < 0.85 else len(content))
    match rng.choice(("cut", "flip", "size", "size", "double", "zeros", "noise")):
        case "cut":
            return content[:at]
        case "flip":
            return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        case "size":
            size = rng.choice((0, 1, 2**16, 2**26, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1))
            width = rng.choice((4, 8))
            return (
                content[:at]
                + (size % 2 ** (8 * width)).to_bytes(width, "little")
                + content[at + width :]
            )
        case "double":
            return content[:at] + content[at : at + 64] + content[at:]
        case "zeros":
            return content[:at] + bytes(16) + content[at + 16 :]
        case _:
            return content[:at] + rng.randbytes(16) + content[at + 16 :]


def plain_kind(hint: object) -> tuple[type, bool]:
    """What one word of a setting is, and whether the setting takes several.

    Args:
      hint: The annotation of a dataclass field of settings.

    Returns:
      int, float, bool, Path or str, and whether it is a tuple.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return plain_kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        known = [part for part in arguments if part is not types.NoneType]
        return plain_kind(known[0])
    if origin is tuple:
        return plain_kind(arguments[0])[0], True
    return next((kind for kind in (int, float, bool, Path) if hint is kind), str), False


def flags(kind: type) -> dict[str, tuple[type, bool]]:
    """The flags that a dataclass gives a verb.

    Args:
      kind: The settings or the options of a study.

    Returns:
      For each flag what one of its words is, and whether it takes several.
    """
    hints = typing.get_type_hints(kind)
    named = [field.name for field in dataclasses.fields(kind)]
    return {
        f"--{name.replace('_', '-')}": plain_kind(hints[name])
        for name in named
        if name not in ("model", "task")
    }
