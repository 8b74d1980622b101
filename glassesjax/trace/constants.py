"""Constants of a layer for bounds: slopes of norms and MLPs, and factors of its matrices."""

import functools
import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.errors import check_choice
from glassesjax.model.config import (
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LinearMlp,
    ZeroMlp,
)
from glassesjax.model.decoder import Block
from glassesjax.model.layers import MlpBlock, Normalize, dense_activation, exact, project
from glassesjax.precision import euclidean_norm, safe_sqrt
from glassesjax.precision.bits import peak_exponent, times_power
from glassesjax.trace.head_norms import HeadNorm, head_norm
from glassesjax.trace.norms import folded, gain_of, inverse_roots, norm_slopes

Norm = Literal[1, 2, "inf"]

# The largest |slope|. Of x Phi(x) it is at the root of 2, where the second derivative is zero.
GELU_EXACT_LIPSCHITZ = (1 + math.erf(1)) / 2 + 1 / (math.e * math.sqrt(math.pi))  # 1.12890...
# Of the tanh form at 1.4185; 1.12899307 on a grid of spacing 6e-6 (curvature 1), rounded up.
GELU_LIPSCHITZ = 1.1289931
STEEPEST = {"gelu": GELU_LIPSCHITZ, "gelu_exact": GELU_EXACT_LIPSCHITZ, "relu": 1.0}
# How many of a row's largest entries are tried as the threshold of a slope.
TRIED_ENTRIES = 64


class LayerConstants(NamedTuple):
    """Numbers of one layer that bound its derivative; stacked, those of all layers.

    The layer is ``z = skip v + share a(norm1(v))`` and then the MLP, so that its Jacobian's block
    (j, i) is at most ``factor_j (share_j A_ji + skip_j)``, the second term on the diagonal only.
    The gains of norm1 are in the matrices W_Q, W_K and W_V (``folded``), not in its slope.
    """

    norm1_slope: Float[Array, "*layers seq"]  #: 1 / r_1 of each token, see ``inverse_roots``
    factor: Float[Array, "*layers seq"]  #: 1 + sigma / r_2; 1 where blocks are parallel
    skip: Float[Array, "*layers seq"]  #: the residual's part; with the MLP's where parallel
    share: Float[Array, "*layers seq"]  #: the attention's part, times its own norm's
    value_norms: Float[Array, "*layers heads"]  #: operator norms of W_O W_V
    output_factor: Float[Array, "*layers heads rank value_dim"]  #: R of W_O = Q R
    query_factor: Float[Array, "*layers heads rank head_dim"]  #: R of W_Q^T = Q R, scaled
    key_factor: Float[Array, "*layers kv_heads rank head_dim"]  #: R of W_K^T = Q R
    query_norm: HeadNorm | None = None  #: where queries and keys have norms of their own
    key_norm: HeadNorm | None = None  #: likewise


def operator_norm(matrix: Float[Array, "out in"]) -> Float[Array, ""]:
    """Largest singular value, from the smaller Gram matrix: much faster than an SVD.

    Args:
      matrix: Any matrix; scaled first, so that no square leaves the range.

    Returns:
      The norm; the error is a few roundings times the number of summed terms.
    """
    unit = peak_exponent(matrix, (0, 1))
    scaled = times_power(matrix, -unit)
    wide = scaled if matrix.shape[0] <= matrix.shape[1] else scaled.T
    gram = exact("ij,kj->ik", wide, wide, matrix.dtype)
    # Rounding may make the largest eigenvalue of a zero matrix negative.
    return times_power(safe_sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0)), unit)


def induced_norm(matrix: Float[Array, "out in"], norm: Norm) -> Float[Array, ""]:
    """The norm that a norm of vectors induces: largest column sum, singular value, row sum.

    Args:
      matrix: Any matrix.
      norm: 1, 2 or ``"inf"``.

    Returns:
      The norm.

    Raises:
      BadInput: The norm is none of the three.
    """
    check_choice("norm", norm, get_args(Norm))
    if norm == 2:
        return operator_norm(matrix)
    return jnp.linalg.norm(matrix, ord=jnp.inf if norm == "inf" else norm)


def mlp_lipschitz(mlp: MlpBlock, carrier: jnp.dtype, norm: Norm) -> Float[Array, ""]:
    r"""Lipschitz constant of an MLP from its operator norms.

    .. math:: \sigma_\psi \in
       \{0, |\sigma|, \lVert W \rVert, c \lVert W_2 \rVert \lVert W_1 \rVert\}

    Source: arXiv 2406.04267v2, Theorem 5.1 (sigma_psi).

    Args:
      mlp: The MLP.
      carrier: dtype of the result.
      norm: 1, 2 or ``"inf"``.

    Returns:
      The constant; NaN for gated MLPs, which are Lipschitz on bounded sets only: of two inputs
      ``mlp_pair_slope`` has one.

    Raises:
      BadInput: The norm is none of the three.
    """
    size = lambda weight: induced_norm(weight[...].astype(carrier), norm)
    number = lambda value: jnp.asarray(value, carrier)
    match mlp.mlp:
        case ZeroMlp():
            return number(0)
        case IdentityMlp(sigma=sigma):
            return number(abs(sigma))
        case LinearMlp():
            return size(mlp.down)
        case DenseMlp(activation=activation):
            return number(STEEPEST[activation]) * size(mlp.up) * size(mlp.down)
        case GatedMlp():
            return number(jnp.nan)  # the slope grows with the input


def mlp_slopes(
    mlp: MlpBlock, x: Float[Array, "seq model_dim"], normalize: Normalize | None = None
) -> Float[Array, " seq"]:
    r"""Upper bound on the operator norm of the MLP's derivative at each row.

    Of one product with an activation, :math:`\psi(x) = W_d \, \mathrm{act}(h)` with
    :math:`h = W_u x + b_u`, the derivative is :math:`W_d \, \mathrm{diag}(\mathrm{act}'(h)) W_u`;
    of a gated MLP, :math:`\psi(x) = W_d (\mathrm{act}(g) \odot u)`, it is the sum of two such
    products, of :math:`\mathrm{act}'(g) u` with W_g and of act(g) with W_u. For any
    :math:`\tau \ge 0`

    .. math:: \lVert W_d \, \mathrm{diag}(D) B \rVert \le \tau \lVert W_d \rVert \lVert B \rVert +
       {\textstyle\sum_f} (|D_f| - \tau)_+ \lVert W_d e_f \rVert \lVert B^\top e_f \rVert

    since the norm of a diagonal that is clipped at tau is at most tau, and each feature above it
    adds a matrix of rank one. The least over tau among the 64 largest entries: a few features that
    are far above the others do not multiply all of the matrices.

    Source: arXiv 2406.04267v2, Theorem 5.1 (sigma_psi).
    Differs: at the point, where the paper has a constant; gated MLPs have none.

    Args:
      mlp: The MLP.
      x: Its input rows, normalized.
      normalize: The norm before the MLP, whose gains are then part of the derivative (``folded``).

    Returns:
      One slope per row: of the MLP, or of the MLP after the norm times the norm's root.
    """
    plan = mlp.plan_of(x)
    carrier = plan.carrier_dtype
    fold = lambda weight: folded(weight[...].astype(carrier), normalize)
    match mlp.mlp:
        case ZeroMlp() | IdentityMlp():
            largest = jnp.max(jnp.abs(gain_of(normalize, x.shape[-1], carrier)))
            slope = mlp_lipschitz(mlp, carrier, 2) * largest
            return jnp.broadcast_to(slope, (len(x),))
        case LinearMlp():
            return jnp.broadcast_to(operator_norm(fold(mlp.down)), (len(x),))
        case DenseMlp(activation="relu"):
            hidden = project(x, mlp.up, mlp.up_bias, plan)
            # At zero, where it has none, the larger of the slopes on both sides.
            parts = [((hidden >= 0).astype(carrier), fold(mlp.up))]
        case DenseMlp(activation=activation):
            hidden = project(x, mlp.up, mlp.up_bias, plan)
            act = dense_activation(activation)
            parts = [(jax.jvp(act, (hidden,), (jnp.ones_like(hidden),))[1], fold(mlp.up))]
        case GatedMlp(activation=activation):
            act = jax.nn.silu if activation == "silu" else jax.nn.gelu
            gate = project(x, mlp.gate, mlp.gate_bias, plan)
            up = project(x, mlp.up, mlp.up_bias, plan)
            # The value and the slope of the activation, entry by entry, in one pass.
            value, slope = jax.jvp(act, (gate,), (jnp.ones_like(gate),))
            parts = [(slope * up, fold(mlp.gate)), (value, fold(mlp.up))]
    left = mlp.down[...].astype(carrier)
    size, columns = operator_norm(left), euclidean_norm(left, axis=0)
    total = jnp.zeros(len(x), carrier)
    for entries, right in parts:
        singles = columns * euclidean_norm(right, axis=1)
        total = total + _diagonal_norm(jnp.abs(entries), singles, size * operator_norm(right))
    return total


def _diagonal_norm(
    entries: Float[Array, "seq mlp_dim"], singles: Float[Array, " mlp_dim"], whole: Array
) -> Float[Array, " seq"]:
    """Bound on ``W_d diag(D) B`` of each row, see ``mlp_slopes``: the least over tau.

    ``singles`` are the norms of each feature's part of ``W_d B``, ``whole`` that of all of it.
    """
    # A feature of size zero at the end: tau may be zero, where all features are tried.
    entries, singles = jnp.pad(entries, [(0, 0), (0, 1)]), jnp.pad(singles, (0, 1))
    top, at = jax.lax.top_k(entries, min(TRIED_ENTRIES, entries.shape[-1]))
    # From one threshold to the next lower one all features above it grow alike: no difference of
    # sums, only sums of what is not negative.
    steps = (top[:, :-1] - top[:, 1:]) * jnp.cumsum(singles[at], axis=-1)[:, :-1]
    above = jnp.pad(jnp.cumsum(steps, axis=-1), [(0, 0), (1, 0)])
    # Zero times an infinite norm is no number; at zero all features are in the sum.
    return jnp.min(jnp.where(top == 0, 0, top * whole) + above, axis=-1)


def residual_shares(config: DecoderConfig) -> tuple[float, float]:
    """Factors of residual and attention in their sum: 1 and 1 if it is not weighted.

    Args:
      config: The decoder's settings.

    Returns:
      The two factors, of either sign.
    """
    weight = config.residual_weight
    return (1.0, 1.0) if weight is None else (1 - weight, weight)


def effective_share(
    resid: Float[Array, "seq model_dim"],
    resid_mid: Float[Array, "seq model_dim"],
    config: DecoderConfig,
    counted: Bool[Array, " seq"] | None = None,
) -> Float[Array, ""]:
    r"""Share of attention in the residual stream, by length, averaged over tokens.

    .. math:: \lambda =
       \frac1n \sum_i \frac{\lVert a_i \rVert}{\lVert x_i \rVert + \lVert a_i \rVert}

    with a the attention's update and x the residual that it is added to, both as weighted in the
    sum; zero for a token where both are zero.

    Source: a definition after arXiv 2602.16837v2, the effective lambda.

    Args:
      resid: Residual stream before the layer.
      resid_mid: The same after its attention.
      config: The decoder's settings.
      counted: The tokens to average over; all if absent.

    Returns:
      A number in [0, 1].
    """
    kept = residual_shares(config)[0] * resid  # what the layer passes on unchanged
    update, kept = (euclidean_norm(x) for x in (resid_mid - kept, kept))
    total = update + kept
    # A token where both are zero has share 0 / 1.
    return jnp.mean(update / jnp.where(total == 0, 1, total), where=counted)


def layer_constants(
    block: Block,
    resid: Float[Array, "seq model_dim"],
    resid_mid: Float[Array, "seq model_dim"],
    sigma: Float[Array, " seq"] | None = None,
    attn_out: Float[Array, "seq model_dim"] | None = None,
) -> LayerConstants:
    r"""Constants that bound one layer's derivative at the residual stream of a pass.

    A sequential block is :math:`v' = z + \psi(\mathrm{norm}_2(z))`: its MLP multiplies every block
    of the derivative by at most :math:`1 + \sigma / r_2`, r_2 at z and sigma with the norm's gains
    (``mlp_slopes``). A parallel block is :math:`v' = z + \psi(\mathrm{norm}_2(v))`: its MLP adds
    :math:`\sigma / r_2`, r_2 at v, to the blocks on the diagonal. A matrix after a norm counts with
    the norm's gains: ``folded``. A norm of the output of attention or MLP multiplies its part by
    the norm's slope at that output (``norm_slopes``), which belongs to the row j.

    Source: arXiv 2406.04267v2, proof of Theorem B.5.
    Differs: norms and MLP at the point, norms of outputs, parallel blocks, and a residual that is
      weighted.

    Args:
      block: The layer.
      resid: Residual stream before it.
      resid_mid: The same after its attention.
      sigma: Slope of the MLP alone at each token; from the weights if absent.
      attn_out: Attention's output before its own norm, where it has one: ``Trace.attn_out``.

    Returns:
      The layer's constants, in the accumulation dtype.
    """
    config, attention, carrier = block.config, block.attention, block.plan_of(resid).carrier_dtype
    parallel, (keep, share) = config.block == "parallel", residual_shares(config)
    source = resid if parallel else resid_mid
    inside = block.norm2(source)
    if sigma is None:
        slopes = mlp_slopes(block.mlp, inside, block.norm2)
        moved = slopes * inverse_roots(block.norm2, source, carrier)
    else:
        moved = sigma * norm_slopes(block.norm2, source, carrier)
    moved = moved * norm_slopes(block.norm2_after, block.mlp(inside), carrier)
    skip, shares = jnp.full_like(moved, abs(keep)), jnp.full_like(moved, abs(share))
    if attn_out is not None:
        shares = shares * norm_slopes(block.norm1_after, attn_out, carrier)
    (query_factor, query_norm), (key_factor, key_norm) = _turned_factors(block, resid)
    if config.values == "identity":
        basis = jnp.eye(config.value_dim, dtype=carrier)
        output = jnp.broadcast_to(basis, (config.num_heads, *basis.shape))
        gain = gain_of(block.norm1, config.model_dim, carrier)
        value_norms = jnp.max(jnp.abs(gain.reshape(config.num_heads, -1)), axis=-1)  # of its slice
    else:
        # (model_dim, heads * width) -> (heads, model_dim, width) -> (heads, rank, width)
        output = attention.output[...].astype(carrier)
        output = output.reshape(config.model_dim, config.num_heads, -1)
        output = jnp.linalg.qr(output.transpose(1, 0, 2), mode="r")
        value = _triangles(
            folded(attention.value[...].astype(carrier), block.norm1), config.kv_heads
        )
        value = jnp.repeat(value, config.num_heads // config.kv_heads, axis=0)
        product = exact("hrv,hcv->hrc", output, value, carrier)  # R_O R_V^T, of norm |W_O W_V|
        value_norms = jnp.linalg.norm(product, 2, (-2, -1))
    return LayerConstants(
        norm1_slope=inverse_roots(block.norm1, resid, carrier),
        factor=jnp.ones_like(moved) if parallel else 1 + moved,
        skip=skip + moved if parallel else skip,
        share=shares,
        value_norms=value_norms,
        output_factor=output,
        query_factor=query_factor,
        key_factor=key_factor,
        query_norm=query_norm,
        key_norm=key_norm,
    )


def _turned_factors(block: Block, resid: Array) -> list[tuple[Array, HeadNorm | None]]:
    """Triangles of the scaled W_Q and of W_K, with the norm of each, where there is one."""
    config, attention, carrier = block.config, block.attention, block.plan_of(resid).carrier_dtype
    weights = (
        folded(attention.query[...].astype(carrier), block.norm1) * abs(config.scale),
        folded(attention.key[...].astype(carrier), block.norm1),
    )
    if config.qk_norm == "none":
        counts = config.num_heads, config.kv_heads
        return [(_triangles(*each), None) for each in zip(weights, counts, strict=True)]
    norms, raw = (attention.query_norm, attention.key_norm), block.projected(resid)
    make = functools.partial(head_norm, whole=config.qk_norm == "whole")
    return [make(*each) for each in zip(norms, raw, weights, strict=True)]


def _triangles(weight: Float[Array, "features model_dim"], heads: int) -> Array:
    """R of each head's ``W^T = Q R``: a product with an orthonormal Q keeps every norm."""
    # (heads * width, model_dim) -> (heads, model_dim, width) -> (heads, rank, width)
    split = weight.reshape(heads, -1, weight.shape[-1])
    return jnp.linalg.qr(split.transpose(0, 2, 1), mode="r")
