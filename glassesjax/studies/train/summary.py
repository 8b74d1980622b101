"""The numbers that trainings come down to."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.train.cells import (
    Answered,
    Answers,
    Training,
    answered,
    learned,
    losses,
    reach,
    training_of,
)
from glassesjax.studies.train.failing_cells import Failing, Slope, failing, slopes
from glassesjax.studies.train.heard_cells import MEASURES, Order, Places, heard_cells
from glassesjax.studies.train.records import (
    PairRow,
    RatioRow,
    RepetitionRow,
    TrainConstants,
    TrainRow,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatSummary:
    """The answers of a training's decoders in one format."""

    format: str
    in_distribution: Answers
    """At lengths drawn as in the training."""
    lengths: list[Answered]
    """In order of length."""
    reach: int | None
    """The longest length up to which every tested one is learned; None where none is."""
    not_finite: int
    """Of the tested lengths, and those drawn as in the training, how many have no finite loss."""
    tested: int
    """How many these are."""


class OrderSummary(NamedTuple):
    """One decoder at one length: whether accuracy by position and a measure have one order."""

    decoder: str
    length: int
    accuracy: float
    dispersion: float | None
    orders: dict[str, Order | None]
    """By measure; None where there is no order."""


class RatioSummary(NamedTuple):
    """What one decoder counts of all items."""

    decoder: str
    mask: str
    accuracy: float
    ratio_only_accuracy: float
    exceeds_ratio_only: bool


class Repetitions(NamedTuple):
    """Items of one length against their repetitions, for one decoder."""

    decoder: str
    row: RepetitionRow


class Contradiction(NamedTuple):
    """A row that contradicts a statement whose hypotheses hold, and that no rounding explains.

    Two tokens in the arithmetic in which a certificate says one; an item and its repetition further
    apart than rounding carries them; or an accuracy over the best that a ratio gives, counting no
    answer that rounding may have chosen.
    """

    decoder: str
    row: PairRow | RepetitionRow | RatioRow


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """One training: all its seeds."""

    name: str
    shortest: int
    """Shortest length of the training."""
    longest: int
    mix: str
    """How often each length is drawn."""
    seeds: int
    """How many decoders have steps."""
    formats: list[FormatSummary]
    failures: list[Failing]
    """Failure lengths, by decoder and format."""
    slopes: list[Slope]
    orders: list[OrderSummary]
    """Influence by position; empty where none was measured."""
    ratios: list[RatioSummary]
    """Empty where no ratio was asked for."""
    repetitions: list[Repetitions]
    contradictions: list[Contradiction]
    """What contradicts a statement that the rows are compared with."""


class Predictions(NamedTuple):
    """Predicted failure lengths that are no bounds, of formats that round."""

    near: int
    """Within a factor of two of what is observed."""
    compared: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What one or more trainings say."""

    passes: Passes
    """Over all rows."""
    trainings: list[TrainingSummary]
    predictions: Predictions


def summarize(run: Run[TrainRow, TrainConstants]) -> TrainSummary:
    """The numbers of a run.

    Args:
      run: Of the train study.

    Returns:
      Of its one training.
    """
    return summary_of([training_of(run)])


def summary_of(trainings: Sequence[Training]) -> TrainSummary:
    """The numbers of one or more trainings.

    Args:
      trainings: In their order.

    Returns:
      One summary a training, and what is said of all.

    Raises:
      BadInput: Answers in a format were cut off.
    """
    each = [_training(training) for training in trainings]
    cells = [cell for one in each for cell in one.failures]
    compared = [cell for cell in cells if cell.ratio is not None and not cell.is_wide]
    return TrainSummary(
        passes=passes(
            getattr(row, "finite", None) for training in trainings for row in training.rows
        ),
        trainings=each,
        predictions=Predictions(sum(not cell.beyond_factor for cell in compared), len(compared)),
    )


def _training(training: Training) -> TrainingSummary:
    known, cells = training.constants, failing(training)
    return TrainingSummary(
        name=training.name,
        shortest=known.shortest,
        longest=known.longest,
        mix=known.mix,
        seeds=len(losses(training)),
        formats=_formats(training),
        failures=cells,
        slopes=slopes(cells),
        orders=[_order(cell) for cell in heard_cells(training)],
        ratios=[
            RatioSummary(
                training.decoder(row.seed),
                known.mask,
                row.accuracy,
                row.ratio_only_accuracy,
                row.exceeds_ratio_only,
            )
            for row in training.of(RatioRow)
        ],
        repetitions=[
            Repetitions(training.decoder(row.seed), row) for row in training.of(RepetitionRow)
        ],
        contradictions=[*_contradictions(training)],
    )


def _formats(training: Training) -> list[FormatSummary]:
    drawn = learned(training)
    summaries = []
    for name, curve in answered(training).items():
        if name not in drawn:
            expected = f"Expected answers in {name} at lengths as in training"
            raise BadInput(f"{expected}, got none from {training.name}: run its command again.")
        losses = [drawn[name].loss, *(point.answers.loss for point in curve)]
        summaries.append(
            FormatSummary(
                format=name,
                in_distribution=drawn[name],
                lengths=curve,
                reach=reach(curve),
                not_finite=sum(map(math.isnan, losses)),
                tested=len(losses),
            )
        )
    return summaries


def _order(cell: Places) -> OrderSummary:
    orders = {name: cell.order(name) for name in MEASURES}
    return OrderSummary(cell.name, cell.length, cell.row.accuracy, cell.row.dispersion, orders)


def _contradictions(training: Training) -> Iterable[Contradiction]:
    for row in training.of(PairRow):
        if row.contradicted:
            yield Contradiction(f"{training.name}, seed {row.seed}", row)
    for row in training.rows:
        match row:
            case RepetitionRow(applies=True) if row.roundoff and not row.roundoff.within_roundoff:
                yield Contradiction(training.decoder(row.seed), row)
            case RatioRow(applies=True, exceeds_beyond_roundoff=True):
                yield Contradiction(training.decoder(row.seed), row)
