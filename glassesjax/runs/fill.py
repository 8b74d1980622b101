"""A run folder filled by any study: rows as they come, then figures and page; resumable."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glassesjax.files import Row, write_by_rename, writing
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.journal import Journal
from glassesjax.runs.provenance import provenance
from glassesjax.runs.readback import blaming_unmarked
from glassesjax.runs.record import to_row
from glassesjax.runs.row_schema import NUMBER, RowSchema
from glassesjax.runs.rows import ROWS, RowFile
from glassesjax.runs.run import (
    SUMMARY,
    ConstantsT,
    Result,
    RowT,
    Run,
    SummaryT,
    read_run,
)

Done = Callable[[Row], bool]
"""Of a row, or of its key alone: whether it is there already."""


def fill_records(
    out: Path,
    *,
    fixed: Mapping[str, object],
    source: Mapping[str, object],
    schema: RowSchema[RowT, ConstantsT],
    constants: ConstantsT,
    measure: Callable[[Done], Iterable[tuple[str, Sequence[RowT]]]],
    result: Callable[[Run[RowT, ConstantsT]], Result[RowT, ConstantsT, SummaryT]],
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    settled: Callable[[int], int] | None = None,
) -> Result[RowT, ConstantsT, SummaryT]:
    """Fills a run folder with what is not in it yet; rows are records.

    Args:
      out: The run folder; one that holds the same run is continued.
      fixed: All that fixes the rows; it tells one run from another.
      source: What identifies the subject, for the record.
      schema: How the rows are kept.
      constants: What all rows of this process have in common.
      measure: Takes whether a row of such key fields is there; gives the others step by step, each
        step with its name.
      result: Takes the whole run; gives it with its summary, figures and page.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.
      settled: Takes how many rows of the file are as the run wrote them; gives how many of these it
        can go on from, and the others are cut. If absent, a file with other rows is refused.

    Returns:
      The whole run.

    Raises:
      BadInput: The folder holds another run or other rows than it wrote, or cannot be written.
      Busy: Another process is writing it.
      NoRoom: The disk is full.
    """
    with writing("to write the run", out), RunFolder(out, fixed, schema) as folder:
        entry = {**provenance(), **to_row(constants)}  # which may say what was set meanwhile
        with RowFile(out / ROWS, schema.key, schema.read) as file:
            journal = Journal(out, {"command": command, **source}, entry)
            intact = journal.intact(file, refuse=settled is None)
            file.keep(intact if settled is None else settled(intact))
            journal.write(file)
            for name, rows in measure(file.__contains__):
                folder.lock.check()
                if rows:  # without any this process has nothing to note
                    number = journal.number(file)
                    file.append([{NUMBER: number, **to_row(row)} for row in rows])
                journal.write(file)
                advance(name)
        with blaming_unmarked(out / ROWS, unmarked=journal.unmarked):
            whole = result(read_run(out, schema))
            texts = {SUMMARY: whole.summary_text(), **whole.files()}
        for path, text in texts.items():
            (out / path).parent.mkdir(exist_ok=True)
            write_by_rename(out / path, text)
    return whole


def fixed_fields(
    study: str,
    settings: Any,  # noqa: ANN401  (a dataclass)
    source: Mapping[str, object] | None = None,
    read: bytes = b"",
) -> dict[str, object]:
    """What tells a run from another, as its ``settings.json`` has it.

    Args:
      study: Name of the study.
      settings: A dataclass; all its fields count.
      source: What identifies the model.
      read: What the files gave that the study reads; they may change between two calls.

    Returns:
      Values by name, JSON-ready but for what ``to_json`` makes of them.
    """
    own = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    digest = {"read_sha256": hashlib.sha256(read).hexdigest()} if read else {}
    return {"study": study, **own, **(source or {}), **digest}
