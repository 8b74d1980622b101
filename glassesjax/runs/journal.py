"""Provenance of a run: the code that made it, and digests of the rows it wrote."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import to_json, write_by_rename
from glassesjax.process import note
from glassesjax.runs.compilation_cache import take_counts
from glassesjax.runs.provenance import code_fields
from glassesjax.runs.record_file import (
    FILE,
    MARKS,
    RECORDS,
    UNMARKED,
    listed,
    marks_of,
    read_record,
    records_of,
)
from glassesjax.runs.rows import RowFile

PROGRAMS = "compilation_cache"


class Journal:
    """The file ``provenance.json`` of a run, also of one that several processes made in turn.

    It has a record for each process that made rows, with their constants and its code, and a mark
    for each group of rows: the number of rows so far, and their digest. Rows without a mark, as in
    older folders, are listed, since another program may have written them.

    Args:
      folder: The run folder, locked.
      record: Command and source of this process.
      entry: Fields shared by all rows of this process.

    Raises:
      BadInput: The existing file is no regular file, cannot be read, or is too large.
    """

    def __init__(
        self,
        folder: Path,
        record: Mapping[str, object],
        entry: Mapping[str, object],
    ) -> None:
        self.path = folder / FILE
        before = read_record(self.path)
        self._marks = marks_of(before)
        self._unmarked: list[tuple[int, int]] = []
        for each in listed(before, UNMARKED):
            match each:  # read from a file, which may have anything
                case [int(first), int(last)]:
                    self._unmarked.append((first, last))
        # Summed over all processes of the run; an older folder, or one without a cache, has none.
        self._programs = _programs(before.get(PROGRAMS))
        self.records = records_of(before, self.path)
        self._entry = json.loads(to_json(entry))
        self._record = dict(record)

    def number(self, file: RowFile) -> int:
        """Index of this process's record in ``records``; called before it writes rows.

        Returns:
          The index of an equal record if there is one, else of a new one, which is on disk on
          return, so that no row refers to a record lost by a kill. A change of code is printed.
        """
        if self._entry not in self.records:
            if self.records:
                # One line, of the first field that differs: the run is continued by other code.
                last, now = self.records[-1], code_fields()
                different = [name for name in now if name in last and last[name] != now[name]]
                for name in different[:1]:
                    note(
                        f"glassesjax: {self.path.parent} is continued by other code: "
                        f"{name} {now[name] or 'none'}, was {last[name] or 'none'}."
                    )
            self.records.append(self._entry)
            self.write(file)
        return self.records.index(self._entry)

    def intact(self, file: RowFile, *, refuse: bool) -> int:
        """Number of rows of a file that are as the run wrote them; later marks are dropped.

        Args:
          file: The rows.
          refuse: Whether modified rows are an error.

        Returns:
          The number of all rows, or of those before the first group that is modified or
          incomplete, which is measured again.

        Raises:
          BadInput: Rows are modified, not only truncated, and ``refuse`` is set.
        """
        intact = 0
        for at, mark in enumerate(self._marks):
            if not file.fits(mark):
                if refuse and mark.rows <= len(file):
                    lines = f"lines {intact + 1} to {mark.rows} of {file.path}"
                    raise BadInput(
                        f"Expected the rows that this run wrote, got others in {lines}: restore "
                        "them, cut the file before them, or choose another --out."
                    )
                self._marks = self._marks[:at]
                return intact
            intact = mark.rows
        if intact < len(file):
            self._unmarked.append((intact + 1, len(file)))
        return len(file)

    @property
    def unmarked(self) -> bool:
        """Whether there are rows without a mark of the run."""
        return bool(self._unmarked)

    def write(self, file: RowFile) -> None:
        """Adds a mark of the current rows, and writes the file."""
        mark = file.mark()
        self._marks = [each for each in self._marks if each.rows < mark.rows] + [mark]
        # Cut rows are measured again.
        spans = [(first, min(last, mark.rows)) for first, last in self._unmarked]
        self._unmarked = [(first, last) for first, last in spans if first <= last]
        marks = {MARKS: self._marks, UNMARKED: self._unmarked}
        self._programs.update(take_counts())
        programs = {PROGRAMS: dict(self._programs)} if self._programs else {}
        whole = {**self._record, **programs, RECORDS: self.records, **marks}
        write_by_rename(self.path, to_json(whole, indent=2))


def programs(folder: Path) -> Counter[str]:
    """Compilation cache hits and misses of all processes that made a run.

    Returns:
      ``hits`` and ``misses``, as of ``take_counts``; empty where the run's record has none.

    Raises:
      BadInput: The record is no regular file, cannot be read, or is too large.
    """
    return _programs(read_record(folder / FILE).get(PROGRAMS))


def _programs(value: Any) -> Counter[str]:  # noqa: ANN401
    match value:
        case {"hits": int(hits), "misses": int(misses)}:
            return Counter(hits=hits, misses=misses)
    return Counter()
