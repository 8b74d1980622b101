"""How a study's rows are kept: their kinds, what they share, and what they were called before."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from glassesjax.runs.record import columns, names, read_as

RowT = TypeVar("RowT")
ConstantsT = TypeVar("ConstantsT")

NUMBER = "record"
"""Names the record of ``provenance.json`` that a row goes with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSchema(Generic[RowT, ConstantsT]):
    """How a study's rows are kept, and what they were called before."""

    kinds: tuple[type[RowT], ...]
    """A class each; of several, ``kind`` says which."""
    constants: type[ConstantsT]
    """What all rows of a process have in common: a class whose fields are kept once."""
    key: tuple[str, ...]
    """Fields that tell one row from another; null stands for one that does not apply."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Names of schema 1 to today's, of rows and constants."""
    values: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)
    """By today's name, values of schema 1 to today's."""
    dropped: Collection[str] = ()
    """Names of schema 1 that differ from row to row and say nothing that others do not."""
    converted: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row
    """What else a row of schema 1 needs, after its names and values; flat, as written today."""

    counting: Callable[[Sequence[RowT], Mapping[str, Any]], Sequence[bool]] | None = None
    """Takes the rows of a file and what ``provenance.json`` says; gives for each row whether it
    counts. Others stay in the file and are in no ``Run``. If absent, all count."""

    def upgraded(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A row of schema 1 in today's words.

        Returns:
          What is to stand in a record of ``provenance.json``, and the row itself.
        """
        new = {}
        for old, value in row.items():
            if old in self.dropped:
                continue
            name = self.renamed.get(old, old)
            table = self.values.get(name, {})
            # Lists are no keys, nor in any table.
            known = isinstance(value, str | int | float | bool | None) and value in table
            new[name] = table[value] if known else value
        new = self.converted(new)
        fields, numbers = self.fields, self._numbers
        new = {name: value for name, value in new.items() if value is not None or name in numbers}
        constants = {name: value for name, value in new.items() if name not in fields}
        return constants, {name: value for name, value in new.items() if name in fields}

    def read(self, row: Mapping[str, Any], where: str = "a row") -> RowT:
        """A row of today as the record it was written from.

        Raises:
          BadInput: It is no such row.
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
        """Those of rows and constants in which null is a number that is not finite."""
        each = (column for kind in (*self.kinds, self.constants) for column in columns(kind))
        return frozenset(column.name for column in each if column.type == "number")
