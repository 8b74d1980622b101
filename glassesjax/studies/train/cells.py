"""Rows of trainings as readers want them: curves of steps, and answers by format."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from glassesjax.runs.run import Run
from glassesjax.studies.train.records import (
    AnswersRow,
    FailureLengths,
    FailureRow,
    InDistributionRow,
    PairRow,
    StepRow,
    TrainConstants,
    TrainRow,
)

RIGHT = 0.99  # share of right answers from which a length counts as learned

KindT = TypeVar("KindT")


class Training(NamedTuple):
    """The rows of one training."""

    name: str
    """What tells its decoders from others, their seeds apart: for a title."""
    constants: TrainConstants
    rows: Sequence[TrainRow]
    label: str = ""
    """The same in a few words of the field; empty for a training that is alone."""

    def of(self, kind: type[KindT]) -> Iterator[KindT]:
        """The rows of one kind."""
        return (row for row in self.rows if isinstance(row, kind))

    def decoder(self, seed: int) -> str:
        """What tells one decoder from another, on a page."""
        layers = self.constants.num_layers
        return f"{self.name}, {layers} layer{'' if layers == 1 else 's'}, seed {seed}"


class TrainedDecoder(NamedTuple):
    """The rows of one decoder, by format, as figures and tables want them."""

    training: Training
    seed: int
    label: str
    """What tells it from the others of a page; empty if it is alone."""
    drawn: Mapping[str, InDistributionRow]
    """Answers at lengths drawn as in the training."""
    answers: Mapping[str, Sequence[AnswersRow]]
    """In order of length."""
    pairs: Mapping[str, Sequence[PairRow]]
    """In order of n."""
    lengths: Mapping[str, FailureLengths]
    """Only of formats of which they are known."""


def decoders_of(trainings: Sequence[Training]) -> list[TrainedDecoder]:
    """Every decoder of some trainings."""
    return [decoder for training in trainings for decoder in _decoders(training)]


def _decoders(training: Training) -> Iterator[TrainedDecoder]:
    seeds = sorted({row.seed for row in training.rows})
    for seed in seeds:
        mine = [row for row in training.rows if row.seed == seed]
        own = Training(training.name, training.constants, mine)
        yield TrainedDecoder(
            training,
            seed,
            ", ".join(filter(None, [training.label, f"seed {seed}" if len(seeds) > 1 else ""])),
            drawn={row.format: row for row in own.of(InDistributionRow)},
            answers=_by_length(own.of(AnswersRow)),
            pairs=_by_length(own.of(PairRow)),
            lengths={row.format: row.lengths for row in own.of(FailureRow) if row.lengths},
        )


LengthT = TypeVar("LengthT", AnswersRow, PairRow)


def _by_length(rows: Iterator[LengthT]) -> dict[str, list[LengthT]]:
    groups: dict[str, list[LengthT]] = {}
    for row in sorted(rows, key=lambda row: row.length):
        groups.setdefault(row.format, []).append(row)
    return groups


def training_of(run: Run[TrainRow, TrainConstants]) -> Training:
    """The rows of a run of the train study.

    Returns:
      All of them; each process of a run has trained the same.
    """
    known = run.constants
    name = f"{known.task}, positions {known.positions}, remedy {known.remedy}"
    return Training(name, known, run.rows)


class Answers(NamedTuple):
    """The answers of all seeds in one format, at one length or at lengths drawn as in training."""

    exact_match: tuple[float, ...]
    """Share of right answers, by seed."""
    mean: float
    """Over the seeds."""
    logit_margin: float
    """The smallest of all seeds."""
    loss: float
    """Mean over seeds, in nats a token."""


class Answered(NamedTuple):
    """The answers of all seeds at one length in one format."""

    length: int
    in_training: bool
    answers: Answers


def losses(training: Training) -> dict[int, tuple[list[int], list[float]]]:
    """Steps and losses, by seed."""
    found: dict[int, dict[int, float]] = {}
    for row in training.of(StepRow):
        found.setdefault(row.seed, {})[row.step] = row.loss
    ordered = {seed: sorted(curve.items()) for seed, curve in sorted(found.items())}
    return {seed: ([s for s, _ in c], [v for _, v in c]) for seed, c in ordered.items()}


def answered(training: Training) -> dict[str, list[Answered]]:
    """Answers by format, in the order in which these were asked for."""
    groups: dict[str, dict[int, list[AnswersRow]]] = {}
    for row in training.of(AnswersRow):
        groups.setdefault(row.format, {}).setdefault(row.length, []).append(row)
    return {
        name: [
            Answered(length, rows[0].in_training, _of(rows))
            for length, rows in sorted(lengths.items())
        ]
        for name, lengths in groups.items()
    }


def learned(training: Training) -> dict[str, Answers]:
    """Answers by format at lengths drawn as in the training."""
    groups: dict[str, list[InDistributionRow]] = {}
    for row in training.of(InDistributionRow):
        groups.setdefault(row.format, []).append(row)
    return {name: _of(rows) for name, rows in groups.items()}


def reach(curve: Sequence[Answered]) -> int | None:
    """The longest length up to which every measured one is learned.

    Returns:
      Nothing if already the shortest is not.
    """
    last = None
    for point in curve:
        if point.answers.mean < RIGHT:
            break
        last = point.length
    return last


def _of(rows: Sequence[AnswersRow | InDistributionRow]) -> Answers:
    exact = tuple(row.exact_match for row in rows)
    return Answers(
        exact_match=exact,
        mean=float(np.mean(exact)),
        logit_margin=min(row.logit_margin for row in rows),
        loss=float(np.mean([row.loss for row in rows])),
    )
