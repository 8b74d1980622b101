"""A sweep as a whole: cells filled by any number of processes, then one page over all of them."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from glassesjax.errors import BadInput, Busy
from glassesjax.files import Row, to_json, write_by_rename, writing
from glassesjax.runs.fill import fixed_fields
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.jobs import run_jobs
from glassesjax.runs.journal import FILE, PROGRAMS
from glassesjax.runs.provenance import provenance
from glassesjax.studies.train.measure import mesh_of
from glassesjax.studies.train.run import run_train
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.measure import fill_cells, missing, sweep_programs, sweep_rows
from glassesjax.surveys.sweep.page import sweep_files
from glassesjax.surveys.sweep.settings import SweepSettings

PATIENCE = 60.0  # seconds that another process may write the page


def run_sweep(
    settings: SweepSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """Trains what is not trained yet, and writes rows, figures and page over what is there.

    Args:
      settings: The grid.
      out: The folder of the sweep; one that holds the same grid is continued, also while other
        processes fill it.
      command: What was called, for the record.
      advance: Told the name of each cell that was done here, and if others train the rest.

    Returns:
      All rows that are there; none where other processes train every cell.

    Raises:
      BadInput: Something is wrong with the grid, a mesh of its cells, or a folder.
    """
    _check_sizes(settings)
    with _alone(out, _fixed(settings)):
        pass  # it is this very sweep, or new
    train = lambda cell, folder: _train(cell, folder, command)
    if others := fill_cells(settings, out, train, advance):
        advance(f"other processes train the rest: {len(others)} of {len(settings.cells)} cells")
    return _write(settings, out, command)


def submit_sweep(
    settings: SweepSettings,
    out: Path,
    *,
    jobs: int,
    cluster: str,
    hours: float,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
) -> Sequence[Row]:
    """The same by jobs of a cluster; this process waits, and writes the page again.

    Args:
      settings: The grid.
      out: As for ``run_sweep``.
      jobs: How many.
      cluster: ``slurm`` or ``local``.
      hours: Longest time of a job.
      command: As for ``run_sweep``.
      advance: Told of each job that ended.

    Returns:
      All rows.

    Raises:
      BadInput: As for ``run_sweep``, there is no such cluster, or cells are missing after the jobs;
        the page over the others is there then.
    """
    if cluster == "local":  # the devices of other clusters are not those of this process
        _check_sizes(settings)
    if out.exists():
        with _alone(out, _fixed(settings)):
            pass  # it is this very sweep
    arguments = ["sweep", "--preset", settings.preset, "--out", str(out.resolve())]
    arguments += ["--grid", *settings.grid] if settings.grid else []
    folder = out.resolve().with_name(f"{out.name}-jobs")
    run_jobs(arguments, folder, jobs, cluster=cluster, hours=hours, advance=advance)
    rows = _write(settings, out, command)
    if lacking := missing(settings, out):  # whatever the jobs said of themselves
        wanted = f"Wanted all {len(settings.cells)} cells done by the jobs"
        found = f"{len(lacking)} are not, such as {next(iter(lacking))}"
        raise BadInput(f"{wanted}; {found}: see {folder}. The same command continues.")
    return rows


def _check_sizes(settings: SweepSettings) -> None:
    """Refuses what is too large for the devices and the memory here, before anything is written."""
    for cell in settings.cells.values():
        mesh_of(cell)


def _train(cell: TrainSettings, folder: Path, command: str) -> None:
    """One cell, which leaves nothing compiled behind.

    Each compiled function maps memory of its own. A process may have some 65,000 maps on Linux,
    LLVM aborts where there are no more, and a cell takes over a thousand.
    """
    try:
        run_train(cell, folder, command=command)
    finally:
        jax.clear_caches()
        gc.collect()


def _fixed(settings: SweepSettings) -> dict[str, object]:
    """What tells one sweep from another."""
    return {**fixed_fields("sweep", settings), "axes": settings.axes}


def _write(settings: SweepSettings, out: Path, command: str) -> Sequence[Row]:
    """Rows, figures and page over all cells that are done."""
    fixed = _fixed(settings)
    with _alone(out, fixed):
        rows = list(sweep_rows(settings, out))
        record = {"command": command, **provenance()}
        done = len(settings.cells) - len(missing(settings, out))
        files = sweep_files(rows, fixed, {**record, "cells": f"{done} of {len(settings.cells)}"})
        counts = sweep_programs(settings, out)
        whole = {**record, **({PROGRAMS: dict(counts)} if counts else {})}
        lines = "".join(to_json(row) + "\n" for row in rows)
        for path, text in {
            FILE: to_json(whole, indent=2), "rows.jsonl": lines, **files,
        }.items():  # fmt: skip
            (out / path).parent.mkdir(exist_ok=True)
            write_by_rename(out / path, text)
    return rows


@contextlib.contextmanager
def _alone(out: Path, fixed: dict[str, object]) -> Iterator[None]:
    """The sweep's own folder for a moment; its cells have locks of their own."""
    limit = time.monotonic() + PATIENCE
    folder = RunFolder(out, fixed)
    with writing("to write the sweep", out), contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder)
                break
            except Busy:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)
        yield
