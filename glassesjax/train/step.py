"""Training steps, many in one call: weights and moments in, weights and moments out."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, border, check_fields
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig
from glassesjax.precision import RoundingPlan
from glassesjax.tasks.glasses import PLAIN, Example, Glasses, batch
from glassesjax.tasks.task import LengthMix, Task
from glassesjax.train.sharding import divided, in_place
from glassesjax.train.unmasked import check_hidden, first_asked, shown

WeightDecayOn = Literal["matrices", "all"]


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
            wanted = "Wanted a batch of 1 or more that its parts divide"
            raise BadInput(f"{wanted}; found {self.batch} in {self.parts} parts.")
        if not 0 <= self.warmup < self.steps:
            wanted = "Wanted fewer steps of warmup than steps"
            raise BadInput(f"{wanted}; found {self.warmup} of {self.steps}.")

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW without its learning rate, which is a number of its own for each model."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(b2=0.98),
            optax.stateless(cast("Any", self._decayed)),
            optax.scale_by_schedule(self._schedule),
        )

    @property
    def _schedule(self) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, self.warmup, self.steps)

    def climbed(self, steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
        """The learning rate of some steps, as a share of the largest.

        Args:
          steps: From 0; step 0 has the share 0 where there is a warmup, and changes nothing.

        Returns:
          Shares from 0 to 1.
        """
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integer counts and floats
            return np.asarray(self._schedule(jnp.asarray(steps, jnp.int32)))

    def _decayed(self, updates: Any, decoder: Decoder | None) -> Any:  # noqa: ANN401
        def add(path: tuple, update: Array, weight: Array) -> Array:
            # A layer's own rank: layers are stacked, and seeds are mapped over.
            rank = weight.ndim - (path[0].name == "blocks")
            decays = rank >= 2 or self.weight_decay_on == "all"
            return update + self.weight_decay * weight if decays else update

        return jax.tree_util.tree_map_with_path(add, updates, decoder)


class Learner(NamedTuple):
    """All that training carries from step to step."""

    decoder: Decoder
    moments: Any
    """Of the optimizer."""
    step: Int[Array, ""]
    key: Array
    """Of the data; of every step's own batch with the step folded in."""
    rate: Float[Array, ""]
    """Largest learning rate of the schedule."""


class Told(NamedTuple):
    """What a step says of itself, before its update."""

    loss: Float[Array, ""]
    """Mean over scored tokens, in nats."""
    accuracy: Float[Array, ""]
    """Share of scored tokens that the decoder ranks first; of equal scores the smaller token."""
    gradient: Float[Array, ""]
    """Norm of the gradient before it is clipped."""


@border()
def begin(config: DecoderConfig, recipe: Recipe, seed: int, rate: float) -> Learner:
    """A learner before its first step.

    Args:
      config: Of the decoder; its vocabulary must hold the task's.
      recipe: How it will be trained.
      seed: Of the weights, and, apart from them, of the data; from 0.
      rate: Largest learning rate.

    Returns:
      The learner, with weights in float32.

    Raises:
      BadInput: The vocabulary is smaller than the task's, or the mask shows the layout's steps.
    """
    check_hidden(config, recipe.glasses)
    wanted = len(recipe.task.symbols)
    if config.vocab_size < wanted:
        found = f"found {config.vocab_size}"
        raise BadInput(f"Wanted {wanted} tokens or more for {recipe.task.name}; {found}.")
    weights, data = draws.split(draws.root_key(seed))
    decoder = Decoder(config, key=weights)
    return Learner(
        decoder=decoder,
        moments=recipe.optimizer.init(cast("Any", decoder)),
        step=jnp.asarray(0, jnp.int32),
        key=data,
        rate=jnp.asarray(rate, jnp.float32),
    )


def answers(decoder: Decoder, row: Example, plan: RoundingPlan | None) -> Float[Array, "seq vocab"]:
    """Scores for each token of a row, given all before it, or all before the answer.

    A decoder whose tokens see later ones gets the row without its answer: only the first scored
    token's scores mean something (``train.unmasked``).

    Args:
      decoder: Weights as the plan stores them.
      row: One example.
      plan: Where to round.

    Returns:
      Scores in the plan's carrier; those of the first token, which nothing precedes, are zero.
    """
    y, _ = decoder(*shown(decoder.config, row), plan=plan, keep="nothing")
    return jnp.roll(decoder.logits(y, plan=plan), 1, axis=0).at[0].set(0)


def _lost(decoder: Decoder, rows: Example, recipe: Recipe) -> tuple[Array, Array]:
    """Sum of the losses of a batch's scored tokens, and how many were ranked first."""
    stored = decoder if recipe.plan is None else decoder.stored(recipe.plan)
    scores = jax.vmap(lambda row: answers(stored, row, recipe.plan))(rows).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, rows.tokens)
    right = rows.scored & (jax.lax.argmax(scores, 2, jnp.int32) == rows.tokens)
    return jnp.sum(jnp.where(rows.scored, losses, 0)), jnp.sum(right, dtype=jnp.int32)


def _sums(decoder: Decoder, rows: Example, recipe: Recipe) -> tuple[Array, Array, Decoder]:
    """Loss, tokens ranked first and gradient of some rows, added up part by part."""
    lost = jax.checkpoint(_lost, static_argnums=2) if recipe.remat else _lost
    slope = jax.value_and_grad(lost, has_aux=True)
    split = lambda x: x.reshape(recipe.parts, -1, *x.shape[1:])

    def add(sums: Any, part: Example) -> tuple[Any, None]:  # noqa: ANN401
        (loss, right), gradient = slope(decoder, part, recipe)
        return jax.tree.map(jnp.add, sums, (loss, right, gradient)), None

    zeros = jax.tree.map(jnp.zeros_like, decoder)
    start = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), zeros)
    return jax.lax.scan(add, start, jax.tree.map(split, rows))[0]


def _gradient(decoder: Decoder, rows: Example, recipe: Recipe) -> tuple[Array, Array, Decoder]:
    """Loss, accuracy and gradient of a batch: means over its scored tokens."""
    loss, right, gradient = divided(lambda whole, few: _sums(whole, few, recipe), decoder, rows)
    count = jnp.sum(rows.scored, dtype=jnp.int32).astype(jnp.float32)
    mean = lambda x: x / count.astype(x.dtype)
    return mean(loss), right.astype(jnp.float32) / count, jax.tree.map(mean, gradient)


def _step(learner: Learner, recipe: Recipe) -> tuple[Learner, Told]:
    rows, _ = batch(
        recipe.task, recipe.glasses, recipe.mix, learner.key, learner.step, recipe.batch
    )
    rows = first_asked(learner.decoder.config, rows)
    loss, accuracy, gradient = _gradient(learner.decoder, rows, recipe)
    # Optax mixes integer counts and floats.
    with jax.numpy_dtype_promotion("standard"):
        told = Told(loss, accuracy, optax.tree.norm(cast("Any", gradient)))
        updates, moments = recipe.optimizer.update(
            cast("Any", gradient), learner.moments, cast("Any", learner.decoder)
        )
    moved = lambda weight, update: weight - learner.rate.astype(weight.dtype) * update
    decoder = jax.tree.map(moved, learner.decoder, updates)
    return learner._replace(decoder=decoder, moments=moments, step=learner.step + 1), told


@border(steps=COUNT)
@functools.partial(jax.jit, static_argnames=("recipe", "steps"), donate_argnames="learners")
def learn(learners: Learner, recipe: Recipe, steps: int) -> tuple[Learner, Told]:
    """Some steps of many learners at once, in one program.

    Args:
      learners: Stacked on a leading axis (``jax.tree.map(jnp.stack, ...)``); they are given up.
        A mark of how their weights were stored is taken off, since an update moves them.
      recipe: How they are trained.
      steps: Steps in this call.

    Returns:
      The learners, and what each step of each said, models first.
    """

    def one(learner: Learner) -> tuple[Learner, Told]:
        return jax.lax.scan(lambda now, _: _step(now, recipe), learner, length=steps)

    learners, told = draws.over(one, learners.key)(_unmarked(learners))
    return in_place(learners), told


def _unmarked(learners: Learner) -> Learner:
    def clear(node: Any) -> Any:  # noqa: ANN401  (a decoder, also one of moments, or an array)
        if isinstance(node, Decoder):
            node = jax.tree.map(lambda weight: weight, node)
            node.stored_as = None
        return node

    return jax.tree.map(clear, learners, is_leaf=lambda node: isinstance(node, Decoder))
