"""Norms of queries and keys: their derivative at a pass, and what they bound before any input."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import COUNT, border
from glassesjax.model.config import ConstantNorm, LayerNorm, NoNorm
from glassesjax.model.decoder import Block
from glassesjax.model.layers import Normalize, exact
from glassesjax.precision import euclidean_norm
from glassesjax.trace.norms import gain_of, inverse_roots


class HeadNorm(NamedTuple):
    r"""The norm of the queries or keys of each head, as a derivative at each token.

    With y the raw vector that the norm is over, r its root and :math:`e = P y / (\sqrt D r)`, the
    derivative is :math:`G (I - e e^\top) P / r`. A norm of each head has D = head_dim; one norm of
    the whole projection has all heads in e, which then couples them.
    """

    inverse_root: Float[Array, "*layers heads seq"]  #: 1 / r; one for all heads where whole
    along: Float[Array, "*layers heads seq head_dim"]  #: e, of each head its own coordinates
    gain: Float[Array, "*layers heads head_dim"]  #: offset included
    across: Float[Array, "*layers heads seq rank"]  #: Q^T W^T e, where W_h^T = Q R of the head
    #: length of W^T e outside Q; None where each head has a norm of its own
    rest: Float[Array, "*layers heads seq"] | None


def head_norm(
    normalize: Normalize,
    raw: Float[Array, "seq heads head_dim"],
    weight: Float[Array, "features model_dim"],
    *,
    whole: bool,
) -> tuple[Float[Array, "heads rank head_dim"], HeadNorm]:
    r"""Triangles of a projection, and the derivative of the norm after it, head by head.

    The transposed derivative of head h of ``norm(W x)`` is

    .. math:: W_h^\top D_h^\top = Q \left( R_h - (Q^\top m) e_h^\top \right) G_h / r +
       m_\perp e_h^\top G_h / r, \qquad m = W^\top e

    with W the projection, its mean over the normed coordinates removed for LayerNorm. Where each
    head has a norm of its own, m is in the range of Q and its other part is zero.

    Source: the derivative of ``y / r``; used in the repair of arXiv 2406.04267v2, Theorem 5.1.

    Args:
      normalize: The norm.
      raw: Queries or keys before it.
      weight: The projection, with what precedes it in the derivative (``folded``).
      whole: One norm over all heads.

    Returns:
      R of each head and the norm.
    """
    length, heads, width = raw.shape
    carrier = weight.dtype
    # (seq, heads, width) -> (seq, groups, normed): what one norm is over
    rows = raw.reshape(length, 1 if whole else heads, -1)
    # (features, model_dim) -> (groups, normed, model_dim)
    groups = weight.reshape(rows.shape[1], rows.shape[2], -1)
    inverse_root = inverse_roots(normalize, rows, carrier)  # (seq, groups)
    match normalize.norm:
        case NoNorm() | ConstantNorm():  # linear: no direction is lost
            along = jnp.zeros_like(rows)
        case norm:
            if isinstance(norm, LayerNorm):
                rows = rows - jnp.mean(rows, axis=-1, keepdims=True)
                groups = groups - jnp.mean(groups, axis=1, keepdims=True)
            along = rows * inverse_root[..., None] * jnp.asarray(rows.shape[-1] ** -0.5, carrier)
    # (heads, model_dim, width) -> (heads, model_dim, rank), (heads, rank, width)
    basis, factor = jnp.linalg.qr(groups.reshape(heads, width, -1).transpose(0, 2, 1))
    gain = gain_of(normalize, rows.shape[-1], carrier).reshape(-1, width)
    by_head = along.reshape(length, heads, width).transpose(1, 0, 2)
    if whole:
        image = exact("sf,fd->sd", along[:, 0], groups[0], carrier)  # W^T e: (seq, model_dim)
        across = exact("hdr,sd->hsr", basis, image, carrier)
        # One head after another: (seq, model_dim) each
        rest = jax.lax.map(
            lambda head: euclidean_norm(image - exact("dr,sr->sd", head[0], head[1], carrier)),
            (basis, across),
        )
    else:
        across, rest = exact("hrc,hsc->hsr", factor, by_head, carrier), None
    return factor, HeadNorm(
        inverse_root=jnp.broadcast_to(inverse_root.T, (heads, length)),
        along=by_head,
        gain=jnp.broadcast_to(gain, (heads, width)),
        across=across,
        rest=rest,
    )


@border(length=COUNT)
def largest_products(block: Block, length: int) -> Float[Array, " heads"]:
    r"""Bound on every scaled product of query and key, whatever the input is.

    .. math:: |s| \le |\mathrm{scale}|
       \left( \lVert T \rVert (\sqrt{D_q} \max |g_q| + |b_q|) + |t| \right)
       \left( \lVert T \rVert (\sqrt{D_k} \max |g_k| + |b_k|) + |t| \right)

    since a normed vector of D coordinates has length :math:`\sqrt D` at most, and so has each
    head's part of it. Positions multiply by T, of the size of its attention factor, and add t:
    sines and cosines, where these are added to queries and keys. So the logits of
    Theorem 4.2 have a bounded range, D at most twice this, in any model whose queries and keys have
    a true norm (Qwen3, OLMo 2, Gemma 3).

    Source: arXiv 2406.04267v2, the hypothesis of Theorem 4.2; by Cauchy and Schwarz.

    Args:
      block: One layer.
      length: Positions to look at.

    Returns:
      One number for each query head; infinite where queries or keys have no true norm.
    """
    attention, config = block.attention, block.config
    carrier = block.plan_of(attention.query[...]).carrier_dtype
    whole, width = config.qk_norm == "whole", config.key_dim

    def longest(normalize: Normalize, heads: int) -> Array:
        if config.qk_norm == "none" or normalize.gain is None:
            return jnp.full(heads, jnp.inf, carrier)
        dim = width * (heads if whole else 1)
        largest = jnp.max(jnp.abs(gain_of(normalize, dim, carrier).reshape(-1, width)), axis=-1)
        length = largest * jnp.asarray(dim**0.5, carrier)
        if normalize.bias is not None:
            shift = normalize.bias[...].astype(carrier).reshape(-1, width)
            length = length + euclidean_norm(shift)
        return jnp.broadcast_to(length, (heads,))

    query, key = (
        longest(attention.query_norm, config.num_heads),
        longest(attention.key_norm, config.kv_heads),
    )
    turns = attention.positions.rotation(length, width, carrier)
    turned = jnp.max(jnp.linalg.norm(turns, 2, (-2, -1)))
    # What is added to any query or key, (length, 1, width).
    every = jnp.arange(length, dtype=jnp.int32)
    added = attention.positions.turn(jnp.zeros((length, 1, width), carrier), every)
    added = jnp.max(euclidean_norm(added))
    query, key = turned * query + added, turned * key + added
    key = jnp.repeat(key, config.num_heads // config.kv_heads)
    return jnp.asarray(abs(config.scale), carrier) * query * key
