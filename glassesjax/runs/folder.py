"""A folder that holds one run, and one process that writes it."""

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
    """A folder that holds one run, and one process that writes it.

    On entering, the folder is made where it is missing, locked (``locks``), and holds
    ``settings.json``. A folder with the same settings is the same run, to be continued; what a
    killed process was about to rename is removed then. One that was written before its settings had
    a ``schema`` is the same run if they mean the same: its settings and rows are then written in
    today's words (see ``glassesjax.runs.upgrade``).

    Args:
      path: The run's own folder.
      settings: What fixes the rows, JSON-ready.
      rows: How the study's rows are kept, where they are records.

    Raises:
      BadInput: The folder holds another run or other files, cannot be written or locked, or is an
        address.
      Busy: Another process is writing it.
      NoRoom: The disk is full.
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
            self._claim()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def _claim(self) -> None:
        file = self.path / "settings.json"
        text = to_json({"schema": RUNS if self.rows else SCHEMA, **self.settings}, indent=2)
        if not file.exists():
            if _others(self.path):
                raise _other_files(self.path)
            write_by_rename(file, text)
        elif not same_run(file, text):
            raise _another_run(self.path, "settings.json differs")
        else:
            upgrade(self.path, text, self.rows)
        self._clear()

    def _clear(self) -> None:
        """Removes what killed processes left half written, here and one folder down.

        Not deeper: the cells of a sweep are runs with locks of their own.
        """
        here = _inside(self.path)
        within = [path for path in here if path.is_dir() and not path.is_symlink()]
        for path in [*here, *(path for folder in within for path in _inside(folder))]:
            if _is_scrap(path):
                _remove(path)


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


def _others(path: Path) -> list[Path]:
    # What a killed process was about to rename is nobody's, nor is the lock.
    return [each for each in path.iterdir() if not _is_scrap(each) and each.name != locks.NAME]


def _other_files(path: Path) -> BadInput:
    wanted = f"Wanted an empty or new folder for {path}; it holds other files"
    return BadInput(f"{wanted}: choose another --out.")


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
    wanted = json.loads(text)
    check_schema(old, file, wanted.get("schema", SCHEMA))
    if (found := obsolete(old)) and old.get("study") == wanted.get("study"):
        expected = f"Expected a run that means the same today in {file.parent}"
        raise BadInput(f"{expected}, got {found}: choose another --out.")
    # 1 is neither 1.0 nor true. Settings mean the same in all schemas that there are.
    in_order = lambda settings: json.dumps({**settings, "schema": SCHEMA}, sort_keys=True)
    return in_order(upgraded_settings(old)) == in_order(wanted)


def _settings(file: Path) -> dict[str, Any]:
    """What ``settings.json`` says; another ValueError than BadInput where it is no JSON object."""
    settings = json_object(read_file(file, "the settings of a run", most=MOST_SETTINGS))
    try:
        to_json(settings)  # as whatever compares it does
    except RecursionError as error:
        raise ValueError("brackets within brackets") from error
    return settings


def _is_scrap(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".part")


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it has gone, as the trials of other processes do."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _remove(path: Path) -> None:
    """Removes a file or folder, which another process may do at the same time."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
