"""A training of schema 1 whose checkpoint stands on rows that have been brought up to date."""

import shutil
from pathlib import Path

import pytest

from glassesjax.errors import BadInput
from glassesjax.files import json_object, mark_of
from glassesjax.runs.folder import RunFolder
from glassesjax.studies.train import measure
from glassesjax.studies.train.records import ROWS
from glassesjax.studies.train.settings import TrainSettings

STORED = Path(__file__).parents[2] / "data" / "schema_1" / "train"
STANDS_ON = 2  # rows


@pytest.fixture
def upgraded(tmp_path, monkeypatch):
    """The stored run, opened by today's code; its checkpoint noted its first rows as they were."""
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    mark = mark_of(folder / "rows.jsonl", STANDS_ON)
    monkeypatch.setattr(measure, "newest_first", lambda path: [Path("00000200")])
    monkeypatch.setattr(measure, "stands_on", lambda path: mark)
    settings = json_object((folder / "settings.json").read_bytes())
    del settings["schema"]
    with RunFolder(folder, settings, ROWS):
        pass
    assert mark_of(folder / "rows.jsonl", STANDS_ON) != mark
    return folder


SETTINGS = TrainSettings(task="count_ones", steps=400)


def test_the_training_goes_on_from_the_checkpoint(upgraded):
    assert measure.settled(SETTINGS, upgraded, 66) == STANDS_ON


def test_rows_that_were_changed_since_are_refused(upgraded):
    path = upgraded / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"loss": ', b'"loss": 1', 1))
    with pytest.raises(BadInput, match="Expected the rows that the checkpoints"):
        measure.settled(SETTINGS, upgraded, 66)


def test_without_the_old_rows_nothing_stands(upgraded):
    (upgraded / "rows.schema-1.jsonl").unlink()
    with pytest.raises(BadInput, match="Expected the rows that the checkpoints"):
        measure.settled(SETTINGS, upgraded, 66)
