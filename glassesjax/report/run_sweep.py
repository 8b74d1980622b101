"""A sweep as a whole: cells filled by any number of processes, then one page over all of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from glassesjax.errors import BadInput, Busy
from glassesjax.records import Row, RunFolder, provenance, to_json, write_by_rename
from glassesjax.report.jobs import run_jobs
from glassesjax.report.run_study import own_fields
from glassesjax.report.run_train import run_train
from glassesjax.report.sweep_page import sweep_files
from glassesjax.studies.sweep import fill_cells, missing, sweep_rows
from glassesjax.studies.sweep_settings import SweepSettings

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
      advance: Told the name of each cell that was done here.

    Returns:
      All rows that are there.

    Raises:
      BadInput: Something is wrong with the grid or a folder, or every cell is with other processes.
    """
    fixed = {"study": "sweep", **own_fields(settings, SweepSettings), "axes": settings.axes}
    with _alone(out, fixed):
        pass  # it is this very sweep, or new
    train = lambda cell, folder: run_train(cell, folder, command=command)
    others = fill_cells(settings, out, train, advance)
    with _alone(out, fixed):
        rows = list(sweep_rows(settings, out))
        if not rows:
            raise Busy(f"Wanted a cell that is done; other processes train {', '.join(others)}.")
        record = {"command": command, **provenance()}
        done = len(settings.cells) - len(missing(settings, out))
        files = sweep_files(rows, fixed, {**record, "cells": f"{done} of {len(settings.cells)}"})
        lines = "".join(to_json(row) + "\n" for row in rows)
        for path, text in {
            "provenance.json": to_json(record, indent=2), "rows.jsonl": lines, **files,
        }.items():  # fmt: skip
            (out / path).parent.mkdir(exist_ok=True)
            write_by_rename(out / path, text)
    return rows


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
      BadInput: As for ``run_sweep``, or there is no such cluster.
      RuntimeError: A job failed.
    """
    arguments = ["sweep", "--preset", settings.preset, "--out", str(out.resolve())]
    arguments += ["--grid", *settings.grid] if settings.grid else []
    told = {"cluster": cluster, "hours": hours, "advance": advance}
    run_jobs(arguments, out.resolve().with_name(f"{out.name}-jobs"), jobs, **told)
    return run_sweep(settings, out, command=command)


@contextmanager
def _alone(out: Path, fixed: dict[str, object]) -> Iterator[None]:
    """The sweep's own folder for a moment; its cells have locks of their own."""
    limit = time.monotonic() + PATIENCE
    while True:
        folder = RunFolder(out, fixed)
        try:
            folder.__enter__()
            break
        except Busy:
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)
    try:
        yield
    except OSError as error:
        raise BadInput(f"Wanted to write the sweep in {out}; {error.strerror}.") from error
    finally:
        folder.__exit__()
