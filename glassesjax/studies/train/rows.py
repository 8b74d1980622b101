"""Rows of the train study: what steps said, and how many answers are right."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from glassesjax import draws
from glassesjax.files import Row, Value
from glassesjax.model import Decoder
from glassesjax.precision import RoundingPlan, named_plan
from glassesjax.runs.provenance import provenance
from glassesjax.studies.train.settings import NOTHING, TrainSettings
from glassesjax.train import Score, evaluate
from glassesjax.train.step import Told

_SAID = (
    "task", "remedy", "positions", "mask", "temperature", "mix", "layers", "heads", "width",
    "arithmetic", "steps", "batch", "rate", "parts", "remat",
    "weight_decay_on",
)  # fmt: skip


def shared_fields(settings: TrainSettings) -> dict[str, Value]:
    """What all rows of a run have in common.

    Args:
      settings: What is trained.

    Returns:
      Fields by name.
    """
    low, high = settings.lengths
    return {
        "study": "train",
        **{name: getattr(settings, name) for name in _SAID},
        "shortest": low,
        "longest": high,
        "mesh": " x ".join(map(str, settings.mesh)),
        **provenance(),
    }


def step_rows(
    settings: TrainSettings, step: int, told: Told, seconds: float | None
) -> Iterator[Row]:
    """One row a seed for a call of the training.

    Args:
      settings: What is trained.
      step: The last step of the call, from 1.
      told: What each seed's steps said.
      seconds: Of a step, of all seeds together; None where they are not told from compiling.

    Yields:
      Means over the steps of the call; the rates are those of this machine.
    """
    recipe, plan = settings.recipe, named_plan(settings.arithmetic)
    rate = None if seconds is None else settings.seeds / seconds
    called = np.arange(step - told.loss.shape[1], step)
    learning_rate = settings.rate * float(np.mean(recipe.climbed(called)))
    for seed in range(settings.seeds):
        yield {
            "kind": "step",
            "seed": seed,
            "step": step,
            "format": settings.arithmetic,
            "length": NOTHING,
            "place": NOTHING,
            "learning_rate": learning_rate,
            "loss": float(np.mean(told.loss[seed])),
            "finite": _finite(plan, told.loss[seed]),
            "accuracy": float(np.mean(told.accuracy[seed])),
            "gradient_norm": float(np.mean(told.gradient[seed])),
            "tokens_per_second": None if rate is None else rate * recipe.batch * settings.row,
            "model_steps_per_second": rate,
            "norm": "l2",
            **_arithmetic(plan),
        }


def score_rows(
    settings: TrainSettings, decoders: Sequence[Decoder], name: str, lengths: Sequence[int]
) -> Iterator[Row]:
    """One row for each seed and length, and one for each place that answers copy from.

    Args:
      settings: What was trained.
      decoders: One a seed.
      name: Of the format in which they answer.
      lengths: Of the items; ``NOTHING`` draws them as the training does.

    Yields:
      Shares, nats and margins.
    """
    recipe, plan = settings.recipe, named_plan(name)
    for seed, decoder in enumerate(decoders):
        for length in lengths:
            trained = length <= settings.lengths[1]
            score = evaluate(
                decoder,
                recipe.task,
                recipe.glasses,
                # Apart from the keys that ``begin`` splits off, and in all examples anew.
                draws.fold_in(draws.root_key(seed), length % 2**32),
                recipe.mix if length == NOTHING else length,
                size=settings.lengths[1] if trained else settings.tested[-1],
                count=settings.examples,
                plan=plan,
            )
            head: dict[str, Value] = {
                "seed": seed,
                "step": settings.steps,
                "format": name,
                "length": length,
            }
            yield from _of_length(head, jax.device_get(score), trained, settings.examples, plan)


def _of_length(
    head: dict[str, Value], score: Score, trained: bool, examples: int, plan: RoundingPlan | None
) -> Iterator[Row]:
    for place in np.flatnonzero(score.asked_at):
        yield {
            "kind": "place",
            **head,
            "place": int(place),
            "in_training": trained,
            "examples": int(score.asked_at[place]),
            "tokens_right": float(score.right_at[place] / score.asked_at[place]),
            "norm": "none",
            **_arithmetic(plan),
        }
    # Last: where this row is on disk, so are those of the places.
    yield {
        "kind": "answers",
        **head,
        "place": NOTHING,
        "in_training": trained,
        "examples": examples,
        "exact": float(score.exact),
        "tokens_right": float(score.tokens),
        "loss": float(score.loss),
        "finite": _finite(plan, score.loss),
        "margin": float(score.margin),
        "norm": "none",
        **_arithmetic(plan),
    }


def _finite(plan: RoundingPlan | None, loss: ArrayLike) -> bool | None:
    """Whether losses are finite; None where a format rounds, whose overflow is its own."""
    rounds = plan is not None and bool(plan.formats)
    return None if rounds else bool(np.isfinite(np.asarray(loss)).all())


def _arithmetic(plan: RoundingPlan | None) -> dict[str, Value]:
    plan = plan or RoundingPlan.wide()
    return {"dtype": plan.carrier_dtype.name, "mode": plan.mode, "rounding": plan.name}
