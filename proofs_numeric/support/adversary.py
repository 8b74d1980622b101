"""Gradient ascent on measured over bound: adversarial instances of a claim."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


class Found(NamedTuple):
    """The instance with the largest ratio, of all starts and steps."""

    instance: Any  # as one of the starts
    ratio: Float[Array, ""]


@functools.partial(jax.jit, static_argnames=("ratio", "steps", "learning_rate"))
def ascend(
    ratio: Callable[[Any], Float[Array, ""]],
    starts: Any,  # noqa: ANN401  (a pytree of floats, with a leading axis of starts)
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
) -> Found:
    """Maximizes a ratio from several starts by Adam on its logarithm.

    A step to a ratio that is not finite is ignored, and NaN gradients are replaced by zero. It is
    compiled once for each ratio: pass a function of the module, not a new lambda.

    Args:
      ratio: From an instance to measured over bound; differentiable almost everywhere.
      starts: Instances, stacked on a leading axis.
      steps: Number of steps from each start.
      learning_rate: Of Adam, in the instance's unit.

    Returns:
      The best instance on the path, and its ratio.
    """
    optimizer = optax.chain(optax.zero_nans(), optax.adam(learning_rate))
    objective = lambda instance: -jnp.log(ratio(instance))

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        instance, state, best, best_loss = carry
        loss, grads = jax.value_and_grad(objective)(instance)
        better = jnp.isfinite(loss) & (loss < best_loss)  # an infinite ratio is an underflow
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), instance, best)
        updates, state = optimizer.update(grads, state, instance)
        moved = cast(Any, optax.apply_updates(instance, updates))
        return (moved, state, best, jnp.where(better, loss, best_loss)), None

    def climb(instance: Any) -> tuple[Any, Array]:  # noqa: ANN401
        infinite = jnp.full_like(objective(instance), jnp.inf)
        start = (instance, optimizer.init(instance), instance, infinite)
        _, _, best, loss = jax.lax.scan(step, start, length=steps)[0]
        return best, loss

    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes floats and integers
        instances, losses = jax.vmap(climb)(starts)
    worst = jnp.argmin(losses)
    return Found(jax.tree.map(lambda leaf: leaf[worst], instances), jnp.exp(-losses[worst]))
