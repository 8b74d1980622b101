"""The table of a verb's flags in the docs: a row for each field that has a default."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
EXTENSION = Path(__file__).parents[1] / "docs/_ext/flags.py"


@pytest.fixture
def flags(monkeypatch):
    """The directive's module, on settings that are given, whose meaning is their name."""
    spec = importlib.util.spec_from_file_location("flags", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "meaning", lambda kind, name: name)

    def table(*kinds):
        monkeypatch.setattr(module, "dataclasses_of", lambda verb: kinds)
        return list(module.flags("made"))

    return table


@dataclasses.dataclass
class Settings:
    model: str
    top_k: int | None = None
    slots: tuple[int, ...] = dataclasses.field(default_factory=lambda: (2, 3))


def test_a_field_whose_default_is_made_is_a_flag_as_well(flags):
    assert flags(Settings) == [
        ("--top-k", "a whole number", "", "top_k"),
        ("--slots", "several of: a whole number", "2 3", "slots"),
    ]
