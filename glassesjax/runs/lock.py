"""Lock file of a run folder: one writing process, on one host or on several that share it.

A lock is a file with the host, the process and the time until which it is leased. On one host
``flock`` decides at once, and ends with its process. Over NFS ``flock`` may work within one host
only: there the lease decides, which the owner renews.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path

from glassesjax.errors import Busy
from glassesjax.files import json_object, regular_file, writing

NAME = ".lock"
LEASE = 120.0  # s after which the lock of another host may be taken over
RENEWAL = 30.0  # s between two renewals
SETTLING = 0.2  # s for another host that takes over the same lock to write its name
MOST = 4096  # bytes of the file that are read
_WITHOUT = (errno.ENOSYS, errno.EOPNOTSUPP)  # errors of file systems without flock


class Lock:
    """An exclusive lock of a folder, from ``acquire`` to ``release``.

    Args:
      folder: An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._mine = {"host": socket.gethostname(), "process": os.getpid()}
        self._over = threading.Event()
        self._lost = False

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
          Busy: Another process has it.
          BadInput: The file cannot be opened or locked; the message has the reason.
          DiskFull: The disk is full.
        """
        with writing(f"to lock {self.path.parent}", self.path):
            self._descriptor, flocked = self._open()
            try:
                holder, until = self._holder(), self._read().get("until")
                until = float(until) if isinstance(until, int | float) else 0.0
                elsewhere = holder is not None and holder.get("host") != self._mine["host"]
                if holder is not None and until > time.time():
                    # On this host a file that flock locked, or whose process has ended, has no
                    # other owner.
                    alive = elsewhere or (not flocked and _lives(holder.get("process")))
                    if alive:
                        where = f"process {holder.get('process')} on {holder.get('host')}"
                        raise self._busy(f"another process is writing it, {where}")
                self._write()
                if elsewhere or not flocked:
                    time.sleep(SETTLING)  # two hosts may both have found it free
                    if self._holder() != self._mine:
                        raise self._busy("another process is writing it")
            except BaseException:
                os.close(self._descriptor)
                raise
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self._renewal.start()

    def release(self) -> None:
        """Releases the lock and removes its file."""
        self._over.set()
        self._renewal.join()
        try:
            if not self._lost and self._holder() == self._mine:
                self.path.unlink(missing_ok=True)  # still locked: no other process has opened it
        finally:
            os.close(self._descriptor)

    def check(self) -> None:
        """Checks that this process still has the lock.

        Raises:
          Busy: Another process took it over after the lease expired.
        """
        if self._lost:
            raise self._busy("another process took it over")

    def _open(self) -> tuple[int, bool]:
        """Descriptor of the lock file, and whether ``flock`` locked it."""
        while True:
            if self.path.exists():
                regular_file(self.path, "the lock of a run")
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The previous owner may have removed the file between the two calls.
                if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                    return descriptor, True
            except FileNotFoundError:
                pass
            except BlockingIOError as error:
                os.close(descriptor)
                raise self._busy("another process is writing it") from error
            except OSError as error:
                if error.errno in _WITHOUT:
                    return descriptor, False
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _renew(self) -> None:
        while not self._over.wait(RENEWAL):
            try:
                if self._holder() != self._mine:
                    self._lost = True
                    return
                self._write()
            except OSError:  # server unreachable for a moment; the lease outlasts a few failures
                continue

    def _write(self) -> None:
        content = json.dumps({**self._mine, "until": time.time() + LEASE}).encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        os.fsync(self._descriptor)

    def _read(self) -> dict[str, object]:
        """Current content of the file; empty where it is new or truncated."""
        try:
            with self.path.open("rb") as file:
                return json_object(file.read(MOST))
        except (FileNotFoundError, ValueError):
            return {}

    def _holder(self) -> dict[str, object] | None:
        content = self._read()
        return {name: content.get(name) for name in self._mine} if content else None

    def _busy(self, got: str) -> Busy:
        expected = f"Expected to write {self.path.parent} alone, got a folder where {got}"
        return Busy(f"{expected}: wait for it, or choose another --out.")


def _lives(process: object) -> bool:
    try:
        os.kill(int(str(process)), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:  # of another user
        pass
    return True
