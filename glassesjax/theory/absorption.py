"""Lemmas B.6 and B.7, Proposition 5.2: with depth, the attention rollout converges to token one.

In causal attention with residuals the first token is an absorbing state. Products of row-stochastic
lower-triangular matrices are such matrices again (Lemma B.7), so that a row of the product is a
distribution, and the question is how much of it is not yet at token one.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.borders import SHARE, border
from glassesjax.theory.squashing import attention_rollout


@border()
def triangular_spectrum(weights: Float[Array, "*batch seq seq"]) -> Float[Array, "*batch seq"]:
    """Eigenvalues of a lower-triangular matrix: its diagonal.

    Source: arXiv 2406.04267v2, Lemma B.6.

    Args:
      weights: Lower-triangular; entries above the diagonal are not read.

    Returns:
      The eigenvalues in the order of the rows, with their algebraic multiplicities.
    """
    return jnp.diagonal(weights, axis1=-2, axis2=-1)


@border()
@jax.jit
def second_modulus(weights: Float[Array, "*batch seq seq"]) -> Float[Array, "*batch"]:
    r"""Second-largest modulus of an eigenvalue of causal attention.

    .. math:: \max_{i \ge 2} |\alpha_{ii}|

    Source: arXiv 2406.04267v2, Lemma B.6.
    Differs: exact, where the lemma states only that it is below one.

    Args:
      weights: Row-stochastic and lower-triangular: the first eigenvalue is one.

    Returns:
      A number in [0, 1]; zero for one token.
    """
    # The first eigenvalue is one: token one sees itself alone.
    return jnp.max(jnp.abs(triangular_spectrum(weights)[..., 1:]), axis=-1, initial=0)


@border(share=SHARE)
@jax.jit
def transient_radius(
    weights: Float[Array, "*batch seq seq"], share: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Spectral radius on the tokens after the first, residual included: the rate of absorption.

    .. math:: \max_{i \ge 2} (1 - \lambda + \lambda \alpha_{ii})

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8), where the share is one half.
    Differs: for any share. It is the rate in the limit; with equal diagonal entries the matrix may
    not be diagonalizable, and a polynomial in the depth comes in.

    Args:
      weights: Row-stochastic and lower-triangular.
      share: Share of attention in the residual stream, in [0, 1].

    Returns:
      A number in [0, 1]; zero for one token.
    """
    # (*batch, 1) and (*batch, seq - 1)
    radii = 1 - share[..., None] + share[..., None] * triangular_spectrum(weights)[..., 1:]
    return jnp.max(radii, axis=-1, initial=0)


@border()
@jax.jit
def is_simple_one(weights: Float[Array, "*batch seq seq"]) -> Bool[Array, "*batch"]:
    r"""Whether the eigenvalue one of causal attention is simple.

    .. math:: \alpha_{ii} < 1 \quad (i \ge 2)

    Softmax in exact arithmetic always meets it. In low precision a weight can be rounded to one,
    and then it fails.

    Source: arXiv 2406.04267v2, Lemma B.6.
    Differs: necessary and sufficient. Two nonzero weights in each row from the second on, as
    printed, imply it, but rows may also attend to one earlier token only.

    Args:
      weights: Row-stochastic and lower-triangular.

    Returns:
      The truth of the condition; false where a diagonal entry is NaN.
    """
    return jnp.all(triangular_spectrum(weights)[..., 1:] < 1, axis=-1)


@border(shares=SHARE)
@jax.jit
def unabsorbed_mass(
    weights: Float[Array, "layers seq seq"], shares: Float[Array, " layers"]
) -> Float[Array, ""]:
    r"""Share of the last position that comes from other tokens than the first.

    .. math:: 1 - \pi_1 = \sum_{i \ge 2} \pi_i

    By the sum, whose terms are non-negative: its error is relative, also at 1e-300. With the same
    weights and share in each layer it does not grow with depth.

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8).
    Differs: for any weights and shares, before the limit.

    Args:
      weights: Attention weights, first layer first.
      shares: Share of attention in the residual stream after each layer, in [0, 1].

    Returns:
      A number in [0, 1]; zero for one token.
    """
    # Not one less the first share, which would cancel.
    return jnp.sum(attention_rollout(weights, shares)[1:])


@border()
@jax.jit
def first_weight_floor(weights: Float[Array, "*batch seq seq"]) -> Float[Array, "*batch"]:
    r"""Least weight that a later token gives to the first.

    .. math:: \epsilon = \min_{i \ge 2} \alpha_{i1}

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8).
    Differs: a number in place of the hypothesis of two nonzero weights.

    Args:
      weights: Attention weights.

    Returns:
      A number in [0, 1]; one for one token.
    """
    return jnp.min(weights[..., 1:, 0], axis=-1, initial=1)


@border(floors=SHARE, shares=SHARE)
def unabsorbed_bound(
    floors: Float[Array, " layers"], shares: Float[Array, " layers"]
) -> Float[Array, ""]:
    r"""Upper bound on :func:`unabsorbed_mass` for layers that differ, in whatever order they come.

    .. math:: 1 - \pi_1 \le \prod_\ell (1 - \lambda_\ell \epsilon_\ell)

    Equality: every later token attends to the first with weight epsilon and otherwise to itself.

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8).
    Differs: a rate, and for any layers; the proposition has a limit, for one repeated layer.

    Args:
      floors: A number in [0, 1] a layer, :func:`first_weight_floor` or less.
      shares: Share of attention in the residual stream after each layer, in [0, 1].

    Returns:
      A number in [0, 1].
    """
    return jnp.prod(1 - shares * floors)


@border()
def uniform_unabsorbed_bound(length: int, layers: int) -> float:
    r"""Upper bound on :func:`unabsorbed_mass` for uniform causal attention with share one half.

    .. math:: 1 - \pi_1 \le (n - 1) (3/4)^L

    Equality: one token or two. The ratio of the two sides tends to one with depth.

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8).
    Differs: a rate, where the proposition has a limit.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      The bound, which may be above one; exact values are in ``closed_forms.uniform_unabsorbed``.

    Raises:
      ValueError: An argument is outside its range.
    """
    if length < 1 or layers < 0:
        sizes = f"length={length} and layers={layers}"
        raise ValueError(f"Expected a positive length and non-negative layers, got {sizes}.")
    return (length - 1) * 0.75**layers


@border()
@functools.partial(jax.jit, static_argnames="layers")
def repeated_layer_bound(weights: Float[Array, "seq seq"], layers: int) -> Float[Array, " seq"]:
    r"""Upper bound on the sensitivity of the last representation, one layer repeated.

    .. math:: \Bigl\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \Bigr\rVert \le
       \Bigl[ \bigl( \tfrac12 (\Lambda + I) \bigr)^L \Bigr]_{n,i}

    The proposition states that the derivatives tend to zero for i > 1, as this bound does where one
    is a simple eigenvalue, and to one for i = 1. There only "at most one" follows; linear MLPs
    attain it. It is ``squashing.path_bound`` with beta1 = beta2 = sigma = 1 and beta3 = 4^L.

    Source: arXiv 2406.04267v2, Proposition 5.2 (B.8).
    Differs: a bound for each depth, where the proposition states a limit of the derivatives.

    Args:
      weights: Attention weights of every layer; row-stochastic and lower-triangular.
      layers: Depth L; non-negative, static.

    Returns:
      A distribution over the input positions.

    Raises:
      ValueError: The depth is negative.
    """
    if layers < 0:
        raise ValueError(f"Expected non-negative layers, got {layers}.")
    # A row times a matrix L times, never a power of the matrix.
    last = jnp.zeros(weights.shape[-1], weights.dtype).at[-1].set(1)
    mix = lambda _, row: (jnp.matmul(row, weights, precision="highest") + row) / 2
    return jax.lax.fori_loop(0, layers, mix, last)
