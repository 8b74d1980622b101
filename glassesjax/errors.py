"""Exceptions that a command reports in one line, without a traceback."""

import reprlib
from collections.abc import Iterable

MODELS_WANTED = (
    "Expected the packages that read models, got none: pip install 'glassesjax[models]'."
)


class BadInput(ValueError):
    """Invalid input: the message has what was expected, what was given, and what to do."""


class PeerLost(RuntimeError):
    """Another process of a multi-process run ended, or did not connect in time."""


class DiskFull(RuntimeError):
    """The disk, the quota or the maximum file size is exhausted; no written data is lost."""


class Busy(BadInput):
    """Another process is writing the requested file or folder."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def brief(value: object) -> str:
    """A value from a file for an error message: one short, escaped line.

    Args:
      value: A value of any size and depth.

    Returns:
      Its ``repr``, truncated with dots.
    """
    return " ".join(_SHORT.repr(value).split())


def escaped(text: object) -> str:
    """A name from a file or another library's error for a message: one short, escaped line.

    Args:
      text: Any name or error.

    Returns:
      Its text without quotes, or its type's name if it is empty.
    """
    text = " ".join(str(text)[:300].split()) or type(text).__name__
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises ``BadInput`` for a value that is not among the choices, by type and equality."""
    listed = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in listed):
        names = ", ".join(map(str, listed))
        raise BadInput(f"Expected {name} to be one of {names}, got {value!r}: choose one of them.")
