"""A run as values: its settings, its typed rows, what they come down to, and its figures."""

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
# What ``provenance.json`` says of this very folder.
OWN = (RECORDS, MARKS, UNMARKED, CONTINUED)

RowT = TypeVar("RowT")
ConstantsT = TypeVar("ConstantsT")
SummaryT = TypeVar("SummaryT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Generic[RowT, ConstantsT]):
    """A run as read."""

    settings: Mapping[str, Any]
    """What fixes the rows, as ``settings.json`` has it, without its ``schema``."""
    rows: Sequence[RowT]
    """Those that count, in the order in which they were made."""
    numbers: Sequence[int]
    """For each row, which of ``records`` it goes with."""
    records: Sequence[Mapping[str, Any]]
    """What each process that made rows noted once: constants, code, versions, machine."""
    constants: ConstantsT
    """Those of the first record."""
    provenance: Mapping[str, Any]
    """The rest of ``provenance.json``: what was called, and what identifies the subject."""
    # Any: a check of types would read them.
    arrays: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """NumPy's, by the names that rows have; of a folder each is read when it is asked for."""
    kinds: Sequence[type] = ()
    """The classes of rows that the study has; if absent, those that the run has."""

    def fields(self, kind: str | None = None) -> dict[str, Column]:
        """The fields of constants and rows, by name, in their order.

        Args:
          kind: Of rows; of all kinds if absent.
        """
        kinds = self.kinds or tuple(dict.fromkeys(map(type, self.rows)))
        classes = [each for each in kinds if kind is None or kind_name(each) == kind]
        every: dict[str, Column] = {}
        for column in itertools.chain.from_iterable(map(columns, (type(self.constants), *classes))):
            every.setdefault(column.name, column)
        return every

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
        further = {CONTINUED: under} if (under := self.continued_under) else {}
        return {"command": self.provenance.get("command", ""), **self.records[0], **further}

    @property
    def continued_under(self) -> list[str]:
        """The commit, or digest of the sources, of each record but the first."""
        return [str(r.get("commit") or r.get("source_sha256")) for r in self.records[1:]]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Result(Generic[RowT, ConstantsT, SummaryT]):
    """A run, what it comes down to, and how it is shown."""

    run: Run[RowT, ConstantsT]
    """Settings and typed rows."""
    summary: SummaryT
    """All that its page says in figures beside single rows: a frozen dataclass."""
    headline: str
    """The summary in a line."""
    figures: Mapping[str, Callable[[], "Figure"]]
    """What draws each figure with matplotlib, by its name."""
    files: Callable[[], Mapping[str, str]]
    """What makes figures and page: the text of each file, by its path in a run folder."""
    labels: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Of a survey, by kind of row, the fields that tell its rows apart: its frame's index."""

    def frame(self, kind: str | None = None) -> "pandas.DataFrame":
        """Rows as a table, each with what its process noted once.

        Args:
          kind: Of a study with several kinds of rows, which; all if absent, and of a sweep
            ``answers``.

        Returns:
          A column for each field that rows of the kind, or of any, may have, also where no row has
          it, behind those of the process. What does not apply is missing; a number that is not
          finite is NaN. A sweep's is indexed by the settings that vary and by what tells the rows
          of a cell apart, so that ``.to_xarray()`` makes a grid of it.

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
        names = list(dict.fromkeys([*constants, *noted, *fields]))
        table = pandas.DataFrame.from_records(rows).reindex(columns=names)
        # A gap, or a column of nothing else, has no type of its own.
        types = {"whole number": "Int64", "true or false": "boolean", "number": "float64"}
        typed = {name: types[field.type] for name, field in fields.items() if field.type in types}
        gaps = {name: dtype for name, dtype in typed.items() if table[name].isna().any()}
        empty = [name for name in fields if name not in typed and table[name].isna().all()]
        table = table.astype(gaps).assign(**dict.fromkeys(empty))
        return self._labelled(table, self.labels[kind]) if kind in self.labels else table

    def _labelled(self, table: "pandas.DataFrame", labels: Sequence[str]) -> "pandas.DataFrame":
        """A table that is indexed by some of its columns."""
        known = [name for name in labels if name in table]
        if lacking := [n for n in labels if n not in known or table[n].isna().any()]:
            expected = f"Expected {lacking[0]} of each row, to label it"
            raise BadInput(f"{expected}, got rows without it: call the sweep's command once more.")
        # A setting of several numbers is a label as the grid has it.
        joined = {name: table[name].map(_label) for name in known if table[name].dtype == object}
        return table.assign(**joined).set_index(list(labels))

    def figure(self, name: str) -> "Figure":
        """A figure of the run's page.

        Args:
          name: One of ``figures``.

        Returns:
          Drawn anew; its own, so that it may be changed.

        Raises:
          BadInput: There is none of that name.
        """
        if name not in self.figures:
            expected = f"Expected a figure out of {', '.join(self.figures)}"
            raise BadInput(f"{expected}, got {name!r:.40}: choose one.")
        return self.figures[name]()

    def array(self, name: str) -> NumPyArray:
        """An array that a row names.

        Returns:
          Of the type and shape that the row's field is documented with.

        Raises:
          BadInput: No row names it, or its file is not there or damaged.
        """
        if name not in self.run.arrays:
            expected = "Expected the name of an array as a row of this run has it"
            raise BadInput(f"{expected}, got {name!r:.80}: choose one.")
        return self.run.arrays[name]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """The run as a folder: settings, record, rows, arrays, summary, figures and page.

        Args:
          folder: A new or empty one.

        Raises:
          BadInput: There are files in it, nothing may be written there, or an array of the run is
            not there or damaged.
          NoRoom: The disk is full.
        """
        path, run = Path(folder), self.run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadInput(f"Expected a new or empty folder, got {str(path)!r}: choose another.")
        rows = zip(run.numbers, run.rows, strict=True)
        text = "".join(to_json({NUMBER: n, **to_row(row)}) + "\n" for n, row in rows)
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
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                write_by_rename(path / name, text)
        return path

    def summary_text(self, indent: int | None = 2) -> str:
        """What ``summary.json`` has.

        Args:
          indent: As for ``json.dumps``; None makes one line.

        Returns:
          JSON, the headline first; null stands for what is missing and for a number that is not
          finite.
        """
        return to_json({"headline": self.headline, **summary_fields(self.summary)}, indent=indent)

    def __repr__(self) -> str:
        study, rows = self.run.settings.get("study"), len(self.run.rows)
        return f"<Result of {study}, {rows} rows: {self.headline}>"

    def _repr_html_(self) -> str:
        """For a notebook: the headline over the first figure."""
        drawn = next((text for name, text in self.files().items() if name.endswith(".svg")), "")
        return f"<p>{html.escape(self.headline)}</p>{drawn}"


def _label(value: Any) -> Any:  # noqa: ANN401
    return ":".join(map(str, value)) if isinstance(value, list) else value


def read_run(folder: Path, schema: RowSchema[RowT, ConstantsT]) -> Run[RowT, ConstantsT]:
    """The run that a folder holds; nothing in it is changed.

    Args:
      folder: Of a run, also of one whose rows are in the words of an older schema.
      schema: How the study's rows are kept.

    Raises:
      BadInput: A file is missing or holds something else, or no row counts.
    """
    settings = _settings(folder / "settings.json")
    today = settings.get("schema") == RUNS
    # A process that was killed, or is at it, while it brought the folder up to date.
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
    # All are checked; a run's constants are alike in all of them.
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
    # Of what made only the others nothing is said either.
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
    """Refuses rows that are not as the run wrote them; behind the last mark one may be at work."""
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
    """A summary as JSON has it.

    Args:
      summary: A frozen dataclass of plain values, of lists and mappings, and of dataclasses and
        named tuples of these.

    Returns:
      Mappings by name, lists and plain values; a mapping whose keys are no texts is a list of
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
        return [[summary_fields(name), summary_fields(value)] for name, value in summary.items()]
    if isinstance(summary, list | tuple):
        return [summary_fields(item) for item in summary]
    return summary
