"""What Theorem 4.2 needs of a decoder as plain arrays: two rows of a pass, radii, constants."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.model.config import (
    Alibi,
    ConstantNorm,
    ConstantTemperature,
    LayerNorm,
    NoNorm,
    NoPositions,
    RMSNorm,
)
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layers import Normalize, exact, project
from glassesjax.model.positions import Layout
from glassesjax.precision import euclidean_norm, root_mean_square
from glassesjax.precision.bits import peak_exponent, times_power
from glassesjax.trace.constants import Norm, mlp_lipschitz
from glassesjax.trace.heads import check_unrounded


class LayerRows(NamedTuple):
    """What one layer did with rows n and n + 1; stacked, what all layers did, first one first.

    Pairs of residual rows come in this order. Row n is causal by its shape: it has n entries.
    A constant that is not known is NaN; the inequality that needs it then does not apply.
    """

    logits: Float[Array, "*layers heads n"]
    next_logits: Float[Array, "*layers heads n+1"]
    weights: Float[Array, "*layers heads n"]
    next_weights: Float[Array, "*layers heads n+1"]
    radius: Float[Array, "*layers heads"]  #: of the points W x_i, i <= n + 1, of each head
    resid: Float[Array, "*layers 2 d"]  #: v, before attention
    resid_mid: Float[Array, "*layers 2 d"]  #: z, after attention
    resid_out: Float[Array, "*layers 2 d"]  #: the next layer's v
    mlp_lipschitz: Float[Array, "*layers"]  #: sigma_psi
    norm_lipschitz: Float[Array, "*layers"]  #: Lambda_2, of the norm before the MLP
    query_lipschitz: Float[Array, "*layers heads"] | None = None  #: L_q; None is unknown
    increment: Float[Array, "*layers heads"] | None = None  #: mean positional step; likewise


@border()
def certificate_rows(decoder: Decoder, tokens: Int[Array, " seq"], norm: Norm) -> LayerRows:
    r"""The last two rows of a pass, layer by layer, with radii and Lipschitz constants.

    Rows and logits are those of the pass itself. The radius is that of the points
    :math:`W_O^h W_V^h \mathrm{norm}_1(v_i)`: biases move all points alike. Constants come from the
    weights and from the segments between the two rows:

    .. math::
       \sigma_\psi &\in \{0, |\sigma|, \lVert W \rVert, c \lVert W_2 \rVert \lVert W_1 \rVert\} \\
       L_q &= |\mathrm{scale}| \max_{i \le n} \lVert W_Q^\top k_i \rVert_* \Lambda_1

    with c the largest slope of GELU. The first, the operator norms, are NaN for gated MLPs, which
    are Lipschitz on bounded sets only. L_q and the positional step are known where positions
    enter nowhere (step 0) or as ALiBi (step: the slope), NaN elsewhere and where the temperature
    is not constant: it may scale the two rows differently. The constant of a true
    norm is sharp up to its gain in norm 2; in norms 1 and inf it is an upper bound, larger by
    at most :math:`(1 + \sqrt d) / 2`, and twice that where the mean is removed.

    Source: arXiv 2406.04267v2, proof of Theorem B.3.
    Differs: measured, for any number of heads; the proof has one head and values of unit norm.

    Args:
      decoder: Sequential blocks with a plain residual; causal, with or without a window.
      tokens: At least two; for the theorem the last two are equal.
      norm: The norm of the distances; a static value.

    Returns:
      All layers, stacked, in the decoder's dtype or, for 16-bit weights, in float32.

    Raises:
      ValueError: The decoder's blocks, residual or mask are others, it rounds in the pass, fewer
        than two tokens, or no such norm.
    """
    config = decoder.config
    plain = config.block == "sequential" and config.residual_weight is None
    blocks = f"block={config.block!r}, residual_weight={config.residual_weight}"
    normed = (config.norm_place, config.qk_norm) == ("before", "none")
    norms = f"norm_place={config.norm_place!r}, qk_norm={config.qk_norm!r}"
    causal = "a decoder whose rows see no later token (Causal or Window)"
    for holds, wanted, got in (
        (norm in (1, 2, "inf"), "norm 1, 2 or 'inf'", f"{norm!r}"),
        (len(tokens) >= 2, "two tokens or more", f"{len(tokens)}"),
        (plain, "sequential blocks with residual_weight=None", blocks),
        (normed, "norms before attention and MLP alone", norms),
        (config.mask.causal, causal, f"{config.mask}"),
    ):
        if not holds:
            raise ValueError(f"Expected {wanted}, got {got}.")
    check_unrounded(decoder.plan)
    trace: Any = decoder(tokens, keep="attention")[1]  # every field is kept, none is None
    # A trace has what enters each layer; what leaves the last one needs that layer once more.
    last = jax.tree.map(lambda weight: weight[-1], decoder.layers)
    after = last(trace.resid[-1], Layout.line(len(tokens)))[0]
    # rows n and n + 1 of (layers, seq, d) -> (layers, 2, d)
    resid_out = jnp.concatenate([trace.resid[1:, -2:], after[None, -2:]])

    def layer(arrays: tuple[Block, Any, Array]) -> LayerRows:
        block, trace, after = arrays
        carrier = block.plan_of(trace.resid).carrier_dtype
        wide = lambda x: x.astype(carrier)
        logits, weights = wide(trace.attn_logits), wide(trace.attn_weights)  # (heads, seq, seq)
        x = block.norm1(trace.resid)
        resid, mid = wide(trace.resid[-2:]), wide(trace.resid_mid[-2:])
        query_lipschitz, increment = _logit_constants(block, x, resid, norm)
        return LayerRows(
            logits=logits[:, -2, :-1],  # row n does not see token n + 1
            next_logits=logits[:, -1],
            weights=weights[:, -2, :-1],
            next_weights=weights[:, -1],
            radius=_radius(block, x, norm),
            resid=resid,
            resid_mid=mid,
            resid_out=wide(after),
            mlp_lipschitz=mlp_lipschitz(block.mlp, carrier, norm),
            norm_lipschitz=_norm_lipschitz(block.norm2, mid, norm),
            query_lipschitz=query_lipschitz,
            increment=increment,
        )

    return jax.lax.map(layer, (decoder.layers, trace, resid_out))


def _length(x: Float[Array, "*batch d"], norm: Norm) -> Float[Array, "*batch"]:
    if norm == 2:
        return euclidean_norm(x)
    return jnp.linalg.norm(x, ord=jnp.inf if norm == "inf" else norm, axis=-1)


def _radius(block: Block, x: Float[Array, "seq d"], norm: Norm) -> Float[Array, " heads"]:
    """Radius of what each head adds for each token at weight one, up to a shift."""
    config, carrier = block.config, block.plan_of(x).carrier_dtype
    heads, width = config.num_heads, config.value_dim
    if config.values == "identity":
        # (seq, d) -> (heads, seq, width): a head adds zero outside its slice.
        points = x.reshape(len(x), heads, width).transpose(1, 0, 2)
    else:
        # (kv_heads * width, d) -> (heads, width, d): each key-value head serves heads in a row.
        value = block.attention.value[...].reshape(config.kv_heads, width, -1).astype(carrier)
        value = jnp.repeat(value, heads // config.kv_heads, axis=0)
        # (d, heads * width) -> (d, heads, width)
        output = block.attention.output[...].reshape(-1, heads, width).astype(carrier)
        mixed = exact("sd,hvd->hsv", x, value, carrier)
        points = exact("hsv,dhv->hsd", mixed, output, carrier)
    # The least of the radii around midrange, mean and zero, as in theory/: (heads, seq, d) -> heads
    highest, lowest = jnp.max(points, axis=-2), jnp.min(points, axis=-2)
    centers = (lowest + (highest - lowest) / 2, jnp.mean(points, axis=-2), jnp.zeros_like(highest))
    radii = [jnp.max(_length(points - c[..., None, :], norm), axis=-1) for c in centers]
    return functools.reduce(jnp.minimum, radii)


def _logit_constants(
    block: Block, x: Array, resid: Array, norm: Norm
) -> tuple[Float[Array, " heads"], Float[Array, " heads"]]:
    config, carrier = block.config, block.plan_of(x).carrier_dtype
    heads, positions = config.num_heads, config.positions
    constant = isinstance(config.temperature, ConstantTemperature)
    if not (constant and isinstance(positions, NoPositions | Alibi)):
        unknown = jnp.full(heads, jnp.nan, carrier)
        return unknown, unknown
    # A soft cap has slope at most one, biases of queries cancel, and the prefix has n keys.
    key = project(x[:-1], block.attention.key, block.attention.key_bias, carrier)
    # (n, kv_heads * key_dim) -> (n, heads, key_dim)
    key = key.reshape(len(key), config.kv_heads, -1)
    key = jnp.repeat(key, heads // config.kv_heads, axis=1)
    query = block.attention.query[...].reshape(heads, config.key_dim, -1).astype(carrier)
    dual: dict[Norm, Norm] = {1: "inf", 2: 2, "inf": 1}
    # A logit is linear in the query's input: its slope is W_Q^T k, in the dual norm.
    slopes = _length(exact("shk,hkd->hsd", key, query, carrier), dual[norm])
    steepest = jnp.max(slopes, axis=-1)  # over keys: (heads, n) -> (heads,)
    scale = jnp.asarray(abs(config.scale), carrier)
    lipschitz = scale * steepest * _norm_lipschitz(block.norm1, resid, norm)
    return lipschitz, positions.linear_bias(heads, carrier)  # what a step of one position adds


def _norm_lipschitz(
    normalize: Normalize, pair: Float[Array, "2 d"], norm: Norm
) -> Float[Array, ""]:
    """Bound on the norm's slope between two rows: the gain over the least size on the segment.

    The slope of x / r is (I - x x^T / (d r^2)) / r. The bracket has norm at most one in norm 2 and
    (1 + sqrt d) / 2 in norms 1 and inf: |x|_1 |x|_inf - 2 |x|_inf^2 <= (sqrt d - 1) |x|^2 / 2.
    """
    dim, dtype = pair.shape[-1], pair.dtype
    spread = 1.0 if norm == 2 else (1 + math.sqrt(dim)) / 2
    match normalize.norm:
        case NoNorm():
            return jnp.ones((), dtype)
        case ConstantNorm(beta=beta):
            return jnp.asarray(1 / beta, dtype)
        case RMSNorm(eps=eps, offset=offset):
            gain = normalize.gain[...].astype(dtype) + jnp.asarray(offset, dtype)
        case LayerNorm(eps=eps):
            gain = normalize.gain[...].astype(dtype)
            pair = pair - jnp.mean(pair, axis=-1, keepdims=True)
            spread *= 1.0 if norm == 2 else 2 * (1 - 1 / dim)  # removing the mean
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
    size = root_mean_square(nearest, eps) * jnp.asarray(lower, dtype)
    return jnp.asarray(spread, dtype) * jnp.max(jnp.abs(gain)) / size
