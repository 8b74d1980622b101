"""Rows survive what happens to a process: cut lines, a second start, another writer."""

import contextlib
import json
import math
import os
from pathlib import Path

import pytest

from glassesjax.errors import BadInput
from glassesjax.files import mark_of, to_json, write_by_rename
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.provenance import provenance
from glassesjax.runs.rows import ROWS, RowFile, read_rows
from glassesjax.runs.upgrade import PENDING

KEY = ("name", "length")


def row(name, length, distance=1.0):
    return {"name": name, "length": length, "distance": distance}


def test_rows_come_back_as_they_went(tmp_path):
    rows = [row("a", 1, 0.1), row("a", 2, 1e-300), row("b", 1, None)]
    with RowFile(tmp_path / "rows.jsonl", KEY) as file:
        file.append(rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_cut_anywhere_continues_without_a_lost_or_doubled_row(tmp_path, cut):
    path, rows = tmp_path / "rows.jsonl", [row("a", n) for n in range(3)]
    with RowFile(path, KEY) as file:
        file.append(rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with RowFile(path, KEY) as file:
        file.append(rows)
    assert path.read_bytes() == whole


def test_a_row_is_known_by_its_key(tmp_path):
    with RowFile(tmp_path / "rows.jsonl", KEY) as file:
        file.append([row("a", 1), row("a", 1)])
        assert row("a", 1, distance=9.0) in file
        assert row("a", 2) not in file
    assert len(read_rows(tmp_path / "rows.jsonl")) == 1


def test_a_foreign_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": "a", "length": 1}\nnot json\n')
    with pytest.raises(BadInput, match="line 2"):
        read_rows(path)


def test_rows_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(BadInput, match="got one without name"), RowFile(path, KEY):
        pass
    assert path.read_text() == '{"a": 1}\n'


def test_numbers_that_are_not_finite_become_null():
    text = to_json({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    write_by_rename(tmp_path / "a.txt", "first")
    monkeypatch.setattr(os, "fsync", lambda number: os.read(-1, 1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_by_rename(tmp_path / "a.txt", "second")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "first")]


def test_half_a_character_is_written_as_its_escape(tmp_path):
    write_by_rename(tmp_path / "a.txt", "a\ud800")
    assert (tmp_path / "a.txt").read_text() == r"a\ud800"


def test_provenance_is_flat_and_complete():
    found = provenance()
    assert {"backend", "device", "matmul_precision", "jax", "jaxlib", "numpy"} <= found.keys()
    assert all(isinstance(value, str) for value in found.values())


def claim(path, settings):
    with RunFolder(path, settings):
        pass


def test_a_run_folder_takes_one_run_only(tmp_path):
    out = tmp_path / "deep" / "run"
    claim(out, {"lengths": (1, 2)})
    claim(out, {"lengths": (1, 2)})  # the same run continues
    with pytest.raises(BadInput, match="got another run"):
        claim(out, {"lengths": (1, 3)})
    (out / "settings.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="got another run"):
        claim(out, {"lengths": (1, 2)})


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path):
    with RunFolder(tmp_path / "run", {}):
        before = [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir()]
        with pytest.raises(BadInput, match="another process is writing"):
            claim(tmp_path / "run", {})
        after = [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir()]
    assert before == after
    claim(tmp_path / "run", {})  # the lock is gone with its process


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="got one with other files"):
        claim(tmp_path, {})
    for path in (tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "run"):
        with pytest.raises(BadInput, match=r"File exists|Not a directory"):
            claim(path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_process_killed_before_its_first_file_leaves_a_usable_folder(tmp_path):
    (tmp_path / ".settings.json.4711.part").write_text("{")
    claim(tmp_path, {"lengths": (1,)})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"schema": 1, "lengths": [1]}


OLD = {"study": "perplexity", "model": "smollm2", "text": None, "policies": ["full", "h2o"]}
NEW = {
    "study": "perplexity",
    "model": "smollm2",
    "text": "kjv",
    "policies": ["full", "h2o-layer"],
    "devices": 1,
}
OLD_ROWS = [{"policy": name, "slots": 4} for name in ("full", "h2o", "h2o-head@2", "tova-head")]
NAMES = ["full", "h2o-layer", "h2o@2", "tova-head"]


def old_folder(path):
    path.mkdir()
    (path / "settings.json").write_text(to_json(OLD, indent=2))
    (path / "rows.jsonl").write_text("".join(to_json(row) + "\n" for row in OLD_ROWS) + '{"pol')


def test_a_folder_without_a_schema_is_continued_where_it_means_the_same(tmp_path):
    old_folder(tmp_path / "run")
    with pytest.raises(BadInput, match="got another run"):
        claim(tmp_path / "run", OLD)  # what these words mean now
    assert read_rows(tmp_path / "run" / "rows.jsonl") == OLD_ROWS  # and nothing was touched
    for _ in range(2):  # the second time there is nothing to do
        claim(tmp_path / "run", NEW)
        assert [row["policy"] for row in read_rows(tmp_path / "run" / "rows.jsonl")] == NAMES
    assert json.loads((tmp_path / "run" / "settings.json").read_text()) == {"schema": 1, **NEW}


@pytest.mark.parametrize("at", range(4))
def test_a_process_killed_while_a_folder_is_upgraded_loses_nothing(tmp_path, monkeypatch, at):
    """Killed before the first, second or third renaming, or never."""
    run, left = tmp_path / "run", iter(range(at, -1, -1))
    old_folder(run)
    replace = Path.replace

    def killed(self, target):
        if next(left) == 0:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        claim(run, NEW)
    claim(run, NEW)
    assert [row["policy"] for row in read_rows(run / "rows.jsonl")] == NAMES
    assert json.loads((run / "settings.json").read_text()) == {"schema": 1, **NEW}
    assert not (run / PENDING[ROWS]).exists()


def test_a_folder_of_a_newer_schema_is_refused(tmp_path):
    claim(tmp_path / "run", NEW)
    (tmp_path / "run" / "settings.json").write_text(to_json({"schema": 2, **NEW}, indent=2))
    with pytest.raises(BadInput, match=r"Expected schema 1 or none in .*settings\.json, got 2"):
        claim(tmp_path / "run", NEW)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"3", b"", b'{"schema": 1'])
def test_settings_that_are_no_object_are_another_run(tmp_path, content):
    claim(tmp_path / "run", NEW)
    (tmp_path / "run" / "settings.json").write_bytes(content)
    with pytest.raises(BadInput, match="got another run"):
        claim(tmp_path / "run", NEW)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"name": ["a"], "length": 1}', "a list as name"),
        (b'{"name": {"a": 1}, "length": 1}', "a mapping as name"),
        (b'{"name": "a", "length": 1, "more": []}', "a list as more"),
        (b"[" * 100_000, "got b'\\["),
        (b'{"a":' * 100_000, "JSON object"),
        (b'{"name": "\xff", "length": 1}', "JSON object"),
        (b"1" * 10_000, "JSON object"),
        (b"", "JSON object"),
        (b'{"length": 1}', "got one without name"),
        (b'{"name": 3, "length": 1}', "text as name in line 2 of .*, as in line 1, got a number"),
        (b'{"name": "b", "length": "1"}', "a number as length"),
        (b'{"name": "b", "length": true}', "got true or false"),
    ],
    ids=range(12),
)
def test_a_damaged_row_is_one_line_that_names_it(tmp_path, line, text):
    path = tmp_path / "rows.jsonl"
    whole = b'{"name": "a", "length": 1}\n' + line + b"\n"
    path.write_bytes(whole)
    with pytest.raises(BadInput, match=text) as caught, RowFile(path, KEY):
        pass
    assert "line 2 of" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == whole


def test_a_row_of_another_kind_than_the_run_writes_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": 3, "length": 1}\n')
    with RowFile(path, KEY) as file, pytest.raises(BadInput, match="text as name in line 1"):
        file.append([row("a", 1)])


def test_a_mark_tells_whether_rows_are_still_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    with RowFile(path, KEY) as file:
        file.append([row("a", 1), row("a", 2)])
        mark = file.mark()
        file.append([row("a", 3)])
        assert file.fits(mark)
        assert mark == mark_of(path, 2) != mark_of(path)
        file.keep(1)
        assert (len(file), file.fits(mark)) == (1, False)
        assert row("a", 2) not in file
        file.append([row("a", 2)])
        assert file.fits(mark)
    path.write_text(path.read_text().replace("1.0", "1.5"))
    with RowFile(path, KEY) as file:
        assert not file.fits(mark)
    assert mark_of(tmp_path / "nowhere") == mark_of(path, 0)


def test_scrap_of_killed_processes_goes_but_not_that_of_cells(tmp_path):
    claim(tmp_path, {})
    (tmp_path / "figures").mkdir()
    (tmp_path / "checkpoint" / ".00000004.part" / "state").mkdir(parents=True)
    cell = tmp_path / "cells" / "one"
    cell.mkdir(parents=True)
    for scrap in (tmp_path / ".a.1.part", tmp_path / "figures" / ".b.svg.2.part"):
        scrap.write_text("half")
    (cell / ".c.3.part").write_text("half")
    with pytest.raises(BadInput):
        claim(tmp_path, {"other": 1})
    assert (tmp_path / ".a.1.part").exists()  # of another run: nothing is touched
    claim(tmp_path, {})
    assert {path.name for path in tmp_path.rglob("*.part")} == {".c.3.part"}
