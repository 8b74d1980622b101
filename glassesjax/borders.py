"""What a public function or a setting takes: its annotations, checked where a user's values enter.

Types and shapes are known also of arrays that are being traced, and are always checked. Domains are
checked of values that are there: a traced value has none yet, and NaN in an array goes through, for
it comes out again.
"""

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from jaxtyping import jaxtyped

from glassesjax.annotations import taken
from glassesjax.arrays import epsilon, is_kind, traced_errors
from glassesjax.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")


class Domain(NamedTuple):
    """An interval that numbers must lie in."""

    low: float = -math.inf
    high: float = math.inf
    over: bool = False
    """Whether the low end is left out."""

    def __str__(self) -> str:
        """As it stands in a message."""
        least, most = f"{'over' if self.over else 'at least'} {self.low:g}", f"{self.high:g}"
        if self.high == math.inf:
            return least
        return f"{least} and at most {most}" if self.over else f"from {self.low:g} to {most}"

    def first_outside(self, values: np.ndarray) -> Any:  # noqa: ANN401  (a number of any type)
        """The first value that lies outside, by more than rounding explains.

        Args:
          values: Numbers; NaN lies nowhere. Floats may lie outside by ``slack``; integers and
            fractions are exact, and so is an end that is left out.

        Returns:
          The number, or None.
        """
        near = slack(values.dtype)
        low = values <= self.low if self.over else values < self.low - near
        outside = values[low | (values > self.high + near)]
        return outside.flat[0] if outside.size else None


def slack(dtype: np.dtype) -> float:
    """What a computed number may miss an end of its domain by.

    Shares are made by a softmax or a quotient, and entropies by sums of them: each of a few
    operations on numbers of size one adds a unit roundoff, half of the spacing at one.

    Args:
      dtype: Of the numbers.

    Returns:
      Eight unit roundoffs of a type of floats; 0 of others.
    """
    return 4 * epsilon(dtype) if is_kind(dtype, np.floating) else 0.0


COUNT = Domain(low=1)
NON_NEGATIVE = Domain(low=0)
POSITIVE = Domain(low=0, over=True)
SHARE = Domain(0, 1)
POSITIVE_SHARE = Domain(0, 1, over=True)


def border(**domains: Domain) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for public functions: arguments are what the signature says, or are refused.

    Nested lists, numbers and arrays of NumPy become arrays of JAX where such are wanted; text
    becomes a path. All else passes as it came. What runs once a token is not decorated.

    Args:
      **domains: In which interval an argument lies, by its name.

    Returns:
      The decorator. The function then raises ``BadInput``, which is a ``ValueError``, where an
      argument is not of its type or shape, a number is NaN, or a value lies outside its domain.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        hints = {one.name: one.annotation for one in parameters if one.kind not in many}

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given, axes = bound.arguments, {}
            came = dict(given)
            with jaxtyped("context"):  # axes of one name have one length
                for name in (name for name in hints if name in given):
                    given[name] = taken(name, given[name], hints[name], axes)
            for name, domain in domains.items():
                if name in given:
                    # As it came, an array says how exactly its numbers were computed.
                    typed = hasattr(came[name], "dtype")
                    check_domain(name, came[name] if typed else given[name], domain)
            try:
                return function(*bound.args, **bound.kwargs)
            except OverflowError as error:  # whole numbers of Python have no end, others have
                expected = f"Expected numbers that {function.__name__} can compute with"
                raise BadInput(f"{expected}, got larger ones ({error}): use smaller.") from error

        return checked

    return decorate


def check_fields(settings: object, of: str = "", /, **domains: Domain) -> None:
    """Refuses settings that are not of their fields' types, whoever made them.

    The command line refuses such values by itself; from Python nothing else would. Numbers of NumPy
    become Python's, and lists tuples, so that settings stay hashable and can be written as JSON.

    Args:
      settings: A dataclass, also a frozen one.
      of: What the fields are named after in a message, if not by themselves.
      **domains: In which interval a field lies, by its name; where it is not None.

    Raises:
      BadInput: A value is not of its field's type or outside its domain, or a number not finite.
    """
    for name, hint in _field_hints(type(settings)).items():
        value, full = getattr(settings, name), f"{of}.{name}" if of else name
        new = taken(full, value, hint)
        for one in new if isinstance(new, tuple) else (new,):
            if isinstance(one, float) and not math.isfinite(one):
                raise BadInput(f"Expected {full} to be finite, got {value!r}: choose another.")
        if name in domains and not isinstance(new, str):
            check_domain(full, new, domains[name])
        if new is not value:
            object.__setattr__(settings, name, new)


def check_domain(name: str, value: Any, domain: Domain) -> None:  # noqa: ANN401
    """Refuses numbers outside an interval, where they have values.

    Args:
      name: Of the argument.
      value: A number, an array or a sequence of numbers.
      domain: The interval.

    Raises:
      BadInput: A number lies outside.
    """
    if value is None:
        return
    try:
        values = np.asarray(value)
    except traced_errors():
        return
    if (found := domain.first_outside(np.atleast_1d(values))) is not None:
        raise BadInput(f"Expected {name} {domain}, got {found}: choose another.")


def require(holds: bool, wanted: str, found: object, todo: str = "choose another") -> None:
    """Refuses what no type says.

    Args:
      holds: Whether all is well.
      wanted: What is expected.
      found: What came.
      todo: What to do about it.

    Raises:
      BadInput: It does not hold.
    """
    if not holds:
        raise BadInput(f"Expected {wanted}, got {found}: {todo}.")


@functools.cache
def _field_hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(typing.cast("Any", kind))}
