"""What all settings refuse alike, whoever gives them, and how a word of a command is a number."""

import dataclasses
import functools
import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from glassesjax.borders import check_fields
from glassesjax.errors import BadInput

MOST = 2**31 - 1  # positions, counts and token numbers are int32
# Digits of ASCII only: ``int`` and ``float`` take those of any script, and underscores.
WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
DECIMAL = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf|nan", re.IGNORECASE
)


def check_settings(settings: Any, *, repeatable: tuple[str, ...] = ()) -> None:  # noqa: ANN401
    """Refuses what no settings of any study may have.

    A value that is not of its field's type (``check_fields``), a whole number that int32 does not
    hold, and in a list the same value twice, or none where its default has some.

    Args:
      settings: A dataclass of a study's settings.
      repeatable: Lists that may have a value twice.

    Raises:
      BadInput: One of these; the message has the name of its flag.
    """
    check_fields(settings)
    for name in (field.name for field in dataclasses.fields(settings)):
        for number in _numbers(getattr(settings, name)):
            if number > MOST and name != "seed":  # which is no count, and has a check of its own
                expected = f"Expected {flag(name)} of at most {MOST}, got {number_text(number)}"
                raise BadInput(f"{expected}: use less.")
    for name, needed in _lists(type(settings)).items():
        counts = Counter(getattr(settings, name) or ())
        if needed and not counts:
            raise BadInput(f"Expected one or more different {flag(name)}, got none: name one.")
        value, count = next(iter(counts.most_common(1)), ("", 0))
        if count > 1 and name not in repeatable:
            expected = f"Expected different {flag(name)}, got {value!r:.60} twice"
            raise BadInput(f"{expected}: leave one out.")


def check_each(checks: Iterable[tuple[bool, str, object]]) -> None:
    """Refuses the first thing that does not hold; a later check may rest on an earlier one.

    Args:
      checks: Whether it holds, what is expected, and what there is instead.

    Raises:
      BadInput: One does not hold.
    """
    for holds, expected, got in checks:
        if not holds:
            raise BadInput(f"Wanted {expected}; found {got}.")


def flag(name: str) -> str:
    """A field as the command line writes it.

    Returns:
      ``--max-tokens`` for ``max_tokens``.
    """
    return f"--{name.replace('_', '-')}"


def number_text(number: int) -> str:
    """A whole number as a message has it, however large.

    Returns:
      Its digits, or of a very large one about how many there are.
    """
    if abs(number) < 10**20:
        return str(number)
    return f"a number of some {number.bit_length() * 1233 >> 12} digits"  # log10(2) = 0.30103


def whole_number(text: str) -> int:
    """A whole number in digits of ASCII.

    Raises:
      ValueError: It is none, or longer than any number here.
    """
    if WHOLE.fullmatch(text) is None:
        raise ValueError(f"expected a whole number in the digits 0 to 9, got {text!r:.40}")
    return int(text)


def decimal_number(text: str) -> float:
    """A number in digits of ASCII.

    Returns:
      The number; infinities and NaN too, which settings refuse by themselves.

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
def _lists(kind: type) -> dict[str, bool]:
    """The fields that take any number of values, and whether they need one: their default has."""
    found = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        parts = (hints[field.name], *typing.get_args(hints[field.name]))  # itself, or of a union
        tuples = [part for part in parts if typing.get_origin(part) is tuple]
        if any(Ellipsis in typing.get_args(part) for part in tuples):
            found[field.name] = field.default not in ((), None, dataclasses.MISSING)
    return found
