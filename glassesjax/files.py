"""Reading and writing files: early validation, one-line errors, atomic replacement."""

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from glassesjax.errors import BadInput, DiskFull, brief

Value = str | int | float | bool | None
Row = Mapping[str, Value]  # a line of a file of JSON lines

MOST_FOLDERS = 200  # maximum depth; missing folders are created recursively
LONGEST_NAME = 255  # bytes of one name, on today's file systems of Linux and macOS
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
    """Size in bytes of a regular file; raises an error for other files without opening them.

    A pipe blocks, a device may not end, and neither can be read again when a run continues.

    Raises:
      BadInput: The path does not exist or is no regular file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError for NUL and for invalid UTF-8
        dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
        fault = "is a link that leads nowhere" if dangling else f"cannot be read ({reason(error)})"
        got = f"{str(path)!r}, which {fault}"
        raise BadInput(f"Expected {expected}, got {got}: choose another.") from error
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            got = f"{str(path)!r}, which is {kind} and no regular file"
            raise BadInput(f"Expected {expected}, got {got}: write it into a file.")
    return status.st_size


def read_file(path: Path, expected: str, *, most: int) -> bytes:
    """The content of a regular file.

    Raises:
      BadInput: It is no regular file, has more than ``most`` bytes, or cannot be read.
    """
    size = regular_file(path, expected)
    if size > most:
        got = f"{size:,} in {str(path)!r}"
        raise BadInput(f"Expected {expected} of at most {most:,} bytes, got {got}: cut it.")
    try:
        with path.open("rb") as file:
            return file.read(size)  # a kernel file has size 0 and could block
    except OSError as error:
        got = f"{str(path)!r}, which cannot be read ({reason(error)})"
        raise BadInput(f"Expected {expected}, got {got}: choose another.") from error


def json_object(
    content: bytes | str, constant: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """Parses a JSON object, for all readers of files.

    Args:
      content: Of the file.
      constant: What to make of ``NaN``, ``Infinity`` and ``-Infinity``; those numbers if absent.

    Raises:
      ValueError: It is no JSON, no object or no UTF-8, has a key twice in one object, has a number
        of more digits than Python reads, or is nested too deeply.
    """
    try:
        value = json.loads(content, object_pairs_hook=_each_once, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("brackets within brackets") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_JSON[type(value)]} instead of an object")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a key that is there twice would have the last of its values."""
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {brief(twice)} twice")
    return record


_JSON = {list: "list", str: "text", bool: "boolean", int: "number", float: "number"} | {
    type(None): "null"
}


def reason(error: BaseException) -> str:
    """Short text of an error's cause."""
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error) or type(error).__name__).split())


def check_name(path: Path, flag: str) -> None:
    """Raises an error for an invalid path, before any folder is created.

    Raises:
      BadInput: A name in it is too long or has an invalid character, or it has more than
        ``MOST_FOLDERS`` parts.
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
    """Path of a file's temporary version, in the same folder and unique to this process.

    Returns:
      A path whose name has at most ``LONGEST_NAME`` bytes.
    """
    end = f".{os.getpid()}.part"
    name = os.fsencode(path.name)[: LONGEST_NAME - len(end) - 1]
    return path.with_name(f".{name.decode(errors='ignore')}{end}")


@contextmanager
def writing(expected: str, path: Path, remedy: str = "choose another --out") -> Iterator[None]:
    """Context that turns file system errors into ``DiskFull`` and ``BadInput``.

    Raises:
      DiskFull: The disk, the quota or the maximum file size is exhausted.
      BadInput: Another file system error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_room(path, error) from error
        named = str(error.filename2 or error.filename or path)  # filename2: target of a rename
        at = path if named.endswith(".part") else named  # the temporary version of ``path``
        raise BadInput(f"Expected {expected}, got {at} ({reason(error)}): {remedy}.") from error


def no_room(path: Path, error: BaseException) -> DiskFull:
    """The error for an exhausted disk, quota or file size."""
    expected = f"Expected room on the disk of {path}"
    return DiskFull(f"{expected}, got {reason(error)}: free some; the same command continues.")


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON without NaN or infinity: a number that is not finite becomes null.

    Args:
      value: Nested mappings, sequences and plain values.
      indent: As for ``json.dumps``.

    Raises:
      TypeError: A value has another type, such as an array.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


@contextmanager
def written_by_rename(path: Path) -> Iterator[BinaryIO]:
    """Opens a binary file that replaces ``path`` atomically when the block ends.

    Raises:
      OSError: It cannot be written; an existing file is then unchanged.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:  # renamed, or to be removed from a full disk
        part.unlink(missing_ok=True)


def write_by_rename(path: Path, text: str) -> None:
    """Writes a text file atomically, as UTF-8 with half surrogates escaped.

    Raises:
      OSError: It cannot be written; an existing file is then unchanged.
    """
    # A token's name may have a half surrogate, which UTF-8 cannot encode.
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
    """Number and digest of the first lines of a file, to detect later modification."""

    rows: int
    """Number of lines, from the first on."""
    sha256: str
    """Digest of these lines with their ends; hexadecimal."""


def mark_of(path: Path, rows: int | None = None) -> Mark:
    """The mark of the first rows of a file.

    Args:
      path: The file; a missing one has no rows.
      rows: Number of rows; all complete ones if absent.

    Returns:
      The mark, of fewer rows if the file has fewer.

    Raises:
      BadInput: The path exists and is no regular file.
    """
    lines = whole_lines(path) if path.exists() else []
    lines = lines if rows is None else lines[:rows]
    return Mark(len(lines), hashlib.sha256(b"".join(lines)).hexdigest())


def whole_lines(path: Path) -> list[bytes]:
    """The complete lines of a file, with their ends; a truncated last line is dropped.

    Raises:
      BadInput: There is no regular file of that name.
    """
    regular_file(path, "the rows of a run")
    return re.findall(rb"[^\n]*\n", path.read_bytes())


def check_local(path: Path) -> None:
    """Raises an error for URLs: ``gs://bucket/run`` would become a local folder ``gs:``.

    Raises:
      BadInput: The path starts with a URL scheme.
    """
    if scheme := re.match(r"([a-z][a-z0-9+.-]+):/", path.as_posix(), re.IGNORECASE):
        expected = "Expected a path of this machine"
        raise BadInput(f"{expected}, got an address of {scheme[1]}: mount it, or copy the run.")
