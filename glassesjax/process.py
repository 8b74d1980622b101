"""How the process of a command begins and ends: its streams, its signals, its exit status.

Nothing but Python's own library is imported here: an interrupt is answered from the first moment,
and importing JAX takes seconds.
"""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from glassesjax.errors import BadInput, NoRoom, PeerLost
from glassesjax.files import FULL, no_room, reason

STOPPED = "stopped; the same command continues."
INTERRUPTED, PIPE_CLOSED = 130, 141  # what a shell gives for the two signals
# What a terminal obeys, what reorders or breaks a line, and halves of characters. Newline and tab
# are text.
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Text as a terminal may show it, whoever wrote it.

    Returns:
      The same with control characters and half surrogates as escapes: ``\x1b``.

    >>> print(shown("red \x1b[31m"))
    red \x1b[31m
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def say(line: object) -> None:
    """Prints one line.

    Args:
      line: What a study says; a line's end in it is escaped, too.
    """
    print(_line(line))


def note(line: object) -> None:
    """Prints one line on standard error, after the program's name where it is a message of it.

    Args:
      line: Progress, or what went wrong; a line's end in it is escaped, too.
    """
    if sys.stderr is not None:  # else print would take standard output
        print(_line(line), file=sys.stderr, flush=True)


def _line(text: object) -> str:
    return shown(str(text)).replace("\n", "\\n")


def ending(error: BaseException) -> tuple[str, int] | None:
    """What a command says of an error, and its exit status.

    Returns:
      The line and the status; None for what is no error of a user, the system or a peer: a bug,
      whose traceback is wanted.
    """
    match error:
        case KeyboardInterrupt():
            return STOPPED, INTERRUPTED
        case BadInput():
            return str(error), 2
        case PeerLost() | NoRoom():
            return str(error), 1
        case OSError() if error.errno in FULL:
            return str(no_room(Path(error.filename or "."), error)), 1
        case OSError() if error.filename is not None:
            got = f"{error.filename!r} ({reason(error)})"
            return f"Expected a file or folder that can be used, got {got}: choose another.", 2
    # Of JAX or NumPy; the first is not imported here, and has more kinds of errors of this class.
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED: Out of memory" in str(error):
        got = reason(error)
        return f"Expected more memory, got none ({got:.200}): ask for less, or for shorter.", 1
    return None


class Outlasting:
    """A standard stream that a run outlasts: what nobody can read any more is dropped.

    A run is for its folder; that the reader of its lines went away is no reason to lose it.

    Args:
      stream: Standard output or standard error.

    Attributes:
      error: Why the rest was dropped; None while all was written.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes, or drops."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes what was kept back, or drops it."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.error = self.error or error
            # What is still kept back would be an error once more when Python ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def run_to_end(load: Callable[[], Callable[[], int]]) -> NoReturn:
    """Runs what a process is for, and ends it.

    Args:
      load: Imports what it takes; what it returns is called then, and gives the exit status.
    """
    # Where one of the three is closed the next file that is opened would take its number, and get
    # what libraries print.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if not ignored:  # nothing to clean up; within an import an exception might get lost
        signal.signal(signal.SIGINT, _stop)
    out, err = (_outlasting(stream) for stream in (sys.stdout, sys.stderr))
    sys.stdout, sys.stderr = out, err
    try:
        work = load()
        if not ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = work()
    except SystemExit as stop:  # of --help
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if not ignored:
        signal.signal(signal.SIGINT, _stop)
    out.flush()
    if out.error is not None:
        status = status or _lost(out.error)
    err.flush()
    sys.exit(status)


def _outlasting(stream: Any) -> Any:  # noqa: ANN401
    """A standard stream as one that a run outlasts; where there is none, nowhere."""
    stream = stream or open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)
    if hasattr(stream, "reconfigure"):  # characters that its encoding lacks are escaped
        stream.reconfigure(errors="backslashreplace")
    return Outlasting(stream)


def _lost(error: OSError) -> int:
    """Says that standard output was not written, unless its reader went away."""
    if error.errno == errno.EPIPE:
        return PIPE_CLOSED
    got = reason(error)
    line = f"Expected to write to standard output, got {got}: free some room or send it elsewhere"
    note(f"glassesjax: {line}; a run folder is not affected.")
    return 1


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, f"glassesjax: {STOPPED}\n".encode())
    os._exit(INTERRUPTED)
