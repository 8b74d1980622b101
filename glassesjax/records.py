"""Rows in and out of a run folder, which one process at a time writes."""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from glassesjax.errors import BadInput
from glassesjax.files import json_object, part_of, regular_file
from glassesjax.provenance import code_fields, provenance  # noqa: F401  (rows need them)

ROWS = "rows.jsonl"
Value = str | int | float | bool | None
Row = Mapping[str, Value]

# Rows in today's words, before ``settings.json`` says that they are; no other file ends so.
UPGRADED = ".rows.jsonl.upgraded"


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON without NaN or infinity: a number that is not finite becomes null.

    Args:
      value: Nested mappings, sequences and plain values.
      indent: As for ``json.dumps``.

    Returns:
      The text.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def write_by_rename(path: Path, text: str) -> None:
    """A file that is either whole or not there.

    Args:
      path: Where it goes; a file already there is replaced.
      text: Its content, written as UTF-8; half surrogates as escapes.
    """
    part = part_of(path)
    try:
        # A token's name may hold the half of a character, which UTF-8 has no bytes for.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:  # it was renamed, or takes room on a full disk
        part.unlink(missing_ok=True)


class Mark(NamedTuple):
    """How a file of rows begins: what rests on these rows can tell whether they are still there."""

    rows: int
    sha256: str
    """Of the bytes of these rows."""


def mark_of(path: Path, rows: int | None = None) -> Mark:
    """The mark of the first rows of a file.

    Args:
      path: The file; without one there are no rows.
      rows: How many; all whole ones if absent.

    Returns:
      The mark, of fewer rows where there are not so many.
    """
    lines = _lines(path) if path.exists() else []
    lines = lines if rows is None else lines[:rows]
    return Mark(len(lines), hashlib.sha256(b"".join(lines)).hexdigest())


class RowFile:
    """Rows on disk, one JSON object a line, each at most once, whatever kills the process.

    A line that was cut off is dropped on opening; rows whose key is already there are not written
    again; a group of rows is on disk when ``append`` returns. One process at a time may write:
    ``RunFolder`` sees to that.

    Args:
      path: The file; made where it is missing.
      key: Names of the fields that tell one row from another.

    Raises:
      BadInput: The file holds what are no rows of this kind.
    """

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self.path, self.key = path, tuple(key)
        self._seen: set[tuple[Value, ...]] = set()
        self._kinds: dict[str, tuple[str, int | None]] = {}
        self._digest = hashlib.sha256()
        self._marks = [Mark(0, self._digest.hexdigest())]

    def __enter__(self) -> "RowFile":
        if self.path.exists():
            regular_file(self.path, "the rows of a run")
        # Without a buffer: what could not be written must not be tried again on closing.
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._file.seek(0)
            self._file.truncate(self._file.readall().rfind(b"\n") + 1)
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, row: Row) -> bool:
        return self._key_of(row) in self._seen

    def __len__(self) -> int:
        return len(self._marks) - 1

    def append(self, rows: Iterable[Row]) -> None:
        """Writes those rows that are not there yet, and waits until they are on disk.

        Args:
          rows: Flat rows with all fields of the key.
        """
        new = {self._key_of(row): row for row in rows if row not in self}
        for row in new.values():
            self._check_kinds(row, None)
        lines = [f"{to_json(row)}\n".encode() for row in new.values()]
        self._write(b"".join(lines))
        self._seen.update(new)
        self._note(lines)

    def _write(self, content: bytes) -> None:
        """All of it on disk, or nothing: a group that a full disk cut would pass for whole."""
        size, left = os.fstat(self._file.fileno()).st_size, memoryview(content)
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(size)
            raise

    def mark(self) -> Mark:
        """The mark of all rows."""
        return self._marks[-1]

    def fits(self, mark: Mark) -> bool:
        """Whether the file begins as it did.

        Args:
          mark: Of an earlier state of it.

        Returns:
          False where one of these rows is gone or another one.
        """
        return 0 <= mark.rows <= len(self) and self._marks[mark.rows] == mark

    def _note(self, lines: Iterable[bytes]) -> None:
        """A mark for each further row."""
        for line in lines:
            self._digest.update(line)
            self._marks.append(Mark(len(self._marks), self._digest.hexdigest()))

    def keep(self, count: int) -> None:
        """Cuts the file behind its first rows.

        Args:
          count: How many stay.
        """
        if count < len(self):
            self._file.truncate(sum(map(len, _lines(self.path)[:count])))
            os.fsync(self._file.fileno())
            self._read()

    def _read(self) -> None:
        self._seen, self._kinds = set(), {}
        self._digest = hashlib.sha256()
        self._marks = [Mark(0, self._digest.hexdigest())]
        for number, row in enumerate(read_rows(self.path), start=1):
            self._seen.add(self._key_of(row, number))
            self._check_kinds(row, number)
        self._note(_lines(self.path))

    def _key_of(self, row: Row, line: int | None = None) -> tuple[Value, ...]:
        if lacking := [name for name in self.key if name not in row]:
            wanted = f"Wanted rows with the fields {', '.join(self.key)} in {self._at(line)}"
            raise BadInput(f"{wanted}; one has no {lacking[0]}: choose another --out.")
        return tuple(row[name] for name in self.key)

    def _check_kinds(self, row: Row, line: int | None) -> None:
        """Fields of the key are of one kind in all rows, or null: else no row would be known."""
        for name in self.key:
            if (kind := _kind(row[name])) is None:
                continue
            known, first = self._kinds.setdefault(name, (kind, line))
            if known != kind and (first or line):
                if line is None:  # this run's own row is right
                    known, kind, line, first = kind, known, first, None
                like = f"as in line {first}" if first else "as this run writes"
                expected = f"Expected {known} as {name} in {self._at(line)}, {like}"
                raise BadInput(f"{expected}, got {kind}: restore it, or choose another --out.")

    def _at(self, line: int | None) -> str:
        return f"line {line} of {self.path}" if line else str(self.path)


def _kind(value: Value) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case _:
            return "text"


def read_rows(path: Path) -> list[dict[str, Value]]:
    """All whole rows of a file, in order.

    Args:
      path: A file of JSON lines.

    Returns:
      One flat dictionary a row.

    Raises:
      BadInput: A whole line is not a JSON object of plain values.
    """
    return list(_parse(path))


def _lines(path: Path) -> list[bytes]:
    """Whole lines, with their ends."""
    regular_file(path, "the rows of a run")
    return re.findall(rb"[^\n]*\n", path.read_bytes())


def _parse(path: Path) -> Iterator[dict[str, Value]]:
    for number, line in enumerate(_lines(path), start=1):
        row = None
        with contextlib.suppress(ValueError):
            row = json_object(line.decode())
        if row is None:
            raise BadInput(f"Wanted a JSON object in line {number} of {path}; found {line[:40]!r}.")
        for name, value in row.items():
            if isinstance(value, list | dict):
                expected = f"Expected plain values in line {number} of {path}"
                got = f"a {'list' if isinstance(value, list) else 'mapping'} as {name}"
                raise BadInput(f"{expected}, got {got}: restore the line, or choose another --out.")
        yield row


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
