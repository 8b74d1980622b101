"""Rows in and out of a run folder, which one process at a time writes."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import Mark, Row, Value, json_object, regular_file, to_json, whole_lines

ROWS = "rows.jsonl"


class RowFile:
    """Rows on disk, one JSON object a line, each at most once, whatever kills the process.

    A line that was cut off is dropped on opening; rows whose key is already there are not written
    again; a group of rows is on disk when ``append`` returns. One process at a time may write:
    ``RunFolder`` sees to that.

    Args:
      path: The file; made where it is missing.
      key: Names of the fields that tell one row from another.
      check: Takes each row that is read, and its line and file, and refuses those of no kind that
        the study writes. Then a field of the key that does not apply may be missing. If absent, all
        rows must have the key's fields, each of one kind in all rows.

    Raises:
      BadInput: The file holds what are no rows of this kind.
    """

    def __init__(
        self, path: Path, key: Sequence[str], check: Callable[[Row, str], object] | None = None
    ) -> None:
        self.path, self.key, self.check = path, tuple(key), check
        self._seen: set[tuple[Value, ...]] = set()
        self._kinds: dict[str, tuple[str, int | None]] = {}
        self._digest = hashlib.sha256()
        self._marks = marks(())

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

        Raises:
          BadInput: A row lacks a field of the key, or has it of another kind than the rows before.
          OSError: The rows cannot be written; the file is then as it was.
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

        Returns:
          False where one of these rows is gone or another one.
        """
        return 0 <= mark.rows <= len(self) and self._marks[mark.rows] == mark

    def _note(self, lines: Iterable[bytes]) -> None:
        """A mark for each further row."""
        self._marks += marks(lines, self._digest, len(self._marks))

    def keep(self, count: int) -> None:
        """Cuts the file behind its first rows.

        Args:
          count: How many stay; nothing is cut where there are no more.
        """
        if count < len(self):
            self._file.truncate(sum(map(len, whole_lines(self.path)[:count])))
            os.fsync(self._file.fileno())
            self._read()

    def _read(self) -> None:
        self._seen, self._kinds = set(), {}
        self._digest = hashlib.sha256()
        self._marks = marks(())
        for number, row in enumerate(read_rows(self.path, lists=self.check is not None), start=1):
            if self.check:
                self.check(row, self._at(number))
            self._seen.add(self._key_of(row, number))
            self._check_kinds(row, number)
        self._note(whole_lines(self.path))

    def _key_of(self, row: Row, line: int | None = None) -> tuple[Value, ...]:
        if self.check:
            return tuple(row.get(name) for name in self.key)
        if lacking := [name for name in self.key if name not in row]:
            wanted = f"Wanted rows with the fields {', '.join(self.key)} in {self._at(line)}"
            raise BadInput(f"{wanted}; one has no {lacking[0]}: choose another --out.")
        return tuple(row[name] for name in self.key)

    def _check_kinds(self, row: Row, line: int | None) -> None:
        """Fields of the key are of one kind in all rows, or null: else no row would be known."""
        if self.check:
            return
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


def marks(lines: Iterable[bytes], digest: Any = None, first: int = 1) -> list[Mark]:  # noqa: ANN401
    """The marks of a file as it grows by one row after another.

    Args:
      lines: Its rows.
      digest: Of the rows before, which goes on; none if absent.
      first: How many rows there are with the first of these.

    Returns:
      One after each row; of a whole file, one before the first row as well.
    """
    each = [] if digest else [Mark(0, hashlib.sha256().hexdigest())]
    digest = digest or hashlib.sha256()
    for number, line in enumerate(lines, start=first):
        digest.update(line)
        each.append(Mark(number, digest.hexdigest()))
    return each


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


def read_rows(path: Path, *, lists: bool = False) -> list[dict[str, Any]]:
    """All whole rows of a file, in order.

    Args:
      path: A file of JSON lines.
      lists: Whether a value may be a list.

    Raises:
      BadInput: A whole line is not a JSON object of plain values.
    """
    return list(_parse(path, (dict,) if lists else (dict, list)))


def _parse(path: Path, refused: tuple[type, ...]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(whole_lines(path), start=1):
        row = None
        with contextlib.suppress(ValueError):
            row = json_object(line.decode())
        if row is None:
            raise BadInput(f"Wanted a JSON object in line {number} of {path}; found {line[:40]!r}.")
        for name, value in row.items():
            if isinstance(value, refused):
                expected = f"Expected plain values in line {number} of {path}"
                got = f"a {'list' if isinstance(value, list) else 'mapping'} as {name}"
                raise BadInput(f"{expected}, got {got}: restore the line, or choose another --out.")
        yield row
