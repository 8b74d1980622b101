"""Rows of a run that was begun before: what is said where they cannot be worked with."""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from glassesjax.errors import BadInput
from glassesjax.files import Row, Value, reason
from glassesjax.runs.rows import read_rows


class ReadRow(dict[str, Value]):
    """A row that an earlier process wrote, or anybody since: it may be another one than is needed.

    Args:
      row: Its values by name.
      where: Its line and file, for messages.
      vouched: Whether it is as the run wrote it: then it can lack a field that is newer, no more.
    """

    def __init__(self, row: Row, where: str, *, vouched: bool = False) -> None:
        super().__init__(row)
        self.where, self.vouched = where, vouched

    def __missing__(self, name: str) -> Value:
        got = "a row without it: restore it, or choose another --out"
        raise BadInput(f"Expected {name} in {self.where}, got {got}.")


def known_rows(
    path: Path,
    *,
    fresh: int,
    study: object = None,
    vouched: Callable[[int], bool] = lambda number: False,
    other_code: bool = True,
) -> list[Row]:
    """All whole rows of a file, those of earlier processes as such.

    Args:
      path: A file of JSON lines.
      fresh: How many of the last rows this process has made itself.
      study: Which study's rows they must be, if given.
      vouched: Whether an earlier process is known to have written a line, counted from 1.
      other_code: Whether that may have been other code than this. If not, these rows are as good as
        this process's own.

    Returns:
      One mapping a row.

    Raises:
      BadInput: A line is no row, or one of another study.
    """
    rows: list[Row] = list(read_rows(path))
    for number, row in enumerate(rows[: len(rows) - fresh], start=1):
        known = vouched(number)
        if known and not other_code:
            continue
        read = rows[number - 1] = ReadRow(row, f"line {number} of {path}", vouched=known)
        if study is not None and (found := row.get("study", study)) != study:
            got = f"{found!r:.40}: restore it, or choose another --out"
            raise BadInput(f"Expected a row of {study} in {read.where}, got one of {got}.")
    return rows


@contextlib.contextmanager
def blaming(rows: Sequence[Row]) -> Iterator[None]:
    """Where rows that were read cannot be worked with, says so; of others an error is a bug.

    Args:
      rows: What the block works with; those of ``known_rows`` know whether they were read, and
        whether somebody vouches for them.

    Yields:
      Nothing.

    Raises:
      BadInput: The block has failed, and for some rows nobody vouches. Made anew,
        elsewhere, the same rows show whether they were at fault.
    """
    try:
        yield
    except (BadInput, OSError, MemoryError):
        raise
    except Exception as error:
        strange = [row for row in rows if isinstance(row, ReadRow) and not row.vouched]
        read = {id(row): row for row in strange}
        if not read:
            raise
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        # The innermost function that failed was at work on this row, if on any.
        at = (read.get(id(each)) for frame in reversed(frames) for each in frame.f_locals.values())
        row = next((row for row in at if row is not None), None)
        where = row.where if row else next(iter(read.values())).where.partition(" of ")[2]
        got = f"{type(error).__name__} ({reason(error):.100})"
        raise BadInput(
            f"Expected rows as this study writes them in {where}, got {got} from these: restore "
            "them, or choose another --out."
        ) from error


@contextlib.contextmanager
def blaming_unmarked(path: Path, *, unmarked: bool) -> Iterator[None]:
    """Where rows that the run is not known to have written cannot be worked with, says so.

    Args:
      path: The rows.
      unmarked: Whether there are such rows; if not, an error is a bug and stays as it is.

    Yields:
      Nothing.

    Raises:
      BadInput: The block has failed, and somebody else may have written rows.
    """
    try:
        yield
    except (BadInput, OSError, MemoryError):
        raise
    except Exception as error:
        if not unmarked:
            raise
        got = f"{type(error).__name__} ({reason(error):.100})"
        expected = f"Expected rows as this study writes them in {path}"
        raise BadInput(
            f"{expected}, got {got} from these: restore them, or choose another --out."
        ) from error
