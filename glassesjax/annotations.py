"""Validates and converts values by annotations: arrays by axes and dtype, settings by type."""

import functools
import inspect
import math
import numbers
import os
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, no_type_check

from glassesjax.arrays import Array, NumPyArray, NumPyNumber, resolved
from glassesjax.errors import BadInput, check_choice

Axes = dict[str, Any]
"""Axis lengths by axis name; a name with a star has several."""


# no_type_check: the run-time checks of tests would not share the axes of earlier arrays.
@no_type_check
def taken(name: str, value: Any, hint: Any, axes: Axes | None = None) -> Any:  # noqa: ANN401
    """Validates a value against an annotation and converts it if needed.

    Args:
      name: Name of the argument or the field.
      value: The given value.
      hint: Its annotation; one that this module does not know accepts any value.
      axes: Axis lengths of earlier arguments, for the message; those of this one are added.

    Returns:
      The value, converted as described in ``border``.

    Raises:
      BadInput: The value does not fit the annotation.
    """

    def order(hint: Any) -> int:  # noqa: ANN401
        # For an array its own library first, so that nothing is copied; else scalar types.
        if not _is_array(hint):
            return 2
        several = isinstance(value, NumPyArray | Array)
        return 0 if isinstance(value, hint.array_type) else 1 if several else 3

    members, axes = _members(hint), {} if axes is None else axes
    for member in sorted(members, key=order):
        if (new := _read(value, member)) is not _UNFIT:
            if isinstance(new, float) and math.isnan(new):
                break  # in an array or a sequence NaN is data, as a single number it is an error
            if _is_array(member):
                axes.update(_lengths(new, member))
            return new
    lists = [member for member in members if typing.get_origin(member) is tuple]
    choices = [one for member in members for one in _choices(member)]
    if choices and (isinstance(value, str) or not lists or not set(members) - set(lists)):
        if not any(_choices(one) for one in lists):
            number = " (where it is no number)" if int in members else ""
            check_choice(f"{name}{number}", value, choices)
        elif isinstance(value, tuple | list):
            for one in value:
                check_choice(name, one, choices)
        else:
            listed = ", ".join(map(str, choices))
            raise BadInput(f"Expected {name} as a tuple out of {listed}, got {value!r}: give one.")
    # Classes other than numbers, texts, paths and arrays: several are named together.
    plain = lambda one: one in _NAMES or one is NoneType or _is_array(one)
    records = [one for one in members if isinstance(one, type) and not plain(one)]
    records = records if len(records) > 1 else []
    named = [f"one of {', '.join(one.__name__ for one in records)}"] if records else []
    others = [_described(one) + _bound(one, axes) for one in members if one not in records]
    expected = " or ".join(dict.fromkeys([*named, *others]))
    raise BadInput(f"Expected {name} to be {expected}, got {_shown(value)}: give one.")


def _lengths(value: Any, hint: Any) -> Axes:  # noqa: ANN401
    """The axes that an annotation names, and their lengths in an array."""
    names, shape = hint.dim_str.split(), value.shape
    star = next((at for at, name in enumerate(names) if name.startswith(("*", "..."))), None)
    if star is not None:
        end = star + len(shape) - len(names) + 1
        if end < star or not shape:
            return {}
        shape = (*shape[:star], shape[star:end], *shape[end:])
    axes = zip(names, shape, strict=True)
    return {name: length for name, length in axes if name.strip("*").isidentifier()}


def _bound(hint: Any, axes: Axes) -> str:  # noqa: ANN401
    """Text of the axis lengths that earlier arguments fix."""
    names = hint.dim_str.split() if _is_array(hint) else []
    once = dict.fromkeys(names)
    known = [f"{name} = {axes[name]}" for name in once if axes.get(name, ()) != ()]
    return f" where {' and '.join(known)}" if known else ""


_UNFIT: Any = object()


@functools.cache
def _members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The members of a union, or the one type."""
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return tuple(map(resolved, typing.get_args(hint) if union else (hint,)))


def names_arrays(hint: Any) -> bool:  # noqa: ANN401
    """Whether a type is or contains a type of arrays with axes."""
    several = lambda one: typing.get_origin(one) in (tuple, Sequence, Collection)
    inner = lambda one: any(map(names_arrays, typing.get_args(one))) if several(one) else False
    return any(_is_array(one) or inner(one) for one in _members(hint))


def _is_array(hint: Any) -> bool:  # noqa: ANN401
    return isinstance(hint, type) and hasattr(hint, "dim_str")  # of jaxtyping, which is imported


def _choices(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The values of a ``Literal``, also of one inside a tuple."""
    if typing.get_origin(hint) is tuple:
        return _choices(typing.get_args(hint)[0])
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


@no_type_check
def _read(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """The value converted to one type, or ``_UNFIT``."""
    origin = typing.get_origin(hint)
    if _is_array(hint):
        from glassesjax.conversions import array_of

        new = array_of(value, hint)
        return _UNFIT if new is None else new
    if origin is Literal:
        same = lambda choice: type(value) is type(choice) and value == choice
        return value if any(map(same, typing.get_args(hint))) else _UNFIT
    if origin is tuple or origin in (Sequence, Collection):
        return _several(value, hint, origin)
    if hint in _SCALARS:
        return _SCALARS[hint](value)
    kind = origin or hint
    if kind is Callable or origin is Callable:
        return value if callable(value) else _UNFIT
    if kind in _ANYTHING or not isinstance(kind, type) or typing.is_typeddict(kind):
        return value
    return value if isinstance(value, kind) else _UNFIT


_ANYTHING = (inspect.Parameter.empty, Any, type, object, Iterator, Mapping)


def _whole(value: Any) -> Any:  # noqa: ANN401
    value = _number(value)
    fits = isinstance(value, int) and not isinstance(value, bool)
    return value if fits or _is_traced(value, "integer") else _UNFIT


def _real(value: Any) -> Any:  # noqa: ANN401
    number = _number(value)
    value = number if number is value or isinstance(number, bool) else float(number)
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    traced = _is_traced(value, "floating") or _is_traced(value, "integer")
    return value if fits or traced else _UNFIT


def _fraction(value: Any) -> Any:  # noqa: ANN401
    real = _real(value)
    if isinstance(real, numbers.Real) and not isinstance(real, numbers.Rational):
        return Fraction(float(real)) if math.isfinite(real) else _UNFIT
    return real if isinstance(real, numbers.Rational) else _UNFIT


def _truth(value: Any) -> Any:  # noqa: ANN401
    value = _number(value)
    return value if isinstance(value, bool) else _UNFIT


def _number(value: Any) -> Any:  # noqa: ANN401
    """A NumPy scalar or array of rank 0 as a Python number, also of a narrow dtype."""
    if isinstance(value, NumPyArray | NumPyNumber) and not value.ndim:
        from glassesjax.conversions import plain_number

        return plain_number(value)
    return value


def _path(value: Any) -> Any:  # noqa: ANN401
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    return Path(text) if isinstance(text, str) else _UNFIT


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    int: _whole,
    float: _real,
    bool: _truth,
    Fraction: _fraction,
    Path: _path,
    None: lambda value: value if value is None else _UNFIT,
    NoneType: lambda value: value if value is None else _UNFIT,
}


def _is_traced(value: Any, kind: str) -> bool:  # noqa: ANN401
    """Whether this is a JAX array of rank 0, traced or not, of a kind of number."""
    if not isinstance(value, Array):
        return False
    import numpy as np

    from glassesjax.conversions import is_scalar

    return is_scalar(value, getattr(np, kind))


def _several(value: Any, hint: Any, origin: Any) -> Any:  # noqa: ANN401
    """A tuple or sequence of one type; elements that are themselves sequences are not checked."""
    kinds = typing.get_args(hint)
    if isinstance(value, NumPyArray | Array) and value.ndim:
        from glassesjax.conversions import opened

        value = opened(value, rows=any(map(_is_array, _members(kinds[0]))))
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return _UNFIT
        kinds = kinds[:1] * len(value) if Ellipsis in kinds else kinds
        return _each(value, kinds) if len(kinds) == len(value) else _UNFIT
    if not isinstance(value, Sequence if origin is Sequence else Collection | Sequence):
        return _UNFIT
    if isinstance(value, str | bytes):
        return value if isinstance(value, str) and kinds[0] is str else _UNFIT
    if isinstance(value, range):
        return value
    if any(map(_is_array, _members(kinds[0]))):
        return _each(value, kinds * len(value))
    return value if all(_fits(one, kinds[0]) for one in value) else _UNFIT


def _each(value: Any, kinds: Sequence[Any]) -> Any:  # noqa: ANN401
    """A tuple of the converted elements; the same object if it is a tuple and none changed."""
    read = tuple(_read_any(one, kind) for one, kind in zip(value, kinds, strict=True))
    if any(one is _UNFIT for one in read):
        return _UNFIT
    same = isinstance(value, tuple) and all(map(lambda a, b: a is b, read, value))
    return value if same else read


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Whether an element may be of a type; elements of sequences and arrays are not checked."""
    if any(typing.get_origin(one) in (tuple, Sequence) for one in _members(hint)):
        several = isinstance(value, Sequence | NumPyArray | Array)
        return several and not isinstance(value, str | bytes)
    return _read_any(value, hint) is not _UNFIT


def _read_any(value: Any, hint: Any) -> Any:  # noqa: ANN401
    return next((new for one in _members(hint) if (new := _read(value, one)) is not _UNFIT), _UNFIT)


_NAMES: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "truth value",
    str: "text",
    Fraction: "fraction",
    Path: "path",
}


def _described(hint: Any, *, many: bool = False) -> str:  # noqa: ANN401
    """Name of a type in a message, singular or plural."""
    counted = lambda word: f"{word}s" if many else word if word == "text" else f"a {word}"
    if _is_array(hint):
        kind = {"Num": "number"}.get(hint.dtype.__name__, hint.dtype.__name__.lower())
        axes = f"{kind}s with axes ({', '.join(hint.dim_str.split())})"
        return f"{'arrays' if many else 'an array'} of {axes if hint.dim_str else f'one {kind}'}"
    if choices := _choices(hint):
        return f"one of {', '.join(map(str, choices))}"
    if typing.get_origin(hint) in (tuple, Sequence, Collection):
        inner = [_described(one, many=True) for one in _members(typing.get_args(hint)[0])]
        return f"{counted('sequence')} of {' or '.join(dict.fromkeys(inner))}"
    if hint in (None, NoneType):
        return "None"
    kind = typing.get_origin(hint) or hint
    if kind is Callable:
        return counted("function")
    return counted(_NAMES.get(hint, getattr(kind, "__name__", str(kind))))


def _shown(value: Any) -> str:  # noqa: ANN401
    """The value as one line of text."""
    if isinstance(value, Array | NumPyArray):
        return f"{value.dtype} of shape {value.shape}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:56]} ..."
