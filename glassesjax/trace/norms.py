"""Slopes of norms at the rows of a pass, and matrices with the gains of the norm before them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.model.config import ConstantNorm, LayerNorm, NoNorm, RMSNorm
from glassesjax.model.layers import Normalize
from glassesjax.precision import root_mean_square


def gain_of(normalize: Normalize | None, width: int, carrier: jnp.dtype) -> Float[Array, " width"]:
    """The gains that a norm multiplies by, its offset included.

    Args:
      normalize: The norm; none is the identity.
      width: Of its rows.
      carrier: dtype of the result.

    Returns:
      Ones where it has no gain.
    """
    if normalize is None or normalize.gain is None:
        return jnp.ones(width, carrier)
    offset = normalize.norm.offset if isinstance(normalize.norm, RMSNorm) else 0.0
    return normalize.gain[...].astype(carrier) + jnp.asarray(offset, carrier)


def folded(weight: Float[Array, "out in"], normalize: Normalize | None) -> Float[Array, "out in"]:
    r"""A matrix with the gain of the norm before it, and with what removes the mean.

    .. math:: W \, D\mathrm{norm}(v) = W G P (I - e e^\top) / r, \qquad |e| \le 1

    with P = I for RMSNorm and the projection that removes the mean for LayerNorm: the operator norm
    of a matrix after a norm is at most :math:`\lVert W G P \rVert / r`, and this is at most
    :math:`\lVert W \rVert \max |g| / r`.

    Args:
      weight: The matrix.
      normalize: The norm of its input; none is the identity.

    Returns:
      W G P.
    """
    if normalize is None or normalize.gain is None:
        return weight
    scaled = weight * gain_of(normalize, weight.shape[-1], weight.dtype)[None]
    centered = isinstance(normalize.norm, LayerNorm)
    return scaled - jnp.mean(scaled, axis=-1, keepdims=True) if centered else scaled


def inverse_roots(
    normalize: Normalize, x: Float[Array, "*rows model_dim"], carrier: jnp.dtype
) -> Float[Array, "*rows"]:
    r"""What a norm multiplies each row by, before its gain.

    .. math:: \frac1r = \frac{1}{\sqrt{\mathrm{mean}(v^2) + \epsilon}}

    for RMSNorm; for LayerNorm the same with the mean removed.

    Args:
      normalize: The norm.
      x: Rows before it.
      carrier: dtype of the result.

    Returns:
      One factor per row; 1 or 1 / beta where the norm is linear.
    """
    x = x.astype(carrier)
    match normalize.norm:
        case NoNorm():
            return jnp.ones(x.shape[:-1], carrier)
        case ConstantNorm(beta=beta):
            return jnp.full(x.shape[:-1], 1 / beta, carrier)
        case RMSNorm(eps=eps):
            pass
        case LayerNorm(eps=eps):
            x = x - jnp.mean(x, axis=-1, keepdims=True)
    # The mean square is what the norm divides by; for LayerNorm x is centered by now.
    return 1 / root_mean_square(x, eps)


def norm_slopes(
    normalize: Normalize, x: Float[Array, "*rows model_dim"], carrier: jnp.dtype
) -> Float[Array, "*rows"]:
    r"""Upper bound on the operator norm of a norm's derivative at each row, 1 / beta.

    .. math:: \frac1\beta = \frac{\max_d |g_d|}{\sqrt{\mathrm{mean}(v^2) + \epsilon}}

    for RMSNorm with gain g; for LayerNorm the same with the mean removed, which is a projection.
    The derivative is the gain times I minus a share, at most one, of the projection on v, over the
    root: so equal gains make this exact from two coordinates (LayerNorm: three) on.

    Source: arXiv 2406.04267v2, Theorem 5.1 (beta).
    Differs: of true norms, at the point; the paper's divide by constants.

    Args:
      normalize: The norm.
      x: Rows before it.
      carrier: dtype of the result.

    Returns:
      One slope per row; 1 or 1 / beta where the norm is linear.
    """
    largest = jnp.max(jnp.abs(gain_of(normalize, x.shape[-1], carrier)))
    return largest * inverse_roots(normalize, x, carrier)
