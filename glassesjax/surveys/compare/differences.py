"""Differences between two nested values, by path."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MISSING = object()
"""Stands where one of the two has no such value."""


class Difference(NamedTuple):
    """A path at which two values differ."""

    path: str
    """Names and places from the outside in, joined by dots."""
    first: Any
    second: Any


def differences(first: Any, second: Any, path: str = "") -> Iterator[Difference]:  # noqa: ANN401
    """The differences of two nested mappings, sequences and plain values.

    Yields:
      Each innermost difference, in the order of the first; NaN equals NaN.
    """
    match first, second:
        case Mapping(), Mapping():
            for name in [*first, *(name for name in second if name not in first)]:
                ends = first.get(name, MISSING), second.get(name, MISSING)
                yield from differences(*ends, _within(path, name))
        case (list() | tuple(), list() | tuple()):
            pairs = itertools.zip_longest(first, second, fillvalue=MISSING)
            for index, pair in enumerate(pairs):
                yield from differences(*pair, _within(path, index))
        case _:
            if isinstance(first, float) and isinstance(second, float):
                # NaN is not equal to itself, and no difference here.
                same = first == second or (math.isnan(first) and math.isnan(second))
            else:
                same = type(first) is type(second) and first == second
            if not same:
                yield Difference(path, first, second)


def _within(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
