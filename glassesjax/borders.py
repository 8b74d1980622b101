"""Validation of arguments and settings: types, shapes and domains, where a user's values enter.

Types and shapes are always checked, also of traced arrays. Domains are checked of concrete values
only; NaN in an array is accepted, since it propagates to the result.
"""

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from typing import Any, NamedTuple, ParamSpec, TypeVar

from glassesjax.annotations import names_arrays, taken
from glassesjax.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")


class Domain(NamedTuple):
    """An interval that numbers must lie in."""

    low: float = -math.inf
    high: float = math.inf
    over: bool = False
    """Whether the low end is excluded."""

    def __str__(self) -> str:
        """Text for an error message."""
        least, most = f"{'over' if self.over else 'at least'} {self.low:g}", f"{self.high:g}"
        if self.high == math.inf:
            return least
        return f"{least} and at most {most}" if self.over else f"from {self.low:g} to {most}"

    def leaves_out(self, values: Any, near: float) -> Any:  # noqa: ANN401
        """Whether numbers lie outside the interval by more than a rounding tolerance.

        Args:
          values: A number, or an array of them; False for NaN.
          near: Tolerance of floats; 0 for integers and fractions. An excluded end has none.

        Returns:
          A truth value, or one for each number.
        """
        low = values <= self.low if self.over else values < self.low - near
        return low | (values > self.high + near)


COUNT = Domain(low=1)
NON_NEGATIVE = Domain(low=0)
POSITIVE = Domain(low=0, over=True)
SHARE = Domain(0, 1)
POSITIVE_SHARE = Domain(0, 1, over=True)
SLACK = 2.0**-50  # ``conversions.slack`` of Python's floats


def border(**domains: Domain) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for public functions that validates arguments against the signature.

    Nested lists, numbers and NumPy arrays are converted to JAX arrays where the annotation is one,
    text to a path; other values pass unchanged. Functions called once a token are not decorated.

    Args:
      **domains: Interval of an argument, by its name.

    Returns:
      The decorator. The function then raises ``BadInput``, which is a ``ValueError``, where an
      argument is not of its type or shape, a number is NaN, or a value lies outside its domain.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        hints = {one.name: one.annotation for one in parameters if one.kind not in many}
        has_axes = functools.cache(lambda: any(map(names_arrays, hints.values())))

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given, axes = bound.arguments, {}
            came = dict(given)
            # Axes of one name have one length in all arguments of a call.
            context = nullcontext()
            if has_axes():
                from jaxtyping import jaxtyped

                context = jaxtyped("context")
            with context:
                for name in (name for name in hints if name in given):
                    given[name] = taken(name, given[name], hints[name], axes)
            for name, domain in domains.items():
                if name in given:
                    # The unconverted array has the dtype in which its numbers were computed.
                    typed = hasattr(came[name], "dtype")
                    check_domain(name, came[name] if typed else given[name], domain)
            try:
                return function(*bound.args, **bound.kwargs)
            except OverflowError as error:  # Python's integers are unbounded, others are not
                expected = f"Expected numbers that {function.__name__} can compute with"
                raise BadInput(f"{expected}, got larger ones ({error}): use smaller.") from error

        return checked

    return decorate


def check_fields(settings: object, of: str = "", /, **domains: Domain) -> None:
    """Validates settings against their fields' types and converts them in place.

    The command line does this itself; settings made in Python need it. NumPy numbers become Python
    numbers, and lists tuples, so that settings are hashable and can be written as JSON.

    Args:
      settings: A dataclass, also a frozen one.
      of: Prefix of the fields' names in a message.
      **domains: Interval of a field, by its name; None is accepted.

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
    """Raises an error for concrete numbers outside an interval.

    Args:
      name: Name of the argument.
      value: A number, an array or a sequence of numbers.
      domain: The interval.

    Raises:
      BadInput: A number lies outside.
    """
    if value is None:
        return
    plain = value if isinstance(value, tuple | list) else (value,)
    if all(isinstance(one, int | float | Fraction) for one in plain):
        near = SLACK if any(isinstance(one, float) for one in plain) else 0.0
        outside = [one for one in plain if domain.leaves_out(one, near)]
    else:
        from glassesjax.conversions import numbers_of, slack

        values = numbers_of(value)
        outside = [] if values is None else values[domain.leaves_out(values, slack(values.dtype))]
    if len(outside):
        raise BadInput(f"Expected {name} {domain}, got {outside[0]}: choose another.")


def require(holds: bool, expected: str, got: object, todo: str = "choose another") -> None:
    """Raises ``BadInput`` with "Expected ..., got ...: todo." unless a condition holds."""
    if not holds:
        raise BadInput(f"Expected {expected}, got {got}: {todo}.")


@functools.cache
def _field_hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(typing.cast("Any", kind))}
