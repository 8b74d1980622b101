"""Rows of the train study: metrics of steps, and accuracy of answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from glassesjax import draws
from glassesjax.model import Decoder
from glassesjax.precision import RoundingPlan, named_plan
from glassesjax.runs.constants import with_settings
from glassesjax.studies.train.records import (
    AnswersRow,
    InDistributionPositionRow,
    InDistributionRow,
    PositionRow,
    StepRow,
    TrainConstants,
    TrainRow,
)
from glassesjax.studies.train.settings import NOTHING, TrainSettings
from glassesjax.train import Score, evaluate
from glassesjax.train.step import StepMetrics


def constants(settings: TrainSettings) -> TrainConstants:
    """Fields shared by all rows of a run.

    Returns:
      The settings that a reader of rows wants beside them.
    """
    low, high = settings.lengths
    return with_settings(
        TrainConstants,
        settings,
        study="train",
        shortest=low,
        longest=high,
        num_layers=settings.layers,
        num_heads=settings.heads,
        model_dim=settings.width,
    )


def step_rows(
    settings: TrainSettings, step: int, metrics: StepMetrics, seconds: float | None
) -> Iterator[StepRow]:
    """One row a seed for a call of the training.

    Args:
      settings: Settings of the training.
      step: The last step of the call, from 1.
      metrics: Metrics of each seed's steps.
      seconds: Of a step, of all seeds together; None where compilation is included.

    Yields:
      Means over the steps of the call; the rates are those of this machine.
    """
    training, plan = settings.training, named_plan(settings.arithmetic)
    # Metrics are (seeds, steps of the call). All seeds are trained in one step.
    rate = None if seconds is None else settings.seeds / seconds
    called = np.arange(step - metrics.loss.shape[1], step)
    learning_rate = settings.rate * float(np.mean(training.relative_rates(called)))
    for seed in range(settings.seeds):
        yield StepRow(
            seed=seed,
            step=step,
            format=settings.arithmetic,
            learning_rate=learning_rate,
            loss=float(np.mean(metrics.loss[seed])),
            finite=_finite(plan, metrics.loss[seed]),
            accuracy=float(np.mean(metrics.accuracy[seed])),
            gradient_norm=float(np.mean(metrics.gradient[seed])),
            tokens_per_second=None if rate is None else rate * training.batch * settings.row,
            model_steps_per_second=rate,
            **arithmetic_fields(plan),
        )


def score_rows(
    settings: TrainSettings, decoders: Sequence[Decoder], name: str, lengths: Sequence[int]
) -> Iterator[TrainRow]:
    """One row for each seed and length, and one for each place that answers copy from.

    Args:
      settings: Settings of the training.
      decoders: One for each seed.
      name: Of the format in which they answer.
      lengths: Of the items; ``NOTHING`` draws them as the training does.

    Yields:
      Shares, nats and margins.
    """
    training, plan = settings.training, named_plan(name)
    for seed, decoder in enumerate(decoders):
        rounding = decoder.at(plan)  # in the arithmetic of the format
        for length in lengths:
            trained = length <= settings.lengths[1]
            # One padded size for the trained lengths and one for those beyond: each is compiled.
            score = evaluate(
                rounding,
                training.task,
                training.prompt_format,
                # Apart from the keys that ``init_state`` splits off, and in all examples anew.
                draws.fold_in(draws.root_key(seed), length % 2**32),
                training.mix if length == NOTHING else length,
                size=settings.lengths[1] if trained else settings.tested[-1],
                count=settings.examples,
            )
            head: dict[str, Any] = {
                "seed": seed,
                "step": settings.steps,
                "format": name,
                **arithmetic_fields(plan),
            }
            drawn = None if length == NOTHING else length
            score = jax.device_get(score)  # once, instead of at each field
            yield from _rows_of(head, score, drawn, trained, settings.examples, plan)


def _rows_of(
    head: Mapping[str, Any],
    score: Score,
    length: int | None,
    trained: bool,
    examples: int,
    plan: RoundingPlan | None,
) -> Iterator[TrainRow]:
    """A row for each position that answers copy, then that of the answers.

    Where the last is on disk, so are the others.
    """
    for position in np.flatnonzero(score.targets_at):
        copied: dict[str, Any] = {
            "position": int(position),
            "examples": int(score.targets_at[position]),
            "token_accuracy": float(score.correct_at[position] / score.targets_at[position]),
            **head,
        }
        if length is None:
            yield InDistributionPositionRow(**copied)
        else:
            yield PositionRow(length=length, in_training=trained, **copied)
    fields: dict[str, Any] = {
        "examples": examples,
        "exact_match": float(score.exact),
        "token_accuracy": float(score.tokens),
        "loss": float(score.loss),
        "finite": _finite(plan, score.loss),
        "logit_margin": float(score.margin),
        **head,
    }
    if length is None:
        yield InDistributionRow(**fields)
    else:
        yield AnswersRow(length=length, in_training=trained, **fields)


def _finite(plan: RoundingPlan | None, loss: ArrayLike) -> bool | None:
    """Whether losses are finite; None where a format rounds, whose overflow is its own."""
    rounds = plan is not None and bool(plan.formats)
    return None if rounds else bool(np.isfinite(np.asarray(loss)).all())


def arithmetic_fields(plan: RoundingPlan | None) -> dict[str, Any]:
    """Row fields on the arithmetic of a pass.

    Args:
      plan: Where it rounds; None where it does not.

    Returns:
      Fields of ``RoundedFields`` by name.
    """
    plan = plan or RoundingPlan.wide()
    rounds = plan.mode != "wide"
    return {
        "dtype": plan.carrier_dtype.name,
        "mode": plan.mode if rounds else "reference",
        "rounding": plan.name if rounds else "none",
    }
