"""A study is a folder and a line: a made-up one in a package of its own runs like those there."""

import dataclasses
import json
import shlex

import pytest

import glassesjax
from glassesjax import registry
from glassesjax.arguments import parsed
from glassesjax.cli import run
from glassesjax.runs.rows import read_rows
from glassesjax.runs.study import Command, Options, Study

STUDY = '''
"""The study of halves as one value."""

import dataclasses
from typing import Annotated

import tyro

from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.study import Options, Study
from glassesjax.settings import check_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalvesSettings:
    """What is half of each number?"""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """What the numbers are called."""
    numbers: tuple[int, ...] = (2, 4)
    """Whole numbers."""

    def __post_init__(self):
        check_settings(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalvesOptions(Options):
    """Whether they are shown."""

    loud: bool = False
    """Print each half."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """A number and its half."""

    number: int
    """Whole."""
    half: float
    """Exact."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constants:
    """What all rows share."""

    study: str
    """The verb."""


ROWS = RowSchema(kinds=(Half,), constants=Constants, key=("number",))


STUDY = Study(
    name="halves",
    settings=HalvesSettings,
    options=HalvesOptions,
    module="made_up.run",
    folder_part=lambda settings: settings.name,
    steps=lambda settings, options: len(settings.numbers),
    rows=ROWS,
    violations=lambda summary: [f"{number} is odd" for number in summary.odd],
)
'''
RUN = '''
"""A run of the study of halves."""

import dataclasses

from made_up.study import Constants, Half

from glassesjax.runs.fill import Opened
from glassesjax.runs.run import Result


@dataclasses.dataclass(frozen=True)
class Summary:
    """Which numbers are odd."""

    odd: list[int]


def open_run(settings):
    """The numbers."""

    def steps(done):
        for number in settings.numbers:
            if not done({"number": number}):
                yield f"half of {number}", [Half(number=number, half=number / 2)]

    return Opened(constants=Constants(study="halves"), measure=steps)


def result(run):
    """A run with its page."""
    text = f"{len(run.rows)} halves of {run.settings['name']}"
    return Result(
        run=run,
        summary=Summary([row.number for row in run.rows if row.number % 2]),
        headline=text,
        figures={},
        files=lambda: {"index.html": f"<p>{text}</p>"},
    )
'''


@pytest.fixture
def halves(tmp_path, monkeypatch):
    """The verb ``halves``: a package, and one line of the registry."""
    package = tmp_path / "packages" / "made_up"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", "study": STUDY, "run": RUN}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setitem(registry.VERBS, "halves", "made_up.study:STUDY")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_study_is_a_folder_and_a_line(halves, capsys):
    words = ["halves", "these", "--numbers", "2", "6"]
    assert run(words) == 0
    out = halves / "halves-these"  # the default one
    assert read_rows(out / "rows.jsonl") == [
        {"record": 0, "number": 2, "half": 1.0},
        {"record": 0, "number": 6, "half": 3.0},
    ]
    settings = json.loads((out / "settings.json").read_text())
    assert settings == {"schema": settings["schema"], "study": "halves", "name": "these",
                        "numbers": [2, 6]}  # fmt: skip
    assert (out / "index.html").read_text() == "<p>2 halves of these</p>"
    record = json.loads((out / "provenance.json").read_text())
    assert record["command"] == shlex.join(["glassesjax", *words])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "2 halves of these", f"Page: {(out / 'index.html').as_uri()}",
        f"Next: glassesjax export {out.relative_to(halves.parent)} --to csv",
    ]  # fmt: skip
    assert printed.err.splitlines() == ["half of 2", "half of 6"]
    assert glassesjax.read(out).summary.odd == []
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"headline": "2 halves of these", "odd": []}
    assert run([*words, "--loud"]) == 0  # an option fixes no row: the run is there
    assert capsys.readouterr().err == ""
    assert run(["halves", "these", "--numbers", "2"]) == 2
    assert "numbers in settings.json differs" in capsys.readouterr().err


def test_what_must_not_be_is_exit_status_one(halves, capsys):
    assert run(["halves", "others", "--numbers", "2", "3", "--out", str(halves / "x")]) == 1
    assert capsys.readouterr().out.splitlines()[1] == "FAILED 3 is odd"
    assert (halves / "x" / "index.html").is_file()


def test_its_help_and_refusals_come_from_its_settings(halves, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        run(["halves", "--help"])
    text = capsys.readouterr().out
    for part in ("What is half of each number?", "continues with the same command", "NAME",
                 "Whole numbers. (default: 2 4)", "Print each half.", "--out"):  # fmt: skip
        assert part in text
    with pytest.raises(SystemExit):
        run(["--help"])
    assert "• halves      What is half of each number?" in capsys.readouterr().out
    for words, refusal in {
        "halves": "NAME", "halves x --numbers": "one or more", "halves x --numbers two": "'two'",
        "halfs x": "did you mean halves?",
    }.items():  # fmt: skip
        assert run(words.split()) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert refusal in line
    assert not halves.exists()


def test_settings_and_options_are_apart(halves):
    study, settings, options = parsed(["halves", "x", "--loud", "--out", "y"])
    assert study.known(settings) == {"name": "x", "numbers": (2, 4), "study": "halves"}
    assert options.loud
    assert study.folder(settings, options.out).name == "y"


@pytest.mark.parametrize("verb", registry.VERBS)
def test_each_line_names_a_value_of_that_name(verb):
    value = registry.load(verb)
    assert value.name == verb
    assert isinstance(value, Study | Command)
    if isinstance(value, Study):
        assert issubclass(value.options, Options)
        names = [{f.name for f in dataclasses.fields(k)} for k in (value.settings, value.options)]
        assert not names[0] & names[1]
        assert value.question.endswith("?")
        assert value in list(registry.studies())


@pytest.mark.parametrize(
    ("word", "meant"),
    [("colapse", "collapse"), ("retension", "retention"), ("verfiy", "verify")],
)
def test_a_misspelt_verb_is_named_with_the_nearest_one(capsys, word, meant):
    assert run([word, "toy"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"got '{word}': did you mean {meant}" in line
