"""Settings of training, validated without JAX."""

import dataclasses
import math
from collections.abc import Mapping

from glassesjax.arrays import Float, Int, NumPyArray
from glassesjax.borders import check_fields
from glassesjax.errors import BadInput
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import RoundingPlan
from glassesjax.tasks.prompt_format import PLAIN, PromptFormat
from glassesjax.tasks.task import LengthMix, Task
from glassesjax.train.optimizer import ADAMW, Optimizer

AXES = ("seed", "data", "model")  # axes of the mesh
ROWS = ("data", "model")  # axes that shard the rows of a batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of training; hashable, a static argument of compiled functions."""

    task: Task
    mix: LengthMix
    prompt_format: PromptFormat = PLAIN
    batch: int = 64
    """Examples per step."""
    parts: int = 1
    """Gradient accumulation: number of parts of a batch; it divides the batch. Saves memory."""
    steps: int = 2000
    """Steps of the schedule."""
    warmup: int = 100
    """Steps of linear warmup of the learning rate, before its cosine decay. It starts at 0: with a
    warmup the first step changes nothing."""
    optimizer: Optimizer = ADAMW
    """The update rule, whose numbers that are data belong to each training state."""
    plan: RoundingPlan | None = None
    """Rounding plan of the forward pass, weights included; the master weights are not rounded."""
    remat: bool = False
    """Rematerialization: recompute the forward pass for the gradient. Saves memory, takes time."""

    def __post_init__(self) -> None:
        check_fields(self, "TrainConfig")
        if self.parts < 1 or self.batch < 1 or self.batch % self.parts:
            expected = "Expected a positive batch that is a multiple of its parts"
            raise BadInput(f"{expected}, got {self.batch} in {self.parts} parts: change one.")
        if not 0 <= self.warmup < self.steps:
            expected = "Expected fewer steps of warmup than steps"
            raise BadInput(f"{expected}, got {self.warmup} of {self.steps}: change one.")

    def relative_rates(self, steps: Int[NumPyArray, " steps"]) -> Float[NumPyArray, " steps"]:
        """The learning rate of some steps, relative to the largest.

        Args:
          steps: Step numbers from 0; with a warmup step 0 has rate 0 and changes nothing.

        Returns:
          Numbers from 0 to 1.
        """
        import jax
        import jax.numpy as jnp
        import numpy as np

        from glassesjax.train.optimizer import schedule

        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            rates = schedule(self.warmup, self.steps)(jnp.asarray(steps, jnp.int32))
        return np.asarray(rates)


def check_mesh(ways: Mapping[str, int], seeds: int, training: TrainConfig) -> None:
    """Validates that seeds and batch are divisible over a mesh.

    Args:
      ways: Sizes of the mesh axes.
      seeds: Number of models.
      training: Settings of the training.

    Raises:
      BadInput: The seeds, or the parts of a batch, are not divisible.
    """
    if seeds % ways["seed"]:
        expected = f"Expected a multiple of {ways['seed']} seeds, an axis of the mesh"
        raise BadInput(f"{expected}, got {seeds}: change one.")
    rows, groups = training.batch // training.parts, math.prod(ways[axis] for axis in ROWS)
    if rows % groups:
        expected = f"Expected a multiple of {groups} examples in each part of a batch, for the mesh"
        raise BadInput(f"{expected}, got {rows}: change one.")


def sees_later(config: DecoderConfig) -> bool:
    """Whether the mask lets a token attend to later ones.

    Args:
      config: Settings of the decoder.

    Returns:
      False for causal and window masks.
    """
    return not config.mask.causal


def check_answer_hidden(config: DecoderConfig, prompt_format: PromptFormat) -> None:
    """Validates that a decoder without causal mask has no steps of the answer in its input.

    Args:
      config: Settings of the decoder.
      prompt_format: The prompt format.

    Raises:
      BadInput: The answer has steps, and the decoder would attend to them.
    """
    if sees_later(config) and prompt_format.steps:
        expected = "Expected a causal mask for a prompt format with steps"
        raise BadInput(f"{expected}, got {type(config.mask).__name__}: change one.")
