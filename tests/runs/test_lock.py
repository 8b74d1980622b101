"""One process at a time: who holds a lock, how it ends, and what is no lock."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from glassesjax.cli import run
from glassesjax.errors import BadInput, Busy
from glassesjax.runs import lock as locks
from glassesjax.runs.folder import RunFolder
from glassesjax.runs.lock import Lock

pytestmark = pytest.mark.usefixtures("undrawn")

HOLD = """
import sys, time
from pathlib import Path
from glassesjax.runs.lock import Lock
Lock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def said(folder):
    return json.loads((folder / ".lock").read_text())


def take(folder):
    lock = Lock(folder)
    lock.acquire()
    lock.release()


def foreign(folder, *, host="elsewhere", process=1, seconds=60.0):
    """What a process that flock does not know of left."""
    text = json.dumps({"host": host, "process": process, "until": time.time() + seconds})
    (folder / ".lock").write_text(text)


def test_a_live_process_is_busy_and_a_killed_one_is_not(other, tmp_path):
    assert said(tmp_path)["process"] == other.pid
    before = (tmp_path / ".lock").stat().st_mtime_ns
    with pytest.raises(Busy, match="another process is writing"):
        take(tmp_path)
    assert (tmp_path / ".lock").stat().st_mtime_ns == before
    other.send_signal(signal.SIGKILL)
    other.wait()
    take(tmp_path)  # at once, whatever the lease says
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_another_host_holds_until_it_runs_out(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "SETTLING", 0.0)
    foreign(tmp_path)
    with pytest.raises(Busy, match="process 1 on elsewhere"):
        take(tmp_path)
    foreign(tmp_path, seconds=-1.0)
    take(tmp_path)
    for cut in ("", "{", "[1]", '{"host": 3}', "[" * 100_000):
        (tmp_path / ".lock").write_text(cut)
        take(tmp_path)


@pytest.mark.parametrize("failure", [errno.ENOLCK, errno.EIO])
def test_what_is_no_lock_of_another_process_is_said(tmp_path, monkeypatch, failure):
    def flock(descriptor, operation):
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(BadInput, match=os.strerror(failure)) as caught, RunFolder(tmp_path, {}):
        pass
    assert not isinstance(caught.value, Busy)


def test_without_flock_the_lease_and_the_process_decide(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks, "SETTLING", 0.0)
    one = Lock(tmp_path)
    one.acquire()
    with pytest.raises(Busy):
        take(tmp_path)
    one.release()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    foreign(tmp_path, host=said_host(), process=gone.pid)
    take(tmp_path)


def said_host():
    return locks.socket.gethostname()


def test_a_lease_is_renewed_and_its_loss_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RENEWAL", 0.01)
    lock = Lock(tmp_path)
    lock.acquire()
    first = said(tmp_path)["until"]
    wait_until(lambda: said(tmp_path)["until"] > first)
    lock.check()
    other = tmp_path / "other"
    other.write_text(json.dumps({"host": "elsewhere", "process": 1, "until": time.time() + 60}))
    other.replace(tmp_path / ".lock")
    wait_until(lambda: lock._lost)
    with pytest.raises(Busy, match="took it over"):
        lock.check()
    lock.release()
    assert said(tmp_path)["host"] == "elsewhere"  # the lock of another is left alone


def wait_until(there):
    limit = time.monotonic() + 10
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_a_folder_that_a_killed_process_only_locked_is_new(tmp_path):
    foreign(tmp_path, seconds=-1.0)
    with RunFolder(tmp_path, {}):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json"}


@pytest.mark.parametrize(
    "verb",
    [["collapse", "toy"], ["train", "count_ones"], ["sweep"], ["verify"], ["influence", "toy"]],
)
@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://a", "file:///tmp/run"])
def test_an_address_is_refused_by_every_verb(verb, address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([*verb, "--out", address]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"an address of {address.partition(':')[0]}" in error
    assert list(tmp_path.iterdir()) == []


def test_an_address_is_refused_by_the_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="an address of gs"), RunFolder(locks.Path("gs://b/x"), {}):
        pass
    with RunFolder(locks.Path("a:b"), {}):  # a name with a colon is a name
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a:b"]
