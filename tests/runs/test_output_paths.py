"""Folders that several processes look at, and names as long as names may be."""

import errno
import logging
import os
import re
from pathlib import Path

import pytest

from glassesjax.errors import BadInput
from glassesjax.files import write_by_rename, writing
from glassesjax.registry import load
from glassesjax.runs import folder as folders
from glassesjax.runs import output_paths
from glassesjax.runs.folder import RunFolder
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.train import checkpoint


def claim(path, settings):
    with RunFolder(path, settings):
        pass


def test_what_other_processes_remove_meanwhile_is_no_error(tmp_path, monkeypatch):
    claim(tmp_path, {})
    inside, trial = folders._inside, tmp_path / ".trial.part"

    def gone(folder):
        if folder == trial:
            trial.rmdir()
        return inside(folder)

    trial.mkdir()
    monkeypatch.setattr(folders, "_inside", gone)
    claim(tmp_path, {})
    assert not trial.exists()


def test_a_trial_that_a_run_takes_for_scrap_is_no_error(tmp_path, monkeypatch):
    run, making = tmp_path / "run", output_paths.tempfile.mkdtemp
    run.mkdir()

    def cleared(*where):
        claim(run, {})  # another process, for which the folder holds no other files
        made = making(*where)
        claim(run, {})
        assert not Path(made).exists()
        return made

    monkeypatch.setattr(output_paths.tempfile, "mkdtemp", lambda *where: cleared(*where))
    output_paths.check_out(run, {})


def test_settings_that_come_while_a_folder_is_looked_at_are_compared(tmp_path, monkeypatch):
    exists, asked = Path.exists, []

    def missing_at_first(path):
        if path.name == "settings.json" and not asked:
            asked.append(path)
            there = exists(path)
            monkeypatch.undo()
            claim(tmp_path, {"seed": 1})
            (tmp_path / "rows.jsonl").touch()
            return there
        return exists(path)

    monkeypatch.setattr(Path, "exists", missing_at_first)
    folders.check_run(tmp_path, {"seed": 1})
    assert asked


LONGEST = ("a" * 255, "a" * 242, "ä" * 127)


@pytest.mark.parametrize("name", LONGEST, ids=["bytes", "beyond a part's", "characters"])
def test_the_longest_names_can_be_written(tmp_path, name):
    output_paths.check_save(tmp_path / name, "--save")
    output_paths.check_out(tmp_path / name, {})
    write_by_rename(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("depth", [400, 900])
def test_settings_of_brackets_within_brackets_are_another_run(tmp_path, depth):
    nested = "[" * depth + "]" * depth
    (tmp_path / "settings.json").write_text(f'{{"schema": 1, "seed": {nested}}}')
    with pytest.raises(BadInput, match="another run"):
        folders.check_run(tmp_path, {"seed": 1})
    with pytest.raises(BadInput, match="another run"):
        claim(tmp_path, {"seed": 1})


@pytest.mark.parametrize("name", ["summary.json", "index.html", "figures/a.svg", "figures"])
def test_a_folder_in_place_of_a_file_is_refused_before_the_run(tmp_path, name):
    claim(tmp_path, {"seed": 1})
    path = tmp_path / name
    if name == "figures":
        path.touch()
    else:
        path.mkdir(parents=True)
    for check in (
        lambda: output_paths.check_out(tmp_path, {}),
        lambda: claim(tmp_path, {"seed": 1}),
    ):
        with pytest.raises(BadInput, match=re.escape(f"at {path}, got a")):
            check()


def test_a_link_in_place_of_a_file_is_replaced(tmp_path):
    claim(tmp_path, {"seed": 1})
    (tmp_path / "index.html").symlink_to(tmp_path)
    claim(tmp_path, {"seed": 1})


FLAGS = {
    "out": ("collapse", CollapseSettings(model="toy")),
    "save": ("generate", GenerateSettings(model="toy", prompt=("1",), save=Path("x"))),
    "tensorboard": ("train", TrainSettings(task="count_ones")),
}


@pytest.mark.parametrize(("name", "study", "settings"), [(k, *v) for k, v in FLAGS.items()])
def test_flags_that_fix_no_row_are_not_compared(tmp_path, name, study, settings):
    file = tmp_path / "settings.json"
    known = load(study).known(settings)
    file.write_text(f'{{"schema": 1, "study": "{study}", "{name}": "other"}}')
    output_paths.check_out(tmp_path, known)
    file.write_text('{"schema": 1, "study": "other"}')
    with pytest.raises(BadInput, match=r"study in settings\.json differs"):
        output_paths.check_out(tmp_path, known)


def test_a_folder_where_a_file_is_to_go_is_named(tmp_path):
    (tmp_path / "figures" / "a.svg").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"got \S*figures/a\.svg \("), writing("to write", tmp_path):
        write_by_rename(tmp_path / "figures" / "a.svg", "text")


OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


@pytest.mark.parametrize("number", OF_DISKS, ids=errno.errorcode.get)
@pytest.mark.parametrize("form", ["Failed: {words}", "Failed [OS error {number}: E]"])
def test_a_disk_that_takes_nothing_is_told_from_others_words(number, form):
    with pytest.raises(OSError, match=os.strerror(number)) as caught, checkpoint._system_errors():
        raise ValueError(form.format(words=os.strerror(number), number=number))
    assert caught.value.errno == number
    assert logging.getLogger("absl").level != logging.CRITICAL


@pytest.mark.parametrize(
    "text",
    ["Invalid argument: sharding", "No such file or directory", "[OS error 281]", "error 28"],
    ids=["argument", "missing", "longer", "no system's"],
)
def test_a_bug_in_the_words_of_the_system_stays_one(text):
    with pytest.raises(ValueError, match=re.escape(text)), checkpoint._system_errors():
        raise ValueError(text)
