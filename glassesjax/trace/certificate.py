"""What Theorem 4.2 needs of a decoder as plain arrays: two rows of a pass, radii, constants."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import border
from glassesjax.model.by_layer import positions_of
from glassesjax.model.config import ConstantTemperature, DecoderConfig, NoNorm, Positions
from glassesjax.model.decoder import Block, Decoder, Trace
from glassesjax.model.layer_scan import scan_layers
from glassesjax.model.layers import exact
from glassesjax.model.positions import Layout
from glassesjax.precision import euclidean_norm
from glassesjax.trace.constants import Norm, operator_norm, residual_shares
from glassesjax.trace.heads import check_unrounded
from glassesjax.trace.norms import gain_of
from glassesjax.trace.pair_slopes import least_root, mlp_pair_slope, norm_pair_slope


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
    attn_norm_lipschitz: Float[Array, "*layers"] | None = None  #: Lambda_a, after attention
    mlp_norm_lipschitz: Float[Array, "*layers"] | None = None  #: Lambda_m, after the MLP
    keep: Float[Array, "*layers"] | None = None  #: factor of v in z; None, as above, is 1
    share: Float[Array, "*layers"] | None = None  #: factor of attention in z; likewise
    parallel: Bool[Array, "*layers"] | None = None  #: the MLP reads v, not z; None is False


@border()
def certificate_rows(decoder: Decoder, tokens: Int[Array, " seq"], norm: Norm) -> LayerRows:
    r"""The last two rows of a pass, layer by layer, with radii and Lipschitz constants.

    Rows and logits are those of the pass itself, each layer's by its own mask and positions. The
    radius is that of the points :math:`W_O^h W_V^h \mathrm{norm}_1(v_i)`: biases move all points
    alike. Constants come from the weights and from the segments between the two rows:

    .. math::
       \sigma_\psi &\in \{0, |\sigma|, \lVert W \rVert, c \lVert W_2 \rVert \lVert W_1 \rVert\} \\
       L_q &= |\mathrm{scale}| \max_{i \le n} \lVert W_Q^\top T_{n+1}^\top k_i \rVert_* \Lambda_1 \\
       \bar\pi &= \frac{|\mathrm{scale}|}{n} {\textstyle\sum_{i \le n}}
          |k_i \cdot (T_{n+1} - T_n) q_n| + \text{ALiBi's slope}

    with c the largest slope of the activation, ``mlp_pair_slope`` for gated MLPs, and T_j what
    positions do to a query at j. Where queries have a norm, with gains g and the least root r on
    the segment between the two rows' raw queries,

    .. math:: L_q = |\mathrm{scale}| \max_{i \le n} \lVert g \odot T_{n+1}^\top k_i \rVert_2
       \lVert W_Q^\top \rVert_{2 \to *} \Lambda_1 / r

    L_q and the positional step are NaN where a class of positions of your own turns or biases
    without ``rotation`` or ``linear_bias``, and where the temperature is not constant: it may scale
    the two rows differently. The constant of a true norm is sharp up to its gain in norm 2; in
    norms 1 and inf it is an upper bound, larger by at most :math:`(1 + \sqrt d) / 2`, and twice
    that where the mean is removed.

    Source: arXiv 2406.04267v2, proof of Theorem B.3.
    Differs: measured, for any number of heads, and for parallel blocks, weighted residuals, norms
      of outputs, queries and keys; the proof has one head and values of unit norm.

    Args:
      decoder: Causal in all layers, with or without windows.
      tokens: At least two; for the theorem the last two are equal.
      norm: The norm of the distances; a static value.

    Returns:
      All layers, stacked, in the decoder's dtype or, for 16-bit weights, in float32.

    Raises:
      ValueError: A layer's mask is another, the decoder rounds in the pass, fewer than two tokens,
        or no such norm.
    """
    config = decoder.config
    causal = "a decoder whose rows see no later token (Causal or Window)"
    for holds, wanted, got in (
        (norm in (1, 2, "inf"), "norm 1, 2 or 'inf'", f"{norm!r}"),
        (len(tokens) >= 2, "two tokens or more", f"{len(tokens)}"),
        (config.mask.causal, causal, f"{config.mask}"),
    ):
        if not holds:
            raise ValueError(f"Expected {wanted}, got {got}.")
    check_unrounded(decoder.plan)
    layout = Layout.line(len(tokens))

    def layer(resid: Array, block: Block) -> tuple[Array, LayerRows]:
        after, trace = block(resid, layout, keep="attention")  # of one layer at a time
        return after, _layer_rows(block, trace, after, norm)

    return scan_layers(layer, decoder.enter(tokens), decoder.layers)[1]


def _layer_rows(block: Block, kept: Trace, after: Array, norm: Norm) -> LayerRows:
    trace: Any = kept  # no field that is read here is None, attn_out aside
    config, carrier = block.config, block.plan_of(after).carrier_dtype
    wide = lambda x: x.astype(carrier)
    logits, weights = wide(trace.attn_logits), wide(trace.attn_weights)  # (heads, seq, seq)
    resid, mid = wide(trace.resid[-2:]), wide(trace.resid_mid[-2:])
    query_lipschitz, increment = _logit_constants(block, trace.resid, norm)
    parallel, constant = config.block == "parallel", lambda value: jnp.asarray(value, carrier)
    source = resid if parallel else mid
    inside = wide(block.norm2(source))
    keep, share = residual_shares(config)
    slope = lambda normalize, pair: norm_pair_slope(normalize, wide(pair), norm)
    attn_out = trace.attn_out
    return LayerRows(
        logits=logits[:, -2, :-1],  # row n does not see token n + 1
        next_logits=logits[:, -1],
        weights=weights[:, -2, :-1],
        next_weights=weights[:, -1],
        radius=_radius(block, block.norm1(trace.resid), norm),
        resid=resid,
        resid_mid=mid,
        resid_out=wide(after[-2:]),
        mlp_lipschitz=mlp_pair_slope(block.mlp, inside, carrier, norm),
        norm_lipschitz=slope(block.norm2, source),
        query_lipschitz=query_lipschitz,
        increment=increment,
        # An attention's output is kept where it has a norm of its own.
        attn_norm_lipschitz=(
            constant(1) if attn_out is None else slope(block.norm1_after, attn_out[-2:])
        ),
        mlp_norm_lipschitz=slope(block.norm2_after, block.mlp(inside)),
        keep=constant(keep),
        share=constant(share),
        parallel=jnp.asarray(parallel),
    )


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
    block: Block, resid: Float[Array, "seq d"], norm: Norm
) -> tuple[Float[Array, " heads"], Float[Array, " heads"]]:
    """L_q and the mean positional step of each head, NaN where either is not known."""
    config, carrier = block.config, block.plan_of(resid).carrier_dtype
    heads = config.num_heads
    if not _has_known_steps(config):
        unknown = jnp.full(heads, jnp.nan, carrier)
        return unknown, unknown
    length, positions = len(resid), block.attention.positions
    raw = block.projected(resid)
    query = block.attention.normed(*raw)[0][-2:-1].astype(carrier)  # of row n
    key = block.heads(resid, Layout.line(length))[1][:-1].astype(carrier)  # the n of both rows
    # (n, kv_heads, head_dim) -> (n, heads, head_dim): each serves heads in a row.
    key = jnp.repeat(key, heads // config.kv_heads, axis=1)
    scale = jnp.asarray(abs(config.scale), carrier)
    # Row n's query at both rows' positions: (2, heads, head_dim). One of its products at n + 1 less
    # the same at n is what a step of the position does.
    both = jnp.arange(length - 2, length, dtype=jnp.int32)
    turned = positions.turn(jnp.repeat(query, 2, axis=0), both)
    moved = jnp.abs(exact("hc,shc->sh", turned[1] - turned[0], key, carrier))
    increment = scale * jnp.mean(moved, axis=0) + positions.linear_bias(heads, carrier)
    # Keys turned back by the position of row n + 1. A soft cap has slope at most one.
    back = positions.rotation(length, config.key_dim, carrier)[-1]
    key = exact("ac,shc->sha", back, key, carrier)
    slopes = _query_slopes(block, raw[0][-2:].astype(carrier), key, norm)
    reached = norm_pair_slope(block.norm1, resid[-2:].astype(carrier), norm)
    return scale * jnp.max(slopes, axis=0) * reached, increment


def _query_slopes(
    block: Block,
    pair: Float[Array, "2 heads head_dim"],
    key: Float[Array, "n heads head_dim"],
    norm: Norm,
) -> Float[Array, "n heads"]:
    """How steep each product with a key is in what a query is made of; ``pair`` is raw queries."""
    config, normalize = block.config, block.attention.query_norm
    heads, width, carrier = config.num_heads, config.key_dim, key.dtype
    weight = block.attention.query[...].reshape(heads, width, -1).astype(carrier)
    if isinstance(normalize.norm, NoNorm):
        # The product is linear: its slope is W_Q^T k, in the dual norm.
        dual: dict[Norm, Norm] = {1: "inf", 2: 2, "inf": 1}
        return _length(exact("shc,hcd->shd", key, weight, carrier), dual[norm])
    # What one norm is over: (2, heads, head_dim) -> (2, groups, normed)
    groups = 1 if config.qk_norm == "whole" else heads
    pair, weight = pair.reshape(2, groups, -1), weight.reshape(groups, heads * width // groups, -1)
    roots = jax.vmap(functools.partial(least_root, normalize), in_axes=1)(pair)
    steep = jax.vmap(functools.partial(_norm_into_euclidean, norm=norm))(weight) / roots
    gain = gain_of(normalize, pair.shape[-1], carrier).reshape(-1, width)[None]
    return euclidean_norm(gain * key) * steep[None]


def _norm_into_euclidean(matrix: Float[Array, "out in"], norm: Norm) -> Float[Array, ""]:
    """Bound on the Euclidean norm of a matrix times a vector of norm one."""
    if norm == 2:
        return operator_norm(matrix)
    lengths = euclidean_norm(matrix, axis=0)  # of columns
    return jnp.max(lengths) if norm == 1 else jnp.sum(lengths)


def _has_known_steps(config: DecoderConfig) -> bool:
    """Whether a step of a position is known: an affine turn, a linear bias, no other factor."""

    def known(positions: Positions) -> bool:
        kind = type(positions)
        turns = kind.turn is not Positions.turn and kind.rotation is Positions.rotation
        biases = kind.bias is not Positions.bias and kind.linear_bias is Positions.linear_bias
        return not (turns or biases)

    constant = isinstance(config.temperature, ConstantTemperature)
    return constant and all(map(known, positions_of(config)[0]))
