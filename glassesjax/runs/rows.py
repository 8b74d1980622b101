"""The JSON lines file of a run's rows, written by one process at a time."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import Mark, Row, Value, json_object, regular_file, to_json, whole_lines

ROWS = "rows.jsonl"


class RowFile:
    """Rows on disk, one JSON object a line, each at most once, also if the process is killed.

    A truncated line is dropped on opening; rows whose key exists are not written again; a group of
    rows is on disk when ``append`` returns. ``RunFolder`` locks it for one writing process.

    Args:
      path: The file; created if missing.
      key: Names of the fields that identify a row.
      check: Takes each row that is read, and its line and file, and raises an error for a row that
        the study does not write. Then a field of the key that does not apply may be missing. If
        absent, all rows must have the key's fields, each of one type in all rows.

    Raises:
      BadInput: The file has other rows.
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
        # Without a buffer, so that a failed write is not repeated on closing.
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._file.seek(0)
            # A killed process may have left a line without its end.
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
        """Writes the new ones of some rows; they are on disk (fsync) on return.

        Raises:
          BadInput: A row lacks a field of the key, or has it in another type than earlier rows.
          OSError: The rows cannot be written; the file is then unchanged.
        """
        # A dict by key: two new rows of one key are written once.
        new = {self._key_of(row): row for row in rows if row not in self}
        for row in new.values():
            self._check_kinds(row, None)
        lines = [f"{to_json(row)}\n".encode() for row in new.values()]
        self._write(b"".join(lines))
        self._seen.update(new)
        self._note(lines)

    def _write(self, content: bytes) -> None:
        """Writes all bytes or none: a group truncated by a full disk would count as complete."""
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
        """Whether the file begins with the rows of a mark.

        Returns:
          False where one of these rows is missing or modified.
        """
        return 0 <= mark.rows <= len(self) and self._marks[mark.rows] == mark

    def _note(self, lines: Iterable[bytes]) -> None:
        """Adds a mark for each further row."""
        self._marks += marks(lines, self._digest, len(self._marks))

    def keep(self, count: int) -> None:
        """Truncates the file after its first rows.

        Args:
          count: Number of rows that remain; no effect if there are no more.
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
            expected = f"Expected rows with the fields {', '.join(self.key)} in {self._at(line)}"
            raise BadInput(f"{expected}, got one without {lacking[0]}: choose another --out.")
        return tuple(row[name] for name in self.key)

    def _check_kinds(self, row: Row, line: int | None) -> None:
        """Checks that each field of the key has one type in all rows, or is null."""
        if self.check:
            return
        for name in self.key:
            if (value := row[name]) is None:
                continue
            kind = "a number" if isinstance(value, int | float) else "text"
            kind = "true or false" if isinstance(value, bool) else kind  # a bool is an int
            known, first = self._kinds.setdefault(name, (kind, line))
            if known != kind and (first or line):
                if line is None:  # the new row has the expected type
                    known, kind, line, first = kind, known, first, None
                like = f"as in line {first}" if first else "as this run writes"
                expected = f"Expected {known} as {name} in {self._at(line)}, {like}"
                raise BadInput(f"{expected}, got {kind}: restore it, or choose another --out.")

    def _at(self, line: int | None) -> str:
        return f"line {line} of {self.path}" if line else str(self.path)


def marks(lines: Iterable[bytes], digest: Any = None, first: int = 1) -> list[Mark]:  # noqa: ANN401
    """The marks after each row of a file.

    Args:
      lines: The rows.
      digest: Hash of the earlier rows, which is updated; none if absent.
      first: Number of rows up to the first of these.

    Returns:
      One after each row; without ``digest``, one before the first row as well.
    """
    each = [] if digest else [Mark(0, hashlib.sha256().hexdigest())]
    digest = digest or hashlib.sha256()
    for number, line in enumerate(lines, start=first):
        digest.update(line)
        each.append(Mark(number, digest.hexdigest()))
    return each


def read_rows(path: Path, *, lists: bool = False) -> list[dict[str, Any]]:
    """All complete rows of a file, in order.

    Args:
      path: A file of JSON lines.
      lists: Whether a value may be a list.

    Raises:
      BadInput: A complete line is not a JSON object of plain values.
    """
    refused, rows = (dict,) if lists else (dict, list), []
    for number, line in enumerate(whole_lines(path), start=1):
        row = None
        with contextlib.suppress(ValueError):
            row = json_object(line.decode())
        if row is None:
            expected = f"Expected a JSON object in line {number} of {path}"
            raise BadInput(f"{expected}, got {line[:40]!r}: restore it, or choose another --out.")
        for name, value in row.items():
            if isinstance(value, refused):
                expected = f"Expected plain values in line {number} of {path}"
                got = f"a {'list' if isinstance(value, list) else 'mapping'} as {name}"
                raise BadInput(f"{expected}, got {got}: restore the line, or choose another --out.")
        rows.append(row)
    return rows
