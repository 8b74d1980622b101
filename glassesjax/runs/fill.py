"""A run folder filled by any study: rows as they come, then figures and page; resumable."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened(Generic[RowT, ConstantsT]):
    """What a run measures, once all is opened that can be refused before anything is written."""

    source: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What identifies the model: it tells one run from another, and stands in the record."""
    read: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """What files gave that may change between two calls; its digest, as ``NAME_sha256``, tells one
    run from another where there is any."""
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What else stands in the record."""
    constants: ConstantsT
    """What all rows of this process have in common."""
    measure: Callable[[Done], Iterable[Step[RowT] | tuple[str, Sequence[RowT]]]]
    """Takes whether a row of such key fields is there; gives the others step by step, each step
    with its name, and with the arrays that its rows name."""
    settled: Callable[[int], int] | None = None
    """Takes how many rows of the file are as the run wrote them; gives how many of these it can go
    on from, and the others are cut. If absent, a file with other rows is refused."""


def fill(
    out: Path,
    opened: Opened[RowT, ConstantsT],
    *,
    known: Mapping[str, object],
    schema: RowSchema[RowT, ConstantsT],
    result: Callable[[Run[RowT, ConstantsT]], Result[RowT, ConstantsT, SummaryT]],
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Result[RowT, ConstantsT, SummaryT]:
    """Fills a run folder with what is not in it yet.

    Args:
      out: The run folder; one that holds the same run is continued.
      opened: What is measured.
      known: What fixes the rows beside what was opened; it tells one run from another.
      schema: How the rows are kept.
      result: Takes the whole run; gives it with its summary, figures and page.
      command: What was called, for the record.
      advance: Takes the name of each step that was measured.

    Raises:
      BadInput: The folder holds another run or other rows than it wrote, or cannot be written.
      Busy: Another process is writing it.
      NoRoom: The disk is full.
    """
    digests = {
        f"{name}_sha256": hashlib.sha256(content).hexdigest()
        for name, content in opened.read.items()
        if content
    }
    fixed = {**known, **opened.source, **digests}
    with writing("to write the run", out), RunFolder(out, fixed, schema) as folder:
        entry = {**provenance(), **to_row(opened.constants)}  # which may say what was set meanwhile
        with RowFile(out / ROWS, schema.key, schema.read) as file:
            journal = Journal(out, {"command": command, **opened.source, **opened.record}, entry)
            intact = journal.intact(file, refuse=opened.settled is None)
            file.keep(intact if opened.settled is None else opened.settled(intact))
            journal.write(file)
            there = read_rows(out / ROWS, lists=True) if schema.names_arrays else []
            arrays = ArrayFile(out / ARRAYS, map(schema.read, there))
            for each in opened.measure(file.__contains__):
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
