"""Reading runs from disk: one run, or a list of all runs below a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glassesjax.errors import BadInput
from glassesjax.files import MOST_SETTINGS, json_object, read_file
from glassesjax.registry import VERBS, load
from glassesjax.runs.readback import blaming_unmarked
from glassesjax.runs.record_file import FILE, marks_of, read_record
from glassesjax.runs.rows import ROWS
from glassesjax.runs.run import SUMMARY, Result, read_run
from glassesjax.runs.study import Study


def read(folder: str | os.PathLike[str]) -> Result[Any, Any, Any]:
    """Reads the run of a folder, with its summary and figures, without changing it.

    Args:
      folder: A run folder, also one of an older schema.

    Returns:
      The run with all complete rows that count, also if it was stopped.

    Raises:
      BadInput: It is no run folder of this package, or has no rows yet.
    """
    path = Path(folder)
    study = study_of(path)
    if study is None:
        expected = f"Expected a run of a verb of this package in {path}"
        raise BadInput(f"{expected}, got another one: read its rows.jsonl.")
    run = read_run(path, study.rows)
    # Rows after the last mark, or of a folder without marks, may be of another program.
    last = max((mark.rows for mark in marks_of(read_record(path / FILE))), default=0)
    with blaming_unmarked(path / ROWS, unmarked=last < _count(path)):
        return study.result(run)


def study_of(folder: Path) -> Study[Any, Any, Any] | None:
    """The study that has written a run.

    Returns:
      None where its ``settings.json`` names no study of this package.

    Raises:
      BadInput: There is no ``settings.json``, or it is no JSON object.
    """
    file = folder / "settings.json"
    content = read_file(file, f"a run folder with settings.json as {folder}", most=MOST_SETTINGS)
    try:
        name = json_object(content).get("study")
    except ValueError as error:
        expected = f"Expected a JSON object in {file}"
        raise BadInput(f"{expected}, got none ({error}): restore it.") from error
    value = load(name) if isinstance(name, str) and name in VERBS else None
    return value if isinstance(value, Study) else None


class Listed(NamedTuple):
    """An entry of the list of runs."""

    path: Path
    study: str
    """The verb; empty for a study of another package."""
    rows: int
    text: str
    """The headline, or the reason why there is none."""


def runs_in(folder: Path) -> Iterator[Listed]:
    """All runs below a folder, by their paths.

    Yields:
      Each folder that has a ``settings.json``; runs within runs, as a sweep's cells, are not
      listed.

    Raises:
      BadInput: There is no such folder.
    """
    if not folder.is_dir():
        expected = "Expected a folder with runs"
        raise BadInput(f"{expected}, got {str(folder)!r}, which is none: choose another.")
    if not (folder / "settings.json").is_file():
        for path in sorted(folder.iterdir()):
            # A link could lead back here; hidden folders are not of runs.
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield from runs_in(path)
        return
    # One entry, also for a run that cannot be read: its text is then the reason.
    verb, rows, text = "", 0, None
    try:
        if (study := study_of(folder)) is None:
            text = "not a run of this package"
        else:
            verb, rows, file = study.name, _count(folder), folder / SUMMARY
            # An unfinished run has no headline in summary.json: it is computed.
            if file.is_file():
                with contextlib.suppress(ValueError):
                    content = read_file(file, "a summary", most=MOST_SETTINGS)
                    text = json_object(content).get("headline")
            text = (text if isinstance(text, str) else "") or read(folder).headline
    except BadInput as error:
        text = str(error)
    yield Listed(folder, verb, rows, text)


def _count(path: Path) -> int:
    file = path / ROWS
    return file.read_bytes().count(b"\n") if file.is_file() else 0
