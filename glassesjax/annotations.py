"""A value as an annotation has it: arrays by axes and kind of number, settings by their types."""

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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray

from glassesjax.errors import BadInput, check_choice


# Checks of types that tests put around functions would each forget the axes of earlier arrays.
@no_type_check
def taken(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401
    """A value as a type has it.

    Args:
      name: Of the argument or the field.
      value: What came.
      hint: Its annotation; one that this module does not know takes anything.

    Returns:
      The value, or what stands for it (see ``border``).

    Raises:
      BadInput: It is nothing of that type.
    """
    members = _members(hint)
    arrays = [member for member in members if _is_array(member)]
    if any(isinstance(value, member) for member in arrays):
        return value
    for member in sorted(members, key=_is_array):  # a number that may be one is not made an array
        if (new := _read(value, member)) is not _UNFIT:
            if isinstance(new, float) and math.isnan(new):
                break  # in an array or a sequence NaN is data, alone it is a mistake
            return new
    lists = [member for member in members if typing.get_origin(member) is tuple]
    choices = [one for member in members for one in _choices(member)]
    if choices and (isinstance(value, str) or not lists or not set(members) - set(lists)):
        _check_named(name, value, members, choices)
    classes = [member.__name__ for member in members if _is_record(member)]
    named = [f"one of {', '.join(classes)}"] if len(classes) > 1 else []
    others = [_described(one) for one in members if not named or not _is_record(one)]
    wanted = " or ".join(dict.fromkeys([*named, *others]))
    raise BadInput(f"Expected {name} to be {wanted}, got {_shown(value)}: give one.")


def _check_named(name: str, value: Any, members: Sequence[Any], choices: Sequence[Any]) -> None:  # noqa: ANN401
    """Says which of some names are wanted, where the value is none of them."""
    if not any(_choices(member) for member in members if typing.get_origin(member) is tuple):
        number = " (where it is no number)" if int in members else ""
        check_choice(f"{name}{number}", value, choices)
    elif isinstance(value, tuple | list):
        for one in value:
            check_choice(name, one, choices)
    else:
        listed = ", ".join(map(str, choices))
        raise BadInput(f"Expected {name} as a tuple out of {listed}, got {value!r}: give one.")


_UNFIT: Any = object()


@functools.cache
def _members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The members of a union, or the one type."""
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return typing.get_args(hint) if union else (hint,)


def _is_array(hint: Any) -> bool:  # noqa: ANN401
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _is_record(hint: Any) -> bool:  # noqa: ANN401
    """Whether this is a class of our own or another library, and no number, text or array."""
    known = hint in _NAMES or hint is NoneType or _is_array(hint)
    return isinstance(hint, type) and not known


def _choices(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """What a literal may be, also one inside a tuple."""
    if typing.get_origin(hint) is tuple:
        return _choices(typing.get_args(hint)[0])
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


@no_type_check
def _read(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """The value as one type has it, or ``_UNFIT``."""
    origin = typing.get_origin(hint)
    if _is_array(hint):
        return _array(value, hint)
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
    if isinstance(value, np.integer):
        return int(value)
    fits = isinstance(value, int) and not isinstance(value, bool)
    return value if fits or _is_scalar(value, jnp.integer) else _UNFIT


def _real(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, np.floating | np.integer):
        value = float(value)
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return value if fits or _is_scalar(value, jnp.number) else _UNFIT


def _fraction(value: Any) -> Any:  # noqa: ANN401
    real = _real(value)
    if isinstance(real, numbers.Real) and not isinstance(real, numbers.Rational):
        return Fraction(float(real)) if math.isfinite(real) else _UNFIT
    return real if isinstance(real, numbers.Rational) else _UNFIT


def _truth(value: Any) -> Any:  # noqa: ANN401
    return bool(value) if isinstance(value, bool | np.bool_) else _UNFIT


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


def _is_scalar(value: Any, kind: Any) -> bool:  # noqa: ANN401
    """Whether this is an array of one number, perhaps one that is being traced."""
    return isinstance(value, jax.Array) and not value.ndim and jnp.issubdtype(value.dtype, kind)


def _several(value: Any, hint: Any, origin: Any) -> Any:  # noqa: ANN401
    """A tuple or sequence of one type; elements that are themselves sequences are not opened."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = value.tolist()
    kinds = typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return _UNFIT
        kinds = kinds[:1] * len(value) if Ellipsis in kinds else kinds
        if len(kinds) != len(value):
            return _UNFIT
        read = tuple(_read_any(one, kind) for one, kind in zip(value, kinds, strict=True))
        same = isinstance(value, tuple) and all(map(lambda a, b: a is b, read, value))
        new = value if same else read
        return _UNFIT if any(one is _UNFIT for one in read) else new
    if not isinstance(value, Sequence if origin is Sequence else Collection | Sequence):
        return _UNFIT
    if isinstance(value, str | bytes):
        return value if isinstance(value, str) and kinds[0] is str else _UNFIT
    if isinstance(value, range) or not all(_fits(one, kinds[0]) for one in value):
        return value if isinstance(value, range) else _UNFIT
    return value


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Whether an element may be of a type; sequences and arrays in a sequence are not opened."""
    if any(typing.get_origin(one) in (tuple, Sequence) for one in _members(hint)):
        several = isinstance(value, Sequence | np.ndarray | jax.Array)
        return several and not isinstance(value, str | bytes)
    return _read_any(value, hint) is not _UNFIT


def _read_any(value: Any, hint: Any) -> Any:  # noqa: ANN401
    return next((new for one in _members(hint) if (new := _read(value, one)) is not _UNFIT), _UNFIT)


@no_type_check
def _array(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """An array of JAX or of NumPy, of the axes and the kind of number that the type names."""
    if isinstance(value, hint):
        return value
    if hint.array_type is np.ndarray or not issubclass(hint.array_type, jax.Array):
        return _UNFIT
    if not isinstance(value, numbers.Number | np.ndarray | np.generic | list | tuple):
        return _UNFIT
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, jax.errors.JAXTypeError):
        return _UNFIT
    plain = not isinstance(value, np.ndarray | np.generic)
    if found.dtype.kind not in "iufb" and not jnp.issubdtype(found.dtype, jnp.floating):
        return _UNFIT
    if not found.size and plain:
        found = found.astype(np.int32 if "int32" in hint.dtypes else np.float64)
    if found.dtype.kind in "iu" and plain and _has_truth(value):
        return _UNFIT
    if (
        plain
        and found.dtype.kind in "iu"
        and "float32" in hint.dtypes
        and "int32" not in hint.dtypes
    ):
        found = found.astype(np.float64)  # of numbers without a type, whole ones are numbers too
    new = jnp.asarray(found)
    if found.dtype.kind in "iu" and not np.array_equal(np.asarray(new), found):
        return _UNFIT  # 64-bit integers would wrap
    if isinstance(new, hint):
        return new
    # A number stands for an array of any shape.
    spread = not new.ndim and hint.dim_str.startswith("*") and " " not in hint.dim_str
    return new if spread and str(new.dtype) in hint.dtypes else _UNFIT


def _has_truth(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return any(map(_has_truth, value))
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == np.bool_


_NAMES: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "truth value",
    str: "text",
    Fraction: "fraction",
    Path: "path",
}


def _described(hint: Any, *, many: bool = False) -> str:  # noqa: ANN401
    """What a type is called in a message, as one or as many."""
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
    """What came, on one line."""
    if isinstance(value, jax.Array | np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:56]} ..."
