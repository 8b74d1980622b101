r"""Influence of each token before training: uniform causal attention, in the limit of length.

In a stack of H layers of uniform attention the last row of the product of the attention matrices,
times the length, tends to a density in the relative position x = i / n. A residual stream leaves an
atom on the last token.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import SHARE, border


def _check(depth: int, mixing: float) -> None:
    if depth < 1 or not 0 <= mixing <= 1:
        values = f"depth={depth} and mixing={mixing}"
        raise ValueError(f"Expected a positive depth and mixing in [0, 1], got {values}.")


@border(position=SHARE)
def cesaro_density(position: Float[Array, "*batch"], depth: int) -> Float[Array, "*batch"]:
    r"""Density of the influence on the last token without a residual stream.

    .. math:: \rho_H(x) = \frac{(\ln 1/x)^{H-1}}{(H-1)!}

    It is the density of a product of H uniform numbers, and exact for each length as well: the
    entry of row n, column k (from 0) of the product is C(n, k) E[X^k (1 - X)^(n-k)].

    Source: after arXiv 2603.10123, proved in docs/statements/birth.md.
    Differs: the statement for each length is ours.

    Args:
      position: Relative position x of the token, in (0, 1].
      depth: Number H of layers.

    Returns:
      The density; infinite at zero for two layers or more.

    Raises:
      ValueError: ``depth`` is not positive.
    """
    _check(depth, 1.0)
    # One factor a layer, so that neither the power nor the factorial overflows.
    log = -jnp.log(position)
    step = lambda m, density: density * log / jnp.asarray(m, log.dtype)
    return jax.lax.fori_loop(1, depth, step, jnp.ones_like(log))


@border()
def residual_atom(depth: int, mixing: float) -> float:
    r"""Influence of the last token on itself through the residual stream alone.

    .. math:: (1 - \alpha)^H

    Source: after arXiv 2603.10123, proved in docs/statements/birth.md.

    Args:
      depth: Number H of layers.
      mixing: Weight alpha of attention, in [0, 1]; the residual has the rest.

    Returns:
      The mass of the atom at x = 1.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> residual_atom(3, 0.5)
      0.125
    """
    _check(depth, mixing)
    return (1 - mixing) ** depth


@border(position=SHARE)
def residual_density(
    position: Float[Array, "*batch"], depth: int, mixing: float
) -> Float[Array, "*batch"]:
    r"""Density of the influence beside the atom, by the recursion of Laguerre's polynomials.

    .. math:: \rho(x) = \alpha (1-\alpha)^{H-1} L^{(1)}_{H-1}
       \Bigl( - \frac{\alpha \ln(1/x)}{1 - \alpha} \Bigr)

    Each polynomial is carried times its power of 1 - alpha, so that alpha = 1 is no exception and
    gives :func:`cesaro_density`. At x = 1 the density is H alpha (1 - alpha)^(H-1).

    Source: after arXiv 2603.10123, whose model it is, proved in docs/statements/birth.md.
    Differs: the density with a residual is ours.

    Args:
      position: Relative position x of the token, in (0, 1].
      depth: Number H of layers.
      mixing: Weight alpha of attention, in [0, 1]; the residual has the rest.

    Returns:
      The density; with the atom it has mass one.

    Raises:
      ValueError: An argument is outside its range.
    """
    _check(depth, mixing)
    # Laguerre's recursion, each polynomial times its power of 1 - alpha; L_{-1} is zero.
    growth, kept = -mixing * jnp.log(position), 1 - mixing

    def step(k: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        before, now = pair
        return now, (2 * kept + growth / jnp.asarray(k, growth.dtype)) * now - kept**2 * before

    start = (jnp.zeros_like(growth), jnp.ones_like(growth))
    return mixing * jax.lax.fori_loop(1, depth, step, start)[1]


@border(position=SHARE)
def residual_density_sum(
    position: Float[Array, "*batch"], depth: int, mixing: float
) -> Float[Array, "*batch"]:
    r"""Density of the influence beside the atom, as a sum over the number of layers that mix.

    .. math:: \rho(x) = \sum_{m=1}^{H} \binom{H}{m} \alpha^m (1 - \alpha)^{H-m}
       \frac{(\ln 1/x)^{m-1}}{(m-1)!}

    Equal to :func:`residual_density`, with terms that are all non-negative.

    Source: after arXiv 2603.10123, whose model it is, proved in docs/statements/birth.md.
    Differs: the density with a residual is ours.

    Args:
      position: Relative position x of the token, in (0, 1].
      depth: Number H of layers.
      mixing: Weight alpha of attention, in [0, 1]; the residual has the rest.

    Returns:
      The density; with the atom it has mass one.

    Raises:
      ValueError: An argument is outside its range.
    """
    _check(depth, mixing)
    log = -jnp.log(position)
    # Power is log^(m-1) / (m-1)!.
    power, density = jnp.ones_like(log), jnp.zeros_like(log)
    for m in range(1, depth + 1):
        density += math.comb(depth, m) * mixing**m * (1 - mixing) ** (depth - m) * power
        power = power * log / m
    return density
