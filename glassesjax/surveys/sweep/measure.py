"""Sweeps: a grid of trainings that any number of processes fill, each cell a run of its own."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from glassesjax.errors import BadInput, Busy
from glassesjax.files import Row
from glassesjax.runs.journal import programs
from glassesjax.runs.rows import read_rows
from glassesjax.studies.train.cells import SEED, of_kind
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.settings import SweepSettings

CELLS = "cells"


def missing(settings: SweepSettings, out: Path) -> dict[str, TrainSettings]:
    """The cells that are not done.

    Args:
      settings: The grid.
      out: Of the sweep.

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


def sweep_rows(settings: SweepSettings, out: Path) -> Iterator[Row]:
    """The rows of all cells that are done.

    Args:
      settings: The grid.
      out: Of the sweep.

    Yields:
      Each row with its ``cell``, and with the varied settings that it does not name itself; in the
      order of the grid.
    """
    there = missing(settings, out)
    for name, cell in settings.cells.items():
        if name in there:
            continue
        told = {axis: _plain(getattr(cell, axis)) for axis in settings.axes}
        for row in read_rows(out / CELLS / name / "rows.jsonl"):
            yield {"cell": name, **told, **row}


def sweep_programs(settings: SweepSettings, out: Path) -> Counter[str]:
    """How many compiled programs the cells that are done took from the disk, and kept.

    Args:
      settings: The grid.
      out: Of the sweep.

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


def as_dataset(rows: Iterable[Row], axes: Iterable[str], values: Iterable[str], kind: str):  # noqa: ANN201
    """Rows of one kind as a labelled grid.

    Args:
      rows: Of a sweep, or of one training.
      axes: Fields that label the grid: ``("positions", "format", "length")``.
      values: Fields that fill it: ``("exact", "margin")``.
      kind: Which rows.

    Returns:
      An ``xarray.Dataset`` with NaN where a cell has no number; seeds are an axis of it.

    Raises:
      BadInput: xarray is not installed, or two rows have one place.
    """
    try:
        import xarray
    except ImportError as error:
        wanted = "Wanted the xarray package for labelled grids; it is not here"
        raise BadInput(f"{wanted}: pip install 'glassesjax[sweep]'.") from error
    axes, chosen = (*axes, SEED), of_kind(rows, kind)
    labels = {axis: list(dict.fromkeys(row[axis] for row in chosen)) for axis in axes}
    filled = {name: _grid(chosen, labels, name) for name in values}
    return xarray.Dataset({name: (axes, grid) for name, grid in filled.items()}, coords=labels)


def _grid(rows: Iterable[Row], labels: Mapping[str, list], name: str):  # noqa: ANN202
    import numpy as np

    grid = np.full([len(values) for values in labels.values()], np.nan)
    taken = set()
    for row in rows:
        at = tuple(values.index(row[axis]) for axis, values in labels.items())
        if at in taken:
            found = ", ".join(f"{axis} {row[axis]}" for axis in labels)
            raise BadInput(f"Wanted axes that tell all rows apart; found two at {found}: add one.")
        taken.add(at)
        grid[at] = np.nan if row[name] is None else row[name]
    return grid


def _whole(out: Path, name: str) -> bool:
    """Whether a cell is done."""
    return (out / CELLS / name / "index.html").is_file()


def _plain(value: object) -> str | int | float | bool:
    """A setting as one value of a row."""
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return value if isinstance(value, str | int | float | bool) else str(value)
