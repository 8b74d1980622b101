"""Validation common to all settings, and parsing of numbers on the command line."""

import dataclasses
import functools
import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glassesjax.borders import Domain, check_domain, check_fields
from glassesjax.errors import BadInput

MOST = 2**31 - 1  # positions, counts and token numbers are int32
# ASCII digits only: ``int`` and ``float`` accept those of any script, and underscores.
WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
DECIMAL = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf|nan", re.IGNORECASE
)


def check_settings(settings: Any, *, repeatable: tuple[str, ...] = ()) -> None:  # noqa: ANN401
    """Raises an error for settings that are invalid in any study.

    These are values of another type than their field's (``check_fields``), integers beyond int32,
    numbers outside the ``Domain`` in their field's annotation, repeated values in a list, and an
    empty list where the default is not empty.

    Args:
      settings: A dataclass of a study's settings.
      repeatable: Lists in which a value may be repeated.

    Raises:
      BadInput: One of these; the message has the name of its flag.
    """
    check_fields(settings)
    for name in (field.name for field in dataclasses.fields(settings)):
        for number in _numbers(getattr(settings, name)):
            if number > MOST and name != "seed":  # a seed is no count and has its own check
                expected = f"Expected {flag(name)} of at most {MOST}, got {number_text(number)}"
                raise BadInput(f"{expected}: use less.")
    for name, domain in _domains(type(settings)).items():
        check_domain(flag(name), getattr(settings, name), domain)
    for name, needed in _lists(type(settings)).items():
        counts = Counter(getattr(settings, name) or ())
        if needed and not counts:
            raise BadInput(f"Expected one or more different {flag(name)}, got none: name one.")
        value, count = next(iter(counts.most_common(1)), ("", 0))
        if count > 1 and name not in repeatable:
            expected = f"Expected different {flag(name)}, got {value!r:.60} twice"
            raise BadInput(f"{expected}: leave one out.")


def check_each(checks: Iterable[tuple[bool, str, object]]) -> None:
    """Raises ``BadInput`` for the first condition that does not hold.

    Args:
      checks: Condition, text of the expected value, and the given value; a later condition may
        rely on an earlier one.
    """
    for holds, expected, got in checks:
        if not holds:
            raise BadInput(f"Expected {expected}, got {got}: choose another.")


def check_one(given: Mapping[str, object]) -> None:
    """Raises an error where two settings that replace one another are both given.

    Args:
      given: Values by flag; a false one is absent.

    Raises:
      BadInput: Two or more are given.
    """
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        got = (
            f"{' and '.join(names)}: leave {'one of the two' if len(names) == 2 else 'others'} out"
        )
        raise BadInput(f"Expected {' or '.join(given)}, got {got}.")


def flag(name: str) -> str:
    """The command line flag of a field.

    Returns:
      ``--max-tokens`` for ``max_tokens``.
    """
    return f"--{name.replace('_', '-')}"


def number_text(number: int) -> str:
    """An integer of any size as text for a message.

    Returns:
      Its digits, or their approximate number for a very large one.
    """
    if abs(number) < 10**20:
        return str(number)
    return f"a number of some {number.bit_length() * 1233 >> 12} digits"  # log10(2) = 0.30103


def whole_number(text: str) -> int:
    """Parses an integer in ASCII digits.

    Raises:
      ValueError: It is none, or longer than any number here.
    """
    if WHOLE.fullmatch(text) is None:
        raise ValueError(f"expected a whole number in the digits 0 to 9, got {text!r:.40}")
    return int(text)


def decimal_number(text: str) -> float:
    """Parses a number in ASCII digits.

    Returns:
      The number; infinities and NaN too, which ``check_fields`` rejects.

    Raises:
      ValueError: It is none.
    """
    if DECIMAL.fullmatch(text) is None:
        raise ValueError(f"expected a number in the digits 0 to 9, got {text!r:.40}")
    return float(text)


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _numbers(one)


@functools.cache
def _domains(kind: type) -> dict[str, Domain]:
    """The intervals that annotations of fields name."""
    return {
        name: part
        for name, hint in typing.get_type_hints(kind, include_extras=True).items()
        if typing.get_origin(hint) is typing.Annotated
        for part in typing.get_args(hint)
        if isinstance(part, Domain)
    }


@functools.cache
def _lists(kind: type) -> dict[str, bool]:
    """Fields of variable-length tuples, and whether they need a value: their default has one."""
    lists = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        parts = (hints[field.name], *typing.get_args(hints[field.name]))  # itself, or of a union
        tuples = [part for part in parts if typing.get_origin(part) is tuple]
        if any(Ellipsis in typing.get_args(part) for part in tuples):
            lists[field.name] = field.default not in ((), None, dataclasses.MISSING)
    return lists
