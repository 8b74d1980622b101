"""Files that a user names, and what their errors mean: one line, before anything waits or fills."""

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from glassesjax.errors import BadInput, NoRoom

Value = str | int | float | bool | None
Row = Mapping[str, Value]  # a line of a file of JSON lines

MOST_FOLDERS = 200  # one within the other; each that is missing is made by a call within a call
LONGEST_NAME = 255  # bytes of one name in a folder, on every file system of today's Linux and macOS
MOST_SETTINGS = 2**26  # bytes of a JSON file that a run keeps beside its rows
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_file(path: Path, expected: str) -> int:
    """Refuses what is no regular file, without opening it.

    A pipe waits for its writer, a device may never end, and neither can be read again when a run
    continues.

    Raises:
      BadInput: There is nothing of that name, or something else.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # NUL, and what is no UTF-8, are ValueErrors
        got = f"{str(path)!r}, which cannot be read ({reason(error)})"
        raise BadInput(f"Expected {expected}, got {got}: choose another.") from error
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            got = f"{str(path)!r}, which is {kind} and no regular file"
            raise BadInput(f"Expected {expected}, got {got}: write it into a file.")
    return found.st_size


def read_file(path: Path, expected: str, *, most: int) -> bytes:
    """The content of a regular file.

    Raises:
      BadInput: It is no regular file, has more bytes, or cannot be read.
    """
    size = regular_file(path, expected)
    if size > most:
        got = f"{size:,} in {str(path)!r}"
        raise BadInput(f"Expected {expected} of at most {most:,} bytes, got {got}: cut it.")
    try:
        with path.open("rb") as file:
            return file.read(size)  # a file of the kernel says 0 and could wait for more
    except OSError as error:
        got = f"{str(path)!r}, which cannot be read ({reason(error)})"
        raise BadInput(f"Expected {expected}, got {got}: choose another.") from error


def json_object(content: bytes | str) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: It is no JSON, another value than an object, no UTF-8, holds a number of more
        digits than Python reads, or brackets within brackets without end.
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError("brackets within brackets") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_JSON[type(value)]} where an object stands")
    return value


_JSON = {list: "list", str: "text", bool: "boolean", int: "number", float: "number"} | {
    type(None): "null"
}


def reason(error: BaseException) -> str:
    """What an error says of its cause, in a few words."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join((said or str(error) or type(error).__name__).split())


def check_name(path: Path, flag: str) -> None:
    """Refuses a path that no file can have, before anything is made on the way to it.

    Raises:
      BadInput: A name in it is too long, or holds a character that no name can have, or there are
        folders within folders without end.
    """
    if len(path.parts) > MOST_FOLDERS:
        expected = f"Expected at most {MOST_FOLDERS} folders in the path for {flag}"
        raise BadInput(f"{expected}, got {len(path.parts)}: choose a shorter {flag}.")
    for part in path.parts:
        try:
            size = len(os.fsencode(part))
        except UnicodeEncodeError as error:
            expected = f"Expected a path of UTF-8 for {flag}"
            raise BadInput(f"{expected}, got {str(path)!r}: choose another.") from error
        if size > LONGEST_NAME:
            expected = f"Expected names of at most {LONGEST_NAME} bytes in the path for {flag}"
            raise BadInput(f"{expected}, got one of {size}: choose a shorter {flag}.")
        if "\0" in part:
            raise BadInput(f"Expected a path for {flag}, got {str(path)!r}: leave the NUL out.")


def part_of(path: Path) -> Path:
    """Where a file lies until it is whole and renamed: beside it, for this process alone.

    Returns:
      A path whose name is no longer than names may be.
    """
    end = f".{os.getpid()}.part"
    name = os.fsencode(path.name)[: LONGEST_NAME - len(end) - 1]
    return path.with_name(f".{name.decode(errors='ignore')}{end}")


@contextmanager
def writing(expected: str, path: Path, remedy: str = "choose another --out") -> Iterator[None]:
    """Says what an error of the file system means for who writes there.

    Raises:
      NoRoom: The disk, the quota or the largest size of a file is reached.
      BadInput: Another error of the system.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_room(path, error) from error
        named = str(error.filename2 or error.filename or path)  # the second of a renaming
        at = path if named.endswith(".part") else named  # which is renamed when it is whole
        raise BadInput(f"Expected {expected}, got {at} ({reason(error)}): {remedy}.") from error


def no_room(path: Path, error: BaseException) -> NoRoom:
    """What to say where nothing more can be written."""
    expected = f"Expected room on the disk of {path}"
    return NoRoom(f"{expected}, got {reason(error)}: free some; the same command continues.")


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON without NaN or infinity: a number that is not finite becomes null.

    Args:
      value: Nested mappings, sequences and plain values.
      indent: As for ``json.dumps``.

    Raises:
      TypeError: There is a value of another kind in it, such as an array.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


@contextmanager
def written_by_rename(path: Path) -> Iterator[BinaryIO]:
    """A file that is either whole or not there.

    Args:
      path: Where it goes; a file already there is replaced when the block ends.

    Raises:
      OSError: It cannot be written; what was there is as it was.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:  # it was renamed, or takes room on a full disk
        part.unlink(missing_ok=True)


def write_by_rename(path: Path, text: str) -> None:
    """A text file that is either whole or not there.

    Args:
      path: Where it goes; a file already there is replaced.
      text: Its content, written as UTF-8; half surrogates as escapes.

    Raises:
      OSError: It cannot be written; what was there is as it was.
    """
    # A token's name may hold the half of a character, which UTF-8 has no bytes for.
    content = text.encode("utf-8", "backslashreplace")
    with written_by_rename(path) as file:
        file.write(content)


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


class Mark(NamedTuple):
    """How a file of lines begins: what rests on these can tell whether they are still there."""

    rows: int
    """How many lines, from the first on."""
    sha256: str
    """Of the bytes of these lines, with their ends; hexadecimal."""


def mark_of(path: Path, rows: int | None = None) -> Mark:
    """The mark of the first rows of a file.

    Args:
      path: The file; without one there are no rows.
      rows: How many; all whole ones if absent.

    Returns:
      The mark, of fewer rows where there are not so many.

    Raises:
      BadInput: The path is there and no regular file.
    """
    lines = whole_lines(path) if path.exists() else []
    lines = lines if rows is None else lines[:rows]
    return Mark(len(lines), hashlib.sha256(b"".join(lines)).hexdigest())


def whole_lines(path: Path) -> list[bytes]:
    """The whole lines of a file, with their ends; one that was cut off is none.

    Raises:
      BadInput: There is no regular file of that name.
    """
    regular_file(path, "the rows of a run")
    return re.findall(rb"[^\n]*\n", path.read_bytes())


def check_local(path: Path) -> None:
    """Refuses addresses: ``gs://bucket/run`` would become a local folder ``gs:``.

    Raises:
      BadInput: It starts with a scheme.
    """
    if scheme := re.match(r"([a-z][a-z0-9+.-]+):/", path.as_posix(), re.IGNORECASE):
        expected = "Expected a path of this machine"
        raise BadInput(f"{expected}, got an address of {scheme[1]}: mount it, or copy the run.")
