"""How much norms and MLPs move two rows apart: slopes on the straight segment between them."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.model.config import ConstantNorm, GatedMlp, LayerNorm, NoNorm, RMSNorm
from glassesjax.model.layers import MlpBlock, Normalize, project
from glassesjax.precision import root_mean_square
from glassesjax.precision.bits import peak_exponent, times_power
from glassesjax.trace.constants import GELU_LIPSCHITZ, Norm, induced_norm, mlp_lipschitz
from glassesjax.trace.norms import gain_of

# The largest slope of x / (1 + exp(-x)), 1.09983932 at 2.39936 and -0.09983932 at the opposite
# point, rounded up.
SILU_LIPSCHITZ = 1.0998394


def least_root(normalize: Normalize, pair: Float[Array, "2 d"]) -> Float[Array, ""]:
    r"""The least root on the segment between two rows: what a norm divides by there.

    .. math:: r = \min_{0 \le t \le 1} \sqrt{\mathrm{mean}((v + t (v' - v))^2) + \epsilon}

    for RMSNorm; for LayerNorm the same with the mean removed.

    Args:
      normalize: The norm.
      pair: Two of its inputs.

    Returns:
      The root, rounded down; 1 or beta where the norm is linear.
    """
    dim, dtype = pair.shape[-1], pair.dtype
    match normalize.norm:
        case NoNorm():
            return jnp.ones((), dtype)
        case ConstantNorm(beta=beta):
            return jnp.asarray(beta, dtype)
        case RMSNorm(eps=eps):
            pass
        case LayerNorm(eps=eps):
            pair = pair - jnp.mean(pair, axis=-1, keepdims=True)
    start, step = pair[0], pair[1] - pair[0]
    # Each in units of its own size, so that no square underflows.
    units = peak_exponent(start, 0), peak_exponent(step, 0)
    scaled, along = (times_power(x, -unit) for x, unit in zip((start, step), units, strict=True))
    square = jnp.sum(along * along)
    # The segment of equal rows is a point.
    share = -jnp.sum(scaled * along) / jnp.where(square == 0, 1, square)
    nearest = start + jnp.clip(times_power(share, units[0] - units[1]), 0, 1) * step
    # Down by what rounding may have added: a sum of squares, two means, two roots.
    lower = 1 - (dim + 16) * jnp.finfo(dtype).eps
    return root_mean_square(nearest, eps) * jnp.asarray(lower, dtype)


def norm_pair_slope(
    normalize: Normalize, pair: Float[Array, "2 d"], norm: Norm
) -> Float[Array, ""]:
    r"""Upper bound on a norm's slope between two rows: the gain over the least root.

    The slope of x / r is :math:`(I - x x^\top / (d r^2)) / r`. The bracket has norm at most one in
    norm 2 and :math:`(1 + \sqrt d) / 2` in norms 1 and inf, since
    :math:`|x|_1 |x|_\infty - 2 |x|_\infty^2 \le (\sqrt d - 1) |x|_2^2 / 2`; where the mean is
    removed, at most :math:`2 - 2 / d` times that.

    Source: the mean value theorem; arXiv 2406.04267v2 has norms that divide by constants.

    Args:
      normalize: The norm.
      pair: Two of its inputs.
      norm: 1, 2 or ``"inf"``, of both sides.

    Returns:
      The slope; 1 or 1 / beta where the norm is linear.
    """
    dim, dtype = pair.shape[-1], pair.dtype
    spread = 1.0
    if norm != 2 and isinstance(normalize.norm, RMSNorm | LayerNorm):
        removed = 2 * (1 - 1 / dim) if isinstance(normalize.norm, LayerNorm) else 1.0
        spread = removed * (1 + math.sqrt(dim)) / 2
    steepest = jnp.max(jnp.abs(gain_of(normalize, dim, dtype)))
    return jnp.asarray(spread, dtype) * steepest / least_root(normalize, pair)


def mlp_pair_slope(
    mlp: MlpBlock, pair: Float[Array, "2 model_dim"], carrier: jnp.dtype, norm: Norm
) -> Float[Array, ""]:
    r"""Upper bound on an MLP's slope between two of its inputs.

    A gated MLP :math:`W_d (\mathrm{act}(g) \odot u)` has no Lipschitz constant, but between x and
    x' it moves by at most

    .. math:: \lVert W_d \rVert \left( S \max_f |u_f(x')| \lVert W_g \rVert +
       \max_f |\mathrm{act}(g_f(x))| \lVert W_u \rVert \right) \lVert x' - x \rVert

    with S the largest slope of the activation, since
    :math:`\mathrm{act}(g') u' - \mathrm{act}(g) u = (\mathrm{act}(g') - \mathrm{act}(g)) u' +
    \mathrm{act}(g) (u' - u)`, and the norm of a diagonal is its largest entry in all three norms.
    The less of the two orders of x and x'.

    Source: arXiv 2406.04267v2, Theorem 4.2 (B.3), where the MLP is Lipschitz.
    Differs: also gated MLPs, by a slope of the two rows at hand.

    Args:
      mlp: The MLP.
      pair: Two of its inputs, normalized.
      carrier: dtype of the result.
      norm: 1, 2 or ``"inf"``, of both sides.

    Returns:
      The slope; of MLPs that are not gated the constant of ``mlp_lipschitz``.
    """
    if not isinstance(mlp.mlp, GatedMlp):
        return mlp_lipschitz(mlp, carrier, norm)
    silu = mlp.mlp.activation == "silu"
    act, steepest = (jax.nn.silu, SILU_LIPSCHITZ) if silu else (jax.nn.gelu, GELU_LIPSCHITZ)
    plan = mlp.plan_of(pair)
    gate = act(project(pair, mlp.gate, mlp.gate_bias, plan))
    up = project(pair, mlp.up, mlp.up_bias, plan)
    # The largest feature of each row: (2, mlp_dim) -> (2,)
    gates, ups = (jnp.max(jnp.abs(features), axis=-1) for features in (gate, up))
    left, through_gate, through_up = (
        induced_norm(weight[...].astype(carrier), norm) for weight in (mlp.down, mlp.gate, mlp.up)
    )
    # One row's gate beside the other's product: the two orders.
    orders = jnp.asarray(steepest, carrier) * ups[::-1] * through_gate + gates * through_up
    return left * jnp.min(orders)
