"""Summary of trainings."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.train.cells import Training, training_of
from glassesjax.studies.train.failure_cells import Failure, Slope, failures, slopes
from glassesjax.studies.train.records import (
    AnswersRow,
    InDistributionRow,
    InfluenceOrderRow,
    PairRow,
    RatioRow,
    RepetitionRow,
    StepRow,
    TrainConstants,
    TrainRow,
)

RowT = TypeVar("RowT", InfluenceOrderRow, RatioRow, RepetitionRow, PairRow)

RIGHT = 0.99  # share of right answers from which a length counts as learned


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

    @property
    def last(self) -> int | None:
        """The longest tested length of the training."""
        return max((point.length for point in self.lengths if point.in_training), default=None)

    @property
    def following(self) -> int | None:
        """The shortest tested one beyond it."""
        return min((point.length for point in self.lengths if not point.in_training), default=None)

    @property
    def is_learned(self) -> bool:
        """Whether each tested trained length is, and those between."""
        tested = self.last is None or (self.reach is not None and self.reach >= self.last)
        return tested and self.in_distribution.mean >= RIGHT


@dataclasses.dataclass(frozen=True)
class DecoderRow(Generic[RowT]):
    """A row, and which decoder it is of."""

    decoder: str
    row: RowT


class Contradiction(NamedTuple):
    """A row that contradicts a statement whose hypotheses hold, and that no rounding explains.

    Two greedy tokens in the arithmetic for which a certificate proves one; an item and its
    repetition further apart than their roundoff; or an accuracy above the best that a ratio allows,
    without answers that rounding may have decided.
    """

    decoder: str
    row: PairRow | RepetitionRow | RatioRow


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
    orders: list[DecoderRow[InfluenceOrderRow]]
    """Influence by position, by decoder and length; empty where none was measured."""
    ratios: list[DecoderRow[RatioRow]]
    """What a decoder counts of all items; empty where no ratio was asked for."""
    repetitions: list[DecoderRow[RepetitionRow]]
    """Items of one length against their repetitions, by decoder and length."""
    contradictions: list[Contradiction]
    """What contradicts a statement that the rows are compared with."""


class Predictions(NamedTuple):
    """Predicted failure lengths that are no bounds, of formats that round."""

    near: int
    """Within a factor of two of what is observed."""
    compared: int


class Span(NamedTuple):
    """Over trainings and formats."""

    least: int | float
    most: int | float


class Lowest(NamedTuple):
    """The lowest accuracy at lengths drawn as in the training, over trainings and formats."""

    label: str
    format: str
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """Summary of one or more trainings."""

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
    reach: Span | None
    """The longest length up to which every tested one is learned; None where one has none."""
    accuracy_trained: Span | None
    """Accuracy at lengths drawn as in the training; None where nothing was answered."""
    lowest: Lowest | None
    """None where nothing was answered."""
    collisions: Span | None
    """Share of the pairs beyond the training that collide, over decoders and formats."""
    first_collision: DecoderRow[PairRow] | None
    """Of these pairs that do the one with the least n; None where none does."""
    predictions: Predictions
    furthest: Failure | None
    """The prediction with the largest factor between it and what is observed."""
    num_contradictions: int
    """Rows that contradict a statement."""

    @property
    def overflowing(self) -> list[str]:
        """Formats in which some loss is not finite."""
        formats = (form for one in self.trainings for form in one.formats if form.not_finite)
        return list(dict.fromkeys(form.format for form in formats))


def summarize(run: Run[TrainRow, TrainConstants]) -> TrainSummary:
    """Computes the summary of a run."""
    return summary_of([training_of(run)])


def summary_of(trainings: Sequence[Training]) -> TrainSummary:
    """Computes the summary of one or more trainings.

    Returns:
      One summary for each training, and the summary of all.

    Raises:
      BadInput: Answers in a format were cut off.
    """
    each = [_training(training) for training in trainings]
    cells = [cell for one in each for cell in one.failures]
    # Without bounds, of which no ratio is known, and the reference, which is its own prediction.
    compared = [cell for cell in cells if cell.ratio and not cell.is_reference]
    answers = [(one, form) for one in each for form in one.formats]
    # A format counts as learned where it is in all trainings, and all answered in it.
    by_format: dict[str, list[bool]] = {}
    for _, form in answers:
        by_format.setdefault(form.format, []).append(form.is_learned)
    boundary = _common(form.last for _, form in answers)
    following = _common(form.following for _, form in answers)
    # None where one has none: the least reach would hide it.
    reaches = [form.reach for _, form in answers if form.reach is not None]
    points = [point for _, form in answers for point in form.lengths]
    at = lambda length: (point.answers.mean for point in points if point.length == length)
    collisions = (
        DecoderRow(training.label, row)
        for training in trainings
        for row in training.of(PairRow)
        if row.collision and not row.in_training
    )
    return TrainSummary(
        passes=passes(
            getattr(row, "finite", None) for training in trainings for row in training.rows
        ),
        trainings=each,
        decoders=sum(one.seeds for one in each),
        answered=len(answers),
        learned=sum(form.is_learned for _, form in answers),
        learned_formats=[n for n, v in by_format.items() if all(v) and len(v) == len(each)],
        boundary=boundary,
        following=following,
        accuracy_boundary=_span(at(boundary)),
        accuracy_following=_span(at(following)),
        reach=_span(reaches) if len(reaches) == len(answers) else None,
        accuracy_trained=_span(form.in_distribution.mean for _, form in answers),
        lowest=min(
            (Lowest(one.label, form.format, form.in_distribution.mean) for one, form in answers),
            key=lambda lowest: lowest.accuracy,
            default=None,
        ),
        collisions=_span(c.collisions_beyond / c.pairs_beyond for c in cells if c.pairs_beyond),
        first_collision=min(collisions, key=lambda each: each.row.length, default=None),
        predictions=Predictions(sum(not cell.beyond_factor for cell in compared), len(compared)),
        # A prediction twice too long is as far off as one half as long.
        furthest=max(compared, key=lambda cell: abs(math.log(cell.ratio or 1)), default=None),
        num_contradictions=sum(len(one.contradictions) for one in each),
    )


def _common(lengths: Iterable[int | None]) -> int | None:
    """The one value that all have; None where there is no such."""
    values = set(lengths)
    return values.pop() if len(values) == 1 else None


def _span(values: Iterable[int | float]) -> Span | None:
    known = list(values)
    return Span(min(known), max(known)) if known else None


def _training(training: Training) -> TrainingSummary:
    known, cells = training.constants, failures(training)
    rows_of = lambda kind: [DecoderRow(training.decoder(r.seed), r) for r in training.of(kind)]
    contradictions = [
        Contradiction(f"{training.name}, seed {row.seed}", row)
        for row in training.of(PairRow)
        if row.contradicted
    ]
    # Statements whose hypotheses hold (``applies``), beyond what rounding explains.
    for row in training.rows:
        match row:
            case RepetitionRow(applies=True) if row.roundoff and not row.roundoff.within_roundoff:
                contradictions.append(Contradiction(training.decoder(row.seed), row))
            case RatioRow(applies=True, exceeds_beyond_roundoff=True):
                contradictions.append(Contradiction(training.decoder(row.seed), row))
    return TrainingSummary(
        name=training.name,
        label=training.label,
        shortest=known.shortest,
        longest=known.longest,
        mix=known.mix,
        seeds=len({row.seed for row in training.of(StepRow)}),
        formats=_formats(training),
        failures=cells,
        slopes=slopes(cells),
        orders=rows_of(InfluenceOrderRow),
        ratios=rows_of(RatioRow),
        repetitions=rows_of(RepetitionRow),
        contradictions=contradictions,
    )


def _formats(training: Training) -> list[FormatSummary]:
    """The answers by format, in the order of the settings."""
    groups: dict[str, dict[int, list[AnswersRow]]] = {}
    for row in training.of(AnswersRow):
        groups.setdefault(row.format, {}).setdefault(row.length, []).append(row)
    summaries = []
    for name, lengths in groups.items():
        # One row a seed; a run that was cut off may lack them.
        drawn = [row for row in training.of(InDistributionRow) if row.format == name]
        if not drawn:
            expected = f"Expected answers in {name} at lengths as in training"
            raise BadInput(f"{expected}, got none from {training.name}: run its command again.")
        curve = [Answered(n, rows[0].in_training, _of(rows)) for n, rows in sorted(lengths.items())]
        # Up to the first length that is not learned: what lies beyond it may be luck.
        learned = itertools.takewhile(lambda point: point.answers.mean >= RIGHT, curve)
        whole = _of(drawn)
        # A number that is not finite is null in a row, which is read as NaN.
        losses = [whole.loss, *(point.answers.loss for point in curve)]
        summaries.append(
            FormatSummary(
                format=name,
                in_distribution=whole,
                lengths=curve,
                reach=max((point.length for point in learned), default=None),
                not_finite=sum(not math.isfinite(loss) for loss in losses),
            )
        )
    return summaries


def _of(rows: Sequence[AnswersRow | InDistributionRow]) -> Answers:
    exact = tuple(row.exact_match for row in rows)
    return Answers(
        exact_match=exact,
        mean=sum(exact) / len(rows),
        logit_margin=min(row.logit_margin for row in rows),
        loss=sum(row.loss for row in rows) / len(rows),
    )
