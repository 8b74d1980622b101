"""What says what to run is sent to other processes, whole; the library itself reads no pickle."""

import pickle

import pytest
from made_settings import MADE

from glassesjax.registry import studies
from glassesjax.studies.train.settings import PRESETS, TrainSettings
from glassesjax.tasks import TASKS


def sent(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_is_sent(task):
    assert sent(task) == task


@pytest.mark.parametrize("kind", MADE)
def test_settings_are_sent(kind):
    assert {study.settings for study in studies()} <= MADE.keys()
    settings = kind(**MADE[kind])
    assert sent(settings) == settings


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_are_sent_with_what_they_have_worked_out(preset):
    settings = TrainSettings(task="count_ones", preset=preset)
    again = sent(settings)
    assert again == settings
    assert (again.training, again.config) == (settings.training, settings.config)
