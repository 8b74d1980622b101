"""How a decoder is trained, as a value that is checked without JAX."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from glassesjax.arrays import Float, Int, NumPyArray
from glassesjax.borders import NON_NEGATIVE, POSITIVE, check_fields
from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import RoundingPlan
from glassesjax.tasks.glasses import PLAIN, Glasses
from glassesjax.tasks.task import LengthMix, Task

WeightDecayOn = Literal["matrices", "all"]
AXES = ("seed", "data", "model")  # of a mesh
ROWS = ("data", "model")  # what the rows of a batch are divided over


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a decoder is trained; static, so that one recipe compiles once."""

    task: Task
    mix: LengthMix
    glasses: Glasses = PLAIN
    batch: int = 64
    """Examples a step."""
    parts: int = 1
    """Parts that a batch is read in, their gradients added; it divides the batch. Saves memory."""
    steps: int = 2000
    """Steps of the schedule."""
    warmup: int = 100
    """Steps of the linear climb of the learning rate; after them it falls as a half cosine. It
    climbs from 0: with a warmup the first step changes nothing."""
    weight_decay: float = 0.01
    weight_decay_on: WeightDecayOn = "matrices"
    """Which weights decay: matrices and tables, or all, gains, biases and temperatures included."""
    clip: float = 1.0
    """Largest norm of the gradient; a larger one is scaled down."""
    plan: RoundingPlan | None = None
    """Where the forward pass rounds, weights included; the master weights stay as they are."""
    remat: bool = False
    """Whether the forward pass is computed again for the gradient. Saves memory, takes time."""

    def __post_init__(self) -> None:
        check_fields(self, "Recipe", weight_decay=NON_NEGATIVE, clip=POSITIVE)
        if self.parts < 1 or self.batch < 1 or self.batch % self.parts:
            wanted = "Expected a batch of 1 or more that its parts divide"
            raise BadInput(f"{wanted}, got {self.batch} in {self.parts} parts.")
        if not 0 <= self.warmup < self.steps:
            wanted = "Expected fewer steps of warmup than steps"
            raise BadInput(f"{wanted}, got {self.warmup} of {self.steps}.")

    def climbed(self, steps: Int[NumPyArray, " steps"]) -> Float[NumPyArray, " steps"]:
        """The learning rate of some steps, as a share of the largest.

        Args:
          steps: From 0; step 0 has the share 0 where there is a warmup, and changes nothing.

        Returns:
          Shares from 0 to 1.
        """
        import jax
        import jax.numpy as jnp
        import numpy as np

        from glassesjax.train.optimizer import schedule

        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            return np.asarray(schedule(self)(jnp.asarray(steps, jnp.int32)))


def check_mesh(ways: Mapping[str, int], seeds: int, recipe: Recipe) -> None:
    """Whether a mesh divides what is to be trained.

    Args:
      ways: Sizes of its axes.
      seeds: Learners.
      recipe: How they are trained.

    Raises:
      BadInput: It does not divide the seeds, or the parts of a batch.
    """
    if seeds % ways["seed"]:
        raise BadInput(f"Expected seeds in {ways['seed']} equal groups of the mesh, got {seeds}.")
    rows, groups = recipe.batch // recipe.parts, math.prod(ways[axis] for axis in ROWS)
    if rows % groups:
        wanted = f"Expected each part of a batch in {groups} equal groups of the mesh"
        raise BadInput(f"{wanted}, got {rows} examples.")


def sees_later(config: DecoderConfig) -> bool:
    """Whether some token of a sequence sees one that follows it.

    Args:
      config: Of the decoder.

    Returns:
      False for the masks that keep order.
    """
    return not config.mask.causal


def check_hidden(config: DecoderConfig, glasses: Glasses) -> None:
    """Refuses a layout that asks for more than can be hidden.

    Args:
      config: Of the decoder.
      glasses: The layout.

    Raises:
      BadInput: The answer follows steps, and the decoder would see them.
    """
    if sees_later(config) and glasses.steps:
        wanted = "Expected a causal mask for steps, each of which is said given those before"
        raise BadInput(f"{wanted}, got {type(config.mask).__name__}.")
