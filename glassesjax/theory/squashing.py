"""Theorem 5.1 (over-squashing): bounds on the sensitivity of the last representation to each token.

Weights are non-negative, row-stochastic and, for causal attention, lower-triangular; a row belongs
to a query, the first layer comes first. All functions are differentiable in the weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import NON_NEGATIVE, POSITIVE, SHARE, border


class SquashingBound(NamedTuple):
    """The bound of Theorem 5.1 in normal form: one magnitude and one distribution over tokens."""

    log_gain: Float[Array, "*batch"]  #: natural logarithm of G
    profile: Float[Array, "*batch seq"]  #: pi, which sums to one

    @property
    def bound(self) -> Float[Array, "*batch seq"]:
        """G pi; infinite where G overflows, and NaN there where pi is zero."""
        return jnp.exp(self.log_gain)[..., None] * self.profile

    @property
    def log_bound(self) -> Float[Array, "*batch seq"]:
        """Logarithm of G pi, which does not overflow; minus infinity where pi is zero."""
        return self.log_gain[..., None] + jnp.log(self.profile)


def _last_row(
    weights: Float[Array, "layers seq seq"],
    take: Float[Array, " layers"],
    keep: Float[Array, " layers"],
) -> Float[Array, " seq"]:
    """Last row of the product of (take weights + keep I), the last layer leftmost."""

    def step(row: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
        weights, take, keep = layer
        # Not the default precision of an accelerator, which may round the weights to eight bits.
        return take * jnp.matmul(row, weights, precision="highest") + keep * row, None

    # A row through the layers, last one first: no product of two matrices.
    last = jnp.zeros(weights.shape[-1], weights.dtype).at[-1].set(1)
    return jax.lax.scan(step, last, (weights, take, keep), reverse=True)[0]


@border(shares=SHARE)
@jax.jit
def attention_rollout(
    weights: Float[Array, "layers seq seq"], shares: Float[Array, " layers"]
) -> Float[Array, " seq"]:
    r"""Share of each input token in the last position: attention rollout with residuals.

    .. math:: \pi = e_n^\top \prod_{\ell = L-1}^{0}
       \bigl( \lambda_\ell \Lambda^{(\ell)} + (1 - \lambda_\ell) I \bigr)

    Source: arXiv 2406.04267v2, Theorem 5.1, its bound made to sum to one.

    Args:
      weights: Attention weights, first layer first.
      shares: Share of attention in the residual stream after each layer, in [0, 1]; in the theorem
        it is 1 / (1 + beta1).

    Returns:
      A distribution over the input positions; never an overflow, however many layers.
    """
    return _last_row(weights, shares, 1 - shares)


@border(beta1=POSITIVE, beta2=POSITIVE, beta3=POSITIVE, sigma=NON_NEGATIVE)
@jax.jit
def squashing_bound(
    weights: Float[Array, "layers seq seq"],
    beta1: Float[Array, " layers"],
    beta2: Float[Array, " layers"],
    beta3: Float[Array, ""],
    sigma: Float[Array, " layers"],
) -> SquashingBound:
    r"""Upper bound on the sensitivity of the last representation to each token, in normal form.

    .. math:: \Bigl\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \Bigr\rVert \le G \pi_i, \qquad
       G = \frac{1}{\beta_3} \prod_\ell \Bigl(1 + \frac{\sigma_\ell}{\beta_2^{(\ell)}}\Bigr)
       \Bigl(1 + \frac{1}{\beta_1^{(\ell)}}\Bigr), \qquad
       \lambda_\ell = \frac{1}{1 + \beta_1^{(\ell)}}

    All that depends on the position is in pi, the :func:`attention_rollout` of these shares. It
    assumes attention weights that do not depend on the values, and norms that divide by a
    constant. Equality: MLPs that multiply by a non-negative number.

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5).
    Differs: the constants of its proof. Those printed with the theorem and with the corollary are
    :func:`path_bound_theorem` and :func:`path_bound_corollary`.

    Args:
      weights: Attention weights, first layer first.
      beta1: Divisors of the norms before attention; positive, infinite where attention adds
        nothing.
      beta2: Divisors of the norms before the MLPs; positive.
      beta3: Divisor of the last norm; positive.
      sigma: Lipschitz constants of the MLPs, in the norm of the derivative; non-negative.

    Returns:
      The logarithm of G, and pi; the product G pi is :func:`path_bound`.
    """
    # log1p: gains near one keep their digits.
    gains = jnp.log1p(sigma / beta2) + jnp.log1p(1 / beta1)
    # The second share is written so that it is right also for an infinite divisor.
    profile = _last_row(weights, 1 / (1 + beta1), 1 / (1 + 1 / beta1))
    return SquashingBound(jnp.sum(gains) - jnp.log(beta3), profile)


@border(beta1=POSITIVE, beta2=POSITIVE, beta3=POSITIVE, sigma=NON_NEGATIVE)
@jax.jit
def path_bound(
    weights: Float[Array, "layers seq seq"],
    beta1: Float[Array, " layers"],
    beta2: Float[Array, " layers"],
    beta3: Float[Array, ""],
    sigma: Float[Array, " layers"],
) -> Float[Array, " seq"]:
    r"""Upper bound on the sensitivity of the last representation, as a sum over attention paths.

    .. math:: \Bigl\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \Bigr\rVert \le
       C \Bigl[ \prod_{\ell = L-1}^{0} \Bigl( \frac{\Lambda^{(\ell)}}{\beta_1^{(\ell)}} + I \Bigr)
       \Bigr]_{n,i}, \qquad
       C = \frac{1}{\beta_3} \prod_\ell \Bigl(1 + \frac{\sigma_\ell}{\beta_2^{(\ell)}}\Bigr)

    The entry is the sum over all paths from i to n of the products of
    alpha / beta1 + delta, by one vector-matrix product a layer, without cancellation.

    Source: arXiv 2406.04267v2, proof of Theorem B.5.
    Differs: as a matrix product; L layers have L - 1 intermediate tokens, where the theorem
    prints L.

    Args:
      weights: Attention weights, first layer first.
      beta1: Divisors of the norms before attention; positive.
      beta2: Divisors of the norms before the MLPs; positive.
      beta3: Divisor of the last norm; positive.
      sigma: Lipschitz constants of the MLPs; non-negative.

    Returns:
      One bound per input position; after some hundred layers it overflows, to infinity or, at zero
      weights, NaN, where :func:`squashing_bound` does not.
    """
    return _proof_constant(beta2, beta3, sigma) * _last_row(
        weights, 1 / beta1, jnp.ones_like(beta1)
    )


def _proof_constant(beta2: Array, beta3: Array, sigma: Array) -> Float[Array, ""]:
    return jnp.prod(1 + sigma / beta2) / beta3


@border(beta2=POSITIVE, beta3=POSITIVE, sigma=NON_NEGATIVE)
@jax.jit
def path_bound_theorem(
    weights: Float[Array, "layers seq seq"],
    beta2: Float[Array, " layers"],
    beta3: Float[Array, ""],
    sigma: Float[Array, " layers"],
) -> Float[Array, " seq"]:
    r"""The path sum as the theorem prints it; false, kept to be refuted.

    .. math:: C \sum_{i \to n} \prod_\ell \bar\alpha^{(\ell)}, \qquad
       \bar\alpha^{(\ell)} = \alpha^{(\ell)} / \beta_2^{(\ell)} + \delta

    Attention reads the output of the first norm, so that its divisor is beta1. Where the two
    divisors are equal this is :func:`path_bound`; where beta2 is larger it is violated.

    Source: arXiv 2406.04267v2, Theorem 5.1 (main text).
    Differs: the constant C, which the main text leaves open, is that of the proof.

    Args:
      weights: Attention weights, first layer first.
      beta2: Divisors of the norms before the MLPs; positive.
      beta3: Divisor of the last norm; positive.
      sigma: Lipschitz constants of the MLPs; non-negative.

    Returns:
      One number per input position; not a bound in general.
    """
    return _proof_constant(beta2, beta3, sigma) * _last_row(
        weights, 1 / beta2, jnp.ones_like(beta2)
    )


@border(beta=POSITIVE, sigma=NON_NEGATIVE)
@jax.jit
def path_bound_corollary(
    weights: Float[Array, "layers seq seq"],
    beta: Float[Array, " layers"],
    sigma: Float[Array, " layers"],
) -> Float[Array, " seq"]:
    r"""The path sum as the appendix prints it; false, kept to be refuted.

    .. math:: \sigma^L \sum_{i \to n} \prod_\ell \bar\alpha^{(\ell)}, \qquad
       \bar\alpha^{(\ell)} = \frac{1}{\beta^{(\ell)}} (\alpha^{(\ell)} + \delta)

    With sigma zero it is zero, but the residual stream still carries every token's value to
    the output.

    Source: arXiv 2406.04267v2, Theorem B.5 (as stated; its proof has other constants).
    Differs: one sigma and one beta a layer.

    Args:
      weights: Attention weights, first layer first.
      beta: The divisors beta; the statement does not say of which norm. Positive.
      sigma: Lipschitz constants of the MLPs; non-negative.

    Returns:
      One number per input position; not a bound in general.
    """
    return jnp.prod(sigma) * _last_row(weights, 1 / beta, 1 / beta)


@border(constant=POSITIVE)
@jax.jit
def multi_head_path_bound(
    weights: Float[Array, "layers heads seq seq"], constant: Float[Array, ""]
) -> Float[Array, " seq"]:
    r"""Bound on the sensitivity of the last token's residual, for several heads.

    .. math:: \Bigl\lVert \frac{\partial v_n^{(L)}}{\partial v_i^{(0)}} \Bigr\rVert \le
       C_{\max}^L \sum_{i \to n} \prod_\ell \bar\alpha^{(\ell)}, \qquad
       \bar\alpha_{ij} = \sum_h \Bigl| \alpha^h_{ij} + \frac{\delta_{ij}}{H} \Bigr|

    It assumes weights that do not depend on the values. C_max bounds what the heads' maps,
    norms and MLPs contribute to a layer: it must be at least (1 + sigma / beta2) max(1, w / beta1),
    where w bounds the norm of each head's output map times its value map.

    Source: after arXiv 2504.02732, proved in docs/statements/sinks.md.
    Differs: what C_max must be is ours.

    Args:
      weights: Attention weights of each head, first layer first.
      constant: C_max, one for all layers; positive.

    Returns:
      One bound per input position.
    """
    layers, heads, length, _ = weights.shape
    residual = jnp.eye(length, dtype=weights.dtype) / heads
    # Over heads: (layers, heads, seq, seq) -> (layers, seq, seq), the residual shared among them.
    reach = jnp.sum(jnp.abs(weights + residual[None, None]), axis=1)
    take = jnp.broadcast_to(constant, (layers,)).astype(weights.dtype)
    return _last_row(reach, take, jnp.zeros_like(take))
