"""A run as values: its settings, its typed rows, what they come down to, and its figures."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from glassesjax.errors import BadInput
from glassesjax.files import MOST_SETTINGS, json_object, read_file
from glassesjax.runs.record import from_row, to_row
from glassesjax.runs.row_schema import NUMBER, RowSchema
from glassesjax.runs.rows import ROWS, read_rows
from glassesjax.runs.upgrade import numbered, upgraded_rows, upgraded_settings
from glassesjax.schema import RECORDS, check_schema

RowT = TypeVar("RowT")
ConstantsT = TypeVar("ConstantsT")
SummaryT = TypeVar("SummaryT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Generic[RowT, ConstantsT]):
    """A run as read."""

    settings: Mapping[str, Any]
    """What fixes the rows, as ``settings.json`` has it."""
    rows: Sequence[RowT]
    """In the order in which they were made."""
    numbers: Sequence[int]
    """For each row, which of ``records`` it goes with."""
    records: Sequence[Mapping[str, Any]]
    """What each process that made rows noted once: constants, code, versions, machine."""
    constants: ConstantsT
    """Those of the first record."""
    provenance: Mapping[str, Any]
    """The rest of ``provenance.json``: what was called, and what identifies the subject."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Each row with the fields of its record, as a table has them.

        Yields:
          Values by name; a field that does not apply is missing.
        """
        for row, number in zip(self.rows, self.numbers, strict=True):
            yield {**self.records[number], **to_row(row)}

    @property
    def made(self) -> dict[str, Any]:
        """Where the rows were made, for a page: the first record, and what continued it."""
        said = {name: value for name, value in self.provenance.items() if name in ("command",)}
        further = {"continued_under": under} if (under := self.continued_under) else {}
        return {**said, **self.records[0], **further}

    @property
    def continued_under(self) -> list[str]:
        """The commit, or digest of the sources, of each record but the first."""
        return [str(r.get("commit") or r.get("source_sha256")) for r in self.records[1:]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result(Generic[RowT, ConstantsT, SummaryT]):
    """A run, what it comes down to, and its figures."""

    run: Run[RowT, ConstantsT]
    """Settings and typed rows."""
    summary: SummaryT
    """All that its page says in figures: a frozen dataclass."""
    figures: Mapping[str, Callable[[], Any]]
    """What draws each figure with matplotlib, by its name."""


def read_run(folder: Path, schema: RowSchema[RowT, ConstantsT]) -> Run[RowT, ConstantsT]:
    """The run that a folder holds; nothing in it is changed.

    Args:
      folder: Of a run, also of one whose rows are in the words of an older schema.
      schema: How the study's rows are kept.

    Returns:
      All its whole rows.

    Raises:
      BadInput: A file is missing or holds something else, or there is no row.
    """
    said = _object(folder / "settings.json", "the settings of a run")
    check_schema(said, folder / "settings.json", RECORDS)
    path, record = folder / ROWS, _object(folder / "provenance.json", "a run's own record")
    rows: Sequence[Mapping[str, Any]] = read_rows(path, lists=True)
    records = record.pop("records", [])
    if said.get("schema") != RECORDS:
        if "schema" not in said:
            rows = list(upgraded_rows(rows, said.get("study")))
        records, rows = numbered(rows, schema)
    if not rows:
        raise BadInput(f"Expected rows in {path}, got none: let the run measure some.")
    if not records:
        expected = f"Expected the records of {path} in {folder / 'provenance.json'}"
        raise BadInput(f"{expected}, got none: restore it, or choose another --out.")
    where = [f"line {number} of {path}" for number in range(1, len(rows) + 1)]
    numbers = [_number(row, records, at) for row, at in zip(rows, where, strict=True)]
    return Run(
        settings=upgraded_settings(said),
        rows=[schema.read(row, at) for row, at in zip(rows, where, strict=True)],
        numbers=numbers,
        records=records,
        constants=from_row(schema.constants, records[0], f"the first record of {folder}"),
        provenance=record,
    )


def _object(path: Path, expected: str) -> dict[str, Any]:
    content = read_file(path, expected, most=MOST_SETTINGS)
    try:
        return json_object(content)
    except ValueError as error:
        got = f"{str(path)!r}, which is none ({error})"
        raise BadInput(f"Expected {expected} as a JSON object, got {got}: restore it.") from error


def _number(row: Mapping[str, Any], records: Sequence[Any], where: str) -> int:
    number = row.get(NUMBER)
    if type(number) is not int or not 0 <= number < len(records):
        expected = f"Expected the number of one of {len(records)} records as {NUMBER} in {where}"
        raise BadInput(f"{expected}, got {number!r:.40}: restore it, or choose another --out.")
    return number
