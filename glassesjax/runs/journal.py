"""What a run folder says of its own making: by which code, and which rows it wrote."""

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

    It lists what each process that made rows has in common for them, its code included, and holds a
    mark for each group of rows: how many there were then, and their digest. Rows that stood there
    without a mark, as in folders of before there were any, are noted, for anybody may have written
    them.

    Args:
      folder: Of the run, locked.
      record: Command and source of this process.
      entry: What all rows of this process have in common.

    Raises:
      BadInput: The record of earlier processes is no regular file, cannot be read, or is too large.
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
        self._unmarked = [span for each in listed(before, UNMARKED) if (span := _span(each))]
        # Of all processes that made the run; a folder of before, or without a cache, has none.
        self._programs = _programs(before.get(PROGRAMS))
        self.records = records_of(before, self.path)
        self._entry = json.loads(to_json(entry))
        self._record = dict(record)

    def number(self, file: RowFile) -> int:
        """The place of this process's record; called where it has rows to write.

        Returns:
          That of an equal one that is there, else of a new one, which is on disk when this returns,
          for no row may name a record that a kill has taken. Other code is then said.
        """
        if self._entry not in self.records:
            if self.records:
                _say_difference(self.path.parent, self.records[-1], code_fields())
            self.records.append(self._entry)
            self.write(file)
        return self.records.index(self._entry)

    def intact(self, file: RowFile, *, refuse: bool) -> int:
        """How many rows of a file are as the run wrote them; the rest is forgotten here.

        Args:
          file: Its rows.
          refuse: Whether others are an error.

        Returns:
          All, or those before the first group that differs or is not whole, which is made again.

        Raises:
          BadInput: Rows differ and do not just end too early, and they are to be refused.
        """
        stand = 0
        for at, mark in enumerate(self._marks):
            if not file.fits(mark):
                if refuse and mark.rows <= len(file):
                    lines = f"lines {stand + 1} to {mark.rows} of {file.path}"
                    raise BadInput(
                        f"Expected the rows that this run wrote, got others in {lines}: restore "
                        "them, cut the file before them, or choose another --out."
                    )
                self._marks = self._marks[:at]
                return stand
            stand = mark.rows
        if stand < len(file):
            self._unmarked.append((stand + 1, len(file)))
        return len(file)

    @property
    def unmarked(self) -> bool:
        """Whether there are rows that the run is not known to have written."""
        return bool(self._unmarked)

    def write(self, file: RowFile) -> None:
        """Notes how many rows there are, and writes."""
        mark = file.mark()
        self._marks = [each for each in self._marks if each.rows < mark.rows] + [mark]
        # What was cut is made anew.
        spans = [(first, min(last, mark.rows)) for first, last in self._unmarked]
        self._unmarked = [(first, last) for first, last in spans if first <= last]
        marks = {MARKS: self._marks, UNMARKED: self._unmarked}
        self._programs.update(take_counts())
        programs = {PROGRAMS: dict(self._programs)} if self._programs else {}
        whole = {**self._record, **programs, RECORDS: self.records, **marks}
        write_by_rename(self.path, to_json(whole, indent=2))


def programs(folder: Path) -> Counter[str]:
    """How many compiled programs the processes that made a run took from the disk, and kept.

    Returns:
      ``hits`` and ``misses``, as of ``take_counts``; neither where the run's record has none.

    Raises:
      BadInput: The record is no regular file, cannot be read, or is too large.
    """
    return _programs(read_record(folder / FILE).get(PROGRAMS))


def _say_difference(folder: Path, last: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Notes that a run is continued by other code, where it is."""
    different = [name for name in now if name in last and last[name] != now[name]]
    for name in different[:1]:
        note(
            f"glassesjax: {folder} is continued by other code: "
            f"{name} {now[name] or 'none'}, was {last[name] or 'none'}."
        )


def _programs(value: Any) -> Counter[str]:  # noqa: ANN401
    match value:
        case {"hits": int(hits), "misses": int(misses)}:
            return Counter(hits=hits, misses=misses)
    return Counter()


def _span(value: object) -> tuple[int, int] | None:
    match value:
        case [int(first), int(last)]:
            return first, last
    return None
