"""Rows of a sweep: those of its cells, each of which is a training run."""

import dataclasses
from typing import Any

from glassesjax.runs.row_schema import RowSchema
from glassesjax.studies.train.records import ROWS as TRAIN_ROWS
from glassesjax.studies.train.records import TrainConstants


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConstants(TrainConstants):
    """Constants of one cell's training, and each setting of the grid."""

    cell: str
    """Name of the cell: its folder is cells/CELL."""


LABELS = {
    "answers": ("seed", "format", "length"),
    "in_distribution": ("seed", "format"),
    "step": ("seed", "step"),
    "position": ("seed", "format", "length", "position"),
    "in_distribution_position": ("seed", "format", "position"),
    "influence": ("seed", "length", "position"),
    "influence_order": ("seed", "length"),
    "ratio": ("seed",),
    "repetition": ("seed", "length"),
    "pair": ("seed", "format", "length"),
    "failure": ("seed", "format"),
}
"""Fields that identify the rows of a cell, by kind."""


# Where a setting has another name in rows: ``examples`` of a row may be those of one token.
COLUMNS = {**TRAIN_ROWS.renamed, "examples": "examples_per_length"}


def axis_column(axis: str) -> str:
    """Name of the row field with a setting's value."""
    return COLUMNS.get(axis, axis)


def axis_value(value: object) -> Any:  # noqa: ANN401
    """The value of a setting in rows.

    Returns:
      The value itself; several joined by colons, as in the grid.
    """
    if isinstance(value, tuple | list):
        return ":".join(map(str, value))
    return value if isinstance(value, str | int | float | bool) else str(value)


ROWS = RowSchema(
    kinds=TRAIN_ROWS.kinds,
    constants=SweepConstants,
    key=TRAIN_ROWS.key,
    renamed=TRAIN_ROWS.renamed,
    values=TRAIN_ROWS.values,
    dropped=TRAIN_ROWS.dropped,
    converted=TRAIN_ROWS.converted,
)
"""How the rows of a sweep are kept."""
