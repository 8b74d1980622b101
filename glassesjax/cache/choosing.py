"""Sampling of the next token from logits: greedy, or with temperature, top-k and top-p.

All are functions of one row of logits; those that sample take a PRNG key.
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
    """The next token, greedy or sampled.

    Args:
      logits: Logits over the vocabulary; -inf forbids a token.
      key: PRNG key; unused at temperature 0.
      sampling: Settings of the sampling.

    Returns:
      The token of the largest logit, of equal ones the smallest; or a sampled one.
    """
    if not sampling.draws:
        return greedy(logits)
    return draws.categorical(key, narrowed(logits, sampling))


@border()
def greedy(logits: Float[Array, " vocab"]) -> Int[Array, ""]:
    """The token of the largest logit; of equal ones the smallest.

    Args:
      logits: Logits over the vocabulary.

    Returns:
      Its id; that of the first NaN, if there is one.
    """
    return jnp.argmax(logits).astype(jnp.int32)


@border()
def narrowed(logits: Float[Array, " vocab"], sampling: Sampling) -> Float[Array, " vocab"]:
    """Logits of the distribution to sample from.

    Args:
      logits: Logits over the vocabulary.
      sampling: Settings with a temperature over 0.

    Returns:
      Logits in float32 or wider, -inf for excluded tokens.
    """
    # The order is part of the meaning: top-p is a share of what top-k has left.
    tempered = temper(logits.astype(wide(logits)), sampling.temperature)
    best = tempered if sampling.top_k is None else top_k(tempered, sampling.top_k)
    return top_p(best, sampling.top_p)


@border(temperature=POSITIVE)
def temper(logits: Float[Array, " vocab"], temperature: float) -> Float[Array, " vocab"]:
    r"""Logits divided by a temperature, the largest shifted to zero.

    .. math:: z_i \mapsto (z_i - \max_j z_j) / T

    Args:
      logits: Logits over the vocabulary.
      temperature: Over 0; however small, the best tokens stay at zero.

    Returns:
      Logits of the same dtype.
    """
    # The largest at zero, so that no quotient overflows.
    below = logits - jnp.max(logits)
    # A temperature that the dtype flushes to zero would turn the best tokens into 0 / 0.
    return jnp.where(below == 0, below, below / jnp.asarray(temperature, logits.dtype))


@border(count=COUNT)
def top_k(logits: Float[Array, " vocab"], count: int) -> Float[Array, " vocab"]:
    """Keeps the ``count`` largest logits; of equal ones the smallest tokens.

    Args:
      logits: Logits over the vocabulary.
      count: How many are kept, at least 1; all if there are fewer.

    Returns:
      The logits, -inf for the others.
    """
    if count >= len(logits):
        return logits
    _, best = jax.lax.top_k(logits, count)  # of equal ones the one that comes first
    kept = jnp.zeros(len(logits), bool).at[best].set(True)
    return jnp.where(kept, logits, -jnp.inf)


@border(share=POSITIVE_SHARE)
def top_p(logits: Float[Array, " vocab"], share: float) -> Float[Array, " vocab"]:
    """Keeps the smallest set of most probable tokens whose probability reaches a share.

    Args:
      logits: Logits over the vocabulary; probabilities are their softmax, summed from the largest.
      share: Over 0; 1 keeps all.

    Returns:
      The logits, at least one kept, of equal ones the smallest first; -inf for the others.
    """
    if share >= 1:
        return logits
    order = jnp.argsort(-logits)  # stable
    # In the order of probability, then what comes before each token: (vocab,) -> (vocab - 1,)
    likely = jax.nn.softmax(logits.astype(wide(logits)))[order]
    before = jnp.cumsum(likely)[:-1]
    # The token that reaches the share is kept, those after it are not.
    reached = jnp.concatenate([jnp.zeros(1, bool), before >= jnp.asarray(share, before.dtype)])
    kept = jnp.zeros(len(logits), bool).at[order].set(~reached)
    return jnp.where(kept, logits, -jnp.inf)


@border()
def row_keys(seed: int, rows: Int[np.ndarray, " rows"]) -> Array:
    """A PRNG key for each row of a batch, independent of the other rows.

    Args:
      seed: Seed of the run.
      rows: Row numbers.

    Returns:
      Typed threefry keys, whatever JAX's default is; each step folds its number into them.
    """
    return jax.vmap(draws.fold_in, (None, 0))(draws.root_key(seed), rows)  # (rows,)


@border()
def wide(logits: Float[Array, "*shape"]) -> jnp.dtype:
    """The dtype in which probabilities are computed.

    Args:
      logits: Of any float dtype.

    Returns:
      float32, or float64 for float64.
    """
    return RoundingPlan.of_dtype(logits.dtype).carrier_dtype
