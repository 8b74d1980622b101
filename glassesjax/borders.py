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
from contextlib import AbstractContextManager, nullcontext
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
    """Whether the low end is left out."""

    def __str__(self) -> str:
        """As it stands in a message."""
        least, most = f"{'over' if self.over else 'at least'} {self.low:g}", f"{self.high:g}"
        if self.high == math.inf:
            return least
        return f"{least} and at most {most}" if self.over else f"from {self.low:g} to {most}"

    def leaves_out(self, values: Any, near: float) -> Any:  # noqa: ANN401
        """Whether numbers lie outside, by more than rounding explains.

        Args:
          values: A number, or an array of them; NaN lies nowhere.
          near: What floats may lie outside by; integers and fractions are exact, and so is an end
            that is left out.

        Returns:
          A truth value, or one for each.
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
        has_axes = functools.cache(lambda: any(map(names_arrays, hints.values())))

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given, axes = bound.arguments, {}
            came = dict(given)
            with _axes() if has_axes() else nullcontext():
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


def _axes() -> AbstractContextManager[None]:
    """Within it axes of one name have one length."""
    from jaxtyping import jaxtyped

    return jaxtyped("context")


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
