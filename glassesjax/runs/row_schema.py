"""Schema of a study's rows: kinds, constants, key, and conversion from schema 1."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from glassesjax.runs.record import columns, names, read_as

RowT = TypeVar("RowT")
ConstantsT = TypeVar("ConstantsT")

NUMBER = "record"
"""Field of a row with the index of its record in ``provenance.json``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSchema(Generic[RowT, ConstantsT]):
    """Schema of a study's rows, and their conversion from schema 1."""

    kinds: tuple[type[RowT], ...]
    """One class for each kind; the field ``kind`` distinguishes several."""
    constants: type[ConstantsT]
    """Class of the fields shared by all rows of a process, stored once."""
    key: tuple[str, ...]
    """Fields that identify a row; null for one that does not apply."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """From names in schema 1 to today's, of rows and constants."""
    values: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)
    """By today's name, from values in schema 1 to today's."""
    dropped: Collection[str] = ()
    """Redundant names of schema 1 whose values differ from row to row."""
    converted: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row
    """Further conversion of a row of schema 1, after names and values; flat, as written today."""

    counting: Callable[[Sequence[RowT], Mapping[str, Any]], Sequence[bool]] | None = None
    """From the rows of a file and the content of ``provenance.json`` to a mask of the rows that
    count. Others remain in the file and are in no ``Run``. If absent, all count."""

    def upgraded(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Converts a row of schema 1 to today's schema.

        Returns:
          The constants, for a record of ``provenance.json``, and the row.
        """
        new = {}
        for old, value in row.items():
            if old in self.dropped:
                continue
            name = self.renamed.get(old, old)
            table = self.values.get(name, {})
            # Lists are not hashable and in no table.
            known = isinstance(value, str | int | float | bool | None) and value in table
            new[name] = table[value] if known else value
        new = self.converted(new)
        fields, numbers = self.fields, self._numbers
        new = {name: value for name, value in new.items() if value is not None or name in numbers}
        constants = {name: value for name, value in new.items() if name not in fields}
        return constants, {name: value for name, value in new.items() if name in fields}

    def read(self, row: Mapping[str, Any], where: str = "a row") -> RowT:
        """The record of a row of today's schema.

        Raises:
          BadInput: It is no row of this schema.
        """
        return read_as(self.kinds, row, where)

    @functools.cached_property
    def fields(self) -> frozenset[str]:
        """The names of all fields that rows have, of any kind."""
        return frozenset(name for kind in self.kinds for name in names(kind))

    @functools.cached_property
    def names_arrays(self) -> bool:
        """Whether rows of some kind name arrays."""
        return any(column.stored for kind in self.kinds for column in columns(kind))

    @functools.cached_property
    def _numbers(self) -> frozenset[str]:
        """Fields of rows and constants in which null is a number that is not finite."""
        each = (column for kind in (*self.kinds, self.constants) for column in columns(kind))
        return frozenset(column.name for column in each if column.type == "number")
