"""Training as a study: what was learned, and how far beyond the training it goes."""

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
from glassesjax.studies.train.records import StepRow, TrainRow
from glassesjax.studies.train.rows import score_rows, step_rows
from glassesjax.studies.train.settings import NOTHING, TrainSettings
from glassesjax.train import Learner, begin, learn
from glassesjax.train.checkpoint import load, newest_first, save, stands_on
from glassesjax.train.hosts import fetch, is_writer, share
from glassesjax.train.mesh import make_mesh, place
from glassesjax.train.recipe import check_mesh

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
    check_mesh(mesh.shape, settings.seeds, settings.recipe)
    return mesh


def resumed(settings: TrainSettings, folder: Path) -> Learner:
    """All learners where they stand, stacked, on this process.

    Args:
      settings: What to train.
      folder: Of the run; of several processes the writer alone reads it.

    Returns:
      One for each seed, of the newest checkpoint whose rows are there, or before their first step.

    Raises:
      BadInput: The checkpoint is not whole, foreign, or of other shapes; or rows of all are gone.
    """
    recipe, config = settings.recipe, settings.config
    every = [begin(config, recipe, seed, settings.rate) for seed in range(settings.seeds)]
    fresh = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    path = _standing(folder)[0] if is_writer() else None
    return share(fresh if path is None else load(path, fresh))


def settled(settings: TrainSettings, folder: Path, intact: int) -> int:
    """How many rows of a run stand, so that the training makes the others again.

    Args:
      settings: What is trained.
      folder: Of the run.
      intact: How many of its first rows are as they were written, as far as the run knows.

    Returns:
      Those that the checkpoint stands on, which ``resumed`` takes, so that what a killed process
      wrote after it is cut; all intact ones where the training is done.

    Raises:
      BadInput: The rows that each checkpoint stands on are gone or changed.
    """
    path, mark = _standing(folder)
    if path is None:
        return 0
    return intact if mark is None or int(path.name) >= settings.steps else mark.rows


def _standing(folder: Path) -> tuple[Path | None, Mark | None]:
    """The newest checkpoint whose rows are there, and their mark; none before the first one."""
    file, paths = folder / ROWS, newest_first(folder / CHECKPOINTS)
    for path in paths:
        mark = stands_on(path)
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
    """Trains, and asks.

    Source: arXiv 2406.04267v2, the tasks of section 3.
    Differs: small decoders that were trained on them, where the paper asks large ones that were
    not.

    Args:
      settings: What to train.
      folder: Where checkpoints and the trained decoders go; what is there is taken up.
      done: Whether the row with these key fields is there already.

    Yields:
      What was done and its rows, for each call of the training one a seed, then what each of
      ``QUESTIONS`` gave. Of several processes all train, and one writes files and asks.

    Raises:
      BadInput: As for ``mesh_of`` and ``resumed``.
    """
    missing: Callable[[Sequence[TrainRow]], list[TrainRow]] = lambda rows: [
        row for row in rows if not done(to_row(row))
    ]
    learners = yield from _trained(settings, folder, missing)
    if not is_writer():
        return
    decoders = [jax.tree.map(lambda x, at=at: x[at], learners) for at in range(settings.seeds)]
    for seed, decoder in enumerate(decoders):
        _export(settings, folder / trained_name(seed), seed, decoder)
    for ask in QUESTIONS:
        for name, rows in ask(settings, decoders, done):
            yield name, missing(rows)


def _trained(
    settings: TrainSettings,
    folder: Path,
    missing: Callable[[Sequence[TrainRow]], list[TrainRow]],
) -> Generator[tuple[str, list[TrainRow]], None, Decoder]:
    """The training, call by call; at its end all decoders, stacked, on this process."""
    recipe, mesh = settings.recipe, mesh_of(settings)
    host = resumed(settings, folder)
    learners = place(host, mesh, recipe)
    compiled = 0  # steps of the call before
    for step in range(int(host.step[0]), recipe.steps, settings.chunk):
        count, start = min(settings.chunk, recipe.steps - step), time.perf_counter()
        with jax.set_mesh(mesh):
            learners, told = jax.block_until_ready(learn(learners, recipe, count))
        seconds = (time.perf_counter() - start) / count if count == compiled else None
        compiled = count
        host, told = fetch((learners, told))
        rows = list(step_rows(settings, step + count, told, seconds))
        yield _progress(settings, rows[0]), missing(rows)
        # After the rows were written: a run that is killed between makes them again, the same.
        if is_writer():
            save(folder / CHECKPOINTS, host, folder / ROWS)
    return jax.tree.map(jnp.asarray, host.decoder)


def answers(settings: TrainSettings, decoders: Sequence[Decoder], done: Done) -> Steps:
    """Right answers by format, length and place.

    Args:
      settings: What was trained.
      decoders: One a seed.
      done: Whether the row with these key fields is there already.
    """
    for name in settings.formats:
        last = {"seed": settings.seeds - 1, "step": settings.steps, "format": name}
        key_of = lambda length, last=last: (
            {"kind": "in_distribution", **last}
            if length == NOTHING
            else {"kind": "answers", "length": length, **last}
        )
        lengths = [length for length in settings.asked if not done(key_of(length))]
        yield f"answers in {name}", list(score_rows(settings, decoders, name, lengths))


# What the trained decoders are asked, one after the other.
QUESTIONS = (answers, influence_by_position, ratio_seen, collisions)


def _progress(settings: TrainSettings, row: StepRow) -> str:
    """A line that says how the first seed stands."""
    said = f"step {row.step} of {settings.steps}: loss {row.loss:.4f}, {row.accuracy:.1%} right"
    rate = row.tokens_per_second
    return said if rate is None else f"{said}, {rate:,.0f} tokens/s"


def _export(settings: TrainSettings, path: Path, seed: int, decoder: Decoder) -> None:
    """The trained decoder as a file that ``open_model`` opens."""
    told = f"{settings.task} {settings.remedy} {settings.positions} seed {seed}"
    source = {"weights": f"{told}, {settings.steps} steps"}
    save_decoder(path, decoder, settings.recipe.task.symbols, source)
