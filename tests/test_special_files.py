"""What no regular file is, where a file is expected: refused in one line, and nothing waits."""

import dataclasses
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import pytest

from glassesjax.cache import policy
from glassesjax.cache.saved import load_state
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.files import json_object, read_file
from glassesjax.model import DecoderConfig, NoPositions, open_model
from glassesjax.runs.array_file import ArrayFile
from glassesjax.runs.folder import RunFolder, same_run
from glassesjax.runs.lock import Lock
from glassesjax.runs.record import Stored
from glassesjax.runs.rows import RowFile
from glassesjax.tasks.text import MOST_BYTES, read_text
from glassesjax.train.checkpoint import covered_rows, newest_first

pytestmark = pytest.mark.usefixtures("undrawn")


class Waited(BaseException):
    """No error that a file could have."""


@pytest.fixture(autouse=True)
def no_hang():
    """What waits for ever fails here, and does not wait."""

    def waited(number, frame):
        raise Waited

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    os.mkfifo(path)


def unix_socket(path):
    # The path of a socket is short; pytest's folders are not.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/s")
        shutil.move(f"{short}/s", path)


def device(name):
    return lambda path: path.symlink_to(f"/dev/{name}")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(2**40)


SPECIAL = {
    "pipe": pipe,
    "socket": unix_socket,
    "zero": device("zero"),
    "random": device("random"),
    "folder": Path.mkdir,
}
CONFIG = DecoderConfig(
    vocab_size=4, num_layers=1, num_heads=1, model_dim=4, positions=NoPositions()
)
READERS = {
    "text": lambda path: read_text(str(path)),
    "gguf": lambda path: open_model(str(path)),
    "safetensors": lambda path: open_model(str(path)),
    "state": lambda path: load_state(path, policy("tova"), config=CONFIG, dtype="float32"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_is_refused(tmp_path, kind, reader):
    path = tmp_path / f"a.{reader}"
    SPECIAL[kind](path)
    with pytest.raises(BadInput, match=f"{path}.*no regular file") as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)


def test_a_text_without_end_is_refused_before_it_is_read(tmp_path):
    sparse(tmp_path / "a.txt")
    with pytest.raises(BadInput, match=rf"at most {MOST_BYTES:,} bytes, got {2**40:,} in"):
        read_text(str(tmp_path / "a.txt"))


def test_a_file_of_the_kernel_that_waits_has_no_bytes():
    """Its size is 0, and reading it waits for the next message."""
    if not Path("/proc/kmsg").exists():
        pytest.skip("no such file here")
    assert read_file(Path("/proc/kmsg"), "a text", most=9) == b""


def test_lines_of_a_text_end_alike_wherever_it_was_written(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\rthree\n")
    assert read_text(str(tmp_path / "a.txt")) == "one\ntwo\nthree\n"


@dataclasses.dataclass(frozen=True)
class Naming:
    """A row that names an array."""

    a: Annotated[str, Stored(("float32",), ())]


NAMING = Naming("values")
# What a run folder holds, and what reads it first.
MEMBERS = {
    "settings.json": lambda folder: RunFolder(folder, {}).__enter__(),
    "rows.jsonl": lambda folder: RowFile(folder / "rows.jsonl", ("a",)).__enter__(),
    "arrays.npz": lambda folder: ArrayFile(folder / "arrays.npz", [NAMING]),
    ".lock": lambda folder: Lock(folder).acquire(),
    "00000002/about.json": lambda folder: covered_rows(newest_first(folder)[0]),
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_in_a_run_folder_is_refused(tmp_path, kind, member):
    path = tmp_path / member
    path.parent.mkdir(exist_ok=True)
    SPECIAL[kind](path)
    with pytest.raises(BadInput, match=path.name) as caught:
        MEMBERS[member](tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"null", b"3", b'"text"', b"true", b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"\xff"],
    ids=("list", "null", "number", "text", "true", "nested", "deep", "digits", "bytes"),
)
def test_json_that_is_no_object_is_a_value_error(tmp_path, content):
    with pytest.raises(ValueError, match=r"\w"):
        json_object(content)
    (tmp_path / "settings.json").write_bytes(content)
    assert not same_run(tmp_path / "settings.json", "{}")


def test_a_key_that_is_there_twice_is_named():
    with pytest.raises(ValueError, match="the key 'b' twice"):
        json_object(b'{"a": {"b": 1, "c": 2, "\\u0062": 1}}')
    # At any depth, and among many, by the first that comes again.
    many = ", ".join(f'"{n}": {n}' for n in (*range(100_000), 99_999, 0))
    with pytest.raises(ValueError, match="the key '99999' twice"):
        json_object(f'{{"list": [{{{many}}}]}}')
    assert json_object('{"a": {"a": [{"a": 1}, {"a": 2}]}}') == {"a": {"a": [{"a": 1}, {"a": 2}]}}


def test_a_name_that_no_file_can_have_is_no_model(capsys):
    for name in ("a" * 300, "a/" * 3000, "a\0b"):
        assert run(["collapse", name]) == 2
        assert capsys.readouterr().err.count("\n") == 1
