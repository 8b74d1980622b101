"""Influence of each token on one row's last representation: derivative, rollout and bound."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.model.decoder import Decoder
from glassesjax.precision import euclidean_norm
from glassesjax.trace.rollout import printed_bound, rollout


class TokenInfluence(NamedTuple):
    """Three measures of the influence of each token on one row's last representation."""

    influence: Float[Array, " seq"]
    """Frobenius norm of the derivative with respect to the token's embedding."""
    rollout: Float[Array, " seq"]
    """Share of the paths: attention weights, heads averaged, and the residual stream, whose weight
    is a mean over the row and those before it."""
    log_bound: Float[Array, " seq"]
    """Natural logarithm of the printed bound; -inf for tokens that follow."""


@border()
def token_influence(
    decoder: Decoder, tokens: Int[Array, " seq"], at: Int[Array, ""]
) -> TokenInfluence:
    r"""Influence of each token on one row's last representation.

    .. math:: \left\lVert \partial y_t / \partial v_i^{(0)} \right\rVert_F, \qquad
       \pi_i, \qquad \log (G \pi'_i)

    Source: arXiv 2406.04267v2, Theorem 5.1, both sides; the rollout is a definition after
      arXiv 2602.16837v2.
    Differs: any row t instead of the last; attention depends on its input, as in the model.

    Args:
      decoder: Causal, with or without a window.
      tokens: One sequence.
      at: The row t; may be traced, so that one compilation serves all rows.

    Returns:
      Numbers for all tokens; tokens after the row have influence zero and do not change the others.

    Raises:
      ValueError: Another mask.
    """
    profile = rollout(decoder, tokens, at=at).profile[0]
    bound = printed_bound(decoder, tokens, at=at)
    last = lambda resid: decoder.represent(resid)[0][at]
    y, back = jax.vjp(last, decoder.enter(tokens))
    (jacobian,) = jax.vmap(back)(jnp.eye(len(y), dtype=y.dtype))  # out seq model_dim
    size = euclidean_norm(jacobian, axis=(0, 2))
    return TokenInfluence(size, profile, jnp.log(bound.profile[0]) + bound.log_gain)
