"""The table of verbs in the docs: a row for each verb of the registry."""

import importlib.util
from pathlib import Path

import pytest

from glassesjax.registry import VERBS

pytest.importorskip("sphinx")
EXTENSIONS = Path(__file__).parents[1] / "docs/_ext"


@pytest.fixture
def verbs(monkeypatch):
    """The rows."""
    monkeypatch.syspath_prepend(EXTENSIONS)  # the directive shares a table with that of flags
    spec = importlib.util.spec_from_file_location("verbs", EXTENSIONS / "verbs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.verbs())


def test_each_verb_has_a_row_with_its_words_and_a_summary(verbs):
    assert [verb.split()[0] for verb, _ in verbs] == list(VERBS)
    summaries = dict(verbs)
    assert summaries["collapse MODEL"].startswith("How far apart are the last representations")
    assert {"train TASK", "sweep", "verify"} <= summaries.keys()
    assert summaries["models"].startswith("Lists the models that can be opened here")
    assert all(summaries.values())
