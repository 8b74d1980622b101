"""The folder of one run, locked by the process that writes it."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import (
    MOST_SETTINGS,
    check_local,
    check_name,
    json_object,
    read_file,
    to_json,
    write_by_rename,
    writing,
)
from glassesjax.runs import lock as locks
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.upgrade import obsolete, upgrade, upgraded_settings
from glassesjax.schema import RUNS, SCHEMA, check_schema


class RunFolder:
    """The folder of one run, locked by the process that writes it: a context manager.

    On entry the folder is created if missing, locked (``locks``), and gets its ``settings.json``. A
    folder with the same settings is the same run, which is continued; temporary files of killed
    processes are removed. A folder whose settings have an older schema is the same run if their
    meaning is the same: its settings and rows are then upgraded (``glassesjax.runs.upgrade``).

    Args:
      path: The run's own folder.
      settings: The settings that determine the rows, JSON-ready.
      rows: Schema of the study's rows, where they are records.

    Raises:
      BadInput: The folder has another run or other files, cannot be written or locked, or is a
        URL.
      Busy: Another process is writing it.
      DiskFull: The disk is full.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, object],
        rows: RowSchema[Any, Any] | None = None,
    ) -> None:
        self.path, self.settings, self.rows = path, settings, rows

    def __enter__(self) -> "RunFolder":
        check_local(self.path)
        check_name(self.path, "--out")
        with writing("a run folder that can be made", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock = locks.Lock(self.path)
        self.lock.acquire()
        try:
            file = self.path / "settings.json"
            text = to_json({"schema": RUNS if self.rows else SCHEMA, **self.settings}, indent=2)
            if not file.exists():
                if _others(self.path):
                    raise _other_files(self.path)
                write_by_rename(file, text)
            elif not same_run(file, text):
                raise _another_run(self.path, "settings.json differs")
            else:
                check_replaceable(self.path)
                upgrade(self.path, text, self.rows)
            # Temporary files of killed processes, here and one folder down. Not deeper: the cells
            # of a sweep are runs with their own locks.
            here = _inside(self.path)
            within = [path for path in here if path.is_dir() and not path.is_symlink()]
            for path in [*here, *(path for folder in within for path in _inside(folder))]:
                if _is_scrap(path):
                    with contextlib.suppress(FileNotFoundError):  # another process may remove it
                        tree = path.is_dir() and not path.is_symlink()
                        shutil.rmtree(path) if tree else path.unlink()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def check_run(path: Path, known: Mapping[str, object]) -> None:
    """Raises an error for a folder without a run or with another run: an early, partial check.

    Args:
      path: An existing folder.
      known: The settings known so far; names that are not in ``settings.json`` are ignored.
        Settings of an older schema are left to ``RunFolder``.

    Raises:
      BadInput: The folder has other files, or the settings of another run.
    """
    file = path / "settings.json"
    others = _others(path)  # before: another process may write the settings meanwhile
    if not file.exists():
        if others:
            raise _other_files(path)
        return
    try:
        old = _settings(file)
    except BadInput:
        raise
    except ValueError as error:
        raise _another_run(path, "settings.json is no JSON object") from error
    if "schema" not in old:
        return
    for name in [name for name in known if name in old]:
        if to_json(old[name]) != to_json(known[name]):
            raise _another_run(path, f"{name} in settings.json differs")
    check_replaceable(path)


def check_replaceable(path: Path) -> None:
    """Raises an error where figures or page cannot replace those of before.

    They are written last, so that a run would first measure.

    Args:
      path: The folder of a run.

    Raises:
      BadInput: A folder is in place of a file, or a file in place of the folder of figures.
    """
    figures = path / "figures"
    if figures.exists() and not figures.is_dir():
        raise BadInput(f"Expected a folder of figures at {figures}, got a file: remove it.")
    files = [path / name for name in ("summary.json", "index.html")]
    for file in [*files, *figures.glob("*.svg")]:
        if file.is_dir() and not file.is_symlink():  # a link is replaced, as a file is
            raise BadInput(f"Expected a file of the run at {file}, got a folder: remove it.")


def _others(path: Path) -> list[Path]:
    # Temporary files of killed processes and the lock do not count.
    return [each for each in path.iterdir() if not _is_scrap(each) and each.name != locks.NAME]


def _other_files(path: Path) -> BadInput:
    expected = f"Expected an empty or new folder for {path}"
    return BadInput(f"{expected}, got one with other files: choose another --out.")


def _another_run(path: Path, why: str) -> BadInput:
    expected = f"Expected an empty folder or this run in {path}"
    return BadInput(f"{expected}, got another run ({why}): choose another --out.")


def same_run(file: Path, text: str) -> bool:
    """Whether a folder's settings have the same meaning as the given ones.

    Args:
      file: ``settings.json`` of a run, with or without a ``schema``.
      text: The given settings, as they would be written today.

    Returns:
      False also if the file has no JSON object. The order of the settings has no effect.

    Raises:
      BadInput: A newer version has written the file, or an older one with settings that no
        settings of today express.
    """
    try:
        old = _settings(file)
    except ValueError:
        return False
    given = json.loads(text)
    check_schema(old, file, given.get("schema", SCHEMA))
    if (obstacle := obsolete(old)) and old.get("study") == given.get("study"):
        expected = f"Expected a run with the same meaning today in {file.parent}"
        raise BadInput(f"{expected}, got {obstacle}: choose another --out.")
    # As text, since 1 is neither 1.0 nor true. The meaning of settings is the same in all schemas.
    in_order = lambda settings: json.dumps({**settings, "schema": SCHEMA}, sort_keys=True)
    return in_order(upgraded_settings(old)) == in_order(given)


def _settings(file: Path) -> dict[str, Any]:
    """The content of ``settings.json``; a ValueError, not BadInput, if it is no JSON object."""
    settings = json_object(read_file(file, "the settings of a run", most=MOST_SETTINGS))
    try:
        to_json(settings)  # as later comparisons do
    except RecursionError as error:
        raise ValueError("brackets within brackets") from error
    return settings


def _is_scrap(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".part")


def _inside(folder: Path) -> list[Path]:
    """Entries of a folder; none if another process has removed it, as ``check_out`` does."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
