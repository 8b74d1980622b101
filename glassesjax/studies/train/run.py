"""The train study as a whole run: trained into a folder, with its page, resumable."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.report.canvas import to_svg
from glassesjax.runs.fill import Files, Steps, fill, fixed_fields
from glassesjax.runs.provenance import code_fields
from glassesjax.studies.train.failing_figures import failing_figures
from glassesjax.studies.train.figures import lengths_figure, losses_figure
from glassesjax.studies.train.heard_cells import heard_cells
from glassesjax.studies.train.heard_figures import heard_figure
from glassesjax.studies.train.measure import KEY, measure, mesh_of, settled
from glassesjax.studies.train.page import train_page
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.train.hosts import agree, is_writer

TOLD = ("loss", "accuracy", "gradient_norm", "tokens_per_second")


def run_train(
    settings: TrainSettings,
    out: Path,
    *,
    command: str = "",
    advance: Callable[[str], None] = lambda name: None,
    tensorboard: bool = False,
) -> Sequence[Row]:
    """Trains what is not trained yet, and writes decoders, rows, figures and page.

    Args:
      settings: What to train.
      out: The run folder; one that holds the same run is continued from its newest checkpoint.
      command: What was called, for the record.
      advance: Told the name of each call of the training, and of each format that answered.
      tensorboard: Whether the steps' rows go to the run's ``tensorboard`` folder as well.

    Returns:
      All rows of the run; of several processes only the writer's has some.

    Raises:
      BadInput: Something is wrong with the settings, the mesh, the folder or its checkpoint, a
        package is not installed, or of several processes two have other settings or packages.
      PeerLost: Of several processes another one ended.
    """
    # What is wrong with these is said before anything is written. Where meshes differ, processes
    # would wait for each other in different programs.
    wide = jax.config.read("jax_enable_x64")
    fixed = fixed_fields("train", settings)
    agree({**fixed, **code_fields(), "jax_enable_x64": wide})
    mesh_of(settings)
    board = _writer_class() if tensorboard and is_writer() else None
    if not is_writer():
        for name, _ in measure(settings, out):
            advance(name)
        return []

    return fill(
        out,
        fixed=fixed,
        source={"weights": "trained here"},
        key=KEY,
        settled=lambda intact: settled(settings, out, intact),
        measure=lambda done: _told(measure(settings, out, done), out / "tensorboard", board),
        draw=_draw,
        command=command,
        advance=advance,
    )


def _told(steps: Steps, folder: Path, writer: Any) -> Steps:  # noqa: ANN401
    """The same steps, told to TensorBoard where a class of writers is given."""
    if writer is None:
        yield from steps
        return
    board = None
    try:
        for name, rows in steps:
            yield name, rows
            trained = [row for row in rows if row["kind"] == "step"]
            if trained and board is None:
                # Its file is named by the second, and would replace that of a run stopped in the
                # same one. What an earlier one says of these steps and later ones counts no more:
                # a run that was killed makes the rows behind its checkpoint again.
                suffix = f".{time.time_ns()}"
                board = writer(str(folder), filename_suffix=suffix, purge_step=trained[0]["step"])
            _tell(board, trained)
    finally:
        if board is not None:
            board.close()


def _tell(board: Any, rows: Sequence[Row]) -> None:  # noqa: ANN401
    for row in rows:
        for value in TOLD:
            if row[value] is not None:
                board.add_scalar(f"{value}/seed_{row['seed']}", row[value], row["step"])
    if rows:
        board.flush()


def _writer_class() -> Any:  # noqa: ANN401
    try:
        import tensorboardX
    except ImportError as error:
        wanted = "Wanted the tensorboardX package for --tensorboard; it is not here"
        raise BadInput(f"{wanted}: pip install 'glassesjax[tensorboard]'.") from error
    return tensorboardX.SummaryWriter


def _draw(
    rows: Sequence[Row], settings: Mapping[str, object], record: Mapping[str, object]
) -> Files:
    figures = {"lengths": lengths_figure(rows), "losses": losses_figure(rows)}
    figures |= failing_figures(rows)
    figures |= {"heard": heard_figure(rows)} if heard_cells(rows) else {}
    drawn = {f"figures/{stem}.svg": to_svg(figure, stem) for stem, figure in figures.items()}
    return {**drawn, "index.html": train_page(rows, settings, record)}
