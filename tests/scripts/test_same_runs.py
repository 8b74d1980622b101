"""Two runs made by hand: each difference is reported, and what differs by nature is not."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import same_runs

ROWS = [
    {"n": n, "distance": 2.0**-n, "text": "0", "commit": "0a1b2c", "tokens_per_second": 3.5}
    for n in (1, 2, 3)
]
RECORD = {"words": same_runs.CASES["train"], "status": 0}
STREAMS = {"stdout": ["1 of 2", "Page: x"], "stderr": ["opening", "step"]}


def written(
    side,
    rows=ROWS,
    settings=(("study", "train"), ("seed", 0)),
    page="0.5",
    gap=1,
    arrays=b"PK",
    **record,
):
    """One side, as a command would leave it."""
    folder = side / "train"
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoint" / "00000002" / "state" / side.name).mkdir(parents=True)
    (folder / "checkpoint" / "00000002" / "state" / side.name / "data").touch()
    (folder / "settings.json").write_text(json.dumps(dict(settings)))
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    commit, rate = rows[0]["commit"], rows[-1]["tokens_per_second"]
    (folder / "provenance.json").write_text(json.dumps({"records": [{"commit": commit}]}))
    summary = {"cells": [{"gap": gap, "tokens_per_second": rate}]}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "arrays.npz").write_bytes(arrays)
    (folder / "index.html").write_text(
        f"<p>{page}</p>\n<p>made by {commit}</p>\n<td>{rate:.0f}</td>\n"
    )
    (folder / "figures" / "lengths.svg").write_text("<svg/>")
    (side / "train.json").write_text(json.dumps(RECORD | STREAMS | record))
    return folder


@pytest.fixture
def sides(tmp_path):
    """The first side, and a function that makes the second one and compares."""
    written(tmp_path / "before")

    def found(*, texts=False, **changes):
        written(tmp_path / "after", **changes)
        before, after = tmp_path / "before", tmp_path / "after"
        return list(same_runs.differences("train", before, after, texts=texts))

    return found


def test_what_differs_by_nature_does_not_count(sides):
    rows = [row | {"commit": "3d4e5f", "tokens_per_second": 9.0} for row in ROWS]
    assert sides(rows=rows, texts=True) == []


def test_the_place_of_a_page_does_not_count(tmp_path):
    sides = tmp_path / "before", tmp_path / "after"
    for side in sides:
        written(side, stdout=[f"Page: {side.as_uri()}/train/index.html"])
    assert list(same_runs.differences("train", *sides)) == []


CHANGED = {
    "value": ([*ROWS[:2], ROWS[2] | {"distance": 0.1}], "row 3: distance 0.125, then 0.1"),
    "type": ([ROWS[0], ROWS[1] | {"n": 2.0}, ROWS[2]], "row 2: n 2, then 2.0"),
    "text": ([ROWS[0] | {"text": 0}, *ROWS[1:]], 'row 1: text "0", then 0'),
    "missing row": (ROWS[:2], "3 rows, then 2"),
    "further row": ([*ROWS, ROWS[0]], "3 rows, then 4"),
    "order of rows": ([ROWS[1], ROWS[0], ROWS[2]], "row 1: n 1, then 2"),
    "order of fields": ([dict(reversed(ROWS[0].items())), *ROWS[1:]], "row 1: field 1 'n', then"),
    "missing field": (
        [{"n": 1, "distance": 0.5, "text": "0", "commit": "0a1b2c"}, *ROWS[1:]],
        "row 1: field 5 'tokens_per_second', then None",
    ),
}


@pytest.mark.parametrize(("rows", "text"), CHANGED.values(), ids=CHANGED)
def test_rows_that_are_not_the_same_are_reported(sides, rows, text):
    [line] = sides(rows=rows)
    assert f"rows.jsonl, {text}" in line or f"rows.jsonl: {text}" in line


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": 1}, "exit status 0, then 1"),
        ({"stdout": ["1 of 3", "Page: x"]}, "line 1 of standard output '1 of 2', then '1 of 3'"),
        ({"stdout": ["1 of 2"]}, "line 2 of standard output 'Page: x', then None"),
        ({"stderr": ["opening"]}, "the last line of standard error 'step', then 'opening'"),
        ({"gap": 2}, "summary.json: cells"),
        ({"arrays": b"PK1"}, "arrays.npz: other bytes"),
        ({"settings": (("study", "train"), ("seed", 1))}, "settings.json: seed 0, then 1"),
        ({"settings": (("seed", 0), ("study", "train"))}, "settings.json: field 1 'study', then"),
    ],
    ids=[
        "status",
        "output",
        "end of output",
        "errors",
        "summary",
        "arrays",
        "settings",
        "order of settings",
    ],
)
def test_what_else_is_not_the_same_is_reported(sides, changes, text):
    assert any(text in line for line in sides(**changes))


@pytest.mark.parametrize(
    ("name", "status", "found"),
    [
        ("train", 0, []),
        ("train", 1, ["exit status 1 on both sides, not 0"]),
        ("train", 2, ["exit status 2 on both sides, not 0"]),
        ("models", 1, ["exit status 1 on both sides, not 0"]),
        ("refused-model", 2, []),
        ("refused-model", 0, ["exit status 0 on both sides, not 2"]),
        ("no-verb", 1, ["exit status 1 on both sides, not 2"]),
    ],
)
def test_two_sides_that_fail_alike_are_not_equal(tmp_path, name, status, found):
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        record = RECORD | {"stdout": [], "stderr": ["why"], "status": status}
        (tmp_path / side / f"{name}.json").write_text(json.dumps(record))
    assert list(same_runs.differences(name, tmp_path / "before", tmp_path / "after")) == found


def test_words_of_a_refusal_may_change(tmp_path):
    for side, text in (("before", "Expected x, got y."), ("after", "Expected x, got y: choose.")):
        (tmp_path / side).mkdir()
        record = RECORD | {"stdout": [], "stderr": [text], "status": 2}
        (tmp_path / side / "refused-value.json").write_text(json.dumps(record))
    assert not list(same_runs.differences("refused-value", tmp_path / "before", tmp_path / "after"))


def test_texts_count_where_they_are_wanted(sides):
    assert sides(page="0.25") == []


def test_texts_that_differ(sides):
    [line] = sides(page="0.25", texts=True)
    assert line.startswith("index.html, line 1 '<p>0.5</p>', then '<p>0.25</p>'")


def test_files_of_one_side_are_reported(tmp_path):
    folders = [written(tmp_path / side) for side in ("before", "after")]
    (folders[0] / "figures" / "lengths.svg").unlink()
    (folders[1] / "rows.jsonl").unlink()
    found = list(same_runs.differences("train", tmp_path / "before", tmp_path / "after"))
    assert found == ["figures/lengths.svg only after", "rows.jsonl only before"]


def test_a_kept_side_is_used_again_while_the_command_is_the_same(tmp_path, monkeypatch, capsys):
    ran = []

    def run(name, checkout, side):
        ran.append((name, str(checkout), side.name))
        written(side, status=int(checkout.name == "broken"))

    monkeypatch.setattr(same_runs, "run", run)
    settings = same_runs.Settings(only=("train",), out=tmp_path)
    old, new, broken = map(Path, ("old", "new", "broken"))

    def status(**changes):
        for path in (tmp_path / "after").glob("train"):
            path.rename(tmp_path / f"gone-{len(ran)}")
        with pytest.raises(SystemExit) as ended:
            same_runs.main(dataclasses.replace(settings, **changes))
        return ended.value.code

    assert "give --before" in status(after=new)
    assert status(before=old) == 0
    assert capsys.readouterr().out.split() == ["train", "0", "expected", "0"]
    assert status(before=old, after=new) == 0
    assert capsys.readouterr().out.split() == ["train", "0", "equal"]
    assert status(after=broken) == 1
    assert "exit status 0, then 1" in capsys.readouterr().out
    assert ran == [
        ("train", "old", "before"), ("train", "new", "after"), ("train", "broken", "after")
    ]  # fmt: skip
    monkeypatch.setitem(same_runs.CASES, "train", "train count_ones")
    assert "give --before" in status(after=new)
    assert "Expected --only of" in status(only=("tarin",))


def test_a_command_runs_with_the_package_of_its_checkout(tmp_path, monkeypatch):
    package = tmp_path / "checkout" / "glassesjax"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys; print(sys.argv[1:]); print('why', file=sys.stderr); sys.exit(2)"
    )
    monkeypatch.setitem(same_runs.CASES, "train", "train --out train")
    same_runs.run("train", tmp_path / "checkout", tmp_path / "side")
    record = json.loads((tmp_path / "side" / "train.json").read_text())
    assert record["status"] == 2
    assert record["stdout"] == ["['train', '--out', 'train']"]
    assert record["stderr"] == ["why"]
    assert same_runs.is_kept("train", tmp_path / "side")
