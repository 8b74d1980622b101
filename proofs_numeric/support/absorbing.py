"""One layer repeated: rollout weight on the tokens after the first, at every depth."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SLOTS = 100  # tokens of the compiled pass; shorter sequences start later


@jax.jit
def _masses(
    weights: Float[Array, "seq seq"], shares: Float[Array, " layers"], first: Array
) -> Float[Array, " layers+1"]:
    """Weight on the tokens after the first, after each number of layers on the input side."""
    later = jnp.arange(len(weights)) > first
    last = jnp.zeros(len(weights)).at[-1].set(1)  # the last row of the product is all we need
    mass = lambda row: jnp.sum(jnp.where(later, row, 0))

    def step(row: Array, share: Array) -> tuple[Array, Array]:
        row = share * jnp.matmul(row, weights) + (1 - share) * row
        return row, mass(row)

    return jnp.append(mass(last), jax.lax.scan(step, last, shares)[1])


def masses(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weight of the last position on the tokens after the first, at each depth.

    Args:
      weights: Causal, the same in each layer; at most ``SLOTS`` tokens.
      shares: Of attention, the last layer's first.

    Returns:
      One number for each depth from zero on.
    """
    # Slots before the first token see themselves: the last token never reaches them.
    missing = SLOTS - len(weights)
    padded = np.eye(SLOTS)
    padded[missing:, missing:] = weights
    return np.asarray(_masses(padded, shares, missing))


def uniform(n: int) -> np.ndarray:
    """Uniform causal attention over n tokens: the Cesàro matrix."""
    return np.tri(n) / np.arange(1, n + 1)[:, None]


def window(n: int) -> np.ndarray:
    """Uniform attention to oneself and the token before; from three tokens on no eigenbasis."""
    weights = (np.eye(n) + np.eye(n, k=-1)) / 2
    weights[0, 0] = 1  # the first token has none before it
    return weights


def by_sums(n: int, depth: int) -> float:
    """Weight on the tokens after the first under uniform attention with a share of one half.

    By sums over the later rows, layer by layer, so that any length will do.
    """
    row, per_row = np.eye(n)[-1], 1 / np.arange(1, n + 1)
    for _ in range(depth):
        # Column k of the Cesàro matrix is 1 / i in each row i from k on.
        row = (row + np.cumsum((row * per_row)[::-1])[::-1]) / 2
    return float(np.sum(row[1:]))
