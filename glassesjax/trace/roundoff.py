"""How far rounding may carry the scores of a pass: what two passes must differ by to be told apart.

To first order in the unit roundoff u: every rounding is bounded by sizes of what is added up, and
carried to the scores by the measured derivative of all that follows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.model.config import ConstantTemperature, DecoderConfig, NoPositions, RMSNorm
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.positions import Layout
from glassesjax.precision import euclidean_norm
from glassesjax.trace.constants import GELU_LIPSCHITZ, mlp_lipschitz, norm_slopes
from glassesjax.trace.heads import check_unrounded

# Roundings of a norm, an exponential or a GELU beside its sums, with room for a library whose
# functions err by some units in the last place.
FEW = 16


@border()
def score_roundoff(
    decoder: Decoder, tokens: Int[Array, " seq"], layout: Layout, at: Int[Array, ""]
) -> Float[Array, ""]:
    r"""Bound on the rounding error of every score of one row, to first order.

    .. math:: \max_t |\hat s_t - s_t| \le \sum_\ell \max_t \left\lVert
       \frac{\partial s_t}{\partial v^{(\ell + 1)}} \right\rVert_F \sqrt n \, \delta_\ell +
       \delta_{out}

    where :math:`\delta_\ell` bounds what layer l itself rounds at each token: a sum of m products
    errs by m u times the product of the sizes (Frobenius norms), a softmax relatively by twice its
    logits' error, and what attention errs passes the MLP at its Lipschitz constant.

    Source: arXiv 2406.04267v2, Proposition 6.1: equality up to this.
    Differs: the proposition is about exact arithmetic.

    Args:
      decoder: RMSNorm, GELU, no biases, no positions.
      tokens: One sequence.
      layout: Where its tokens stand.
      at: The row.

    Returns:
      One number in the units of scores, for the decoder's own dtype.

    Raises:
      ValueError: Another kind of decoder, whose roundings are not counted here.
    """
    _check(decoder.config)
    check_unrounded(decoder.plan)
    plan, resid = decoder.plan, decoder.enter(tokens, layout)
    root, total = jnp.sqrt(jnp.asarray(len(tokens), plan.dtype)), jnp.zeros((), plan.dtype)
    for layer in range(decoder.config.num_layers):
        block = jax.tree.map(lambda weight, layer=layer: weight[layer], decoder.blocks)
        resid, trace = block(resid, layout, keep="residual")
        local = _rounded(block, trace.resid, trace.resid_mid, resid)
        total = total + _slope(decoder, resid, layout, layer + 1, at) * root * local
    dim, y = decoder.config.model_dim, decoder.final_norm(resid)[at]
    out = _rows(decoder.unembedding) * euclidean_norm(y) * (2 * dim + FEW)
    return (total + out) * jnp.finfo(plan.dtype).eps / 2


def _check(config: DecoderConfig) -> None:
    counted = (
        isinstance(config.positions, NoPositions)
        and isinstance(config.norm, RMSNorm)
        and isinstance(config.temperature, ConstantTemperature)
        and config.mlp.kind == "gelu"
        and (config.values, config.block) == ("projected", "sequential")
        and config.residual_weight is config.attn_softcap is config.output_softcap is None
        and not (config.bias or config.qkv_bias)
    )
    if not counted:
        raise ValueError(f"Expected a plain decoder without positions, got {config}.")


def _slope(decoder: Decoder, resid: Array, layout: Layout, start: int, at: Array) -> Array:
    """Largest norm of a score's derivative in the residual stream before a layer."""

    def scores(resid: Array) -> Array:
        y, _ = decoder.represent(resid, layout, start=start)
        return decoder.logits(y)[at]

    found, back = jax.vjp(scores, resid)
    (slopes,) = jax.vmap(back)(jnp.eye(len(found), dtype=found.dtype))
    return jnp.max(euclidean_norm(slopes, axis=(1, 2)))


def _rows(x: Float[Array, "rows width"]) -> Float[Array, ""]:
    """Norm of the largest row."""
    return jnp.max(euclidean_norm(x))


def _rounded(block: Block, resid: Array, mid: Array, after: Array) -> Array:
    """What one layer rounds at a token, at most, in units of u."""
    config, attention, mlp = block.config, block.attention, block.mlp
    dim, key, count = config.model_dim, config.key_dim, len(resid)
    size = lambda weight: euclidean_norm(weight[...], axis=(0, 1))
    x = _rows(block.norm1(resid))
    logit = abs(config.scale) * size(attention.query) * size(attention.key) * x * x
    weights = 2 * (4 * dim + key + 3 * FEW) * logit + count + FEW
    mixed = config.num_heads**0.5 * size(attention.value) * x
    attended = size(attention.output) * mixed
    terms = weights + 2 * dim + count + config.num_heads * key + FEW
    error = attended * terms + _rows(mid)
    carrier = block.plan_of(resid).carrier_dtype
    inner = norm_slopes(block.norm2, mid, carrier)
    factor = 1 + mlp_lipschitz(mlp, carrier, 2) * jnp.max(inner)
    hidden = GELU_LIPSCHITZ * size(mlp.up) * _rows(block.norm2(mid))
    update = size(mlp.down) * hidden * (2 * dim + config.mlp_dim + 2 * FEW)
    return factor * error + update + _rows(after)
