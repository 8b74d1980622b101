"""Small runs as schema 1 wrote them, of each verb whose rows are records today.

A folder is named after its verb, and by what else its rows are of where one has not all kinds.
"""

import itertools
import json
import math
import re
from pathlib import Path

import pytest
from markupsafe import Markup

import glassesjax
from glassesjax import registry
from glassesjax.runs.rows import read_rows
from glassesjax.studies.train.records import TrainConstants

STORED = Path(__file__).parents[1] / "data" / "schema_1"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


# What each row, as read, says of how and where it was made.
CARRIED = {"study", "matmul_precision", "backend", "device", "glassesjax", "jax", "jaxlib"}
CARRIED |= {"numpy", "commit", "source_sha256"}
OF_A_TRAINING = {"seed", "dtype", "rounding", "norm", "task"}
OF_A_MODEL = {"model", "weights", "seed", "dtype", "rounding"}
OF_A_CLAIM = {"suite", "matmul_default", "optimized", "fingerprint", "claim", "source", "norm"}
NOTHING = -1.0  # the length or position of a row that is about none, where rows are trainings'


def numbers(value):
    """All numbers of a value: a list of before was a text."""
    match value:
        case bool() | None:
            return []
        case int() | float():
            return [] if math.isnan(value) else [float(value)]
        case str():
            parts = value.split(",")
            return [float(part) for part in parts if NUMBER.fullmatch(part)]
        case list() | tuple():
            return list(itertools.chain.from_iterable(map(numbers, value)))
    raise TypeError(type(value))


def numbers_of(row):
    return {number for value in row.values() for number in numbers(value)}


def test_every_verb_whose_rows_are_records_has_a_stored_run():
    schemas = {study.name: study.rows for study in registry.studies()}
    assert {path.name.partition("-")[0] for path in STORED.iterdir()} == {*schemas}


def test_every_kind_of_row_is_stored():
    kinds = {kind for study in registry.studies() for kind in study.rows.kinds}
    runs = [glassesjax.read(path).run for path in STORED.iterdir()]
    assert {type(row) for run in runs for row in run.rows} == kinds


@pytest.mark.parametrize("verb", sorted(path.name for path in STORED.iterdir()))
def test_a_run_of_before_is_read_with_all_its_numbers(verb):
    folder = STORED / verb
    before = read_rows(folder / "rows.jsonl")
    result = glassesjax.read(folder)
    rows = list(result.run.flat())
    assert len(rows) == len(before)
    assert len(result.frame()) == len(before) or result.labels
    trained = isinstance(result.run.constants, TrainConstants)
    beside = {NOTHING} if trained else set()
    lost = [
        sorted(numbers_of(old) - numbers_of(new) - beside)
        for old, new in zip(before, rows, strict=True)
    ]
    assert [each for each in lost if each] == []
    carried = OF_A_CLAIM if verb == "verify" else OF_A_TRAINING if trained else OF_A_MODEL
    assert all(row.keys() >= CARRIED | carried for row in rows)
    assert result.run.settings["study"] == verb.partition("-")[0]
    assert result.headline
    assert json.loads(result.summary_text())["headline"] == result.headline


@pytest.mark.parametrize("verb", sorted(path.name for path in STORED.iterdir()))
def test_a_terminal_prints_the_title_of_the_first_figure(verb, undrawn):
    result = glassesjax.read(STORED / verb)
    title = re.search(r'<p class="title">(.*?)</p>', result.files()["index.html"], re.DOTALL)
    assert result.headline == Markup(title[1]).striptags()


MANY = "rows cases texts tokens slots layers passages decoders policies families lengths answers"
MANY += " segments pairs positions decisions blocks classes runs cells seeds formats steps prompts"


@pytest.mark.parametrize("verb", sorted(path.name for path in STORED.iterdir()))
def test_of_one_thing_no_plural_is_said(verb, undrawn):
    if verb.startswith("verify"):  # the words of its claims stand in docstrings
        return
    page = glassesjax.read(STORED / verb).files()["index.html"]
    words = re.sub(r"(?s)<script.*?</script>|<svg.*?</svg>", "", page)
    words = " ".join(Markup(words).striptags().split()).replace("n + 1", "")
    wrong = rf"(?<![\d.,])1 (?:prompt )?(?:{'|'.join(MANY.split())})\b"
    assert re.findall(wrong, words) == []


@pytest.mark.parametrize("verb", sorted(path.name for path in STORED.iterdir()))
def test_a_run_of_before_that_is_saved_says_the_same(verb, tmp_path, undrawn):
    result = glassesjax.read(STORED / verb)
    again = glassesjax.read(result.save(tmp_path / "run"))
    assert again.summary_text() == result.summary_text()
    assert again.frame().equals(result.frame())
