"""The survey sweep as one value."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glassesjax.runs.study import Options, Study
from glassesjax.settings import check_each
from glassesjax.studies.train.study import violations
from glassesjax.surveys.sweep.records import ROWS
from glassesjax.surveys.sweep.settings import MOST_CELLS, SweepSettings

if TYPE_CHECKING:
    from glassesjax.surveys.sweep.run import SweepResult

YEAR = 8784  # hours: no job of a cluster is longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """Flags of a command beside the grid: cluster jobs."""

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
        check_each(
            (
                (0 <= self.jobs <= MOST_CELLS, f"--jobs from 0 to {MOST_CELLS}", self.jobs),
                (0 < self.hours <= YEAR, f"--hours over 0 and up to a year, {YEAR}", self.hours),
            )
        )


STUDY: "Study[SweepSettings, SweepOptions, SweepResult]" = Study(
    name="sweep",
    settings=SweepSettings,
    options=SweepOptions,
    module="glassesjax.surveys.sweep.run",
    notes="Writes cells/NAME/, a run of the verb train each, and over all of them settings.json,"
    " provenance.json, rows.jsonl, figures/ and index.html. The same command continues a sweep that"
    " was stopped, and joins one that other processes fill; where they train all that is left it"
    " ends with what is done by then.",
    folder_part=lambda settings: settings.preset,
    steps=lambda settings, options: options.jobs or len(settings.cells),
    rows=ROWS,
    violations=violations,
)
