"""A run folder filled by any study: rows as they come, then figures and page; resumable."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from glassesjax.files import Row, write_by_rename, writing
from glassesjax.runs.array_file import ARRAYS, ArrayFile, Arrays
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.journal import Journal
from glassesjax.runs.provenance import provenance
from glassesjax.runs.readback import blaming_unmarked
from glassesjax.runs.record import to_row
from glassesjax.runs.row_schema import NUMBER, RowSchema
from glassesjax.runs.rows import ROWS, RowFile, read_rows
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


@dataclasses.dataclass(frozen=True)
class Step(Generic[RowT]):
    """Rows that are measured together and written as a whole."""

    name: str
    rows: Sequence[RowT]
    arrays: Arrays = dataclasses.field(default_factory=dict)
    """Those that the rows name."""


def fill(
    out: Path,
    *,
    fixed: Mapping[str, object],
    source: Mapping[str, object],
    schema: RowSchema[RowT, ConstantsT],
    constants: ConstantsT,
    measure: Callable[[Done], Iterable[Step[RowT] | tuple[str, Sequence[RowT]]]],
    result: Callable[[Run[RowT, ConstantsT]], Result[RowT, ConstantsT, SummaryT]],
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    settled: Callable[[int], int] | None = None,
) -> Result[RowT, ConstantsT, SummaryT]:
    """Fills a run folder with what is not in it yet.

    Args:
      out: The run folder; one that holds the same run is continued.
      fixed: All that fixes the rows; it tells one run from another.
      source: What identifies the subject, for the record.
      schema: How the rows are kept.
      constants: What all rows of this process have in common.
      measure: Takes whether a row of such key fields is there; gives the others step by step, each
        step with its name, and with the arrays that its rows name.
      result: Takes the whole run; gives it with its summary, figures and page.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.
      settled: Takes how many rows of the file are as the run wrote them; gives how many of these it
        can go on from, and the others are cut. If absent, a file with other rows is refused.

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
            there = read_rows(out / ROWS, lists=True) if schema.names_arrays else []
            arrays = ArrayFile(out / ARRAYS, map(schema.read, there))
            for each in measure(file.__contains__):
                step = each if isinstance(each, Step) else Step(*each)
                folder.lock.check()
                written = [to_row(row) for row in step.rows]
                new = [row not in file for row in written]
                if any(new):  # without any this process has nothing to note
                    number = journal.number(file)
                    arrays.add(list(itertools.compress(step.rows, new)), step.arrays)
                    file.append([{NUMBER: number, **row} for row in written])
                journal.write(file)
                advance(step.name)
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
