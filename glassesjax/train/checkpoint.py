"""Checkpoints of training states: a folder a step with checksums, written by renaming."""

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
from glassesjax.train.step import TrainState

STATE, LIST, ABOUT = "state", "files.json", "about.json"
LATER = (".weight_decay", ".clip")  # older checkpoints lack these leaves, which were settings
_WHOLE = "Expected a whole checkpoint"
_REMEDY = "restore it, or remove this checkpoint"


def save(folder: Path, states: TrainState, rows: Path) -> Path:
    """Saves a checkpoint of training states with a mark of the rows written up to it.

    If there are rows, one older checkpoint is kept, in case rows are lost; all others in the folder
    are removed once the new one is complete.

    Args:
      folder: Folder of the checkpoints.
      states: Stacked, all at one step.
      rows: The file of rows that training writes; the mark covers all rows in it, none if it does
        not exist yet.

    Returns:
      The folder of this step.
    """
    mark = mark_of(rows)
    target = folder / f"{int(np.max(np.asarray(states.step))):08d}"
    if not target.exists():
        part = folder / f".{target.name}.part"
        try:
            with writing("to write a checkpoint", folder), _system_errors():
                folder.mkdir(exist_ok=True)
                shutil.rmtree(part, ignore_errors=True)
                state = _flat(states)
                _find_room(part, sum(array.nbytes for array in state.values()))
                with _orbax() as checkpointer:
                    checkpointer.save((part / STATE).resolve(), state)
                key = draws.implementation(states.key)
                about = {"schema": 1, "prng_impl": key, **mark._asdict()}
                (part / ABOUT).write_text(to_json(about))
                (part / LIST).write_text(to_json(_digests(part)))
                _to_disk(
                    part, *part.rglob("*")
                )  # before the rename, so that no name lacks its content
                part.rename(target)
                _to_disk(folder)
        finally:  # renamed already, or incomplete
            shutil.rmtree(part, ignore_errors=True)
    older = sorted((old for old in _steps(folder) if old != target), reverse=True)
    for old in older[1 if mark.rows else 0 :]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder.

    Args:
      folder: Folder of the checkpoints; it may be absent.

    Returns:
      The folder of its step, or None.
    """
    return max(_steps(folder), default=None)


def newest_first(folder: Path) -> list[Path]:
    """All complete checkpoints of a folder, newest first.

    Args:
      folder: Folder of the checkpoints; it may be absent.

    Returns:
      Folders of their steps.
    """
    return sorted(_steps(folder), reverse=True)


def covered_rows(path: Path) -> Mark | None:
    """The mark of the rows written up to a checkpoint.

    Args:
      path: A folder of ``newest_first``.

    Returns:
      The mark; None for an older checkpoint without one.

    Raises:
      BadInput: Its metadata file was truncated or changed.
    """
    about = _about(path)
    if "rows" not in about:
        return None
    match about:
        case {"rows": int(rows), "sha256": str(digest)} if rows >= 0:
            return Mark(rows, digest)
    raise BadInput(f"{_WHOLE}, got {path / ABOUT}, which was truncated or changed: {_REMEDY}.")


def load(path: Path, like: TrainState) -> TrainState:
    """Loads the training states of a checkpoint.

    Args:
      path: A folder of ``latest``.
      like: Training states of the same settings, for their shapes and dtypes.

    Returns:
      The training states as they were saved, bit by bit.

    Raises:
      BadInput: The checkpoint is incomplete, foreign, of other shapes, or of other keys.
    """
    expected, stored = _flat(like), _read(path)
    same = "Expected a checkpoint of these settings"
    stored |= {n: leaf for n, leaf in expected.items() if n.endswith(LATER) and n not in stored}
    if set(stored) != set(expected):
        raise BadInput(f"{same}, got other weights in {path}: use its settings.")
    for name, leaf in expected.items():
        array = stored[name]
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            shape = f"{name} of {leaf.dtype}{list(leaf.shape)}"
            got = f"{array.dtype}{list(array.shape)} in {path}"
            raise BadInput(f"{same}, with {shape}, got {got}: use its settings.")
    saved, named = _about(path)["prng_impl"], draws.implementation(like.key)
    if saved != named:
        expected = f"Expected a checkpoint whose keys are of {named}"
        raise BadInput(f"{expected}, got {saved} in {path}: continue it with such keys.")
    tree = jax.tree.structure(_plain(like))
    values = [jnp.asarray(stored[name]) for name in _names(like)]
    return _keyed(jax.tree.unflatten(tree, values), saved)


def _orbax() -> Any:  # noqa: ANN401
    import orbax.checkpoint as ocp

    # Each process saves its local arrays alone, without a barrier.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"glassesjax{here}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def _find_room(folder: Path, size: int) -> None:
    """Makes a folder after a test that the disk has space; a full disk would crash orbax."""
    folder.mkdir()
    reserved = folder / "room"
    with reserved.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)
    reserved.unlink()


def _to_disk(*paths: Path) -> None:
    """Calls fsync on files and folders."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint after a check of its files."""
    # Checksums first: orbax leaves threads behind when it reads a truncated file.
    listed = _json(path / LIST)
    digests = _digests(path)
    if different := sorted(
        name for name in {*listed, *digests} if listed.get(name) != digests.get(name)
    ):
        got = f"one in {path} with {different[0]} truncated, changed or missing"
        raise BadInput(f"{_WHOLE}, got {got}: {_REMEDY}.")
    with _orbax() as checkpointer:
        return dict(checkpointer.restore((path / STATE).resolve()))


def _about(path: Path) -> dict[str, Any]:
    """Metadata of a checkpoint; older ones have threefry keys and no such file."""
    about = _json(path / ABOUT) if (path / ABOUT).exists() else {}
    return {"prng_impl": draws.IMPLEMENTATION, **about}


def _json(file: Path) -> dict[str, Any]:
    """Reads a JSON file of a checkpoint."""
    try:
        return json_object(read_file(file, "a whole checkpoint", most=MOST_SETTINGS))
    except BadInput:
        raise
    except ValueError as error:
        got = f"{file}, which was truncated or changed ({reason(error):.80})"
        raise BadInput(f"{_WHOLE}, got {got}: {_REMEDY}.") from error


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Converts orbax errors about a full or unwritable disk to ``OSError``.

    It also silences orbax's log, in which each appears with a traceback before it is raised.
    """
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # Only these: any other message may be that of a bug.
        for number in (*FULL, errno.EACCES, errno.EROFS):
            words = os.strerror(number)
            if re.search(rf"\b{re.escape(words)}\b|\[OS error {number}\b", str(error)):
                raise OSError(number, words) from error
        raise
    finally:
        log.setLevel(level)


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint except the list, by path relative to the state."""
    files = sorted(file for file in (path / STATE).rglob("*") if file.is_file())
    named = {str(file.relative_to(path / STATE)): file for file in files}
    named |= {ABOUT: path / ABOUT} if (path / ABOUT).exists() else {}  # older ones have none
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in named.items()}


def _steps(folder: Path) -> list[Path]:
    """Folders of complete checkpoints; an incomplete one has another name."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]


def _plain(states: TrainState) -> TrainState:
    """The training states with raw key data instead of typed keys."""
    return states._replace(key=draws.numbers(states.key))


def _keyed(states: TrainState, implementation: str) -> TrainState:
    return states._replace(key=draws.wrap(states.key, implementation))


def _names(states: TrainState) -> list[str]:
    paths, _ = jax.tree_util.tree_flatten_with_path(_plain(states))
    # The format's name of a field, which is older than the field's.
    text = lambda path: jax.tree_util.keystr(path).replace(".opt_state", ".moments")
    return [f"{index:04d}{text(path)}" for index, (path, _) in enumerate(paths)]


def _flat(states: TrainState) -> dict[str, np.ndarray]:
    """Every array under its path; a number in front keeps their order."""
    leaves = jax.tree.leaves(_plain(states))
    return dict(zip(_names(states), map(np.asarray, leaves), strict=True))
