"""Learners on disk: a folder a step, with a list of its files, written aside and renamed."""

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.files import (
    FULL,
    MOST_SETTINGS,
    Mark,
    json_object,
    mark_of,
    read_file,
    reason,
    to_json,
    writing,
)
from glassesjax.train.step import Learner

STATE, LIST, ABOUT = "state", "files.json", "about.json"
_WHOLE = "Expected a whole checkpoint"
_REMEDY = "restore it, or remove this checkpoint"


def save(folder: Path, learners: Learner, rows: Path) -> Path:
    """Learners as a checkpoint, which notes the rows that it stands on.

    Where there are such rows, one older checkpoint stays, for the case that they get lost; all
    others in the folder go when the new one stands.

    Args:
      folder: Where checkpoints lie.
      learners: Stacked, all at one step.
      rows: The file of lines that training writes; the checkpoint stands on all that are there, on
        none where there is no such file yet.

    Returns:
      The folder of this step.
    """
    mark = mark_of(rows)
    target = folder / f"{int(np.max(np.asarray(learners.step))):08d}"
    if not target.exists():
        part = folder / f".{target.name}.part"
        try:
            with writing("to write a checkpoint", folder), _system_errors():
                folder.mkdir(exist_ok=True)
                shutil.rmtree(part, ignore_errors=True)
                state = _flat(learners)
                _find_room(part, sum(array.nbytes for array in state.values()))
                with _orbax() as checkpointer:
                    checkpointer.save((part / STATE).resolve(), state)
                key = draws.implementation(learners.key)
                about = {"schema": 1, "prng_impl": key, **mark._asdict()}
                (part / ABOUT).write_text(to_json(about))
                (part / LIST).write_text(to_json(_digests(part)))
                _to_disk(part, *part.rglob("*"))  # a name that outlives its content is none
                part.rename(target)
                _to_disk(folder)
        finally:  # it was renamed, or takes room on a full disk
            shutil.rmtree(part, ignore_errors=True)
    older = sorted((old for old in _steps(folder) if old != target), reverse=True)
    for old in older[1 if mark.rows else 0 :]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder.

    Args:
      folder: Where checkpoints lie; it need not be there.

    Returns:
      The folder of its step, or nothing.
    """
    return max(_steps(folder), default=None)


def newest_first(folder: Path) -> list[Path]:
    """All whole checkpoints of a folder.

    Args:
      folder: Where checkpoints lie; it need not be there.

    Returns:
      Folders of their steps.
    """
    return sorted(_steps(folder), reverse=True)


def stands_on(path: Path) -> Mark | None:
    """The rows that a checkpoint stands on.

    Args:
      path: Of ``newest_first``.

    Returns:
      Their mark; None for one of before these were noted.

    Raises:
      BadInput: What it says of itself was cut or changed.
    """
    said = _about(path)
    if "rows" not in said:
        return None
    match said:
        case {"rows": int(rows), "sha256": str(digest)} if rows >= 0:
            return Mark(rows, digest)
    raise BadInput(f"{_WHOLE}, got {path / ABOUT}, which was cut or changed: {_REMEDY}.")


def load(path: Path, like: Learner) -> Learner:
    """The learners of a checkpoint.

    Args:
      path: Of ``latest``.
      like: Learners of the same settings: their shapes and dtypes.

    Returns:
      The learners as they were saved, bit by bit.

    Raises:
      BadInput: The checkpoint is not whole, foreign, of other shapes, or of other keys.
    """
    wanted = _flat(like)
    found = _read(path)
    if set(found) != set(wanted):
        raise BadInput(f"Expected a checkpoint of these settings; {path} holds other weights.")
    for name, leaf in wanted.items():
        here = found[name]
        if here.shape != leaf.shape or here.dtype != leaf.dtype:
            shapes = f"{name} has {here.dtype}{list(here.shape)}"
            expected = f"{leaf.dtype}{list(leaf.shape)}"
            raise BadInput(
                f"Expected a checkpoint of these settings, {expected}; {shapes}: {path}."
            )
    saved, named = _about(path)["prng_impl"], draws.implementation(like.key)
    if saved != named:
        expected = f"Expected a checkpoint whose keys are of {named}"
        raise BadInput(f"{expected}, got {saved} in {path}: continue it with such keys.")
    tree = jax.tree.structure(_plain(like))
    values = [jnp.asarray(found[name]) for name in _names(like)]
    return _keyed(jax.tree.unflatten(tree, values), saved)


def _orbax() -> Any:  # noqa: ANN401
    import orbax.checkpoint as ocp

    # Of several processes one saves, and the arrays are its own: it waits for no other.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"glassesjax{here}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def _find_room(folder: Path, size: int) -> None:
    """Makes a folder, if so many bytes find room: orbax's threads end badly where they do not."""
    folder.mkdir()
    reserved = folder / "room"
    with reserved.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)
    reserved.unlink()


def _to_disk(*paths: Path) -> None:
    """Waits until files, and the names in folders, outlast a loss of power."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, np.ndarray]:
    """What a checkpoint holds."""
    # Files are compared with their list first: orbax leaves threads behind when it meets a cut one.
    listed = _json(path / LIST)
    found = _digests(path)
    if different := sorted(
        name for name in {*listed, *found} if listed.get(name) != found.get(name)
    ):
        got = f"one in {path} of which {different[0]} is cut, changed or gone"
        raise BadInput(f"{_WHOLE}, got {got}: {_REMEDY}.")
    with _orbax() as checkpointer:
        return dict(checkpointer.restore((path / STATE).resolve()))


def _about(path: Path) -> dict[str, Any]:
    """What a whole checkpoint says of itself; older ones had threefry's keys and no such file."""
    said = _json(path / ABOUT) if (path / ABOUT).exists() else {}
    return {"prng_impl": draws.IMPLEMENTATION, **said}


def _json(file: Path) -> dict[str, Any]:
    """What a file beside the state says, by name."""
    try:
        return json_object(read_file(file, "a whole checkpoint", most=MOST_SETTINGS))
    except BadInput:
        raise
    except ValueError as error:
        got = f"{file}, which was cut or changed ({reason(error):.80})"
        raise BadInput(f"{_WHOLE}, got {got}: {_REMEDY}.") from error


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """A full or unwritable disk as Python has it: orbax has kinds and words of its own for it.

    It also logs each with a traceback, from threads, before it raises it: once is enough.
    """
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # Of others only the words would be known, and these may be those of a bug.
        for number in (*FULL, errno.EACCES, errno.EROFS):
            words = os.strerror(number)
            if re.search(rf"\b{re.escape(words)}\b|\[OS error {number}\b", str(error)):
                raise OSError(number, words) from error
        raise
    finally:
        log.setLevel(level)


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint but the list, by its path from the state's folder."""
    files = sorted(file for file in (path / STATE).rglob("*") if file.is_file())
    named = {str(file.relative_to(path / STATE)): file for file in files}
    named |= {ABOUT: path / ABOUT} if (path / ABOUT).exists() else {}  # older ones have none
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in named.items()}


def _steps(folder: Path) -> list[Path]:
    """Folders of whole steps: what is not renamed yet has another name."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]


def _plain(learners: Learner) -> Learner:
    """Keys as the numbers that they are made of."""
    return learners._replace(key=draws.numbers(learners.key))


def _keyed(learners: Learner, implementation: str) -> Learner:
    return learners._replace(key=draws.wrap(learners.key, implementation))


def _names(learners: Learner) -> list[str]:
    paths, _ = jax.tree_util.tree_flatten_with_path(_plain(learners))
    return [f"{index:04d}{jax.tree_util.keystr(path)}" for index, (path, _) in enumerate(paths)]


def _flat(learners: Learner) -> dict[str, np.ndarray]:
    """Every array under its path; a number in front keeps their order."""
    leaves = jax.tree.leaves(_plain(learners))
    return dict(zip(_names(learners), map(np.asarray, leaves), strict=True))
