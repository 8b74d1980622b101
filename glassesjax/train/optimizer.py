"""Update rules as values of the settings, and the schedule of the learning rate."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, cast

from glassesjax.arrays import Array
from glassesjax.borders import NON_NEGATIVE, SHARE, check_fields
from glassesjax.errors import BadInput

if TYPE_CHECKING:
    import optax

WeightDecayOn = Literal["matrices", "all"]


class Optimizer:
    """What turns a gradient into an update: a frozen dataclass with ``stages``.

    One of your own needs one class. What is static stands in its fields. Weight decay and clipping
    are arrays of the training state, as the learning rate is: a grid of them is one program.
    """

    def stages(
        self, weight_decay: Array, clip: Array
    ) -> "tuple[optax.GradientTransformation, ...]":
        """Optax transformations in order; the learning rate multiplies what they make.

        Args:
          weight_decay: Factor of the weights in the update.
          clip: Maximum global norm of the gradient.

        Returns:
          The transformations; their states are saved in checkpoints.
        """
        expected = "Expected an optimizer with a method stages"
        raise BadInput(f"{expected}, got {type(self).__name__}: give it one.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam on the clipped gradient, with decoupled weight decay (arXiv 1711.05101)."""

    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay_on: WeightDecayOn = "matrices"
    """Weights with decay: matrices and tables, or all, also gains, biases and temperatures."""

    def __post_init__(self) -> None:
        check_fields(self, "AdamW", b1=SHARE, b2=SHARE, eps=NON_NEGATIVE)
        if max(self.b1, self.b2) >= 1:  # the correction of the bias would be 0 / 0
            raise BadInput(f"Expected AdamW.b1 and b2 below 1, got {self.b1} and {self.b2}.")

    def stages(
        self, weight_decay: Array, clip: Array
    ) -> "tuple[optax.GradientTransformation, ...]":
        """Clipping, the quotient of the moments, decay."""
        import jax
        import optax

        def decayed(updates: Any, decoder: Any) -> Any:  # noqa: ANN401
            def add(path: tuple, update: Array, weight: Array) -> Array:
                # Rank within one layer: blocks have a leading axis of layers; seeds are vmapped.
                rank = weight.ndim - (path[0].name == "blocks")
                decays = rank >= 2 or self.weight_decay_on == "all"
                return update + weight_decay.astype(weight.dtype) * weight if decays else update

            return jax.tree_util.tree_map_with_path(add, updates, decoder)

        return (
            optax.clip_by_global_norm(cast("Any", clip)),
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.stateless(cast("Any", decayed)),
        )


ADAMW = AdamW()


def schedule(warmup: int, steps: int) -> "optax.Schedule":
    """The learning rate of each step, relative to the largest.

    Args:
      warmup: Steps of warmup.
      steps: Steps of the schedule.

    Returns:
      A linear warmup from 0, then a cosine decay to 0.
    """
    import optax

    return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, steps)
