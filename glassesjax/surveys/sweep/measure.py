"""Sweeps: a grid of trainings filled by any number of processes, each cell a separate run."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glassesjax.errors import Busy
from glassesjax.runs.journal import programs
from glassesjax.runs.run import read_run
from glassesjax.studies.train.records import ROWS as TRAIN_ROWS
from glassesjax.studies.train.records import TrainRow
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.records import axis_column, axis_value
from glassesjax.surveys.sweep.settings import SweepSettings

CELLS = "cells"


def missing(settings: SweepSettings, out: Path) -> dict[str, TrainSettings]:
    """The cells that are not finished.

    Returns:
      Trainings by the names of their folders. A cell is finished when its page, written last,
      exists.
    """
    return {name: cell for name, cell in settings.cells.items() if not _whole(out, name)}


def fill_cells(
    settings: SweepSettings,
    out: Path,
    train: Callable[[TrainSettings, Path], object],
    advance: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """Trains every cell that is neither finished nor being trained by another process.

    Each process takes the cells in its own order and skips locked ones. The lock of a killed
    process expires, and its cell resumes from the last checkpoint.

    Args:
      settings: The grid.
      out: Folder of the sweep.
      train: Trains one cell.
      advance: Takes the name of each cell finished here.

    Returns:
      Cells that other processes were training when no other cell was left.
    """
    names = list(settings.cells)
    # Processes start at different cells, so that they seldom meet.
    random.SystemRandom().shuffle(names)
    busy = []
    for name in names:
        if _whole(out, name):  # checked for each cell, since another process may have finished it
            continue
        try:
            train(settings.cells[name], out / CELLS / name)
        except Busy:
            busy.append(name)
            continue
        advance(name)
    # Some were finished meanwhile.
    return [name for name in busy if not _whole(out, name)]


class CellRows(NamedTuple):
    """The rows of a finished cell."""

    rows: Sequence[TrainRow]
    records: Sequence[Mapping[str, Any]]
    """For each row what its process noted once, with the cell and the settings of the grid."""


def done_cells(settings: SweepSettings, out: Path) -> Iterator[CellRows]:
    """The rows of all finished cells.

    Raises:
      BadInput: The files of a cell are modified.
    """
    there = missing(settings, out)
    for name, cell in settings.cells.items():
        if name in there:
            continue
        run = read_run(out / CELLS / name, TRAIN_ROWS)
        constants = {"cell": name}
        constants |= {axis_column(axis): axis_value(getattr(cell, axis)) for axis in settings.axes}
        records = [{**constants, **record} for record in run.records]
        yield CellRows(run.rows, [records[number] for number in run.numbers])


def sweep_programs(settings: SweepSettings, out: Path) -> Counter[str]:
    """Compilation cache hits and misses of all finished cells.

    Returns:
      Sums of the cells' ``hits`` and ``misses``, over all processes; empty where no
      cell has any.
    """
    total: Counter[str] = Counter()
    there = missing(settings, out)
    for name in settings.cells:
        if name not in there:
            total.update(programs(out / CELLS / name))
    return total


def _whole(out: Path, name: str) -> bool:
    """Whether a cell is finished."""
    # The page is the last file of a run.
    return (out / CELLS / name / "index.html").is_file()
