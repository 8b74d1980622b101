"""A run as values: settings, typed rows, summary and figures."""

import dataclasses
import html
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from glassesjax.arrays import NumPyArray
from glassesjax.errors import BadInput
from glassesjax.files import (
    MOST_SETTINGS,
    json_object,
    read_file,
    to_json,
    whole_lines,
    write_by_rename,
    writing,
)
from glassesjax.runs.array_file import ARRAYS, StoredArrays, write_arrays
from glassesjax.runs.record import Column, columns, from_row, kind_name, to_row
from glassesjax.runs.record_file import (
    CONTINUED,
    FILE,
    MARKS,
    RECORDS,
    UNMARKED,
    marks_of,
    read_record,
    records_of,
)
from glassesjax.runs.row_schema import NUMBER, RowSchema
from glassesjax.runs.rows import ROWS, marks, read_rows
from glassesjax.runs.upgrade import PENDING, numbered, upgraded_rows, upgraded_settings
from glassesjax.schema import RUNS, check_schema

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SUMMARY = "summary.json"
# Fields of ``provenance.json`` about this folder.
OWN = (RECORDS, MARKS, UNMARKED, CONTINUED)

RowT = TypeVar("RowT")
ConstantsT = TypeVar("ConstantsT")
SummaryT = TypeVar("SummaryT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Generic[RowT, ConstantsT]):
    """Settings, rows and provenance of a run."""

    settings: Mapping[str, Any]
    """The settings that determine the rows, as in ``settings.json``, without ``schema``."""
    rows: Sequence[RowT]
    """The rows that count, in the order of measurement."""
    numbers: Sequence[int]
    """Index in ``records`` for each row."""
    records: Sequence[Mapping[str, Any]]
    """One record for each process that made rows: constants, code, versions, machine."""
    constants: ConstantsT
    """Constants of the first record."""
    provenance: Mapping[str, Any]
    """The rest of ``provenance.json``: command line and identity of the model."""
    # Any, since a type check would read the arrays.
    arrays: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """NumPy arrays by the names in rows; those of a folder are read on access."""
    kinds: Sequence[type] = ()
    """All row classes of the study; if absent, those of the rows."""

    def fields(self, kind: str | None = None) -> dict[str, Column]:
        """The fields of constants and rows, by name, in their order.

        Args:
          kind: Kind of rows; all kinds if absent.
        """
        kinds = self.kinds or tuple(dict.fromkeys(map(type, self.rows)))
        classes = [each for each in kinds if kind is None or kind_name(each) == kind]
        every: dict[str, Column] = {}
        for column in itertools.chain.from_iterable(map(columns, (type(self.constants), *classes))):
            # A name that kinds share is one column: of the first kind that has it.
            every.setdefault(column.name, column)
        return every

    def flat(self) -> Iterator[dict[str, Any]]:
        """Each row with the fields of its record, for a table.

        Yields:
          Values by name; a field that does not apply is missing.
        """
        for row, number in zip(self.rows, self.numbers, strict=True):
            # The row comes last: what it measured is its own, whatever its process noted.
            yield {**self.records[number], **to_row(row)}

    @property
    def made(self) -> dict[str, Any]:
        """Provenance for a page: command, first record, and the code of later processes."""
        further = {CONTINUED: under} if (under := self.continued_under) else {}
        return {"command": self.provenance.get("command", ""), **self.records[0], **further}

    @property
    def continued_under(self) -> list[str]:
        """The commit, or digest of the sources, of each record but the first."""
        return [str(r.get("commit") or r.get("source_sha256")) for r in self.records[1:]]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Result(Generic[RowT, ConstantsT, SummaryT]):
    """A run with its summary, figures and page."""

    run: Run[RowT, ConstantsT]
    """Settings and typed rows."""
    summary: SummaryT
    """Numbers of the page other than single rows: a frozen dataclass."""
    headline: str
    """The summary in a line."""
    figures: Mapping[str, Callable[[], "Figure"]]
    """Functions that draw the figures with matplotlib, by name."""
    files: Callable[[], Mapping[str, str]]
    """Makes figures and page: text of each file by its path in a run folder."""
    labels: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Index of a survey's frame: the fields that identify its rows, by kind of row."""

    def frame(self, kind: str | None = None) -> "pandas.DataFrame":
        """Rows as a table, each with the fields of its record.

        Args:
          kind: Kind of rows, for a study with several; all if absent, and ``answers`` for a sweep.

        Returns:
          A column for each field of the record, then for each field that rows of the kind, or of
          any, may have, also where no row has it. A value that does not apply is missing; a number
          that is not finite is NaN. A sweep's table is indexed by the settings that vary and the
          fields that identify the rows of a cell, so that ``.to_xarray()`` makes a grid of it.

        Raises:
          BadInput: There is no row of this kind.
        """
        import pandas

        kind = kind or next(iter(self.labels), None)
        rows = [row for row in self.run.flat() if kind in (None, row.get("kind"))]
        if kind and not rows:
            kinds = dict.fromkeys(str(row["kind"]) for row in self.run.flat() if "kind" in row)
            expected = f"Expected a kind of row out of {', '.join(kinds) or 'none'}"
            raise BadInput(f"{expected}, got {kind!r:.40}: choose one.")
        fields, noted = self.run.fields(kind), itertools.chain.from_iterable(self.run.records)
        constants = [column.name for column in columns(type(self.run.constants))]
        # Also names of provenance that no class declares, such as those of code and machine.
        names = list(dict.fromkeys([*constants, *noted, *fields]))
        table = pandas.DataFrame.from_records(rows).reindex(columns=names)
        # Columns with missing values need nullable types.
        types = {"whole number": "Int64", "true or false": "boolean", "number": "float64"}
        typed = {name: types[field.type] for name, field in fields.items() if field.type in types}
        gaps = {name: dtype for name, dtype in typed.items() if table[name].isna().any()}
        empty = [name for name in fields if name not in typed and table[name].isna().all()]
        table = table.astype(gaps).assign(**dict.fromkeys(empty))
        if kind not in self.labels:
            return table
        labels = self.labels[kind]
        known = [name for name in labels if name in table]
        if lacking := [n for n in labels if n not in known or table[n].isna().any()]:
            expected = f"Expected {lacking[0]} of each row, to label it"
            raise BadInput(f"{expected}, got rows without it: call the sweep's command once more.")
        # A setting of several numbers is labelled as in the grid.
        label = lambda value: ":".join(map(str, value)) if isinstance(value, list) else value
        joined = {name: table[name].map(label) for name in known if table[name].dtype == object}
        return table.assign(**joined).set_index(list(labels))

    def figure(self, name: str) -> "Figure":
        """A figure of the run's page.

        Args:
          name: One of ``figures``.

        Returns:
          A new figure, which may be modified.

        Raises:
          BadInput: There is no figure of that name.
        """
        if name not in self.figures:
            expected = f"Expected a figure out of {', '.join(self.figures)}"
            raise BadInput(f"{expected}, got {name!r:.40}: choose one.")
        return self.figures[name]()

    def array(self, name: str) -> NumPyArray:
        """An array that a row names.

        Returns:
          Of the dtype and shape that the row's field declares.

        Raises:
          BadInput: No row names it, or its file is missing or damaged.
        """
        if name not in self.run.arrays:
            expected = "Expected the name of an array in a row of this run"
            raise BadInput(f"{expected}, got {name!r:.80}: choose one.")
        return self.run.arrays[name]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes the run as a folder: settings, record, rows, arrays, summary, figures and page.

        Args:
          folder: A new or empty one.

        Raises:
          BadInput: The folder has files or cannot be written, or an array of the run is missing or
            damaged.
          DiskFull: The disk is full.
        """
        path, run = Path(folder), self.run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadInput(f"Expected a new or empty folder, got {str(path)!r}: choose another.")
        rows = zip(run.numbers, run.rows, strict=True)
        text = "".join(to_json({NUMBER: n, **to_row(row)}) + "\n" for n, row in rows)
        # The same digest as if rows had been written one by one.
        mark = marks(text.encode().splitlines(keepends=True))[-1]
        arrays = dict(run.arrays)
        texts = {
            "settings.json": to_json({"schema": RUNS, **run.settings}, indent=2),
            FILE: to_json({**run.provenance, RECORDS: run.records, MARKS: [mark]}, indent=2),
            ROWS: text,
            SUMMARY: self.summary_text(),
            **self.files(),
        }
        with writing("to write the run", path, "choose another folder"):
            path.mkdir(parents=True, exist_ok=True)
            if arrays:
                write_arrays(path / ARRAYS, arrays)
            for name, text in texts.items():
                # Figures lie in a folder of their own.
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                write_by_rename(path / name, text)
        return path

    def summary_text(self, indent: int | None = 2) -> str:
        """The content of ``summary.json``.

        Args:
          indent: As for ``json.dumps``; None makes one line.

        Returns:
          JSON, the headline first; null is a missing value or a number that is not finite.
        """
        return to_json({"headline": self.headline, **summary_fields(self.summary)}, indent=indent)

    def __repr__(self) -> str:
        study, rows = self.run.settings.get("study"), len(self.run.rows)
        return f"<Result of {study}, {rows} rows: {self.headline}>"

    def _repr_html_(self) -> str:
        """HTML for a notebook: the headline above the first figure."""
        drawn = next((text for name, text in self.files().items() if name.endswith(".svg")), "")
        return f"<p>{html.escape(self.headline)}</p>{drawn}"


def read_run(folder: Path, schema: RowSchema[RowT, ConstantsT]) -> Run[RowT, ConstantsT]:
    """Reads the run of a folder without changing it.

    Args:
      folder: A run folder, also one of an older schema.
      schema: Schema of the study's rows.

    Raises:
      BadInput: A file is missing or has other content, or no row counts.
    """
    settings = _settings(folder / "settings.json")
    today = settings.get("schema") == RUNS
    # Files of an upgrade that is in progress or was killed.
    path, file = (
        folder / (pending if today and (folder / pending).is_file() else name)
        for name, pending in PENDING.items()
    )
    if not (folder / ROWS).is_file():
        raise BadInput(f"Expected rows in {folder / ROWS}, got none: let the run measure some.")
    rows: Sequence[Mapping[str, Any]] = read_rows(path, lists=True)
    noted = read_record(file)
    _check_marks(path, noted)
    records = records_of(noted, file)
    if not today:
        if "schema" not in settings:
            rows = list(upgraded_rows(rows, settings.get("study")))
        records, rows = numbered(rows, schema)
    if not rows:
        raise BadInput(f"Expected rows in {path}, got none: let the run measure some.")
    if not records:
        expected = f"Expected the records of {path} in {file}"
        raise BadInput(f"{expected}, got none: restore it, or choose another --out.")
    where = [f"line {number} of {path}" for number in range(1, len(rows) + 1)]
    # All records are checked; constants are equal in all of them.
    constants = [from_row(schema.constants, each, f"a record in {file}") for each in records]
    typed = [schema.read(row, at) for row, at in zip(rows, where, strict=True)]
    numbers = [_number(row, records, at) for row, at in zip(rows, where, strict=True)]
    run = Run(
        settings={name: v for name, v in upgraded_settings(settings).items() if name != "schema"},
        kinds=schema.kinds,
        rows=typed,
        numbers=numbers,
        records=records,
        constants=constants[0],
        provenance={name: value for name, value in noted.items() if name not in OWN},
        arrays=StoredArrays(folder / ARRAYS, typed),
    )
    if schema.counting is None:
        return run
    counts = schema.counting(typed, noted)
    # Records without a row that counts are left out too.
    used = sorted(set(itertools.compress(numbers, counts)))
    if not used:
        expected = f"Expected rows that count in {path}"
        raise BadInput(f"{expected}, got only others: let the run measure some.")
    return dataclasses.replace(
        run,
        rows=list(itertools.compress(typed, counts)),
        numbers=[used.index(number) for number in itertools.compress(numbers, counts)],
        records=[records[number] for number in used],
        constants=constants[used[0]],
    )


def _settings(path: Path) -> dict[str, Any]:
    content = read_file(path, "the settings of a run", most=MOST_SETTINGS)
    try:
        settings = json_object(content)
    except ValueError as error:
        expected = f"Expected a JSON object in {path}"
        raise BadInput(f"{expected}, got none ({error}): restore it.") from error
    check_schema(settings, path, RUNS)
    return settings


def _check_marks(path: Path, noted: Mapping[str, Any]) -> None:
    """Raises an error for modified rows; rows after the last mark may still be being written."""
    now = marks(whole_lines(path))
    for mark in marks_of(noted):
        if mark not in now[mark.rows : mark.rows + 1] and mark.rows < len(now):
            expected = f"Expected the rows that this run wrote in {path}"
            raise BadInput(f"{expected}, got others in its first {mark.rows}: restore them.")


def _number(row: Mapping[str, Any], records: Sequence[Any], where: str) -> int:
    number = row.get(NUMBER)
    if type(number) is not int or not 0 <= number < len(records):
        expected = f"Expected the number of one of {len(records)} records as {NUMBER} in {where}"
        raise BadInput(f"{expected}, got {number!r:.40}: restore it, or choose another --out.")
    return number


def summary_fields(summary: Any) -> Any:  # noqa: ANN401
    """A summary as JSON values.

    Args:
      summary: A frozen dataclass of plain values, of lists and mappings, and of dataclasses and
        named tuples of these.

    Returns:
      Mappings by name, lists and plain values; a mapping with keys other than text is a list of
      ``[key, value]``.
    """
    if dataclasses.is_dataclass(summary):
        names = (field.name for field in dataclasses.fields(summary))
        return {name: summary_fields(getattr(summary, name)) for name in names}
    if hasattr(summary, "_asdict"):
        return {name: summary_fields(value) for name, value in summary._asdict().items()}
    if isinstance(summary, Mapping):
        if all(isinstance(name, str) for name in summary):
            return {name: summary_fields(value) for name, value in summary.items()}
        # JSON objects have text keys only.
        return [[summary_fields(name), summary_fields(value)] for name, value in summary.items()]
    if isinstance(summary, list | tuple):
        return [summary_fields(item) for item in summary]
    return summary
