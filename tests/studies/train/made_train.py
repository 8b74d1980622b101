"""What tests of trainings and sweeps share: made rows, and rows without the machine's speed."""

import dataclasses

from glassesjax.runs.record import to_row
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.records import (
    AnswersRow,
    FailureLengths,
    FailureRow,
    InDistributionRow,
    InfluenceOrderRow,
    InfluenceRow,
    PairRow,
    RankCorrelation,
    RatioRow,
    RepetitionRow,
    Roundoff,
    StepRow,
    TrainConstants,
)
from glassesjax.surveys.sweep.records import SweepConstants

RATES = ("tokens_per_second", "model_steps_per_second")
MADE = {"matmul_precision": "float32", "backend": "cpu", "device": "cpu", "glassesjax": "0"}
CONSTANTS = TrainConstants(
    study="train", task="count_<ones>", remedy="none", positions="rotary", mask="causal",
    temperature="constant", mix="uniform", shortest=2, longest=4, num_layers=2, num_heads=4,
    model_dim=32, arithmetic="f32", steps=20, batch=4, rate=0.003, parts=1, remat=False,
    weight_decay_on="matrices", mesh=(1, 1, 1),
)  # fmt: skip
ARITHMETIC = {"dtype": "float32", "mode": "reference", "rounding": "none"}


def timeless(rows):
    """The rows without what a clock gave."""
    return [{name: value for name, value in row.items() if name not in RATES} for row in rows]


def step(seed, at, loss):
    """A call of the training."""
    return StepRow(
        seed=seed, step=at, format="f32", learning_rate=0.003, loss=loss, accuracy=0.5,
        gradient_norm=1.0, tokens_per_second=9.0, model_steps_per_second=1.0, **ARITHMETIC,
    )  # fmt: skip


def answer(seed, fmt, length, exact, margin=1.0, **changes):
    """Answers at one length, or at lengths drawn as in the training if there is none."""
    fields = {
        "seed": seed, "step": 20, "format": fmt, "examples": 8, "exact_match": exact,
        "token_accuracy": exact, "loss": 0.25, "logit_margin": margin, **ARITHMETIC, **changes,
    }  # fmt: skip
    if length is None:
        return InDistributionRow(**fields)
    return AnswersRow(length=length, in_training=length <= 4, **fields)


def training(rows, name="count_<ones>, positions rotary, remedy none", **changes):
    """Rows as those of one training."""
    return Training(name, dataclasses.replace(CONSTANTS, **changes), rows)


def run_of(rows, **settings):
    """Rows as those of a run."""
    return Run(
        settings={"study": "train", "task": CONSTANTS.task, **settings},
        rows=rows,
        numbers=[0] * len(rows),
        records=[{**to_row(CONSTANTS), **MADE}],
        constants=CONSTANTS,
        provenance={"command": "glassesjax train"},
    )


PAIR_LENGTHS = (2, 3, 4, 8, 16, 31)  # those of the training first: up to 4


def pairs_of(format, predicted, observed, *, exponent=-1.0, noise=0.5, seed=0):
    """Pairs of one decoder in one format, which collide from one n on, and its failure lengths."""
    head = {
        "seed": seed, "step": 9, "format": format, "dtype": "float32", "mode": "simulated",
        "rounding": format,
    }  # fmt: skip
    collides = lambda n: observed is not None and n >= observed
    pairs = [
        PairRow(
            **head, length=n, in_training=n < 8, target="1", next_target="2", answer="1",
            next_answer="<eos>" if n >= 8 else "2", logit_margin=1.0, next_logit_margin=-1.0,
            correct=n < 8 and not collides(n), collision=collides(n), l2=1 / n, linf=1 / n,
            equal_coordinates=0, coordinates=8, certified=False, contradicted=False,
            signal=2 / n, noise=noise, probability_distinct=0.5,
            probability_distinct_correlated=0.5, probability_wrong=0.5,
        )
        for n in PAIR_LENGTHS
    ]  # fmt: skip
    lengths = FailureLengths(
        predicted=predicted, predicted_low=predicted, predicted_correlated=16, by_certificate=31,
        stores=False, by_signal=8, predicted_first=3, observed=observed, noise=noise,
        noise_shared=0.0, exponent=exponent, exponent_low=exponent - 0.2,
        exponent_high=exponent + 0.2, distance_exponent=-1.0, pairs=6, least=2, reach=31,
        contradictions=0,
    )  # fmt: skip
    return [*pairs, FailureRow(**head, lengths=lengths)]


# Predicted well, predicted badly, and known only to be beyond what was measured.
FOUR_FORMATS = [
    *pairs_of("f64", 31, 31, noise=0.0),
    *pairs_of("bf16", 16, 8),
    *pairs_of("e4m3fn", 3, 8),
    *pairs_of("e8m3@weights", 2, None),
]


def refused(wrong=None, seed=0):
    """A decoder of which nothing is predicted: no pairs, or so many of the training wrong."""
    row = pairs_of("f64", 2, 2, seed=seed)[-1]
    obstacle = "no_pairs" if wrong is None else "pairs_wrong"
    return dataclasses.replace(row, lengths=None, obstacle=obstacle, wrong=wrong)


HEAD = {"seed": 0, "step": 10, "dtype": "float32", "rounding": "none"}
ACCURACIES = (1.0, 0.75, 0.5)


def influences(length, coefficient, first=3.0):
    """Rows of three positions, of which the first has the largest influence."""
    places = [
        InfluenceRow(
            **HEAD, format="f32", length=length, position=position, examples=64, accuracy=right,
            differentiated=8, influence=max(first - position, 1.0), rollout=0.3, bound=0.0,
        )
        for position, right in enumerate(ACCURACIES)
    ]  # fmt: skip
    order = None
    if coefficient is not None:
        order = RankCorrelation(
            spearman=coefficient, low=coefficient - 0.25, high=coefficient + 0.125
        )
    whole = InfluenceOrderRow(
        **HEAD, format="f32", length=length, num_positions=3, examples=192, accuracy=0.75,
        dispersion=None if order is None else 12.25, influence=order, rollout=order, bound=order,
        earliness=order,
    )  # fmt: skip
    return [*reversed(places), whole]


def counted(accuracy, roundoff, *, within=True, applies=None, beyond=None):
    """Rows of one counter and of one length's repetitions."""
    more = accuracy > 0.6734
    head = {**HEAD, "format": "f64", "applies": not more if applies is None else applies}
    allowed = None if roundoff is None else Roundoff(roundoff=roundoff, within_roundoff=within)
    return [
        RatioRow(
            **head, items=1020, accuracy=accuracy, ratio_only_accuracy=0.6734,
            exceeds_ratio_only=more, exceeds_beyond_roundoff=beyond,
        ),
        RepetitionRow(
            **head, length=2, pairs=24, max_difference=5e-15, median_difference=1e-15,
            roundoff=allowed, same_answer=1.0, both_correct=0.0,
        ),
    ]  # fmt: skip


def swept(*cells, axes=("task", "a", "b", "c")):
    """Rows of cells, by name, as those of a sweep."""
    name, *values = axes
    return Run(
        settings={"study": "sweep", "preset": "quick", "axes": {name: values}},
        rows=[row for _, rows in cells for row in rows],
        numbers=[number for number, (_, rows) in enumerate(cells) for _ in rows],
        records=[
            {**to_row(SweepConstants(cell=name, **to_row(CONSTANTS))), **MADE} for name, _ in cells
        ],
        constants=SweepConstants(cell="a<b", **to_row(CONSTANTS)),
        provenance={"command": "glassesjax sweep"},
    )


def answers_in(formats, *, learned=True, seeds=(0,)):
    """Answers at lengths 2, 4, 8 and 16 of a training up to 4, right up to there or nowhere."""
    return [
        answer(seed, name, length, float(learned and (length or 0) <= 4))
        for seed in seeds
        for name in formats
        for length in (None, 2, 4, 8, 16)
    ]
