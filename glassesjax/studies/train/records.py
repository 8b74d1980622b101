"""Rows of a training: its steps, answers, influences, ratios, and pairs of neighboring lengths."""

import dataclasses
from typing import Annotated, Literal

from glassesjax.runs.constants import UNROUNDED
from glassesjax.runs.record import PREFIXED
from glassesjax.runs.row_schema import RowSchema
from glassesjax.studies.train.upgraded_rows import converted

Obstacle = Literal["no_pairs", "pairs_wrong"]
"""Why no failure length is predicted of a decoder."""
Norm = Literal["l2", "linf", "frobenius", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConstants:
    """Constants of a training: task, decoder and optimizer settings."""

    study: str
    """The verb that trains: ``train``."""
    task: str
    """What is learned; a setting."""
    remedy: str
    """How it is laid out; a setting."""
    positions: str
    """Positional encoding; a setting."""
    mask: str
    """What a token sees; a setting."""
    temperature: Literal["constant", "scalable", "adaptive"]
    """Factor of the attention logits; a setting."""
    mix: Literal["uniform", "log"]
    """How often each length is drawn; a setting."""
    shortest: int
    """Shortest item of the training, in tokens (in pairs for ``recall``)."""
    longest: int
    """Longest item of the training."""
    num_layers: int
    """Setting ``layers``."""
    num_heads: int
    """Setting ``heads``."""
    model_dim: int
    """Setting ``width``: width of the residual stream."""
    arithmetic: str
    """Where training rounds; a setting."""
    steps: int | None = None
    """Steps of the whole training; a setting. Missing, as the next four, in rows of before."""
    batch: int | None = None
    """Examples a step; a setting."""
    rate: float | None = None
    """Largest learning rate; a setting."""
    parts: int | None = None
    """Parts that a batch is read in; a setting."""
    remat: bool | None = None
    """Whether passes are computed again for the gradient; a setting."""
    weight_decay_on: Literal["matrices", "all"]
    """Which weights decay; a setting."""
    mesh: tuple[int, ...]
    """Devices along seeds, along the batch, and along the parameters of each decoder."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RowFields:
    """Fields of each kind of row: decoder and arithmetic."""

    seed: int
    """Of the decoder."""
    step: int
    """The last step of the call; of other kinds the last of all."""
    format: str
    """Where it rounds, in the words of ``--formats``; ``f64`` is the reference precision."""
    dtype: str
    """Of the arrays that the pass is done in."""
    rounding: str
    """Name of the rounding plan; ``none`` where nothing is rounded on purpose."""
    norm: Norm = "none"
    """Of derivatives, distances and differences of the row; ``none`` where it has none."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RoundedFields(RowFields):
    """Fields of each kind of row that may be of any format."""

    mode: Literal["reference", "native", "simulated"]
    """Arithmetic: nothing is rounded on purpose, the backend's own in the format, or explicit
    rounding."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepRow(RoundedFields):
    """A call of the training, of one decoder: means over the steps of the call."""

    kind: Literal["step"] = "step"
    """Which kind of row."""
    learning_rate: float | None = None
    """Missing in rows of before it was noted. It climbs from 0: the first step of a training of 20
    steps or more has the rate 0 and changes nothing, and its ``loss`` is that of the decoder before
    it, as every step's is."""
    loss: float
    """In nats a token, over the scored tokens; null where it is not finite."""
    finite: bool | None = None
    """Whether the losses are finite; where not, the command ends with status 1. Missing where a
    format rounds, whose overflow is a result, and in rows of before it was noted."""
    accuracy: float
    """Share of scored tokens that are ranked first, from 0 to 1."""
    gradient_norm: float
    """L2 norm before clipping; null where it is not finite."""
    tokens_per_second: float | None = None
    """Of this machine, of all seeds together, padding included. Missing where the call was
    compiled: in the first of a process, and in one of another length than the call before."""
    model_steps_per_second: float | None = None
    """Steps of all seeds together; missing likewise."""
    norm: Norm = "l2"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PositionFields(RoundedFields):
    """Answers that copy one token of the item."""

    position: int
    """Which token of the item is copied, from 0."""
    examples: int
    """Copies of this token."""
    token_accuracy: float
    """Share of them that are ranked first, from 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InDistributionPositionRow(PositionFields):
    """Answers that copy one token of the item, at lengths drawn as in the training."""

    kind: Literal["in_distribution_position"] = "in_distribution_position"
    """Which kind of row."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PositionRow(PositionFields):
    """Answers that copy one token of the item, at one length."""

    kind: Literal["position"] = "position"
    """Which kind of row."""
    length: int
    """Of the item, in tokens (in pairs for ``recall``)."""
    in_training: bool
    """Whether the length is one of the training's."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswerFields(RoundedFields):
    """Metrics of answers."""

    examples: int
    """How many were answered."""
    exact_match: float
    """Share of examples whose whole answer is right, from 0 to 1: each token ranked first, alone,
    given the right ones before it."""
    token_accuracy: float
    """Share of the answers' tokens, from 0 to 1."""
    loss: float
    """In nats a token, over the answers' tokens; null where it is not finite."""
    finite: bool | None = None
    """Whether ``loss`` is finite; where not, the command ends with status 1. Missing where a format
    rounds, whose overflow is a result, and in rows of before it was noted."""
    logit_margin: float
    """The smallest lead of a right token's logit over the next one's; null where it is not
    finite."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InDistributionRow(AnswerFields):
    """Answers at lengths drawn as in the training."""

    kind: Literal["in_distribution"] = "in_distribution"
    """Which kind of row."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AnswersRow(AnswerFields):
    """Answers at one length."""

    kind: Literal["answers"] = "answers"
    """Which kind of row."""
    length: int
    """Of the items, in tokens (in pairs for ``recall``)."""
    in_training: bool
    """Whether the length is one of the training's."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InfluenceRow(RowFields):
    """Influence of one token of the item on the representation that must copy it, and accuracy."""

    kind: Literal["influence"] = "influence"
    """Which kind of row."""
    length: int
    """Of the items."""
    position: int
    """Of the token in the item, from 0."""
    examples: int
    """How many were answered."""
    accuracy: float
    """Share of right answers, from 0 to 1."""
    differentiated: int
    """Examples whose derivative was taken; the three below are means over these."""
    influence: float
    """Frobenius norm of the derivative of the representation in the token's embedding; null where
    it is not finite."""
    rollout: float
    """Share of the paths of attention and residual stream that lead from the token there."""
    bound: float
    """The printed bound of Theorem 5.1 on the operator norm; null where it is not finite."""
    norm: Norm = "frobenius"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RankCorrelation:
    """Spearman's coefficient over positions of ``accuracy`` and a measure, with its interval."""

    spearman: float
    """From -1 to 1."""
    low: float
    """End of the 95% interval of a bootstrap over examples, positions held fixed."""
    high: float
    """Its other end."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InfluenceOrderRow(RowFields):
    """All positions of one length: whether accuracy and a measure have one order."""

    kind: Literal["influence_order"] = "influence_order"
    """Which kind of row."""
    length: int
    """Of the items."""
    num_positions: int
    """How many are compared."""
    examples: int
    """How many were answered, at all positions."""
    accuracy: float
    """Share of right answers, from 0 to 1."""
    dispersion: float | None = None
    """Chi-squared of the positions' shares over its degrees of freedom; missing where all or none
    are right."""
    influence: Annotated[RankCorrelation | None, PREFIXED] = None
    """With the influence; missing where there is no order, as with the other measures."""
    rollout: Annotated[RankCorrelation | None, PREFIXED] = None
    """With the rollout."""
    bound: Annotated[RankCorrelation | None, PREFIXED] = None
    """With the printed bound."""
    earliness: Annotated[RankCorrelation | None, PREFIXED] = None
    """With the position itself, the first one highest."""
    norm: Norm = "frobenius"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RatioRow(RowFields):
    """All items of a counter of ones: its accuracy, and the best accuracy from the ratio alone."""

    kind: Literal["ratio"] = "ratio"
    """Which kind of row."""
    items: int
    """Items read: all of the training's lengths."""
    accuracy: float
    """Share that is counted right, as often as items are drawn, from 0 to 1."""
    ratio_only_accuracy: float
    """The best that ratio and last token allow."""
    exceeds_ratio_only: bool
    """Whether ``accuracy`` is more, exactly."""
    exceeds_beyond_roundoff: bool | None = None
    """Whether it is by answers that no rounding chose; missing where that is not known."""
    applies: bool
    """No mask, no positions and two types of tokens, the hypotheses of Proposition 6.1."""
    norm: Norm = "linf"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Roundoff:
    """Roundoff of scores, where its bound is known."""

    roundoff: float
    """The largest difference that rounding allows."""
    within_roundoff: bool
    """Whether each pair keeps to its own."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RepetitionRow(RowFields):
    """Items of one length against their repetitions, by the scores in float64."""

    kind: Literal["repetition"] = "repetition"
    """Which kind of row."""
    length: int
    """Of the items."""
    pairs: int
    """Items and repetitions."""
    max_difference: float
    """Largest difference of their scores."""
    median_difference: float
    """The same in the median over pairs."""
    roundoff: Roundoff | None = None
    same_answer: float
    """Share of the pairs with a count over zero that are answered alike, from 0 to 1."""
    both_correct: float
    """Share of them of which both are answered right."""
    applies: bool
    """No mask, no positions and two types of tokens, the hypotheses of Proposition 6.1."""
    norm: Norm = "linf"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairRow(RoundedFields):
    """A pair of lengths n and n + 1 in one format."""

    kind: Literal["pair"] = "pair"
    """Which kind of row."""
    length: int
    """n."""
    in_training: bool
    """Whether both lengths are the training's."""
    target: str
    """The right first token for n that differs from that for n + 1."""
    next_target: str
    """The right one for n + 1."""
    answer: str
    """The token that is ranked first for n."""
    next_answer: str
    """The same for n + 1."""
    logit_margin: float
    """Logit of ``target`` less that of ``next_target``, for n."""
    next_logit_margin: float
    """The same for n + 1."""
    correct: bool
    """Whether both are answered right; a tie is no answer."""
    collision: bool
    """Whether one token is ranked first for both."""
    l2: float
    """Distance of the two last representations in that arithmetic; null where it overflowed."""
    linf: float
    """The same in the largest coordinate."""
    equal_coordinates: int
    """Of the two representations."""
    coordinates: int
    """How many there are."""
    certified: bool
    """Whether one token for both is certain in reference precision."""
    certified_stored: bool | None = None
    """The same once representation and unembedding are rounded; missing where the plan rounds the
    representation to no floating-point format."""
    contradicted: bool
    """Certified, and yet two tokens in the arithmetic that the certificate speaks of; the command
    ends with status 1."""
    signal: float
    """Change of the logit margin from n to n + 1 in float64, not negative."""
    noise: float
    """Root mean square of what the format's rounding does to the logit margin, over pairs of the
    training; null where it is not finite."""
    probability_distinct: float
    """Predicted probability of two tokens, if the errors of the two are wholly shared."""
    probability_distinct_correlated: float
    """The same if errors are shared as at lengths of the training, and no certificate is read."""
    probability_wrong: float
    """Predicted probability that not both are right."""
    norm: Norm = "l2"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FailureLengths:
    """Failure lengths, predicted and observed.

    A length from which on every measured pair collides, or of ``first`` the first pair that is not
    answered right; missing where it is beyond ``reach``. At ``least`` it is only an upper bound.
    """

    predicted: int | None = None
    """The median."""
    predicted_low: int | None = None
    """At probability 0.05; nine in ten lie between it and ``predicted_high``."""
    predicted_high: int | None = None
    """At probability 0.95."""
    predicted_correlated: int | None = None
    """The median if errors are shared as at lengths of the training."""
    by_certificate: int | None = None
    """From which on a collision is certain in reference precision."""
    stores: bool
    """Whether the plan rounds representation or unembedding, so that ``by_storage`` applies."""
    by_storage: int | None = None
    """From which on it is certain once these are rounded."""
    by_signal: int | None = None
    """From which on the signal is no more than the noise."""
    predicted_first: int | None = None
    """First pair that is probably answered wrong."""
    observed: int | None = None
    """In the format's own pass."""
    first_failure: int | None = None
    """First pair that is answered wrong there."""
    noise: float
    """As of ``pair``."""
    noise_shared: float
    """Correlation of the errors of the two of a pair, from -1 to 1."""
    exponent: float
    """Power of n with which the signal goes within the training; null where there is no fit."""
    exponent_low: float | None = None
    """End of its interval; missing in rows of before it was noted."""
    exponent_high: float | None = None
    """Its other end."""
    distance_exponent: float
    """The same of the L2 distance of the representations."""
    distance_exponent_low: float | None = None
    """End of its interval."""
    distance_exponent_high: float | None = None
    """Its other end."""
    pairs: int
    """How many were measured."""
    least: int
    """The least n among them."""
    reach: int
    """The largest."""
    contradictions: int
    """Pairs whose certificate is contradicted."""
    mantissa_bits: int | None = None
    """Of the format, where all rounding sites have one binary format."""
    share_collides: int | None = None
    """n from which 1/n and 1/(n + 1) are one number in the format of the attention weights; missing
    where that rounds nothing, or beyond ``reach``."""
    share_lost: int | None = None
    """n from which n and n + 1 equal weights are one number, in the order of the plan: stored as
    zeros, or counted no more by the softmax's sum; missing where there is none up to ``reach``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WrongPairs:
    """How many pairs of the training are answered wrong in float64, where that is the obstacle."""

    wrong_pairs: int
    """At least one."""
    training_pairs: int
    """All of them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FailureRow(RoundedFields):
    """A decoder in one format: the length from which on n and n + 1 collide."""

    kind: Literal["failure"] = "failure"
    """Which kind of row."""
    obstacle: Obstacle | None = None
    """Why nothing is predicted: no two lengths of the training are drawn alike and have different
    answers, or some pairs of the training are answered wrong in float64. Missing where something
    is."""
    wrong: WrongPairs | None = None
    lengths: FailureLengths | None = None
    norm: Norm = "l2"

    def __post_init__(self) -> None:
        if (self.obstacle is None) != (self.lengths is not None):
            raise ValueError("either lengths or an obstacle")
        if (self.obstacle == "pairs_wrong") != (self.wrong is not None):
            raise ValueError("how many pairs are wrong where that is the obstacle")


TrainRow = (
    StepRow
    | InDistributionPositionRow
    | PositionRow
    | InDistributionRow
    | AnswersRow
    | InfluenceRow
    | InfluenceOrderRow
    | RatioRow
    | RepetitionRow
    | PairRow
    | FailureRow
)


ROWS = RowSchema(
    kinds=(
        StepRow, InDistributionPositionRow, PositionRow, InDistributionRow, AnswersRow,
        InfluenceRow, InfluenceOrderRow, RatioRow, RepetitionRow, PairRow, FailureRow,
    ),
    constants=TrainConstants,
    key=("kind", "seed", "step", "format", "length", "position"),
    renamed={"layers": "num_layers", "heads": "num_heads", "width": "model_dim"},
    values={"mode": {"wide": "reference"}, "rounding": UNROUNDED},
    dropped=("exponent_error", "distance_exponent_error"),  # intervals took their place
    converted=converted,
)  # fmt: skip
"""How the rows of the train study are kept."""
