"""The survey sweep as one value."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.runs.study import Call, Options, Study
from glassesjax.surveys.sweep.settings import MOST_CELLS, SweepSettings

YEAR = 8784  # hours: no job of a cluster is longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """What a command adds to the grid: who fills it."""

    jobs: int = 0
    """Fill it from so many jobs of the cluster instead of this process."""
    cluster: Literal["slurm", "local"] = "slurm"
    """Where jobs run; local is this machine."""
    hours: float = 4.0
    """Longest time of a job."""
    out: Path | None = None
    """The folder of the sweep; runs/sweep-PRESET if absent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for holds, wanted, got in (
            (0 <= self.jobs <= MOST_CELLS, f"--jobs from 0 to {MOST_CELLS}", self.jobs),
            (0 < self.hours <= YEAR, f"--hours over 0 and up to a year, {YEAR}", self.hours),
        ):
            if not holds:
                raise BadInput(f"Wanted {wanted}; found {got}.")


def _run(settings: SweepSettings, options: SweepOptions, call: Call) -> Sequence[Row]:
    from glassesjax.surveys.sweep.run import run_sweep, submit_sweep

    if not options.jobs:
        return run_sweep(settings, call.out, command=call.command, advance=call.advance)
    return submit_sweep(
        settings,
        call.out,
        jobs=options.jobs,
        cluster=options.cluster,
        hours=options.hours,
        command=call.command,
        advance=call.advance,
    )


def _lines(settings: SweepSettings, rows: Sequence[Row]) -> Iterable[str]:
    from glassesjax.surveys.sweep.page import sweep_headlines

    return sweep_headlines(rows)


def _violations(rows: Sequence[Row]) -> Sequence[str]:
    from glassesjax.studies.train.verdicts import violations

    return violations(rows)


STUDY = Study(
    name="sweep",
    settings=SweepSettings,
    options=SweepOptions,
    notes="Writes cells/NAME/, a run of the verb train each, and over all of them settings.json,"
    " provenance.json, rows.jsonl, figures/ and index.html. The same command continues a sweep that"
    " was stopped, and joins one that other processes fill; where they train all that is left it"
    " ends with what is done by then.",
    folder_part=lambda settings: settings.preset,
    steps=lambda settings, options: options.jobs or len(settings.cells),
    run=_run,
    lines=_lines,
    violations=_violations,
)
