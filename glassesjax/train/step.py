"""Training: many steps of many models in one compiled call."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, border
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig
from glassesjax.tasks.layout import Example, batch
from glassesjax.train.optimizer import schedule
from glassesjax.train.recipe import Recipe, check_hidden
from glassesjax.train.sharding import divided, in_place
from glassesjax.train.unmasked import first_asked, shown


class Learner(NamedTuple):
    """Training state of one model."""

    decoder: Decoder
    moments: Any
    """State of the optimizer."""
    step: Int[Array, ""]
    key: Array
    """PRNG key of the data; folded with the step for each batch."""
    rate: Float[Array, ""]
    """Largest learning rate of the schedule."""
    weight_decay: Float[Array, ""]
    """Factor of the weights in each update."""
    clip: Float[Array, ""]
    """Maximum global norm of the gradient, for clipping."""


class Told(NamedTuple):
    """Metrics of a step, before its update."""

    loss: Float[Array, ""]
    """Mean over scored tokens, in nats."""
    accuracy: Float[Array, ""]
    """Share of scored tokens that the decoder ranks first; of equal logits the smaller token."""
    gradient: Float[Array, ""]
    """Norm of the gradient before clipping."""


@border(rate=NON_NEGATIVE, weight_decay=NON_NEGATIVE, clip=POSITIVE)
def begin(
    config: DecoderConfig,
    recipe: Recipe,
    seed: int,
    rate: float,
    *,
    weight_decay: float = 0.01,
    clip: float = 1.0,
) -> Learner:
    """Initial training state.

    Args:
      config: Settings of the decoder; its vocabulary must contain the task's.
      recipe: Settings of the training.
      seed: Seed of the weights and, independently, of the data; from 0.
      rate: Largest learning rate; as the next two a leaf, so that a grid of them is one program.
      weight_decay: Factor of the weights in each update.
      clip: Maximum global norm of the gradient, for clipping.

    Returns:
      The learner, with weights in float32.

    Raises:
      BadInput: The vocabulary is smaller than the task's, or the mask is not causal and the prompt
        format has steps.
    """
    check_hidden(config, recipe.glasses)
    needed = len(recipe.task.symbols)
    if config.vocab_size < needed:
        expected = f"Expected a vocabulary of at least {needed} tokens for {recipe.task.name}"
        raise BadInput(f"{expected}, got {config.vocab_size}: use a larger vocab_size.")
    weights, data = draws.split(draws.root_key(seed))
    learner = Learner(
        decoder=Decoder(config, key=weights),
        moments=None,
        step=jnp.asarray(0, jnp.int32),
        key=data,
        rate=jnp.asarray(rate, jnp.float32),
        weight_decay=jnp.asarray(weight_decay, jnp.float32),
        clip=jnp.asarray(clip, jnp.float32),
    )
    moments = optimizer(recipe, learner).init(cast("Any", learner.decoder))
    return learner._replace(moments=moments)


def optimizer(recipe: Recipe, learner: Learner) -> optax.GradientTransformation:
    """The update rule of a learner, without its learning rate.

    Args:
      recipe: The rule, and the schedule.
      learner: Weight decay and clipping.

    Returns:
      The Optax chain.
    """
    rule = recipe.optimizer.stages(learner.weight_decay, learner.clip)
    return optax.chain(*rule, optax.scale_by_schedule(schedule(recipe.warmup, recipe.steps)))


def answers(decoder: Decoder, row: Example) -> Float[Array, "seq vocab"]:
    """Logits for each token of a row, given all before it, or all before the answer.

    A decoder without causal mask gets the row without its answer: only the logits of the first
    scored token are meaningful (``train.unmasked``).

    Args:
      decoder: The decoder, with its rounding plan.
      row: One example.

    Returns:
      Logits in the accumulation dtype of the decoder's plan; zero for the first token, which
      nothing precedes.
    """
    y, _ = decoder(*shown(decoder.config, row))
    return jnp.roll(decoder.logits(y), 1, axis=0).at[0].set(0)


def _lost(decoder: Decoder, rows: Example, recipe: Recipe) -> tuple[Array, Array]:
    """Sum of the losses of a batch's scored tokens, and the number that were ranked first."""
    rounding = decoder.at(recipe.plan)
    scores = jax.vmap(lambda row: answers(rounding, row))(rows).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, rows.tokens)
    right = rows.scored & (jax.lax.argmax(scores, 2, jnp.int32) == rows.tokens)
    return jnp.sum(jnp.where(rows.scored, losses, 0)), jnp.sum(right, dtype=jnp.int32)


def _sums(decoder: Decoder, rows: Example, recipe: Recipe) -> tuple[Array, Array, Decoder]:
    """Loss, tokens ranked first and gradient of some rows, accumulated over the parts."""
    lost = jax.checkpoint(_lost, static_argnums=2) if recipe.remat else _lost
    slope = jax.value_and_grad(lost, has_aux=True)
    split = lambda x: x.reshape(recipe.parts, -1, *x.shape[1:])  # rows -> parts, rows of a part

    def add(sums: Any, part: Example) -> tuple[Any, None]:  # noqa: ANN401
        (loss, right), gradient = slope(decoder, part, recipe)
        return jax.tree.map(jnp.add, sums, (loss, right, gradient)), None

    zeros = jax.tree.map(jnp.zeros_like, decoder)
    start = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), zeros)
    return jax.lax.scan(add, start, jax.tree.map(split, rows))[0]


def _gradient(
    decoder: Decoder, rows: Example, recipe: Recipe, mesh: Mesh | None
) -> tuple[Array, Array, Decoder]:
    """Loss, accuracy and gradient of a batch: means over its scored tokens."""
    sums = lambda whole, few: _sums(whole, few, recipe)
    loss, right, gradient = divided(sums, decoder, rows, mesh)
    count = jnp.sum(rows.scored, dtype=jnp.int32).astype(jnp.float32)
    mean = lambda x: x / count.astype(x.dtype)
    return mean(loss), right.astype(jnp.float32) / count, jax.tree.map(mean, gradient)


def _step(learner: Learner, recipe: Recipe, mesh: Mesh | None) -> tuple[Learner, Told]:
    rows, _ = batch(
        recipe.task, recipe.glasses, recipe.mix, learner.key, learner.step, recipe.batch
    )
    rows = first_asked(learner.decoder.config, rows)
    loss, accuracy, gradient = _gradient(learner.decoder, rows, recipe, mesh)
    # Optax mixes integer counts and floats.
    with jax.numpy_dtype_promotion("standard"):
        metrics = Told(loss, accuracy, optax.tree.norm(cast("Any", gradient)))
        updates, moments = optimizer(recipe, learner).update(
            cast("Any", gradient), learner.moments, cast("Any", learner.decoder)
        )
    moved = lambda weight, update: weight - learner.rate.astype(weight.dtype) * update
    decoder = jax.tree.map(moved, learner.decoder, updates)
    return learner._replace(decoder=decoder, moments=moments, step=learner.step + 1), metrics


@border(steps=COUNT)
@functools.partial(jax.jit, static_argnames=("recipe", "steps", "mesh"), donate_argnames="learners")
def learn(
    learners: Learner, recipe: Recipe, steps: int, *, mesh: Mesh | None = None
) -> tuple[Learner, Told]:
    """Trains many learners for a number of steps in one compiled call.

    Args:
      learners: Stacked on a leading axis (``jax.tree.map(jnp.stack, ...)``); their buffers are
        donated. Their rounding plan is removed, since an update changes the weights.
      recipe: Settings of the training.
      steps: Steps in this call.
      mesh: The one over which ``place`` sharded them, if any.

    Returns:
      The learners, and the metrics of each step of each, with axes models, steps.
    """

    def one(learner: Learner) -> tuple[Learner, Told]:
        return jax.lax.scan(lambda now, _: _step(now, recipe, mesh), learner, length=steps)

    learners, metrics = draws.over(one, learners.key)(_without_plan(learners))
    return in_place(learners, mesh), metrics


def _without_plan(learners: Learner) -> Learner:
    def clear(node: Any) -> Any:  # noqa: ANN401  (a decoder, also one of moments, or an array)
        return node.at(None) if isinstance(node, Decoder) else node

    return jax.tree.map(clear, learners, is_leaf=lambda node: isinstance(node, Decoder))
