"""The numbers that trainings come down to."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.train.cells import (
    RIGHT,
    Answered,
    Answers,
    Training,
    answered,
    learned,
    losses,
    reach,
    training_of,
)
from glassesjax.studies.train.failure_cells import Failure, Slope, failures, slopes
from glassesjax.studies.train.influence_cells import MEASURES, Order, Places, influence_cells
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

    @property
    def line(self) -> str:
        """What the row contradicts, as the terminal has it."""
        match self.row:
            case PairRow(format=name, length=length):
                return f"{self.decoder}, {name}: a certificate is contradicted at n = {length}"
            case RepetitionRow(length=length, max_difference=difference, roundoff=roundoff):
                allowed = math.nan if roundoff is None else roundoff.roundoff
                return (
                    f"{self.decoder}: repetitions of {length} tokens are {difference:.2g} apart,"
                    f" where rounding allows {allowed:.2g}"
                )
            case RatioRow(accuracy=accuracy, ratio_only_accuracy=most):
                return (
                    f"{self.decoder}: {accuracy:.2%} of all items are counted, where a ratio gives"
                    f" {most:.2%} at best"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """One training: all its seeds."""

    name: str
    label: str
    """What tells it from the other trainings, in a few words; empty if it is alone."""
    shortest: int
    """Shortest length of the training."""
    longest: int
    mix: str
    """How often each length is drawn."""
    seeds: int
    """How many decoders have steps."""
    formats: list[FormatSummary]
    failures: list[Failure]
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


class Span(NamedTuple):
    """Over trainings and formats."""

    least: float
    most: float


class Lowest(NamedTuple):
    """The lowest accuracy at lengths drawn as in the training, over trainings and formats."""

    label: str
    format: str
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What one or more trainings say."""

    passes: Passes
    """Over all rows."""
    trainings: list[TrainingSummary]
    decoders: int
    """Trainings times their seeds."""
    answered: int
    """Trainings times the formats in which they answered."""
    learned: int
    """Of these, how many are learned at each tested trained length, and at those between."""
    learned_formats: list[str]
    """Formats in which all trainings are."""
    boundary: int | None
    """The longest tested length within the training; None where that differs, or is none."""
    following: int | None
    """The shortest tested one beyond it; None likewise."""
    accuracy_boundary: Span | None
    """Accuracy there, means over seeds; None where ``boundary`` is."""
    accuracy_following: Span | None
    """Likewise."""
    accuracy_trained: Span | None
    """Accuracy at lengths drawn as in the training; None where nothing was answered."""
    lowest: Lowest | None
    """None where nothing was answered."""
    collisions: Span | None
    """Share of the pairs beyond the training that collide, over decoders and formats."""
    predictions: Predictions
    furthest: Failure | None
    """The prediction with the largest factor between it and what is observed."""
    num_contradictions: int
    """Rows that contradict a statement."""


def summarize(run: Run[TrainRow, TrainConstants]) -> TrainSummary:
    """The numbers of a run."""
    return summary_of([training_of(run)])


def summary_of(trainings: Sequence[Training]) -> TrainSummary:
    """The numbers of one or more trainings.

    Returns:
      One summary a training, and what is said of all.

    Raises:
      BadInput: Answers in a format were cut off.
    """
    each = [_training(training) for training in trainings]
    cells = [cell for one in each for cell in one.failures]
    compared = [cell for cell in cells if cell.ratio and not cell.is_reference]
    answers = [(one, form) for one in each for form in one.formats]
    boundary, following = (_common(end(form) for _, form in answers) for end in (_last, _next))
    return TrainSummary(
        passes=passes(
            getattr(row, "finite", None) for training in trainings for row in training.rows
        ),
        trainings=each,
        decoders=sum(one.seeds for one in each),
        answered=len(answers),
        learned=sum(_is_learned(form) for _, form in answers),
        learned_formats=_learned_formats(each),
        boundary=boundary,
        following=following,
        accuracy_boundary=_accuracy(answers, boundary),
        accuracy_following=_accuracy(answers, following),
        accuracy_trained=_span(form.in_distribution.mean for _, form in answers),
        lowest=min(
            (Lowest(one.label, form.format, form.in_distribution.mean) for one, form in answers),
            key=lambda lowest: lowest.accuracy,
            default=None,
        ),
        collisions=_span(cell.share_beyond for cell in cells if cell.share_beyond is not None),
        predictions=Predictions(sum(not cell.beyond_factor for cell in compared), len(compared)),
        furthest=max(compared, key=lambda cell: abs(math.log(cell.ratio or 1)), default=None),
        num_contradictions=sum(len(one.contradictions) for one in each),
    )


def _last(form: FormatSummary) -> int | None:
    return max((point.length for point in form.lengths if point.in_training), default=None)


def _next(form: FormatSummary) -> int | None:
    return min((point.length for point in form.lengths if not point.in_training), default=None)


def _common(lengths: Iterable[int | None]) -> int | None:
    """The one value that all have; None where there is no such."""
    values = set(lengths)
    return values.pop() if len(values) == 1 else None


def _is_learned(form: FormatSummary) -> bool:
    last = _last(form)
    tested = last is None or (form.reach is not None and form.reach >= last)
    return tested and form.in_distribution.mean >= RIGHT


def _learned_formats(trainings: Sequence[TrainingSummary]) -> list[str]:
    verdicts: dict[str, list[bool]] = {}
    for one in trainings:
        for form in one.formats:
            verdicts.setdefault(form.format, []).append(_is_learned(form))
    return [name for name, each in verdicts.items() if all(each) and len(each) == len(trainings)]


def _accuracy(
    answers: Sequence[tuple[TrainingSummary, FormatSummary]], length: int | None
) -> Span | None:
    points = (point for _, form in answers for point in form.lengths)
    return _span(point.answers.mean for point in points if point.length == length)


def _span(values: Iterable[float]) -> Span | None:
    known = list(values)
    return Span(min(known), max(known)) if known else None


def _training(training: Training) -> TrainingSummary:
    known, cells = training.constants, failures(training)
    return TrainingSummary(
        name=training.name,
        label=training.label,
        shortest=known.shortest,
        longest=known.longest,
        mix=known.mix,
        seeds=len(losses(training)),
        formats=_formats(training),
        failures=cells,
        slopes=slopes(cells),
        orders=[_order(cell) for cell in influence_cells(training)],
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
