"""The optimizer that a recipe names, and the schedule of its learning rate."""

from typing import Any, cast

import jax
import optax
from jaxtyping import Array

from glassesjax.model import Decoder
from glassesjax.train.recipe import Recipe


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW without its learning rate, which is a number of its own for each model.

    Args:
      recipe: Its decay, clipping and schedule.

    Returns:
      The chain.
    """

    def decayed(updates: Any, decoder: Decoder | None) -> Any:  # noqa: ANN401
        def add(path: tuple, update: Array, weight: Array) -> Array:
            # A layer's own rank: layers are stacked, and seeds are mapped over.
            rank = weight.ndim - (path[0].name == "blocks")
            decays = rank >= 2 or recipe.weight_decay_on == "all"
            return update + recipe.weight_decay * weight if decays else update

        return jax.tree_util.tree_map_with_path(add, updates, decoder)

    return optax.chain(
        optax.clip_by_global_norm(recipe.clip),
        optax.scale_by_adam(b2=0.98),
        optax.stateless(cast("Any", decayed)),
        optax.scale_by_schedule(schedule(recipe)),
    )


def schedule(recipe: Recipe) -> optax.Schedule:
    """The learning rate of each step, as a share of the largest.

    Args:
      recipe: Its steps and warmup.

    Returns:
      A linear climb from 0, then half a cosine down to 0.
    """
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, recipe.warmup, recipe.steps)
