"""What tests of trainings and sweeps share: made rows, and rows without the machine's speed."""

import dataclasses

from glassesjax.runs.record import to_row
from glassesjax.runs.run import Run
from glassesjax.studies.train.cells import Training
from glassesjax.studies.train.records import (
    AnswersRow,
    InDistributionRow,
    StepRow,
    TrainConstants,
)

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
