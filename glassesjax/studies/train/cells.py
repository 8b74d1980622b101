"""Rows of the train study as readers want them: curves of steps, and answers by format."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.files import Row
from glassesjax.report.fields import integer
from glassesjax.studies.train.settings import NOTHING

MIXED = NOTHING  # the length of rows whose items have lengths drawn as in the training
SEED = "seed"  # the field that tells the decoders of one training apart
RIGHT = 0.99  # share of right answers from which a length counts as learned


class Answered(NamedTuple):
    """The answers of all seeds at one length in one format."""

    length: int
    in_training: bool
    exact: tuple[float, ...]
    """Share of right answers, by seed."""
    margin: float
    """The smallest of all seeds."""
    loss: float
    """Mean over seeds, in nats a token."""

    @property
    def mean(self) -> float:
        """Share of right answers over all seeds."""
        return float(np.mean(self.exact))


def losses(rows: Sequence[Row]) -> dict[int, tuple[list[int], list[float]]]:
    """Steps and losses, by seed.

    Args:
      rows: Of the train study.

    Returns:
      In order of steps.
    """
    found: dict[int, dict[int, float]] = {}
    for row in rows:
        if row["kind"] == "step":
            found.setdefault(integer(row, "seed"), {})[integer(row, "step")] = _number(row, "loss")
    ordered = {seed: sorted(curve.items()) for seed, curve in sorted(found.items())}
    return {seed: ([s for s, _ in c], [v for _, v in c]) for seed, c in ordered.items()}


def answered(rows: Sequence[Row]) -> dict[str, list[Answered]]:
    """Answers by format, in the order in which these were asked for.

    Args:
      rows: Of the train study.

    Returns:
      For each format a list in order of length.
    """
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if row["kind"] == "answers" and row["length"] != MIXED:
            lengths = groups.setdefault(str(row["format"]), {})
            lengths.setdefault(integer(row, "length"), []).append(row)
    return {
        name: [_of(length, mine) for length, mine in sorted(lengths.items())]
        for name, lengths in groups.items()
    }


def learned(rows: Sequence[Row]) -> dict[str, Answered]:
    """Answers by format at lengths drawn as in the training.

    Args:
      rows: Of the train study.

    Returns:
      Of all seeds.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] == "answers" and row["length"] == MIXED:
            groups.setdefault(str(row["format"]), []).append(row)
    return {name: _of(MIXED, mine) for name, mine in groups.items()}


def formats(rows: Sequence[Row]) -> list[str]:
    """The formats in which decoders answered, in the order of the rows.

    Args:
      rows: Of one or more runs of the train study.

    Returns:
      Names, each once.
    """
    return list(dict.fromkeys(str(row["format"]) for row in rows if row["kind"] == "answers"))


def of_kind(rows: Iterable[Row], kind: str) -> list[Row]:
    """The rows that say one thing: ``step``, ``answers``, ``twins`` and so on.

    Args:
      rows: Of one or more runs of the train study.
      kind: Which.

    Returns:
      In their order.
    """
    return [row for row in rows if row["kind"] == kind]


def reach(curve: Sequence[Answered]) -> int | None:
    """The longest length up to which every measured one is learned.

    Args:
      curve: In order of length.

    Returns:
      Nothing if already the shortest is not.
    """
    last = None
    for point in curve:
        if point.mean < RIGHT:
            break
        last = point.length
    return last


def _of(length: int, rows: Sequence[Row]) -> Answered:
    return Answered(
        length=length,
        in_training=bool(rows[0]["in_training"]),
        exact=tuple(_number(row, "exact") for row in rows),
        margin=min(_number(row, "margin") for row in rows),
        loss=float(np.mean([_number(row, "loss") for row in rows])),
    )


def _number(row: Row, name: str) -> float:
    value = row[name]
    return math.nan if value is None else float(value)
