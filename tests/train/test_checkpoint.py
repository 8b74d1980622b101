"""Training states on disk: bit for bit, whole or refused."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.errors import BadInput
from glassesjax.model import DecoderConfig
from glassesjax.tasks import LengthMix, named_task
from glassesjax.train import TrainConfig, checkpoint, init_state, train_steps
from glassesjax.train.checkpoint import covered_rows, latest, load, newest_first, save

TRAINING = TrainConfig(
    task=named_task("copy_last"), mix=LengthMix(low=2, high=4), batch=4, steps=8, warmup=2
)


@jax.jit
def stack(*states):
    """Of several one, its leaves along a leading axis; one program for all leaves."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def fresh(width=8, seeds=2):
    config = DecoderConfig(
        vocab_size=len(TRAINING.task.symbols), num_layers=1, num_heads=2, model_dim=width
    )
    every = [init_state(config, TRAINING, seed, 1e-2) for seed in range(seeds)]
    return stack(*every)


def bits(states):
    plain = states._replace(key=jax.random.key_data(states.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(plain)]


@pytest.fixture(scope="module")
def trained():
    return train_steps(fresh(), TRAINING, 2)[0]


@pytest.fixture
def folder(trained, tmp_path):
    save(tmp_path, trained, tmp_path / "rows.jsonl")
    return tmp_path


def test_what_was_saved_comes_back_bit_for_bit(folder, trained):
    assert latest(folder).name == "00000002"
    again = load(latest(folder), fresh())
    assert jax.tree.structure(again) == jax.tree.structure(trained)
    assert bits(again) == bits(trained)


def test_training_goes_on_as_if_nothing_had_been(folder):
    straight, _ = train_steps(fresh(), TRAINING, 2)
    straight, told = train_steps(straight, TRAINING, 2)
    resumed, again = train_steps(load(latest(folder), fresh()), TRAINING, 2)
    assert bits(resumed) == bits(straight)
    assert np.asarray(told.loss).tobytes() == np.asarray(again.loss).tobytes()


def test_an_older_checkpoint_lacks_what_were_settings(trained, tmp_path, monkeypatch):
    """Weight decay and clipping are leaves; in older folders they were settings."""
    flat = checkpoint._flat
    older = lambda tree: {n: x for n, x in flat(tree).items() if not n.endswith(checkpoint.LATER)}
    with monkeypatch.context() as before:
        before.setattr(checkpoint, "_flat", older)
        save(tmp_path, trained, tmp_path / "rows.jsonl")
    assert bits(load(latest(tmp_path), fresh())) == bits(trained)


def test_a_newer_checkpoint_takes_the_place_of_the_older(folder):
    later, _ = train_steps(load(latest(folder), fresh()), TRAINING, 2)
    save(folder, later, folder / "rows.jsonl")
    assert [path.name for path in folder.iterdir()] == ["00000004"]


def test_a_checkpoint_that_stands_on_rows_leaves_an_older_one(folder, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"step": 2}\n')
    later, _ = train_steps(load(latest(folder), fresh()), TRAINING, 2)
    save(folder, later, rows)
    assert [path.name for path in newest_first(folder)] == ["00000004", "00000002"]
    assert [covered_rows(path).rows for path in newest_first(folder)] == [1, 0]
    with pytest.raises(TypeError, match="rows"):  # nobody forgets them
        save(folder, later)


def test_what_a_killed_process_left_is_in_nobodys_way(folder):
    (folder / ".00000004.part").mkdir()
    (folder / ".00000004.part" / "rest").write_text("half")
    later, _ = train_steps(load(latest(folder), fresh()), TRAINING, 2)
    save(folder, later, folder / "rows.jsonl")
    assert bits(load(latest(folder), fresh())) == bits(later)


def test_a_half_written_one_does_not_count(folder):
    newer = folder / ".00000004.part"
    shutil.copytree(latest(folder), newer)
    assert latest(folder).name == "00000002"
    assert latest(folder / "nowhere") is None


def test_files_are_on_disk_before_their_folder_has_its_name(trained, tmp_path, monkeypatch):
    synced, before, fsync, rename = set(), [], os.fsync, Path.rename

    def noted(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def named(path, target):
        before.append((target, set(synced)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", named)
    path = save(tmp_path, trained, tmp_path / "rows.jsonl")
    [there] = [seen for target, seen in before if target == path]
    assert {file.stat().st_ino for file in (path, *path.rglob("*"))} <= there
    assert tmp_path.stat().st_ino in synced - there


@pytest.mark.parametrize("cut", ["half", "gone", "list"])
def test_a_cut_checkpoint_is_refused_and_left_alone(folder, cut):
    path = latest(folder)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    largest = max(files, key=lambda file: file.stat().st_size)
    if cut == "half":
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    else:
        (largest if cut == "gone" else path / "files.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    with pytest.raises(BadInput, match="Expected a whole checkpoint"):
        load(path, fresh())
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "00000002").mkdir()
    (tmp_path / "00000002" / "notes.txt").write_text("hello")
    with pytest.raises(BadInput, match="Expected a whole checkpoint"):
        load(latest(tmp_path), fresh())


@pytest.mark.parametrize(
    "other", [pytest.param({"width": 16}, marks=pytest.mark.slow), {"seeds": 3}], ids=str
)
def test_another_shape_is_refused(folder, other):
    with pytest.raises(BadInput, match=r"of these settings.*float32\[2"):
        load(latest(folder), fresh(**other))
