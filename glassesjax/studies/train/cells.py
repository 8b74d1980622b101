"""Rows of trainings as readers want them: by training, by decoder, by format."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from glassesjax.runs.run import Run
from glassesjax.studies.train.records import (
    AnswersRow,
    FailureLengths,
    FailureRow,
    InDistributionRow,
    InfluenceOrderRow,
    InfluenceRow,
    PairRow,
    TrainConstants,
    TrainRow,
)

KindT = TypeVar("KindT")
LengthT = TypeVar("LengthT", AnswersRow, PairRow)


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
        """Name of one decoder on a page."""
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
    decoders = []
    for training in trainings:
        seeds = sorted({row.seed for row in training.rows})
        for seed in seeds:
            # The same training with the rows of one seed, so that ``of`` reads these.
            own = training._replace(rows=[row for row in training.rows if row.seed == seed])
            parts = [training.label, f"seed {seed}" if len(seeds) > 1 else ""]
            decoders.append(
                TrainedDecoder(
                    training,
                    seed,
                    ", ".join(filter(None, parts)),
                    drawn={row.format: row for row in own.of(InDistributionRow)},
                    answers=_by_length(own.of(AnswersRow)),
                    pairs=_by_length(own.of(PairRow)),
                    lengths={row.format: row.lengths for row in own.of(FailureRow) if row.lengths},
                )
            )
    return decoders


def _by_length(rows: Iterator[LengthT]) -> dict[str, list[LengthT]]:
    groups: dict[str, list[LengthT]] = {}
    # Sorted before they are grouped, so that each group is in order.
    for row in sorted(rows, key=lambda row: row.length):
        groups.setdefault(row.format, []).append(row)
    return groups


def training_of(run: Run[TrainRow, TrainConstants]) -> Training:
    """The rows of a run of the train study: all, for each process of a run trained the same."""
    known = run.constants
    name = f"{known.task}, positions {known.positions}, remedy {known.remedy}"
    return Training(name, known, run.rows)


class Influences(NamedTuple):
    """All positions of one length, for one decoder."""

    decoder: str
    """As titles and tables have it."""
    row: InfluenceOrderRow
    positions: list[InfluenceRow]
    """In order."""


def influences_of(trainings: Sequence[Training]) -> list[Influences]:
    """All decoders and lengths of which influence was measured, in the order of the rows."""
    return [
        Influences(
            one.decoder(order.seed),
            order,
            sorted(
                (
                    r
                    for r in one.of(InfluenceRow)
                    if (r.seed, r.length) == (order.seed, order.length)
                ),
                key=lambda row: row.position,
            ),
        )
        for one in trainings
        for order in one.of(InfluenceOrderRow)
    ]
