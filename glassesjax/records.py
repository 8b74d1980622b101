"""Rows in and out of a run folder, and what a row must say of where it was made."""

import fcntl
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import jax

from glassesjax import draws
from glassesjax.errors import BadInput, Busy
from glassesjax.schema import SCHEMA, check_schema, upgraded_row, upgraded_settings

Value = str | int | float | bool | None
Row = Mapping[str, Value]

# Rows in today's words, before ``settings.json`` says that they are; no other file ends so.
UPGRADED = ".rows.jsonl.upgraded"
PACKAGES = ("glassesjax", "jax", "jaxlib", "flax", "numpy")


def provenance() -> dict[str, str]:
    """Versions, backend and device: flat, and the same for every row of one process."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = jax.devices()[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "matmul_precision": "highest",  # the decoder and the instruments ask for it in each product
        "prng_impl": draws.IMPLEMENTATION,  # of every key that a study makes
        "matmul_default": str(jax.config.values["jax_default_matmul_precision"]),  # others get it
        "python": platform.python_version(),
        "machine": platform.machine(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **versions,
    }


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
      text: Its content, written as UTF-8.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class RunFolder:
    """A folder that holds one run, and one process that writes it.

    On entering, the folder is made where it is missing, locked, and holds ``settings.json``. A
    folder with the same settings is the same run, to be continued. One that was written before its
    settings had a ``schema`` is the same run if they mean the same: its settings and rows are then
    written in today's words (see ``glassesjax.schema``).

    Args:
      path: The run's own folder.
      settings: What fixes the rows, JSON-ready.

    Raises:
      BadInput: The folder holds another run or other files, cannot be written, or another process
        is writing it.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path, self.settings = path, settings

    def __enter__(self) -> "RunFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise BadInput(f"Wanted a run folder; {self.path}: {error.strerror}.") from error
        try:
            self._claim()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)  # and with it the lock

    def _claim(self) -> None:
        elsewhere = "choose another --out"
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            wanted = f"Wanted to write {self.path} alone; another process is writing it"
            raise Busy(f"{wanted}: wait for it, or {elsewhere}.") from error
        file = self.path / "settings.json"
        text = to_json({"schema": SCHEMA, **self.settings}, indent=2)
        if not file.exists():
            # What a killed process was about to rename is nobody's.
            if any(not path.name.endswith(".part") for path in self.path.iterdir()):
                wanted = f"Wanted an empty or new folder for {self.path}; it holds other files"
                raise BadInput(f"{wanted}: {elsewhere}.")
            write_by_rename(file, text)
        elif not same_run(file, text):
            wanted = f"Wanted an empty folder or this very run in {self.path}; it holds another run"
            raise BadInput(f"{wanted} (settings.json differs): {elsewhere}.")
        else:
            _upgrade(self.path, text)


def same_run(file: Path, text: str) -> bool:
    """Whether a folder's settings mean what the wanted ones do.

    Args:
      file: ``settings.json`` of a run, with or without a ``schema``.
      text: The settings that are wanted, as they would be written today.

    Returns:
      False also for what is no JSON object.

    Raises:
      BadInput: A newer package has written the file.
    """
    try:
        old = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(old, dict):
        return False
    check_schema(old, file)
    return to_json(upgraded_settings(old), indent=2) == text


def _upgrade(path: Path, text: str) -> None:
    """Rows and settings of a folder in today's words, whatever kills the process in between.

    The new rows lie beside the old ones until the settings are renamed, and replace them then.
    """
    settings, rows, upgraded = (path / name for name in ("settings.json", "rows.jsonl", UPGRADED))
    if "schema" not in json.loads(settings.read_bytes()):
        if rows.is_file():
            new = (to_json(upgraded_row(row)) + "\n" for row in read_rows(rows))
            write_by_rename(upgraded, "".join(new))
        write_by_rename(settings, text)
    if upgraded.is_file():
        upgraded.replace(rows)


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

    def __enter__(self) -> "RowFile":
        self._file: IO[bytes] = self.path.open("a+b")
        try:
            self._file.seek(0)
            self._file.truncate(self._file.read().rfind(b"\n") + 1)
            self._seen = {self._key_of(row) for row in read_rows(self.path)}
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

    def append(self, rows: Iterable[Row]) -> None:
        """Writes those rows that are not there yet, and waits until they are on disk.

        Args:
          rows: Flat rows with all fields of the key.
        """
        new = {self._key_of(row): row for row in rows if row not in self}
        self._file.write("".join(to_json(row) + "\n" for row in new.values()).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._seen |= new.keys()

    def _key_of(self, row: Row) -> tuple[Value, ...]:
        if lacking := [name for name in self.key if name not in row]:
            wanted = f"Wanted rows with the fields {', '.join(self.key)} in {self.path}"
            raise BadInput(f"{wanted}; one has no {lacking[0]}: choose another --out.")
        return tuple(row[name] for name in self.key)


def read_rows(path: Path) -> list[dict[str, Value]]:
    """All whole rows of a file, in order.

    Args:
      path: A file of JSON lines.

    Returns:
      One flat dictionary a row.

    Raises:
      BadInput: A whole line is not a JSON object.
    """
    return list(_parse(path))


def _parse(path: Path) -> Iterator[dict[str, Value]]:
    whole = path.read_bytes().rpartition(b"\n")[0]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadInput(f"Wanted a JSON object in line {number} of {path}; found {line[:40]!r}.")
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
