"""Operator norms of the Jacobians of RMS and layer normalization, the true beta of Theorem 5.1."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.precision import root_mean_square


@border(eps=NON_NEGATIVE)
def rmsnorm_jacobian_norm(x: Float[Array, "*batch d"], eps: float = 0.0) -> Float[Array, "*batch"]:
    r"""Operator norm of the Jacobian of x / RMS(x), without gains.

    .. math:: \frac{1}{r} \Bigl\lVert I - \frac{x x^\top}{d r^2} \Bigr\rVert = \frac1r, \qquad
       r = \sqrt{\tfrac1d \lVert x \rVert^2 + \varepsilon}

    So 1 / r is the beta of Theorem 5.1 that is right at x, and at most max|g| / r with gains g.

    Source: arXiv 2406.04267v2, Theorem 5.1, where norms divide by constants.
    Differs: a true norm. In one dimension the value is eps / r^3.

    Args:
      x: The vectors, along the last axis.
      eps: Added to the mean square; non-negative.

    Returns:
      One number per vector; infinite where r is zero.
    """
    return _jacobian_norm(root_mean_square(x, eps), eps, x.shape[-1])


@border(eps=NON_NEGATIVE)
def layernorm_jacobian_norm(
    x: Float[Array, "*batch d"], eps: float = 0.0
) -> Float[Array, "*batch"]:
    r"""Operator norm of the Jacobian of (x - mean) / std, without gains.

    .. math:: 1 / \sqrt{\mathrm{var}(x) + \varepsilon}

    Source: arXiv 2406.04267v2, Theorem 5.1, where norms divide by constants.
    Differs: a true norm. In two dimensions the value is eps / r^3, with r that root; in one, zero.

    Args:
      x: The vectors, along the last axis.
      eps: Added to the variance; non-negative.

    Returns:
      One number per vector; infinite where the root is zero.
    """
    if x.shape[-1] == 1:
        return jnp.zeros_like(x[..., 0])
    deviation = root_mean_square(x - jnp.mean(x, axis=-1, keepdims=True), eps)
    return _jacobian_norm(deviation, eps, x.shape[-1] - 1)


def _jacobian_norm(size: Array, eps: float, free: int) -> Float[Array, "*batch"]:
    """Operator norm: 1 / r across x, or eps / r^3 if the direction along x is the only one."""
    return 1 / size if free > 1 else eps / size / size / size
