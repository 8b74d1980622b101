"""Bound on the rounding error of the logits of a pass: larger differences are not rounding.

To first order in the unit roundoff u: every rounding is bounded by the sizes of the summed terms,
and propagated to the logits by the measured derivative of the following layers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.model.config import (
    ConstantTemperature,
    DecoderConfig,
    GatedMlp,
    NoPositions,
    RMSNorm,
)
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import layer_of_plan
from glassesjax.model.positions import Layout
from glassesjax.precision import euclidean_norm
from glassesjax.trace.constants import GELU_LIPSCHITZ, mlp_lipschitz
from glassesjax.trace.heads import check_unrounded
from glassesjax.trace.norms import norm_slopes

# Roundings of a norm, an exponential or a GELU besides its sums, for libraries whose functions
# have errors of some units in the last place.
FEW = 16


@border()
def score_roundoff(
    decoder: Decoder, tokens: Int[Array, " seq"], layout: Layout, at: Int[Array, ""]
) -> Float[Array, ""]:
    r"""Bound on the rounding error of every logit of one row, to first order.

    .. math:: \max_t |\hat s_t - s_t| \le \sum_\ell \max_t \left\lVert
       \frac{\partial s_t}{\partial v^{(\ell + 1)}} \right\rVert_F \sqrt n \, \delta_\ell +
       \delta_{out}

    where :math:`\delta_\ell` bounds the rounding error of layer l at each token: that of a sum of
    m products is m u times the product of the sizes (Frobenius norms), the relative one of a
    softmax twice its logits' error, and that of attention is multiplied by the MLP's Lipschitz
    constant.

    Source: arXiv 2406.04267v2, Proposition 6.1: equality up to this.
    Differs: the proposition is about exact arithmetic.

    Args:
      decoder: RMSNorm, GELU, no biases, no positions.
      tokens: One sequence.
      layout: Positions of its tokens.
      at: The row.

    Returns:
      One number in the unit of logits, for the decoder's native dtype.

    Raises:
      ValueError: The decoder has other parts, whose roundings are not counted here.
    """
    config = decoder.config
    counted = (
        isinstance(config.positions, NoPositions)
        and isinstance(config.norm, RMSNorm)
        and isinstance(config.temperature, ConstantTemperature)
        and config.mlp.kind == "gelu"  # in its tanh form
        and (config.values, config.block) == ("projected", "sequential")
        and (config.norm_place, config.qk_norm) == ("before", "none")
        and config.residual_weight is config.attn_softcap is config.output_softcap is None
        and not (config.bias or config.qkv_bias)
    )
    if not counted:
        raise ValueError(f"Expected a plain decoder without positions, got {config}: use one.")
    check_unrounded(decoder.plan)
    plan, resid = decoder.plan, decoder.enter(tokens, layout)
    root, total = jnp.sqrt(jnp.asarray(len(tokens), plan.dtype)), jnp.zeros((), plan.dtype)
    # A Python loop, not a scan: each layer's derivative is of a pass through the remaining layers.
    for layer in range(config.num_layers):
        block = jax.tree.map(lambda weight, layer=layer: weight[layer], decoder.layers)
        block = layer_of_plan(block, layer)
        resid, trace = block(resid, layout, keep="residual")

        def scores(resid: Array, layer: int = layer) -> Array:
            y, _ = decoder.represent(resid, layout, start=layer + 1)
            return decoder.logits(y)[at]

        row, back = jax.vjp(scores, resid)
        # vmap over vocab: (vocab, vocab) -> (vocab, seq, model_dim)
        (slopes,) = jax.vmap(back)(jnp.eye(len(row), dtype=row.dtype))
        slope = jnp.max(euclidean_norm(slopes, axis=(1, 2)))
        # A vector of seq tokens, each off by local, is off by sqrt(seq) times that at most.
        total = total + slope * root * _rounded(block, trace.resid, trace.resid_mid, resid)
    y = decoder.final_norm(resid)[at]
    out = _rows(decoder.unembedding) * euclidean_norm(y) * (2 * config.model_dim + FEW)
    return (total + out) * jnp.finfo(plan.dtype).eps / 2  # eps is 2 u


@border()
def layer_terms(config: DecoderConfig) -> int:
    """Terms of the sums behind a coordinate of one layer's output, sums over tokens not counted.

    Norms, projections, logits, the output of the heads and the MLP, with some roundings for each
    function: every one of them may err by a unit roundoff.

    Args:
      config: Settings of the decoder.

    Returns:
      An upper bound, for every norm is counted as one that removes the mean; biases are among the
      roundings of functions.
    """
    dim, key = config.model_dim, config.key_dim
    norms = {"before": 2, "after": 2, "both": 4}[config.norm_place]
    width = {"none": 0, "head": key, "whole": config.num_heads * key}[config.qk_norm]
    projected = 3 * dim + key + config.num_heads * config.value_dim
    mlp = (2 if isinstance(config.mlp, GatedMlp) else 1) * dim + config.mlp_dim
    # Each norm, with those of queries and keys; the soft cap, the softmax and the activation.
    functions = norms + 2 * (config.qk_norm != "none") + 3
    return 2 * (norms * dim + 2 * width) + projected + mlp + functions * FEW


def _rows(x: Float[Array, "rows width"]) -> Float[Array, ""]:
    """Norm of the largest row."""
    return jnp.max(euclidean_norm(x))


def _rounded(block: Block, resid: Array, mid: Array, after: Array) -> Array:
    """Bound on the rounding error of one layer at a token, in units of u."""
    config, attention, mlp = block.config, block.attention, block.mlp
    dim, key, count = config.model_dim, config.key_dim, len(resid)
    size = lambda weight: euclidean_norm(weight[...], axis=(0, 1))
    x = _rows(block.norm1(resid))
    # Relative errors: of the logits, twice that in the weights, then of the average and W_O.
    logit = abs(config.scale) * size(attention.query) * size(attention.key) * x * x
    weights = 2 * (4 * dim + key + 3 * FEW) * logit + count + FEW
    mixed = config.num_heads**0.5 * size(attention.value) * x
    attended = size(attention.output) * mixed
    terms = weights + 2 * dim + count + config.num_heads * key + FEW
    error = attended * terms + _rows(mid)
    # Attention's error goes through the residual stream and, times its slope, through the MLP.
    carrier = block.plan_of(resid).carrier_dtype
    inner = norm_slopes(block.norm2, mid, carrier)
    factor = 1 + mlp_lipschitz(mlp, carrier, 2) * jnp.max(inner)
    # The MLP's products; the last term is the rounding of the sum that leaves the layer.
    hidden = GELU_LIPSCHITZ * size(mlp.up) * _rows(block.norm2(mid))
    update = size(mlp.down) * hidden * (2 * dim + config.mlp_dim + 2 * FEW)
    return factor * error + update + _rows(after)
