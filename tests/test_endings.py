"""How the command ends: one line for what is not its fault, and nothing lost that was made."""

import ast
import errno
import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from studies.generate.made_generate import made_result

import glassesjax
from glassesjax import process
from glassesjax.cli import run
from glassesjax.errors import BadInput, DiskFull
from glassesjax.process import ending, shown
from glassesjax.registry import load
from glassesjax.runs.rows import ROWS, RowFile, read_rows
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.train.measure import measure
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.train import checkpoint

pytestmark = pytest.mark.usefixtures("undrawn", "near", "few_at_once", "one_program")

SMALL = ("collapse", "toy", "--families", "ones_bos", "--lengths", "1", "4", "16")
SMALL += ("--positions", "none", "--formats", "bf16", "--out")
COMMAND = [sys.executable, "-m", "glassesjax"]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def line_of(capsys):
    """What standard error has: one line."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("glassesjax: ")]
    assert len(lines) == 1, error
    return lines[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    assert run([*SMALL, str(out)]) == 0
    return out


# Words that no file can hold.


@pytest.mark.parametrize("flag", ["MODEL", "--out", "--text", "--prompt"])
@pytest.mark.parametrize("word", ["caf\udce9", "a\0b"], ids=["no UTF-8", "NUL"])
def test_words_of_other_bytes_are_refused(capsys, tmp_path, monkeypatch, flag, word):
    monkeypatch.chdir(tmp_path)
    words = [word] if flag == "MODEL" else ["toy", flag, word]
    assert run(["influence", *words]) == 2
    assert repr(word)[1:-1] in line_of(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["a" * 300, "made/" + "ä" * 150], ids=["bytes", "characters"])
def test_a_name_that_is_too_long_is_refused_before_its_folder_is_made(
    capsys, tmp_path, monkeypatch, out
):
    monkeypatch.chdir(tmp_path)
    assert run(["collapse", "toy", "--out", out]) == 2
    assert "at most 255 bytes in the path for --out" in line_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_the_longest_name_has_a_run_folder():
    settings = CollapseSettings(model=f"{'ä' * 124}.gguf")
    name = load("collapse").folder(settings, None).name
    assert name.startswith("collapse-ää")
    assert len(name.encode()) <= 255


# What a terminal gets to see.


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x7f\x9b", r"a\rb\x7f\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udce9", r"\udce9"),
        ("one\n\ttwo é", "one\n\ttwo é"),
    ],
    ids=["escape", "controls", "order", "half", "text"],
)
def test_control_characters_are_shown_as_escapes(text, escaped):
    assert shown(text) == escaped


def test_a_name_with_control_characters_does_not_reach_the_terminal(capsys):
    assert run(["collapse", "\x1b]0;title\x07\n.gguf"]) == 2
    assert r"\x1b]0;title\x07\n.gguf" in line_of(capsys)


def test_a_text_with_control_characters_is_printed_escaped(capsys, tmp_path, monkeypatch):
    def written(settings, call, show):
        show(0, "one\n\x1b[2J")
        show(1, "\x07two")
        return made_result()

    monkeypatch.setattr("glassesjax.studies.generate.run.write_texts", written)
    assert run(["generate", "toy", "--prompt", "1", "2", "--out", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.startswith("one\n\\x1b[2J\n\nText 2\n\\x07two\n")


@pytest.mark.parametrize("columns", ["0", "1", "5", "39"])
def test_a_narrow_terminal_gets_its_help(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as stop:
        run(["models", "--help"])
    assert not stop.value.code
    assert "Lists the models" in capsys.readouterr().out
    assert run(["colapse"]) == 2
    assert "colapse" in line_of(capsys)
    assert os.environ["COLUMNS"] == columns


# Readers that go away.

DESCRIPTOR = os.open(os.devnull, os.O_WRONLY)


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def fileno(self):
        """One that the test opened: it is replaced."""
        return DESCRIPTOR


def ended(monkeypatch, out, work=lambda: 0, err=None):
    """The exit status of a process with these streams."""
    for name, stream in (("stdout", out), ("stderr", err or io.StringIO())):
        monkeypatch.setattr(sys, name, stream)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as stop:
            process.run_to_end(lambda: work)
    finally:
        signal.signal(signal.SIGINT, before)
    return stop.value.code


@pytest.mark.parametrize(
    ("number", "own", "status"),
    [(errno.EPIPE, 0, 141), (errno.EPIPE, 2, 2), (errno.ENOSPC, 0, 1), (None, 0, 0)],
    ids=["pipe", "failed", "full", "none"],
)
def test_a_run_outlasts_its_reader(monkeypatch, number, own, status):
    done, said = [], io.StringIO()

    def work():
        print("text")
        done.append("rows")
        return own

    out = io.StringIO() if number is None else Gone(number)
    assert ended(monkeypatch, out, work, said) == status
    assert done == ["rows"]
    said = said.getvalue()
    assert said.count("\n") == (number == errno.ENOSPC)
    assert ("standard output, got No space left" in said) == (number == errno.ENOSPC)


def test_errors_that_nobody_reads_change_no_status(monkeypatch):
    work = lambda: run(["colapse"])
    assert ended(monkeypatch, io.StringIO(), work, Gone(errno.EPIPE)) == 2


def test_closed_streams_are_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert ended(monkeypatch, None, lambda: print("text") or 0) == 0
    sys.stdout.close()


def test_what_an_encoding_lacks_is_escaped(monkeypatch):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    assert ended(monkeypatch, out, lambda: print("naïve") or 0) == 0
    assert raw.getvalue() == b"na\\xefve\n"


@pytest.mark.slow
def test_a_command_whose_streams_are_gone_leaves_its_run(tmp_path):
    """In processes, where Python's own end would speak as well."""
    for at, (shell, status) in enumerate(
        {
            "{} | true; exit ${{PIPESTATUS[0]}}": 141,
            "{} > /dev/full": 1,
            "{} >&- 2>&- <&-": 0,
            "{} 2>/dev/full": 0,
        }.items()
    ):
        out = tmp_path / str(at)
        command = " ".join([*COMMAND, *SMALL, str(out)])
        done = subprocess.run(["bash", "-c", shell.format(command)], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert "ignored" not in done.stderr
        assert (out / "index.html").is_file()


# Interrupts.


def test_importing_the_package_leaves_jax_for_later():
    """So that an interrupt finds the command ready for it."""
    code = (
        "import sys, glassesjax.__main__; print([n for n in ('jax', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names_are_those_that_type_checkers_see():
    stub = ast.parse(Path(glassesjax.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert lines
    for node in lines:
        home = importlib.import_module(f"glassesjax.{node.module}" if node.module else "glassesjax")
        for alias in node.names:
            assert getattr(glassesjax, alias.name) is getattr(home, alias.name)
            assert alias.name in dir(glassesjax)
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = glassesjax.nothing


def test_an_interrupt_while_jax_is_imported_is_one_line(tmp_path):
    # Stands for JAX, and takes its time.
    (tmp_path / "jax.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    path = os.pathsep.join([str(tmp_path), str(Path(glassesjax.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts what is in the background with interrupts ignored.
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    heed += "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", heed, *COMMAND, "models"]
    with subprocess.Popen(command, env=environment, **pipes) as started:
        assert started.stdout.readline() == "importing\n"
        started.send_signal(signal.SIGINT)
        _, error = started.communicate(timeout=20)
    assert (error, started.returncode) == (f"glassesjax: {process.STOPPED}\n", 130)


@pytest.mark.parametrize("at", ["index.html", "figures/distance.svg"])
def test_an_interrupt_while_the_page_is_written_leaves_no_half(
    capsys, tmp_path, monkeypatch, finished, at
):
    replace, out = Path.replace, tmp_path / "run"

    def stopped(path, target):
        if target.name == Path(at).name:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        assert run([*SMALL, str(out)]) == 130
    assert line_of(capsys) == f"glassesjax: {process.STOPPED}"
    assert [path for path in out.rglob("*") if path.name.endswith((".part", ".lock"))] == []
    assert run([*SMALL, str(out)]) == 0
    assert (out / at).is_file()


# Room and memory.


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (MemoryError(), 1, "Expected more memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 1, "more memory"),
        (FULL, 1, "Expected room on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "got '/a' (Permission"),
        (DiskFull("x"), 1, "x"),
        (BadInput("x"), 2, "x"),
    ],
    ids=["memory", "device", "disk", "path", "room", "input"],
)
def test_what_is_no_bug_is_one_line(error, status, text):
    line, found = ending(error)
    assert found == status
    assert text in line
    assert "\n" not in line


def test_a_bug_keeps_its_traceback():
    assert ending(KeyError("norm")) is None


WRITTEN = ["settings.json", ROWS, "provenance.json", "figures/distance.svg", "index.html"]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_full_disk_is_one_line_and_the_run_continues(capsys, tmp_path, monkeypatch, name):
    out, fsync, write = tmp_path / "run", os.fsync, RowFile._write

    def full(number):
        if f".{Path(name).name}." in os.readlink(f"/proc/self/fd/{number}"):
            raise FULL
        return fsync(number)

    def cut(file, content):
        limit = file.path.stat().st_size + len(content) // 2
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            write(file, content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with monkeypatch.context() as patch:
        if name == ROWS:  # for once in earnest, in the middle of a group
            patch.setattr(RowFile, "_write", cut)
        else:
            patch.setattr(os, "fsync", full)
        assert run([*SMALL, str(out)]) == 1
    assert f"Expected room on the disk of {out}" in line_of(capsys)
    assert [path for path in out.rglob("*") if path.name.endswith(".part")] == []
    if name == ROWS:
        assert (out / ROWS).read_bytes() == b""
    assert run([*SMALL, str(out)]) == 0


class FullOrbax:
    """Fails as orbax does on a full disk, in words of its own."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def save(self, path, state):
        path.mkdir()
        raise ValueError(f"RESOURCE_EXHAUSTED: Failed writing: {FULL.strerror} [OS error 28]")


TINY = {"steps": 2, "batch": 2, "width": 8, "heads": 1, "layers": 1, "examples": 2}


@pytest.fixture(scope="module")
def compiled_training(tmp_path_factory):
    """A training of that size has made its first step."""
    settings = TrainSettings(task="count_ones", **TINY, formats=("f32",))
    next(measure(settings, tmp_path_factory.mktemp("compiled")))


@pytest.mark.usefixtures("compiled_training")
@pytest.mark.parametrize("where", ["orbax", "room", "list"])
def test_a_full_disk_within_a_checkpoint_is_one_line(capsys, tmp_path, monkeypatch, where):
    sizes = [word for name, size in TINY.items() for word in (f"--{name}", str(size))]
    train = ["train", "count_ones", *sizes, "--formats", "f32", "--out", str(tmp_path / "run")]

    def full(*arguments):
        raise FULL

    with monkeypatch.context() as patch:
        match where:
            case "orbax":
                patch.setattr(checkpoint, "_orbax", FullOrbax)
            case "room":
                patch.setattr(os, "posix_fallocate", full)
            case "list":
                patch.setattr(checkpoint, "_to_disk", full)
        assert run(train) == 1
    expected = (
        f"Expected room on the disk of {tmp_path / 'run' / 'checkpoint'}, got {FULL.strerror}"
    )
    assert expected in line_of(capsys)
    assert list((tmp_path / "run" / "checkpoint").iterdir()) == []


# Rows that another process wrote.

LINES = {
    "empty": (lambda row: {}, "Expected positions in line 2"),
    "lacking": (lambda row: {name: row[name] for name in row if name != "distance"}, "distance"),
    "null": (lambda row: {**row, "length": None}, "whole number as length in line 2"),
    "text": (lambda row: {**row, "distance": "wide"}, "number as distance in line 2"),
    "digits": (lambda row: {**row, "distance": 10**400}, "number as distance in line 2"),
    "value": (lambda row: {**row, "curve": "bent"}, "as curve in line 2"),
    "record": (lambda row: {**row, "record": 9}, "one of 1 records as record in line 2"),
}


@pytest.mark.parametrize("damage", LINES)
def test_rows_of_another_shape_are_one_line(capsys, tmp_path, finished, damage):
    change, text = LINES[damage]
    out = tmp_path / "run"
    out.mkdir()
    (out / "settings.json").write_bytes((finished / "settings.json").read_bytes())
    first, *rows = read_rows(finished / ROWS, lists=True)
    rows = [first, *(change(row) for row in rows)]
    (out / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = json.loads((finished / "provenance.json").read_text())
    (out / "provenance.json").write_text(json.dumps({"records": record["records"]}))
    assert run([*SMALL, str(out)]) == 2
    line = line_of(capsys)
    assert str(out / ROWS) in line
    assert text in line


# What a checkpoint says of itself.

SAID = {"list": [], "null": None, "number": 3, "text": "x", "nested": None, "infinite": None}


@pytest.mark.parametrize("name", ["files.json", "about.json"])
@pytest.mark.parametrize("content", SAID)
def test_a_checkpoint_that_says_nonsense_is_one_line(tmp_path, content, name):
    path = tmp_path / "00000002"
    (path / "state").mkdir(parents=True)
    (path / "files.json").write_text("{}")
    written = {"nested": "[" * 5000, "infinite": '{"rows": Infinity, "sha256": 3}'}
    (path / name).write_text(written.get(content) or json.dumps(SAID[content]))
    read = checkpoint._read if name == "files.json" else checkpoint.covered_rows
    expected = f"Expected a whole checkpoint, got .*({name}|with rows truncated)"
    with pytest.raises(BadInput, match=expected) as got:
        read(path)
    assert "\n" not in str(got.value)


# Files that only grow, and what a wheel brings.


def test_appending_does_not_copy_the_keys(tmp_path):
    with RowFile(tmp_path / ROWS, ("n",)) as file:
        keys = file._seen
        file.append([{"n": 1}])
        file.append([{"n": 2}])
        assert file._seen is keys
        assert keys == {(1,), (2,)}


def test_a_wheel_has_types_and_templates(tmp_path):
    root = Path(glassesjax.__file__).parents[1]
    for package in ("glassesjax", "proofs_numeric"):
        assert (root / package / "py.typed").is_file()
    build = pytest.importorskip("hatchling.builders.wheel")
    [wheel] = build.WheelBuilder(str(root)).build(directory=str(tmp_path))
    names = zipfile.ZipFile(wheel).namelist()
    assert {"glassesjax/py.typed", "proofs_numeric/py.typed"} <= set(names)
    shared = {f"glassesjax/report/templates/{n}" for n in ("base.html.j2", "page.css", "page.js")}
    assert {*shared, "glassesjax/studies/collapse/page.html.j2"} <= set(names)


@pytest.mark.slow
def test_a_run_that_is_ended_continues(tmp_path):
    with subprocess.Popen([*COMMAND, *SMALL, str(tmp_path / "run")]) as started:
        time.sleep(4)
        started.terminate()
    assert started.returncode in (0, -signal.SIGTERM)
    assert run([*SMALL, str(tmp_path / "run")]) == 0
