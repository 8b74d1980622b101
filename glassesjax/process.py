"""Start and end of a command's process: streams, signals, exit status.

Only the standard library is imported here, so that interrupts are handled from the start: importing
JAX takes seconds.
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

from glassesjax.errors import BadInput, DiskFull, PeerLost
from glassesjax.files import FULL, no_room, reason

STOPPED = "stopped; the same command continues."
INTERRUPTED, PIPE_CLOSED = 130, 141  # what a shell gives for the two signals
# Control characters, bidirectional and line separators, and half surrogates. Newline and tab
# are text.
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Text that is safe to print on a terminal.

    Returns:
      The same with control characters and half surrogates as escapes: ``\x1b``.

    >>> print(shown("red \x1b[31m"))
    red \x1b[31m
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def say(line: object) -> None:
    """Prints one line.

    Args:
      line: The text; newlines are escaped, too.
    """
    print(_line(line))


def note(line: object) -> None:
    """Prints one line on standard error.

    Args:
      line: Progress or an error message; newlines are escaped, too.
    """
    if sys.stderr is not None:  # else print would take standard output
        print(_line(line), file=sys.stderr, flush=True)


def _line(text: object) -> str:
    return shown(str(text)).replace("\n", "\\n")


def ending(error: BaseException) -> tuple[str, int] | None:
    """Message and exit status of a command for an error.

    Returns:
      The line and the status; None for a bug, which is no error of the user, the system or another
      process, and gets a traceback.
    """
    match error:
        case KeyboardInterrupt():
            return STOPPED, INTERRUPTED
        case BadInput():
            return str(error), 2
        case PeerLost() | DiskFull():
            return str(error), 1
        case OSError() if error.errno in FULL:
            return str(no_room(Path(error.filename or "."), error)), 1
        case OSError() if error.filename is not None:
            got = f"{error.filename!r} ({reason(error)})"
            return f"Expected a file or folder that can be used, got {got}: choose another.", 2
    # Of JAX or NumPy; JAX is not imported here and has other errors of the same class.
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED: Out of memory" in str(error):
        got = reason(error)
        return f"Expected more memory, got none ({got:.200}): ask for less, or for shorter.", 1
    return None


class Outlasting:
    """A standard stream whose write errors do not end the run: output is dropped instead.

    Args:
      stream: Standard output or standard error.

    Attributes:
      error: The first write error; None if there was none.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text; drops it after an error."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the buffer; drops it after an error."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.error = self.error or error
            # The rest of the buffer would raise the error again when Python exits.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def run_to_end(load: Callable[[], Callable[[], int]]) -> NoReturn:
    """Runs the work of a process and exits.

    Args:
      load: Imports what is needed and returns the function that works and gives the exit status.
    """
    # If one of the three streams is closed, the next opened file would take its number, and get
    # what libraries print.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if not ignored:  # there is nothing to clean up; an import might swallow an exception
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
    if out.error is not None and out.error.errno == errno.EPIPE:
        status = status or PIPE_CLOSED
    elif out.error is not None:  # lost output fails a command that would else have succeeded
        if not status:
            expected = "Expected to write to standard output"
            got = f"got {reason(out.error)}: free some room or send it elsewhere"
            note(f"glassesjax: {expected}, {got}; a run folder is not affected.")
        status = status or 1
    err.flush()
    sys.exit(status)


def _outlasting(stream: Any) -> Any:  # noqa: ANN401
    """A standard stream wrapped in ``Outlasting``; the null device if there is none."""
    stream = stream or open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)
    if hasattr(stream, "reconfigure"):  # characters that its encoding lacks are escaped
        stream.reconfigure(errors="backslashreplace")
    return Outlasting(stream)


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, f"glassesjax: {STOPPED}\n".encode())
    os._exit(INTERRUPTED)
