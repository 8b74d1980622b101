"""The kinds of error that a command reports in one line, without a traceback."""

import reprlib
from collections.abc import Iterable

MODELS_WANTED = (
    "Expected the packages that read models, got none: pip install 'glassesjax[models]'."
)


class BadInput(ValueError):
    """A user's mistake: the message says what was wanted, what was found, and what to do."""


class PeerLost(RuntimeError):
    """Of several processes of one program another one ended, or did not come in time."""


class NoRoom(RuntimeError):
    """A disk is full, a quota used up or a file as large as it may be: nothing is lost by it."""


class Busy(BadInput):
    """What is wanted is there, and another process is writing it."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def brief(value: object) -> str:
    """A value out of a file, for a message: one line, escaped, and short however large it is.

    Args:
      value: Of any size and depth.

    Returns:
      Its ``repr``, with dots for what is left out.
    """
    return " ".join(_SHORT.repr(value).split())


def escaped(text: object) -> str:
    """A name out of a file or another library's error, in a message: one line, escaped and short.

    Args:
      text: Any name or error.

    Returns:
      Its text without quotes, or its kind where it has none.
    """
    text = " ".join(str(text)[:300].split()) or type(text).__name__
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuses a value that is none of some: no branch may take it for another.

    Args:
      name: What is chosen.
      value: What was given.
      choices: What there is.

    Raises:
      BadInput: The value is not among them.
    """
    listed = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in listed):
        names = ", ".join(map(str, listed))
        raise BadInput(f"Expected {name} to be one of {names}, got {value!r}: choose one of them.")
