"""Rows in and out of a run folder, which one process at a time writes."""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from glassesjax import locks
from glassesjax.errors import BadInput
from glassesjax.files import (
    MOST_SETTINGS,
    check_name,
    json_object,
    read_file,
    reason,
    regular_file,
    writing,
)
from glassesjax.provenance import code_fields, provenance  # noqa: F401  (rows need them)
from glassesjax.schema import (
    SCHEMA,
    check_schema,
    obsolete,
    upgraded_rows,
    upgraded_settings,
)

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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # A token's name may hold the half of a character, which UTF-8 has no bytes for.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:  # it was renamed, or takes room on a full disk
        part.unlink(missing_ok=True)


class RunFolder:
    """A folder that holds one run, and one process that writes it.

    On entering, the folder is made where it is missing, locked (``locks``), and holds
    ``settings.json``. A folder with the same settings is the same run, to be continued; what a
    killed process was about to rename is removed then. One that was written before its settings had
    a ``schema`` is the same run if they mean the same: its settings and rows are then written in
    today's words (see ``glassesjax.schema``).

    Args:
      path: The run's own folder.
      settings: What fixes the rows, JSON-ready.

    Raises:
      BadInput: The folder holds another run or other files, cannot be written or locked, or is an
        address.
      Busy: Another process is writing it.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path, self.settings = path, settings

    def __enter__(self) -> "RunFolder":
        check_local(self.path)
        check_name(self.path, "--out")
        with writing("a run folder that can be made", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock = locks.Lock(self.path)
        self.lock.acquire()
        try:
            self._claim()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def _claim(self) -> None:
        file = self.path / "settings.json"
        text = to_json({"schema": SCHEMA, **self.settings}, indent=2)
        if not file.exists():
            _check_empty(self.path)
            write_by_rename(file, text)
        elif not same_run(file, text):
            raise _another_run(self.path, "settings.json differs")
        else:
            _upgrade(self.path, text)
        self._clear()

    def _clear(self) -> None:
        """Removes what killed processes left half written, here and one folder down.

        Not deeper: the cells of a sweep are runs with locks of their own.
        """
        within = [path for path in self.path.iterdir() if path.is_dir() and not path.is_symlink()]
        for path in [path for folder in (self.path, *within) for path in folder.iterdir()]:
            if _is_scrap(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def check_run(path: Path, known: Mapping[str, object]) -> None:
    """Refuses a folder that is no run or another one, as far as can be told early.

    Args:
      path: A folder that is there.
      known: What fixes the run and is known already; what ``settings.json`` has no word for is
        passed over. One of an older schema is left to ``RunFolder``.

    Raises:
      BadInput: The folder holds other files, or the settings of another run.
    """
    file = path / "settings.json"
    if not file.exists():
        _check_empty(path)
        return
    try:
        old = _settings(file)
    except BadInput:
        raise
    except ValueError as error:
        raise _another_run(path, "settings.json is no JSON object") from error
    if old.get("schema") != SCHEMA:
        return
    for name in [name for name in known if name in old]:
        if to_json(old[name]) != to_json(known[name]):
            raise _another_run(path, f"{name} in settings.json differs")


def _check_empty(path: Path) -> None:
    # What a killed process was about to rename is nobody's, nor is the lock.
    if any(not _is_scrap(inner) and inner.name != locks.NAME for inner in path.iterdir()):
        wanted = f"Wanted an empty or new folder for {path}; it holds other files"
        raise BadInput(f"{wanted}: choose another --out.")


def _another_run(path: Path, why: str) -> BadInput:
    wanted = f"Wanted an empty folder or this very run in {path}; it holds another run"
    return BadInput(f"{wanted} ({why}): choose another --out.")


def same_run(file: Path, text: str) -> bool:
    """Whether a folder's settings mean what the wanted ones do.

    Args:
      file: ``settings.json`` of a run, with or without a ``schema``.
      text: The settings that are wanted, as they would be written today.

    Returns:
      False also for what is no JSON object. The order of the settings says nothing.

    Raises:
      BadInput: A newer package has written the file, or an older one for which these words meant
        what none of today's do.
    """
    try:
        old = _settings(file)
    except ValueError:
        return False
    check_schema(old, file)
    wanted = json.loads(text)
    if (found := obsolete(old)) and old.get("study") == wanted.get("study"):
        expected = f"Expected a run that means the same today in {file.parent}"
        raise BadInput(f"{expected}, got {found}: choose another --out.")
    in_order = lambda settings: json.dumps(
        settings, sort_keys=True
    )  # and 1 is neither 1.0 nor true
    return in_order(upgraded_settings(old)) == in_order(wanted)


def _settings(file: Path) -> dict[str, Any]:
    """What ``settings.json`` says; another ValueError than BadInput where it is no JSON object."""
    return json_object(read_file(file, "the settings of a run", most=MOST_SETTINGS))


def _upgrade(path: Path, text: str) -> None:
    """Rows and settings of a folder in today's words, whatever kills the process in between.

    The new rows lie beside the old ones until the settings are renamed, and replace them then.
    """
    settings, rows, upgraded = (path / name for name in ("settings.json", "rows.jsonl", UPGRADED))
    old = _settings(settings)
    if "schema" not in old:
        if rows.is_file():
            new = upgraded_rows(read_rows(rows), old.get("study"))
            write_by_rename(upgraded, "".join(to_json(row) + "\n" for row in new))
        write_by_rename(settings, text)
    if upgraded.is_file():
        upgraded.replace(rows)


def _is_scrap(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".part")


def check_local(path: Path) -> None:
    """Refuses addresses: ``gs://bucket/run`` would become a local folder ``gs:``.

    Args:
      path: Where something is to be written.

    Raises:
      BadInput: It starts with a scheme.
    """
    if scheme := re.match(r"([a-z][a-z0-9+.-]+):/", path.as_posix(), re.IGNORECASE):
        expected = "Expected a path of this machine"
        raise BadInput(f"{expected}, got an address of {scheme[1]}: mount it, or copy the run.")


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


class ReadRow(dict[str, Value]):
    """A row that an earlier process wrote, or anybody since: it may be another one than is needed.

    Args:
      row: Its values by name.
      where: Its line and file, for messages.
    """

    def __init__(self, row: Row, where: str) -> None:
        super().__init__(row)
        self.where = where

    def __missing__(self, name: str) -> Value:
        got = "a row without it: restore it, or choose another --out"
        raise BadInput(f"Expected {name} in {self.where}, got {got}.")


def known_rows(path: Path, *, fresh: int, study: object = None) -> list[Row]:
    """All whole rows of a file, those of earlier processes as such.

    Args:
      path: A file of JSON lines.
      fresh: How many of the last rows this process has made itself.
      study: Which study's rows they must be, if given.

    Returns:
      One mapping a row.

    Raises:
      BadInput: A line is no row, or one of another study.
    """
    rows: list[Row] = list(_parse(path))
    for number, row in enumerate(rows[: len(rows) - fresh], start=1):
        read = rows[number - 1] = ReadRow(row, f"line {number} of {path}")
        if study is not None and (found := row.get("study", study)) != study:
            got = f"{found!r:.40}: restore it, or choose another --out"
            raise BadInput(f"Expected a row of {study} in {read.where}, got one of {got}.")
    return rows


@contextlib.contextmanager
def blaming(rows: Sequence[Row]) -> Iterator[None]:
    """Where rows that were read cannot be worked with, says so; of others an error is a bug.

    Args:
      rows: What the block works with; those of ``known_rows`` know whether they were read.

    Yields:
      Nothing.

    Raises:
      BadInput: The block has failed, and some rows were read. Made anew, elsewhere, the same rows
        show whether they were at fault.
    """
    try:
        yield
    except (BadInput, OSError, MemoryError):
        raise
    except Exception as error:
        read = {id(row): row for row in rows if isinstance(row, ReadRow)}
        if not read:
            raise
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        # The innermost function that failed was at work on this row, if on any.
        at = (read.get(id(each)) for frame in reversed(frames) for each in frame.f_locals.values())
        row = next((row for row in at if row is not None), None)
        where = row.where if row else next(iter(read.values())).where.partition(" of ")[2]
        got = f"{type(error).__name__} ({reason(error):.100})"
        raise BadInput(
            f"Expected rows as this study writes them in {where}, got {got} from these: restore "
            "them, or choose another --out."
        ) from error


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
