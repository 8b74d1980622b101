"""Sweeps: a grid of trainings that any number of processes fill, each cell a run of its own."""

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
    """The cells that are not done.

    Returns:
      Trainings by the names of their folders. A cell is done when its page, which is written last,
      is there.
    """
    return {name: cell for name, cell in settings.cells.items() if not _whole(out, name)}


def fill_cells(
    settings: SweepSettings,
    out: Path,
    train: Callable[[TrainSettings, Path], object],
    advance: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """Trains every cell that is not done and that no other process is training.

    Each process takes the cells in an order of its own, and passes over those that are locked. A
    process that is killed leaves its lock to the next, and its cell where the last checkpoint is.

    Args:
      settings: The grid.
      out: Of the sweep.
      train: What fills one cell.
      advance: Told the name of each cell that was done here.

    Returns:
      Cells that others were training when nothing else was left.
    """
    names = list(settings.cells)
    random.SystemRandom().shuffle(names)
    busy = []
    for name in names:
        if _whole(out, name):  # asked cell by cell: another process may be faster
            continue
        try:
            train(settings.cells[name], out / CELLS / name)
        except Busy:
            busy.append(name)
            continue
        advance(name)
    return [name for name in busy if not _whole(out, name)]


class CellRows(NamedTuple):
    """The rows of a cell that is done."""

    rows: Sequence[TrainRow]
    records: Sequence[Mapping[str, Any]]
    """For each row what its process noted once, with the cell and the settings of the grid."""


def done_cells(settings: SweepSettings, out: Path) -> Iterator[CellRows]:
    """The rows of all cells that are done.

    Raises:
      BadInput: The files of a cell are not as its run wrote them.
    """
    there = missing(settings, out)
    for name, cell in settings.cells.items():
        if name in there:
            continue
        run = read_run(out / CELLS / name, TRAIN_ROWS)
        own = {"cell": name}
        own |= {axis_column(axis): axis_value(getattr(cell, axis)) for axis in settings.axes}
        records = [{**own, **record} for record in run.records]
        yield CellRows(run.rows, [records[number] for number in run.numbers])


def sweep_programs(settings: SweepSettings, out: Path) -> Counter[str]:
    """How many compiled programs the cells that are done took from the disk, and kept.

    Returns:
      Sums of the cells' ``hits`` and ``misses``, whichever processes trained them; neither where no
      cell has any.
    """
    total: Counter[str] = Counter()
    there = missing(settings, out)
    for name in settings.cells:
        if name not in there:
            total.update(programs(out / CELLS / name))
    return total


def _whole(out: Path, name: str) -> bool:
    """Whether a cell is done."""
    return (out / CELLS / name / "index.html").is_file()
