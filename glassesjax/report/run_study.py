"""A whole run of any study: measured into a folder, with its figures and its page, resumable."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.records import (
    Row,
    RowFile,
    RunFolder,
    provenance,
    read_rows,
    to_json,
    write_by_rename,
)

Done = Callable[[Row], bool]
Steps = Iterable[tuple[str, Sequence[Row]]]
Files = Mapping[str, str]


def run_study(
    out: Path,
    *,
    fixed: Mapping[str, object],
    source: Mapping[str, object],
    key: Sequence[str],
    measure: Callable[[Done], Steps],
    draw: Callable[[Sequence[Row], Mapping[str, object], Mapping[str, object]], Files],
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    current: Done = lambda row: True,
) -> list[dict]:
    """Measures what is not measured yet, and writes rows, figures and page.

    Args:
      out: The run folder; one that holds the same run is continued.
      fixed: All that fixes the rows; it tells one run from another.
      source: What identifies the subject, for the record.
      key: Names of the fields that tell one row from another.
      measure: Told which rows are there, gives the others step by step, each step with its name.
      draw: Rows, ``fixed`` and the record, to the text of each file of the page, by its path.
      command: What was called, for the record.
      advance: Told the name of each step that was measured.
      current: Which rows of the file count; the others stay and are passed over.

    Returns:
      All rows of the run.

    Raises:
      BadInput: The folder holds another run, or cannot be written.
    """
    record = {"command": command, **provenance(), **source}
    try:
        with RunFolder(out, fixed):
            write_by_rename(out / "provenance.json", to_json(record, indent=2))
            with RowFile(out / "rows.jsonl", key) as file:
                for name, rows in measure(file.__contains__):
                    file.append(rows)
                    advance(name)
            rows = [row for row in read_rows(out / "rows.jsonl") if current(row)]
            for path, text in draw(rows, fixed, record).items():
                (out / path).parent.mkdir(exist_ok=True)
                write_by_rename(out / path, text)
    except OSError as error:
        wanted = f"Wanted to write the run in {out}"
        raise BadInput(f"{wanted}; {error.filename or out}: {error.strerror}.") from error
    return rows


def own_fields(settings: object, of: type) -> dict[str, object]:
    """A study's own settings; a command's further flags fix no row.

    Args:
      settings: An instance of ``of`` or of a class that adds flags to it.
      of: The study's dataclass.

    Returns:
      Values by name.
    """
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(of)}
