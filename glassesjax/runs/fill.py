"""Fills a run folder of any study: rows as they are measured, then figures and page; resumable."""

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
"""Whether a row, given by its fields or its key alone, is already in the file."""


@dataclasses.dataclass(frozen=True)
class Step(Generic[RowT]):
    """Rows that are measured together and written atomically."""

    name: str
    rows: Sequence[RowT]
    arrays: Arrays = dataclasses.field(default_factory=dict)
    """The arrays that the rows name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened(Generic[RowT, ConstantsT]):
    """Inputs of a run, opened and validated before anything is written."""

    source: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Identity of the model: part of the run's identity and of its record."""
    read: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """Contents of files that may change between two calls; the digest of each that is not empty, as
    ``NAME_sha256``, is part of the run's identity."""
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Further fields of the record."""
    constants: ConstantsT
    """Fields shared by all rows of this process."""
    measure: Callable[[Done], Iterable[Step[RowT] | tuple[str, Sequence[RowT]]]]
    """Takes a predicate whether a row with such key fields exists; gives the missing rows step by
    step, each step with its name and the arrays that its rows name."""
    settled: Callable[[int], int] | None = None
    """Takes the number of intact rows of the file; gives the number from which the run can resume,
    and later rows are cut. If absent, a file with other rows is an error."""


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
    """Measures and writes the rows that a run folder does not have yet.

    Args:
      out: The run folder; one with the same run is continued.
      opened: The inputs.
      known: The settings that determine the rows, part of the run's identity.
      schema: Schema of the rows.
      result: From the whole run to its result with summary, figures and page.
      command: The command line, for the record.
      advance: Takes the name of each step that was measured.

    Raises:
      BadInput: The folder has another run or modified rows, or cannot be written.
      Busy: Another process is writing it.
      DiskFull: The disk is full.
    """
    # Of contents, not of paths: a file that has changed is another run.
    digests = {
        f"{name}_sha256": hashlib.sha256(content).hexdigest()
        for name, content in opened.read.items()
        if content
    }
    fixed = {**known, **opened.source, **digests}
    with writing("to write the run", out), RunFolder(out, fixed, schema) as folder:
        entry = {**provenance(), **to_row(opened.constants)}  # these may override provenance
        with RowFile(out / ROWS, schema.key, schema.read) as file:
            journal = Journal(out, {"command": command, **opened.source, **opened.record}, entry)
            intact = journal.intact(file, refuse=opened.settled is None)
            file.keep(intact if opened.settled is None else opened.settled(intact))
            journal.write(file)
            there = read_rows(out / ROWS, lists=True) if schema.names_arrays else []
            arrays = ArrayFile(out / ARRAYS, map(schema.read, there))
            for each in opened.measure(file.__contains__):
                step = each if isinstance(each, Step) else Step(*each)
                # Before each write: a lock that another host took over ends this process.
                folder.lock.check()
                written = [to_row(row) for row in step.rows]
                new = [row not in file for row in written]
                if any(new):  # else this process has nothing to record
                    number = journal.number(file)
                    arrays.add(list(itertools.compress(step.rows, new)), step.arrays)
                    file.append([{NUMBER: number, **row} for row in written])
                journal.write(file)
                advance(step.name)
        with blaming_unmarked(out / ROWS, unmarked=journal.unmarked):
            whole = result(read_run(out, schema))
            texts = {SUMMARY: whole.summary_text(), **whole.files()}
        # Summary, figures and page last: a run is whole once its page is there.
        for path, text in texts.items():
            (out / path).parent.mkdir(exist_ok=True)
            write_by_rename(out / path, text)
    return whole
