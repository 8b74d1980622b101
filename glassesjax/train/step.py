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
from glassesjax.train.config import TrainConfig, check_answer_hidden
from glassesjax.train.optimizer import schedule
from glassesjax.train.sharding import constrained, summed_over_devices
from glassesjax.train.unmasked import first_scored, shown


class TrainState(NamedTuple):
    """Training state of one model."""

    decoder: Decoder
    opt_state: Any
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


class StepMetrics(NamedTuple):
    """Metrics of a step, before its update."""

    loss: Float[Array, ""]
    """Mean over scored tokens, in nats."""
    accuracy: Float[Array, ""]
    """Share of scored tokens that the decoder ranks first; of equal logits the smaller token."""
    gradient: Float[Array, ""]
    """Norm of the gradient before clipping."""


@border(rate=NON_NEGATIVE, weight_decay=NON_NEGATIVE, clip=POSITIVE)
def init_state(
    config: DecoderConfig,
    training: TrainConfig,
    seed: int,
    rate: float,
    *,
    weight_decay: float = 0.01,
    clip: float = 1.0,
) -> TrainState:
    """Initial training state.

    Args:
      config: Settings of the decoder; its vocabulary must contain the task's.
      training: Settings of the training.
      seed: Seed of the weights and, independently, of the data; from 0.
      rate: Largest learning rate; as the next two a leaf, so that a grid of them is one program.
      weight_decay: Factor of the weights in each update.
      clip: Maximum global norm of the gradient, for clipping.

    Returns:
      The training state, with weights in float32.

    Raises:
      BadInput: The vocabulary is smaller than the task's, or the mask is not causal and the prompt
        format has steps.
    """
    check_answer_hidden(config, training.prompt_format)
    needed = len(training.task.symbols)
    if config.vocab_size < needed:
        expected = f"Expected a vocabulary of at least {needed} tokens for {training.task.name}"
        raise BadInput(f"{expected}, got {config.vocab_size}: use a larger vocab_size.")
    weights, data = draws.split(draws.root_key(seed))
    state = TrainState(
        decoder=Decoder(config, key=weights),
        opt_state=None,
        step=jnp.asarray(0, jnp.int32),
        key=data,
        rate=jnp.asarray(rate, jnp.float32),
        weight_decay=jnp.asarray(weight_decay, jnp.float32),
        clip=jnp.asarray(clip, jnp.float32),
    )
    opt_state = optimizer(training, state).init(cast("Any", state.decoder))
    return state._replace(opt_state=opt_state)


def optimizer(training: TrainConfig, state: TrainState) -> optax.GradientTransformation:
    """The update rule of a training state, without its learning rate.

    Args:
      training: The rule, and the schedule.
      state: Weight decay and clipping.

    Returns:
      The Optax chain.
    """
    rule = training.optimizer.stages(state.weight_decay, state.clip)
    return optax.chain(*rule, optax.scale_by_schedule(schedule(training.warmup, training.steps)))


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


def _loss(decoder: Decoder, rows: Example, training: TrainConfig) -> tuple[Array, Array]:
    """Sum of the losses of a batch's scored tokens, and the number that were ranked first."""
    decoder = decoder.at(training.plan)
    # rows, seq -> rows, seq, vocab; in float32, since a plan's sums over rows would be rounded
    scores = jax.vmap(lambda row: answers(decoder, row))(rows).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, rows.tokens)
    correct = rows.scored & (jax.lax.argmax(scores, 2, jnp.int32) == rows.tokens)
    return jnp.sum(jnp.where(rows.scored, losses, 0)), jnp.sum(correct, dtype=jnp.int32)


def _gradient(
    decoder: Decoder, rows: Example, training: TrainConfig, mesh: Mesh | None
) -> tuple[Array, Array, Decoder]:
    """Loss, accuracy and gradient of a batch: means over its scored tokens."""
    loss_fn = jax.checkpoint(_loss, static_argnums=2) if training.remat else _loss
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def sums(decoder: Decoder, rows: Example) -> Any:  # noqa: ANN401
        """Over the rows of one device, accumulated over the parts of the batch."""

        def add(total: Any, part: Example) -> tuple[Any, None]:  # noqa: ANN401
            (loss, correct), gradient = grad_fn(decoder, part, training)
            return jax.tree.map(jnp.add, total, (loss, correct, gradient)), None

        zeros = jax.tree.map(jnp.zeros_like, decoder)
        start = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), zeros)
        split = lambda x: x.reshape(training.parts, -1, *x.shape[1:])  # rows -> parts, rows
        return jax.lax.scan(add, start, jax.tree.map(split, rows))[0]

    loss, correct, gradient = summed_over_devices(sums, decoder, rows, mesh)
    # Sums first and one division: parts and devices have different numbers of scored tokens.
    count = jnp.sum(rows.scored, dtype=jnp.int32).astype(jnp.float32)
    mean = lambda x: x / count.astype(x.dtype)
    return mean(loss), correct.astype(jnp.float32) / count, jax.tree.map(mean, gradient)


@border(steps=COUNT)
@functools.partial(jax.jit, static_argnames=("training", "steps", "mesh"), donate_argnames="states")
def train_steps(
    states: TrainState, training: TrainConfig, steps: int, *, mesh: Mesh | None = None
) -> tuple[TrainState, StepMetrics]:
    """Trains many models for a number of steps in one compiled call.

    Args:
      states: Stacked on a leading axis (``jax.tree.map(jnp.stack, ...)``); their buffers are
        donated. Their rounding plan is removed, since an update changes the weights.
      training: Settings of the training.
      steps: Steps in this call.
      mesh: The one over which ``shard`` divided them, if any.

    Returns:
      The states, and the metrics of each step of each, with axes models, steps.
    """

    def step(state: TrainState, _: None) -> tuple[TrainState, StepMetrics]:
        task, prompt_format, mix = training.task, training.prompt_format, training.mix
        rows, _lengths = batch(task, prompt_format, mix, state.key, state.step, training.batch)
        rows = first_scored(state.decoder.config, rows)
        loss, accuracy, gradient = _gradient(state.decoder, rows, training, mesh)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            metrics = StepMetrics(loss, accuracy, optax.tree.norm(cast("Any", gradient)))
            updates, opt_state = optimizer(training, state).update(
                cast("Any", gradient), state.opt_state, cast("Any", state.decoder)
            )
        moved = lambda weight, update: weight - state.rate.astype(weight.dtype) * update
        decoder = jax.tree.map(moved, state.decoder, updates)
        return state._replace(decoder=decoder, opt_state=opt_state, step=state.step + 1), metrics

    def unrounded(node: Any) -> Any:  # noqa: ANN401  (a decoder, also one of moments, or an array)
        return node.at(None) if isinstance(node, Decoder) else node

    states = jax.tree.map(unrounded, states, is_leaf=lambda node: isinstance(node, Decoder))
    one = lambda state: jax.lax.scan(step, state, length=steps)
    states, metrics = draws.over(one, states.key)(states)
    return constrained(states, mesh), metrics
