"""The optimizer of a recipe, and its learning rate schedule."""

from typing import Any, cast

import jax
import optax
from jaxtyping import Array

from glassesjax.model import Decoder
from glassesjax.train.recipe import Recipe


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW without the learning rate, which differs between models.

    Args:
      recipe: Weight decay, clipping and schedule.

    Returns:
      The Optax chain.
    """

    def decayed(updates: Any, decoder: Decoder | None) -> Any:  # noqa: ANN401
        def add(path: tuple, update: Array, weight: Array) -> Array:
            # Rank within one layer: blocks have a leading axis of layers; seeds are vmapped.
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
    """The learning rate of each step, relative to the largest.

    Args:
      recipe: Steps and warmup.

    Returns:
      A linear warmup from 0, then a cosine decay to 0.
    """
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, recipe.warmup, recipe.steps)
