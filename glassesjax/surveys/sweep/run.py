"""Runs a sweep: cells filled by any number of processes, then one page over all of them."""

import contextlib
import functools
import gc
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from glassesjax.errors import BadInput, Busy
from glassesjax.files import to_json, write_by_rename, writing
from glassesjax.report.render import answer, page_files
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.jobs import run_jobs
from glassesjax.runs.journal import PROGRAMS
from glassesjax.runs.record import from_row, to_row
from glassesjax.runs.record_file import FILE, MARKS, RECORDS, read_record, records_of
from glassesjax.runs.row_schema import NUMBER
from glassesjax.runs.rows import ROWS as ROWS_FILE
from glassesjax.runs.rows import marks
from glassesjax.runs.run import SUMMARY, Result, Run
from glassesjax.runs.study import Call
from glassesjax.studies.train.cells import decoders_of
from glassesjax.studies.train.charts import figures_of
from glassesjax.studies.train.measure import mesh_of
from glassesjax.studies.train.page import plots_of
from glassesjax.studies.train.records import TrainRow
from glassesjax.studies.train.rows import constants
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.studies.train.study import STUDY as TRAIN
from glassesjax.surveys.sweep.measure import done_cells, fill_cells, missing, sweep_programs
from glassesjax.surveys.sweep.page import sweep_page
from glassesjax.surveys.sweep.records import LABELS, ROWS, SweepConstants, axis_column
from glassesjax.surveys.sweep.settings import SweepSettings
from glassesjax.surveys.sweep.study import STUDY, SweepOptions
from glassesjax.surveys.sweep.summary import SweepSummary, axes_of, summarize, trainings_of

SweepResult = Result[TrainRow, SweepConstants, SweepSummary]
PATIENCE = 60.0  # seconds that another process may write the page


def run(settings: SweepSettings, options: SweepOptions, call: Call) -> SweepResult:
    """Trains the missing cells, and writes rows, figures and page over all finished ones.

    Args:
      settings: The grid.
      options: Whether cluster jobs train the cells; this process then waits for them.
      call: The folder of the sweep; one with the same grid is continued, also while other processes
        fill it. Its ``advance`` takes the name of each cell finished here, a line if other
        processes train the rest, and a line for each job that ended.

    Returns:
      The sweep so far, without rows where other processes train every cell.

    Raises:
      BadInput: The grid, a mesh of its cells, or a folder is invalid; there is no such cluster; or
        cells are missing after the jobs, in which case the page over the others is written.
    """
    if options.jobs:
        return _submit(settings, options, call)
    _check_sizes(settings)
    with _alone(call.out, _fixed(settings)):
        pass  # it is this very sweep, or new

    def train(cell: TrainSettings, folder: Path) -> None:
        try:
            TRAIN.run(cell, folder, command=call.command)
        finally:
            # A compiled function uses memory maps, a cell over a thousand of them. LLVM aborts
            # beyond some 65,000 in a process, on Linux.
            jax.clear_caches()
            gc.collect()

    if others := fill_cells(settings, call.out, train, call.advance):
        call.advance(
            f"other processes train the rest: {len(others)} of {len(settings.cells)} cells"
        )
    return _write(settings, call.out, call.command)


def _submit(settings: SweepSettings, options: SweepOptions, call: Call) -> SweepResult:
    """Trains the cells by cluster jobs; this process waits and rewrites the page."""
    out, cluster = call.out, options.cluster
    if cluster == "local":  # the devices of other clusters are not those of this process
        _check_sizes(settings)
    if out.exists():
        with _alone(out, _fixed(settings)):
            pass  # it is this very sweep
    arguments = ["sweep", "--preset", settings.preset, "--out", str(out.resolve())]
    arguments += ["--grid", *settings.grid] if settings.grid else []
    folder = out.resolve().with_name(f"{out.name}-jobs")
    run_jobs(
        arguments, folder, options.jobs, cluster=cluster, hours=options.hours, advance=call.advance
    )
    done = _write(settings, out, call.command)
    if lacking := missing(settings, out):  # whatever status the jobs returned
        expected = f"Expected all {len(settings.cells)} cells finished by the jobs"
        got = f"{len(lacking)} unfinished ones, such as {next(iter(lacking))}"
        raise BadInput(f"{expected}, got {got}: see {folder}. The same command continues.")
    return done


def _check_sizes(settings: SweepSettings) -> None:
    """Raises an error for cells too large for devices or memory, before anything is written."""
    for cell in settings.cells.values():
        mesh_of(cell)


def _fixed(settings: SweepSettings) -> dict[str, object]:
    """Settings that identify a sweep."""
    return {**STUDY.known(settings), "axes": settings.axes}


def _write(settings: SweepSettings, out: Path, command: str) -> SweepResult:
    """Writes rows, summary, figures and page over all finished cells."""
    with _alone(out, _fixed(settings)):
        whole = result(_run(settings, out, command))
        rows = zip(whole.run.numbers, whole.run.rows, strict=True)
        lines = "".join(to_json({NUMBER: number, **to_row(row)}) + "\n" for number, row in rows)
        counts = sweep_programs(settings, out)
        record = {
            **whole.run.provenance,
            **({PROGRAMS: dict(counts)} if counts else {}),
            RECORDS: whole.run.records,
            MARKS: marks(lines.encode().splitlines(keepends=True))[-1:],
        }
        # The record before the rows: it has all that rows of before name, too.
        texts = {FILE: to_json(record, indent=2), ROWS_FILE: lines}
        texts |= {SUMMARY: whole.summary_text(), **whole.files()}
        for path, text in texts.items():
            (out / path).parent.mkdir(exist_ok=True)
            write_by_rename(out / path, text)
    return whole


def _run(settings: SweepSettings, out: Path, command: str) -> Run[TrainRow, SweepConstants]:
    """The finished cells as one run.

    A record keeps its index when cells are inserted before it, so that the rows are consistent for
    a reader while they are rewritten.
    """
    # Existing records keep their numbers, unless one is of none of the cells.
    try:
        records: list[Mapping[str, Any]] = list(records_of(read_record(out / FILE), out / FILE))
        for record in records:
            from_row(SweepConstants, record)
    except BadInput:
        records = []
    rows: list[TrainRow] = []
    numbers: list[int] = []
    for cell in done_cells(settings, out):
        for row, record in zip(cell.rows, cell.records, strict=True):
            if record not in records:
                records.append(record)
            rows.append(row)
            numbers.append(records.index(record))
    name, first = next(iter(settings.cells.items()))
    known = SweepConstants(cell=name, **to_row(constants(first)))
    if records:
        known = from_row(SweepConstants, records[0])
    return Run(
        settings=json.loads(to_json(_fixed(settings))),
        rows=rows,
        numbers=numbers,
        records=json.loads(to_json(records)),
        constants=known,
        provenance={"command": command},
    )


def result(run: Run[TrainRow, SweepConstants]) -> SweepResult:
    """A sweep with its summary and figures.

    Returns:
      The result; its figures are those of ``figures_of``, none where no cell is finished. Its frame
      is indexed by the settings that vary.
    """
    trainings = trainings_of(run)
    summary, figures = summarize(run, trainings), figures_of(trainings)
    axes = [axis_column(name) for name, values in axes_of(run.settings).items() if len(values) > 1]
    return Result(
        run=run,
        summary=summary,
        headline=answer("glassesjax.studies.train", summary),
        figures=figures,
        files=lambda: page_files(
            plots_of(figures, decoders_of(trainings)),
            functools.partial(sweep_page, run, trainings, summary),
        ),
        labels={kind: (*axes, *names) for kind, names in LABELS.items()},
    )


@contextlib.contextmanager
def _alone(out: Path, fixed: dict[str, object]) -> Iterator[None]:
    """Locks the sweep's folder briefly; its cells have separate locks."""
    limit = time.monotonic() + PATIENCE
    folder = RunFolder(out, fixed, ROWS)
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
