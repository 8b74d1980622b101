"""The command line: one clear line for bad input, a folder that a killed run continues."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from glassesjax.cli import run
from glassesjax.records import read_rows

SMALL = ("--families", "ones_bos", "--lengths", "1", "4", "16", "--positions", "none")


def collapse(out, *more):
    return ["collapse", "toy", *SMALL, "--formats", "bf16", *more, "--out", str(out)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    assert run(collapse(out)) == 0
    return out


def test_a_run_leaves_what_the_design_names(finished):
    names = {path.name for path in finished.iterdir()}
    wanted = {"settings.json", "provenance.json", "rows.jsonl", "figures", "index.html"}
    assert names == wanted
    assert json.loads((finished / "settings.json").read_text())["lengths"] == [1, 4, 16]
    assert "glassesjax collapse toy" in (finished / "provenance.json").read_text()
    assert {path.suffix for path in (finished / "figures").iterdir()} == {".svg"}
    page = (finished / "index.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_second_call_changes_no_row(finished):
    before = (finished / "rows.jsonl").read_bytes()
    assert run(collapse(finished)) == 0
    assert (finished / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["collapse", "gpt5"], "toy, smollm2 or a .gguf file"),
        (["collapse", "toy", "--families", "twos"], "'twos'"),
        (["collapse", "toy", "--lengths", "8", "4"], "ascending"),
        (["collapse", "toy", "--lengths", "9000"], "8192 tokens"),
        (["collapse", "toy", "--formats", "f31"], "f31"),
        (["collapse", "none.gguf"], "cannot be read"),
        (["collapse", "toy", "--lengths"], "lengths"),
        (["collapse", "toy", "--lengths", "many"], "lengths"),
        (["collapse", "toy", "--lenghts", "1"], "lenghts"),
        (["collapse"], "MODEL"),
        (["colapse", "toy"], "colapse"),
        ([], "collapse"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys, arguments, text):
    out = tmp_path / "out"
    tail = ["--out", str(out)] if arguments[:1] == ["collapse"] and len(arguments) > 1 else []
    assert run([*arguments, *tail]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_another_runs_folder_is_left_alone(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert run(collapse(finished, "--seed", "1")) == 2
    assert "holds another run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_help_says_units_and_exits_zero(capsys):
    with pytest.raises(SystemExit) as stop:
        run(["collapse", "--help"])
    assert stop.value.code == 0
    assert "in tokens of the run" in " ".join(capsys.readouterr().out.split())


def test_models_says_how_to_get_what_is_not_here(capsys):
    assert run(["models"]) == 0
    assert "smollm2" in capsys.readouterr().out


def test_backend_prints_what_it_measured(capsys):
    assert run(["backend"]) == 0
    assert "cpu" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4.0, 7.0, 10.0])
def test_a_run_killed_at_any_moment_ends_with_the_same_rows(tmp_path, finished, seconds):
    command = [sys.executable, "-c", "from glassesjax.cli import main; main()"]
    arguments = ["collapse", "toy", "--families", "ones_bos", "ones", "--lengths", "1", "4", "16"]
    arguments += ["--positions", "none", "rotary", "--formats", "bf16", "f16", "--out"]
    out, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, *arguments, str(out)], stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, *arguments, str(out)], check=True, capture_output=True)
    subprocess.run([*command, *arguments, str(whole)], check=True, capture_output=True)
    assert read_rows(out / "rows.jsonl") == read_rows(whole / "rows.jsonl")
