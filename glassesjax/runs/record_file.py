"""Reader of ``provenance.json`` of a run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import MOST_SETTINGS, Mark, json_object, read_file

FILE = "provenance.json"
MARKS, UNMARKED, CONTINUED = "row_marks", "unmarked_rows", "continued_under"
RECORDS = "records"


def read_record(path: Path) -> dict[str, Any]:
    """Content of ``provenance.json``.

    Returns:
      Values by name; empty where there is no file, or no JSON object in it.

    Raises:
      BadInput: It is no regular file, cannot be read, or is too large.
    """
    if not path.exists():
        return {}
    content = read_file(path, "a run's own record", most=MOST_SETTINGS)
    try:
        return json_object(content)
    except ValueError:
        return {}


def listed(record: Mapping[str, Any], name: str) -> list[Any]:
    """A list of a record.

    Returns:
      The list; an empty one where there is another value, or none.
    """
    return value if isinstance(value := record.get(name), list) else []


def marks_of(record: Mapping[str, Any]) -> list[Mark]:
    """The marks of a run's rows."""
    found = []
    for each in listed(record, MARKS):
        match each:  # what is no mark is left out: rows without marks are checked as such
            case [int(rows), str(digest)]:
                found.append(Mark(rows, digest))
    return found


def records_of(record: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The records of a run's processes: constants and provenance of their rows.

    Raises:
      BadInput: They are no list of JSON objects, so rows could not be assigned to a process.
    """
    records = record.get(RECORDS, [])
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        expected = f"Expected a list of JSON objects as {RECORDS} in {path}"
        raise BadInput(f"{expected}, got another value: restore it, or choose another --out.")
    return records
