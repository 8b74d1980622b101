"""The study train as one value."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glassesjax.runs.study import Options, Study
from glassesjax.studies.train.records import ROWS
from glassesjax.studies.train.settings import TrainSettings

if TYPE_CHECKING:
    from glassesjax.studies.train.run import TrainResult
    from glassesjax.studies.train.summary import TrainSummary


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """Flags of a command beside the settings of a training."""

    tensorboard: bool = False
    """Write the steps' rows for TensorBoard as well, in the run folder's tensorboard/."""
    distributed: bool = False
    """Join the other processes that run this command: a cluster's, or those that
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID tell."""
    out: Path | None = None
    """The run folder; runs/train-TASK if absent."""


def violations(summary: "TrainSummary") -> Sequence[str]:
    """Violations in a training's rows.

    Returns:
      One line where the unrounded pass is not finite, and one for each certificate or ratio that
      the rows contradict.
    """
    from glassesjax.report.render import failure_lines

    every = (each for one in summary.trainings for each in one.contradictions)
    lines = failure_lines("glassesjax.studies.train", every)
    return [*summary.passes.failures, *lines]


def _together(options: TrainOptions, run: Callable[[bool], int]) -> int:
    """One of several processes writes; the others train with it."""
    from glassesjax.train.hosts import connect, ended, is_writer

    def joined() -> int:
        if options.distributed:
            connect()
        return run(is_writer())

    return ended(joined)


STUDY: "Study[TrainSettings, TrainOptions, TrainResult | None]" = Study(
    name="train",
    settings=TrainSettings,
    options=TrainOptions,
    module="glassesjax.studies.train.run",
    notes="Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/,"
    " index.html, checkpoints, and model-SEED.safetensors, which the other verbs open. A run that"
    " was stopped continues from its newest checkpoint with the same command.",
    folder_part=lambda settings: settings.task,
    steps=lambda settings, options: settings.calls,
    rows=ROWS,
    violations=violations,
    together=_together,
)
