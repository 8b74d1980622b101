"""A run of the train study: what it trains, and what is made of its rows."""

import functools
import time
from pathlib import Path
from typing import Any

import jax

from glassesjax.errors import BadInput
from glassesjax.report.render import answer, page_files
from glassesjax.runs.fill import Opened
from glassesjax.runs.provenance import code_fields
from glassesjax.runs.run import Result, Run
from glassesjax.runs.study import Call
from glassesjax.studies.train.cells import decoders_of, training_of
from glassesjax.studies.train.charts import figures_of, loss_chart
from glassesjax.studies.train.measure import Steps, measure, mesh_of, settled
from glassesjax.studies.train.page import plots_of, train_page
from glassesjax.studies.train.records import StepRow, TrainConstants, TrainRow
from glassesjax.studies.train.rows import constants
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.studies.train.study import STUDY, TrainOptions
from glassesjax.studies.train.summary import TrainSummary, summarize
from glassesjax.train.hosts import agree, is_writer

TrainResult = Result[TrainRow, TrainConstants, TrainSummary]

TOLD = ("loss", "accuracy", "gradient_norm", "tokens_per_second")


def run(settings: TrainSettings, options: TrainOptions, call: Call) -> TrainResult | None:
    """Trains the missing steps, and writes decoders, rows, figures and page.

    Args:
      settings: Settings of the study.
      options: Whether the steps' rows go to the run's ``tensorboard`` folder as well.
      call: The run folder, which is continued from its newest checkpoint; its ``advance`` takes the
        name of each call of the training, and of each evaluated format.

    Returns:
      The run with its summary and figures; none of a process that is not the one to write.

    Raises:
      BadInput: Settings, mesh, folder or checkpoint are invalid, a package is not installed, or two
        processes of a multi-process run differ in settings or packages.
      PeerLost: Of several processes another one ended.
    """
    # What is wrong with these is said before anything is written. Where meshes differ, processes
    # would wait for each other in different programs.
    wide = jax.config.read("jax_enable_x64")
    agree({**STUDY.known(settings), **code_fields(), "jax_enable_x64": wide})
    mesh_of(settings)
    out, board = call.out, None
    if options.tensorboard and is_writer():
        try:
            from tensorboardX import SummaryWriter as board
        except ImportError as error:
            expected = "Expected the tensorboardX package for --tensorboard, got none"
            raise BadInput(f"{expected}: pip install 'glassesjax[tensorboard]'.") from error
    if not is_writer():
        # It trains with the others and writes nothing.
        for name, _ in measure(settings, out):
            call.advance(name)
        return None
    opened = Opened(
        record={"weights": "trained here"},
        constants=constants(settings),
        settled=lambda intact: settled(settings, out, intact),
        measure=lambda done: _logged(measure(settings, out, done), out / "tensorboard", board),
    )
    return STUDY.fill(settings, call, opened)


def _logged(steps: Steps, folder: Path, writer: Any) -> Steps:  # noqa: ANN401
    """The same steps, also logged to TensorBoard if a writer class is given."""
    if writer is None:
        yield from steps
        return
    board = None
    try:
        for name, rows in steps:
            yield name, rows
            trained = [row for row in rows if isinstance(row, StepRow)]
            if not trained:
                continue
            if board is None:
                # Its file is named by the second, and would replace that of a run stopped in the
                # same one. What an earlier one says of these steps and later ones counts no more:
                # a run that was killed makes the rows behind its checkpoint again.
                suffix = f".{time.time_ns()}"
                board = writer(str(folder), filename_suffix=suffix, purge_step=trained[0].step)
            for row in trained:
                for field in TOLD:
                    value = getattr(row, field)
                    if value is not None:
                        board.add_scalar(f"{field}/seed_{row.seed}", value, row.step)
            board.flush()  # curves are watched while the training runs
    finally:
        if board is not None:
            board.close()


def result(run: Run[TrainRow, TrainConstants]) -> TrainResult:
    """A run with its summary and figures.

    Returns:
      Its figures are ``losses`` and those of ``figures_of``.
    """
    training, summary = training_of(run), summarize(run)
    losses = functools.partial(loss_chart, training)
    figures = {**figures_of([training]), "losses": losses}
    return Result(
        run=run,
        summary=summary,
        headline=answer("glassesjax.studies.train", summary),
        figures=figures,
        files=lambda: page_files(
            plots_of(figures, decoders_of([training])),
            functools.partial(train_page, run, training, summary),
        ),
    )
