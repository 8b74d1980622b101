"""The next token out of a model's scores: the best one, or one drawn from a narrowed distribution.

All are functions of one row of logits; those that draw take a key and nothing else that changes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, POSITIVE, POSITIVE_SHARE, border
from glassesjax.cache.sampling import GREEDY, Sampling
from glassesjax.precision import RoundingPlan


@border()
def choose(
    logits: Float[Array, " vocab"], key: Array, sampling: Sampling = GREEDY
) -> Int[Array, ""]:
    """A token number.

    Args:
      logits: Scores over the vocabulary; -inf forbids a token.
      key: Decides among what is left; unused at temperature 0.
      sampling: How it is chosen.

    Returns:
      The best token, of equal ones the smallest; or one that was drawn.
    """
    if not sampling.draws:
        return greedy(logits)
    return draws.categorical(key, narrowed(logits, sampling))


@border()
def greedy(logits: Float[Array, " vocab"]) -> Int[Array, ""]:
    """The best token; of equal ones the smallest.

    Args:
      logits: Scores over the vocabulary.

    Returns:
      Its number; the first that is not a number, where there is one.
    """
    return jnp.argmax(logits).astype(jnp.int32)


@border()
def narrowed(logits: Float[Array, " vocab"], sampling: Sampling) -> Float[Array, " vocab"]:
    """Logits of the distribution that is drawn from.

    Args:
      logits: Scores over the vocabulary.
      sampling: How to narrow them; a temperature over 0.

    Returns:
      Logits in float32 or wider, -inf where a token may not be drawn.
    """
    tempered = temper(logits.astype(wide(logits)), sampling.temperature)
    best = tempered if sampling.top_k is None else top_k(tempered, sampling.top_k)
    return top_p(best, sampling.top_p)


@border(temperature=POSITIVE)
def temper(logits: Float[Array, " vocab"], temperature: float) -> Float[Array, " vocab"]:
    r"""Logits at another temperature, the best at zero.

    .. math:: z_i \mapsto (z_i - \max_j z_j) / T

    Args:
      logits: Scores over the vocabulary.
      temperature: Over 0; however small, the best tokens stay at zero.

    Returns:
      Logits of the same dtype.
    """
    below = logits - jnp.max(logits)
    # A temperature that the dtype flushes to zero would turn the best tokens into 0 / 0.
    return jnp.where(below == 0, below, below / jnp.asarray(temperature, logits.dtype))


@border(count=COUNT)
def top_k(logits: Float[Array, " vocab"], count: int) -> Float[Array, " vocab"]:
    """The best ``count`` tokens and no other; of equal ones the smallest.

    Args:
      logits: Scores over the vocabulary.
      count: How many may be drawn, at least 1; all where there are no more.

    Returns:
      Their logits; -inf for the others.
    """
    if count >= len(logits):
        return logits
    _, best = jax.lax.top_k(logits, count)  # of equal ones the one that comes first
    kept = jnp.zeros(len(logits), bool).at[best].set(True)
    return jnp.where(kept, logits, -jnp.inf)


@border(share=POSITIVE_SHARE)
def top_p(logits: Float[Array, " vocab"], share: float) -> Float[Array, " vocab"]:
    """The smallest set of best tokens whose probability reaches a share.

    Args:
      logits: Scores over the vocabulary; probabilities are their softmax, summed from the best.
      share: Over 0; 1 keeps all.

    Returns:
      Their logits, at least one, of equal ones the smallest first; -inf for the others.
    """
    if share >= 1:
        return logits
    order = jnp.argsort(-logits)  # stable
    likely = jax.nn.softmax(logits.astype(wide(logits)))[order]
    before = jnp.cumsum(likely)[:-1]
    reached = jnp.concatenate([jnp.zeros(1, bool), before >= jnp.asarray(share, before.dtype)])
    kept = jnp.zeros(len(logits), bool).at[order].set(~reached)
    return jnp.where(kept, logits, -jnp.inf)


@border()
def row_keys(seed: int, rows: Int[np.ndarray, " rows"]) -> Array:
    """A key for each row of a batch, so that a row draws the same whoever stands beside it.

    Args:
      seed: Of the run.
      rows: Numbers of the rows.

    Returns:
      Typed keys of threefry, whatever JAX's default is; a step folds its own number into them.
    """
    return jax.vmap(draws.fold_in, (None, 0))(draws.root_key(seed), rows)


@border()
def wide(logits: Float[Array, "*shape"]) -> jnp.dtype:
    """In which type probabilities are computed.

    Args:
      logits: Of any float type.

    Returns:
      float32, or float64 for float64.
    """
    return RoundingPlan.of_dtype(logits.dtype).carrier_dtype
