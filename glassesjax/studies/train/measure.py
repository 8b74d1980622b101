"""The train study: training, accuracy, and length generalization."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from glassesjax.errors import BadInput
from glassesjax.files import Mark, mark_of
from glassesjax.model import Decoder
from glassesjax.model.pretrained import trained_name
from glassesjax.model.stored import save_decoder
from glassesjax.runs.fill import Done
from glassesjax.runs.record import to_row
from glassesjax.runs.rows import ROWS
from glassesjax.runs.upgrade import todays_mark
from glassesjax.studies.train.influence_rows import influence_by_position
from glassesjax.studies.train.memory import check_training
from glassesjax.studies.train.pair_rows import collisions
from glassesjax.studies.train.ratio_rows import ratio_seen
from glassesjax.studies.train.records import ROWS as SCHEMA
from glassesjax.studies.train.records import TrainRow
from glassesjax.studies.train.rows import score_rows, step_rows
from glassesjax.studies.train.settings import NOTHING, TrainSettings
from glassesjax.train import TrainState, init_state, train_steps
from glassesjax.train.checkpoint import covered_rows, load, newest_first, save
from glassesjax.train.config import check_mesh
from glassesjax.train.hosts import fetch, is_writer, share
from glassesjax.train.mesh import make_mesh, shard

Steps = Iterator[tuple[str, Sequence[TrainRow]]]
CHECKPOINTS = "checkpoint"


def mesh_of(settings: TrainSettings) -> Mesh:
    """The devices that a training is divided over.

    Raises:
      BadInput: It has more devices than there are, or does not divide what is trained; or this does
        not fit into memory.
    """
    seed, data, model = settings.mesh
    mesh = make_mesh(seed=seed, data=data, model=model)
    check_training(settings)
    check_mesh(mesh.shape, settings.seeds, settings.training)
    return mesh


def resumed(settings: TrainSettings, folder: Path) -> TrainState:
    """The newest training states of all seeds, stacked, on this process.

    Args:
      settings: Settings of the study.
      folder: Of the run; of several processes the writer alone reads it.

    Returns:
      One for each seed, of the newest checkpoint whose rows are there, or before their first step.

    Raises:
      BadInput: The checkpoint is not whole, foreign, or of other shapes; or rows of all are gone.
    """
    training, config = settings.training, settings.config
    every = [init_state(config, training, seed, settings.rate) for seed in range(settings.seeds)]
    # Leaves (...) -> (seeds, ...)
    fresh = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    # Only the writer reads files; the others get the state from it.
    path = _standing(folder)[0] if is_writer() else None
    return share(fresh if path is None else load(path, fresh))


def settled(settings: TrainSettings, folder: Path, intact: int) -> int:
    """Number of rows of a run that are kept; training makes the others again.

    Args:
      settings: Settings of the training.
      folder: Of the run.
      intact: How many of its first rows are as they were written, as far as the run knows.

    Returns:
      The rows up to the checkpoint that ``resumed`` loads, so that rows that a killed process wrote
      after it are cut; all intact ones where the training is finished.

    Raises:
      BadInput: The rows before each checkpoint are missing or modified.
    """
    path, mark = _standing(folder)
    if path is None:
        return 0  # training begins anew, and makes all rows again
    return intact if mark is None or int(path.name) >= settings.steps else mark.rows


def _standing(folder: Path) -> tuple[Path | None, Mark | None]:
    """The newest checkpoint whose rows are there, and their mark; none before the first one."""
    file, paths = folder / ROWS, newest_first(folder / CHECKPOINTS)
    for path in paths:
        mark = covered_rows(path)
        # The rows may have been brought up to date since.
        if mark is None or mark_of(file, mark.rows) in (mark, todays_mark(folder, mark, SCHEMA)):
            return path, mark
    if paths:
        expected = f"Expected the rows that the checkpoints in {folder / CHECKPOINTS} stand on"
        got = f"got fewer or other ones in {file}"
        raise BadInput(
            f"{expected}, {got}: restore them, or remove the checkpoints to train again."
        )
    return None, None


def measure(settings: TrainSettings, folder: Path, done: Done = lambda row: False) -> Steps:
    """Trains, then evaluates.

    Source: arXiv 2406.04267v2, the tasks of section 3.
    Differs: small decoders trained on the tasks, where the paper prompts large ones that were not.

    Args:
      settings: Settings of the study.
      folder: Folder of checkpoints and trained decoders; training resumes from them.
      done: Whether the row with these key fields exists already.

    Yields:
      Name and rows of each step, for each call of the training one row a seed, then the rows of
      each of ``QUESTIONS``. Of several processes all train, and one writes files and evaluates.

    Raises:
      BadInput: As for ``mesh_of`` and ``resumed``.
    """
    missing: Callable[[Sequence[TrainRow]], list[TrainRow]] = lambda rows: [
        row for row in rows if not done(to_row(row))
    ]
    states = yield from _trained(settings, folder, missing)
    if not is_writer():
        return
    # (seeds, ...) -> one decoder a seed
    decoders = [jax.tree.map(lambda x, at=at: x[at], states) for at in range(settings.seeds)]
    # Files that ``open_model`` opens.
    for seed, decoder in enumerate(decoders):
        trained = f"{settings.task} {settings.remedy} {settings.positions} seed {seed}"
        source = {"weights": f"{trained}, {settings.steps} steps"}
        save_decoder(folder / trained_name(seed), decoder, settings.training.task.symbols, source)
    # Each evaluation checks its last row; of a step that was cut off ``missing`` drops the rows
    # that are on disk.
    for ask in QUESTIONS:
        for name, rows in ask(settings, decoders, done):
            yield name, missing(rows)


def _trained(
    settings: TrainSettings,
    folder: Path,
    missing: Callable[[Sequence[TrainRow]], list[TrainRow]],
) -> Generator[tuple[str, list[TrainRow]], None, Decoder]:
    """The training, call by call; at its end all decoders, stacked, on this process."""
    training, mesh = settings.training, mesh_of(settings)
    # The state is divided over the devices, and fetched after each call for the checkpoint.
    host = resumed(settings, folder)
    states = shard(host, mesh, training)
    compiled = 0  # steps of the call before
    for step in range(int(host.step[0]), training.steps, settings.chunk):
        count, start = min(settings.chunk, training.steps - step), time.perf_counter()
        states, metrics = jax.block_until_ready(train_steps(states, training, count, mesh=mesh))
        # A call of another number of steps was compiled, which is no speed of the training.
        seconds = (time.perf_counter() - start) / count if count == compiled else None
        compiled = count
        host, metrics = fetch((states, metrics))
        rows = list(step_rows(settings, step + count, metrics, seconds))
        first = rows[0]  # the first seed's, whose metrics stand in the progress line
        line = f"step {first.step} of {settings.steps}: loss {first.loss:.4f}"
        line += f", {first.accuracy:.1%} right"
        if first.tokens_per_second is not None:
            line += f", {first.tokens_per_second:,.0f} tokens/s"
        yield line, missing(rows)
        # After the rows were written: a run that is killed between makes them again, the same.
        if is_writer():
            save(folder / CHECKPOINTS, host, folder / ROWS)
    return jax.tree.map(jnp.asarray, host.decoder)


def answers(settings: TrainSettings, decoders: Sequence[Decoder], done: Done) -> Steps:
    """Right answers by format, length and place.

    Args:
      settings: Settings of the training.
      decoders: One for each seed.
      done: Whether the row with these key fields exists already.
    """
    for name in settings.formats:
        last = {"seed": settings.seeds - 1, "step": settings.steps, "format": name}
        # Rows of the last seed are the last: where they are on disk, so are those of the others.
        key_of = lambda length, last=last: (
            {"kind": "in_distribution", **last}
            if length == NOTHING
            else {"kind": "answers", "length": length, **last}
        )
        lengths = [length for length in settings.asked if not done(key_of(length))]
        yield f"answers in {name}", list(score_rows(settings, decoders, name, lengths))


# Evaluations of the trained decoders, in order.
QUESTIONS = (answers, influence_by_position, ratio_seen, collisions)
