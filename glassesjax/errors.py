"""The kinds of error that a command reports in one line, without a traceback."""

import functools
import reprlib
import typing
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple

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


def shown(value: object) -> str:
    """A value out of a file, for a message: one line, escaped, and short however large it is.

    Args:
      value: Of any size and depth.

    Returns:
      Its ``repr``, with dots for what is left out.
    """
    return " ".join(_SHORT.repr(value).split())


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


def check_choices(settings: object) -> None:
    """Refuses settings that take for a name what is none, whoever made them.

    The command line refuses such names by itself; from Python nothing else would.

    Args:
      settings: A dataclass; its fields of ``Literal``, of an optional one, of one or a number, or
        of a tuple of them are checked.

    Raises:
      BadInput: A value is none of its field's.
    """
    for name, field in _choices(type(settings)).items():
        value = getattr(settings, name)
        if field.several and not isinstance(value, tuple | list):
            listed = ", ".join(map(str, field.choices))
            raise BadInput(f"Expected {name} as a tuple out of {listed}, got {value!r}: give one.")
        for one in value if field.several else (value,):
            if isinstance(one, field.others) and not isinstance(one, bool):
                continue
            number = " (where it is no number)" if int in field.others else ""
            check_choice(f"{name}{number}", one, field.choices)


class _Field(NamedTuple):
    """What a field may be."""

    choices: tuple[Any, ...]
    others: tuple[type, ...]
    """Beside the choices, any value of these types."""
    several: bool


@functools.cache
def _choices(kind: type) -> dict[str, _Field]:
    """The fields of a dataclass that name something."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        several = typing.get_origin(hint) is tuple and Ellipsis in typing.get_args(hint)
        inner = typing.get_args(hint)[0] if several else hint
        union = typing.get_origin(inner) in (typing.Union, UnionType)
        parts = typing.get_args(inner) if union else (inner,)
        named = [part for part in parts if typing.get_origin(part) is Literal]
        choices = tuple(choice for part in named for choice in typing.get_args(part))
        others = tuple(part for part in parts if part is NoneType or part is int)
        if choices:
            found[name] = _Field(choices, others, several)
    return found
