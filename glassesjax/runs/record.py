"""Rows as frozen dataclasses: writing, reading, validation and documentation.

On disk a row is one flat JSON object. A field that does not apply is left out; null is only a
number that is not finite. A group of fields is a nested dataclass, the type of one field, and is
flattened into the row, all of its fields or none. Where a kind has one group under several fields,
these are annotated with ``PREFIXED``. An array by token or step is in ``arrays.npz``, under the
name in the row.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from glassesjax.errors import BadInput

RecordT = TypeVar("RecordT")

PREFIXED = "prefixed"
"""In ``Annotated``: the row's names of the group are prefixed with the field's, as ``fit_low``."""


class Column(NamedTuple):
    """A field of a kind of row, for documentation and tables."""

    name: str
    type: str
    """JSON type, or the values of an enumeration."""
    optional: bool
    """Whether it is left out where it does not apply."""
    doc: str
    """Meaning, unit, range, and meaning of null."""
    stored: bool = False
    """Whether it names an array."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """The array that a field names, whose type is ``Annotated[str, Stored(...)]``."""

    dtypes: tuple[str, ...]
    """NumPy names of the allowed dtypes."""
    axes: tuple[str, ...]
    """The fields of the same class with the length of each axis."""


class Member(NamedTuple):
    """An array that a row names."""

    name: str
    dtypes: tuple[str, ...]
    shape: tuple[int, ...]


class _Field(NamedTuple):
    name: str
    optional: bool
    group: type | None
    """The nested dataclass whose fields are flattened into the row."""
    prefix: str
    """Prefix of the names of the group's fields."""
    type: str
    check: Callable[[Any], Any]
    """Converts to the Python value; ValueError for another type or value."""
    stored: Stored | None = None
    """Declaration of the array that the field names."""


def to_row(record: Any) -> dict[str, Any]:  # noqa: ANN401  (a dataclass)
    """The row of a record, as it is written.

    Args:
      record: A frozen dataclass: its class is the kind of row.

    Returns:
      Values by name, without the fields that do not apply.

    Raises:
      TypeError: A value differs from its annotation in type: a bug of the study.
    """
    row: dict[str, Any] = {}
    for field in _fields(type(record)):
        value = getattr(record, field.name)
        if value is None and field.optional:
            continue
        if field.group:
            row |= {f"{field.prefix}{name}": each for name, each in to_row(value).items()}
            continue
        try:
            if value is None:
                raise ValueError("null is for a number that is not finite")
            row[field.name] = field.check(value)
        except ValueError as error:
            expected = f"Expected {field.type} as {field.name} of {type(record).__name__}"
            raise TypeError(f"{expected}, got {value!r:.60}.") from error
    return row


def from_row(
    kind: type[RecordT], row: Mapping[str, Any], where: str = "a row", prefix: str = ""
) -> RecordT:
    """The record of a row.

    Args:
      kind: Its class.
      row: Values by name; names that the class does not have are ignored.
      where: Line and file of the row, for messages.
      prefix: Prefix of each of these names in the row.

    Returns:
      The record. A number that is null is NaN.

    Raises:
      BadInput: A field is missing, or its value does not fit its annotation.
    """
    values: dict[str, Any] = {}
    for field in _fields(kind):
        if field.group:
            before = f"{prefix}{field.prefix}"
            there = any(f"{before}{name}" in row for name in names(field.group))
            whole = there or not field.optional
            values[field.name] = from_row(field.group, row, where, before) if whole else None
        elif (name := f"{prefix}{field.name}") in row:
            try:
                values[field.name] = field.check(row[name])
            except ValueError as error:
                got = f"{row[name]!r:.60}: restore it, or choose another --out"
                expected = f"Expected {field.type} as {name} in {where}"
                raise BadInput(f"{expected}, got {got}.") from error
        elif field.optional:
            values[field.name] = None
        else:
            got = "a row without it: restore it, or choose another --out"
            raise BadInput(f"Expected {name} in {where}, got {got}.")
    try:
        return kind(**values)
    except ValueError as error:
        got = "a row with something else: restore it, or choose another --out"
        raise BadInput(f"Expected {error} in {where}, got {got}.") from error


def read_as(
    kinds: Iterable[type[RecordT]], row: Mapping[str, Any], where: str = "a row"
) -> RecordT:
    """The record of a row that is one of several kinds.

    Args:
      kinds: Classes whose field ``kind`` is an enumeration of one value each, or a single class.
      row: Values by name.
      where: Line and file of the row, for messages.

    Raises:
      BadInput: The row is of none of these kinds, or does not fit its kind.
    """
    known = list(kinds)
    if len(known) == 1:
        return from_row(known[0], row, where)
    by_name = {kind_name(kind): kind for kind in known}
    if row.get("kind") not in by_name:
        got = f"{row.get('kind')!r:.40}: restore it, or choose another --out"
        raise BadInput(f"Expected {' or '.join(by_name)} as kind in {where}, got {got}.")
    return from_row(by_name[row["kind"]], row, where)


def members(record: Any) -> Iterator[Member]:  # noqa: ANN401  (a dataclass)
    """The arrays that a record names.

    Yields:
      Name, dtypes and shape of each; none for a field that does not apply.
    """
    for field in _fields(type(record)):
        value = getattr(record, field.name)
        if value is None:
            continue
        if field.group:
            yield from members(value)
        elif field.stored:
            shape = tuple(getattr(record, axis) for axis in field.stored.axes)
            yield Member(value, field.stored.dtypes, shape)


def kind_name(kind: type) -> str:
    """The value of the field ``kind`` in rows of a kind.

    Returns:
      The one value of that enumeration; empty of a class without it.
    """
    hint = typing.get_type_hints(kind).get("kind")
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Literal else ""


def names(kind: type) -> list[str]:
    """The names of a kind's fields as a row has them, in order."""
    every: list[str] = []
    for field in _fields(kind):
        group = [f"{field.prefix}{name}" for name in names(field.group)] if field.group else None
        every += [field.name] if group is None else group
    return every


@functools.cache
def columns(kind: type) -> tuple[Column, ...]:
    """The fields of a kind of row.

    Returns:
      In the order in which they are written; those of an optional group are optional.
    """
    return tuple(_columns(kind))


def _columns(kind: type) -> Iterator[Column]:
    docs = _docs(kind)
    for field in _fields(kind):
        if not field.group:
            doc, stored = docs.get(field.name, ""), field.stored is not None
            yield Column(field.name, field.type, field.optional, doc, stored)
            continue
        for column in _columns(field.group):
            name, optional = f"{field.prefix}{column.name}", column.optional or field.optional
            yield column._replace(name=name, optional=optional)


def _docs(kind: type) -> dict[str, str]:
    """The text below each annotated field, of base classes too."""
    docs: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        body = typing.cast(ast.ClassDef, node).body
        for field, text in itertools.pairwise(body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(doc))),
                ):
                    docs[name] = " ".join(doc.split())
    return docs


@functools.cache
def _fields(kind: type) -> tuple[_Field, ...]:
    hints, fields = typing.get_type_hints(kind, include_extras=True), []
    for name in (field.name for field in dataclasses.fields(kind)):
        hint, marks = _unmarked(hints[name])
        optional = typing.get_origin(hint) in (types.UnionType, typing.Union)  # with a Literal
        if optional:
            (hint,) = [each for each in typing.get_args(hint) if each is not types.NoneType]
            hint, inner = _unmarked(hint)
            marks = [*marks, *inner]
        if dataclasses.is_dataclass(hint):
            prefix, kept = f"{name}_" if PREFIXED in marks else "", lambda value: value
            fields.append(_Field(name, optional, typing.cast(type, hint), prefix, "", kept))
            continue
        text, check = _checked(hint)
        stored = next((mark for mark in marks if isinstance(mark, Stored)), None)
        if stored:
            dtypes, axes = " or ".join(stored.dtypes), " and ".join(stored.axes)
            text = f"name of an array of {dtypes}, by {axes}"
        fields.append(_Field(name, optional, None, "", text, check, stored))
    return tuple(fields)


def _unmarked(hint: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401  (an annotation)
    """An annotation without ``Annotated``, and its metadata."""
    if typing.get_origin(hint) is not Annotated:
        return hint, []
    hint, *marks = typing.get_args(hint)
    return hint, marks


def _checked(hint: Any) -> tuple[str, Callable[[Any], Any]]:  # noqa: ANN401  (an annotation)
    """JSON type of an annotation, and the function that validates its values."""
    if typing.get_origin(hint) is Literal:
        values = typing.get_args(hint)

        def one_of(value: Any) -> Any:  # noqa: ANN401
            # True is equal to 1, and would pass for it.
            if value not in values or type(value) is bool:
                raise ValueError
            return value

        return " or ".join(map(str, values)), one_of
    if typing.get_origin(hint) is tuple:
        item, check = _checked(typing.get_args(hint)[0])  # tuple[T, ...]

        def every(value: Any) -> tuple[Any, ...]:  # noqa: ANN401
            if not isinstance(value, list | tuple):
                raise ValueError
            return tuple(map(check, value))

        return f"list of {item}", every
    return _PLAIN[hint]


def _number(value: Any) -> float:  # noqa: ANN401
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    try:
        return float(value)
    except OverflowError as error:  # a whole number of hundreds of digits
        raise ValueError from error


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not kind:
            raise ValueError
        return value

    return check


_PLAIN: Mapping[Any, tuple[str, Callable[[Any], Any]]] = {
    bool: ("true or false", _exactly(bool)),
    int: ("whole number", _exactly(int)),
    float: ("number", _number),
    str: ("text", _exactly(str)),
}
