r"""Theorem 5.1 repaired: a bound on over-squashing where attention depends on its input.

The paper holds attention weights constant. Here their derivatives are bounded as well, layer by
layer, at the point where a pass was. With :math:`W = W_O^h W_V^h`, :math:`u_j = \sum_i \alpha_{ji}
W x_i` and c' the slope of the soft cap (1 without one), the derivative of head h's output at token
j by :math:`x_i = \mathrm{norm}_1(v_i)` is

.. math::
   \alpha_{ji} \left( W + c'_{ji} (W x_i - u_j) (W_K^\top R_i^\top q_j)^\top \right) +
   \delta_{ji} \, \mathrm{Cov}_j R_j W_Q, \qquad
   \mathrm{Cov}_j = \sum_k \alpha_{jk} c'_{jk} (W x_k - u_j) k_k^\top

with rotated queries and keys, the logits' scale in the queries. Scalable softmax multiplies c'_{ji}
by s log n_j, which may be negative; adaptive temperature is refused. Its norm is at most

.. math::
   A_{ji}^h = \alpha_{ji} \left( \lVert W \rVert + |c'_{ji}| \lVert W x_i - u_j \rVert
   \lVert W_K^\top R_i^\top q_j \rVert \right) + \delta_{ji} \, |\mathrm{scale}| \,
   \lVert \mathrm{Cov}_j R_j W_Q \rVert_{16}

over the root r_1 of norm_1, with its gains in the matrices W_Q, W_K and W_V
(``trace.norms.folded``) but for W x_i and u_j, which are those of the pass. R_i is what
positions do at i: a rotation, times the attention factor of the rotated coordinates where there is
one (YaRN, LongRoPE), and the identity on the others; nothing here needs it to keep lengths.

All factors of the first term are exact for each pair; rotary positions make the last of them
depend on i. The second term is the Schatten norm of order 16, which exceeds the operator norm by
at most a factor ``head_dim ** (1 / 16)`` (1.30 for 64) and needs no eigenvalues. Biases of values
cancel, those of queries and keys and ALiBi are in the numbers themselves.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import COUNT, border
from glassesjax.model.tiling import TILING
from glassesjax.precision import euclidean_norm, safe_sqrt
from glassesjax.precision.bits import peak_exponent, times_power
from glassesjax.trace.constants import LayerConstants
from glassesjax.trace.head_norms import HeadNorm
from glassesjax.trace.heads import LayerHeads, attention_rows, by_rows, logit_slopes, times_rows
from glassesjax.trace.rollout import BlockStack, Rollout, roll

_exact = {"precision": jax.lax.Precision.HIGHEST}
# Keys at once: their products with some rows of queries are rows x keys x head_dim numbers.
KEYS = 64


class _Maps(NamedTuple):
    """What takes a query or key back to the layer's input, at each token; in units of 2^unit."""

    maps: Float[Array, "positions rank head_dim"]
    # Frobenius norms, without what the norm's direction takes away
    sizes: Float[Array, " positions"]
    unit: Int[Array, " positions"]


def _maps(
    factor: Float[Array, "rank head_dim"],
    norm: HeadNorm | None,
    turns: Float[Array, "turned h h"],
    index: Int[Array, " positions"],
) -> _Maps:
    """``W^T J_i^T R_i^T`` of some tokens up to a rotation, J the derivative of the head's norm."""
    turns = turns[jnp.minimum(index, len(turns) - 1)]
    if norm is None:
        maps = jnp.einsum("ca,pab->pcb", factor, turns, **_exact)
        sizes = euclidean_norm(maps, axis=(1, 2))
    else:
        steep = norm.inverse_root[index]
        maps = jnp.einsum("ca,pab->pcb", factor * norm.gain[None], turns, **_exact)
        along = jnp.einsum("pa,pab->pb", norm.along[index] * norm.gain[None], turns, **_exact)
        across = norm.across[index]
        if norm.rest is not None:  # one more direction of the input than the head's own
            across = jnp.concatenate([across, norm.rest[index][:, None]], axis=1)
            maps = jnp.pad(maps, [(0, 0), (0, 1), (0, 0)])
        lost = euclidean_norm(across) * euclidean_norm(along)
        sizes = steep * (euclidean_norm(maps, axis=(1, 2)) + lost)
        # (positions, rank, 1) times (positions, 1, head_dim)
        maps = steep[:, None, None] * (maps - across[:, :, None] * along[:, None])
    # Products of two are formed below: in these units none can underflow as a whole.
    unit = peak_exponent(sizes[:, None], -1)
    return _Maps(times_power(maps, -unit[:, None, None]), times_power(sizes, -unit), unit)


def _given_back(head_dim: int, dtype: jnp.dtype) -> float:
    """What rounding may take of a product with a map, in its size: of norm, map and product."""
    return (4 * head_dim + 16) * float(jnp.finfo(dtype).eps)


class _Head(NamedTuple):
    """One head of one layer, in coordinates in which its matrices are triangular."""

    heads: LayerHeads  # of this head alone
    moved: Float[Array, "seq rank"]  # W x, up to a rotation and a shift
    value_norm: Float[Array, ""]
    query_factor: Float[Array, "rank head_dim"]
    query_norm: HeadNorm | None
    keys: _Maps  # one for all tokens where they have neither turns nor norms
    turns: Float[Array, "positions h h"]
    unit: Int[Array, ""]  # moved is times 2^-unit


def _head(
    layer: LayerHeads,
    constants: LayerConstants,
    turns: Float[Array, "positions h h"],
    number: Int[Array, ""],
) -> _Head:
    shared = number // (len(layer.queries) // len(layer.keys))  # its key-value head
    # An axis of one head stays: attention_rows expects it.
    one = layer._replace(
        queries=layer.queries[number][None],
        keys=layer.keys[shared][None],
        values=layer.values[shared][None],
        slopes=layer.slopes[number][None],
        until=None if layer.until is None else layer.until[number][None],
        sharpness=None if layer.sharpness is None else layer.sharpness[number][None],
    )
    # The orthonormal factors Q of W_O and W_V keep every norm and are left out: (seq, rank).
    moved = jnp.einsum("rv,sv->sr", constants.output_factor[number], one.values[0], **_exact)
    moved = moved - jnp.mean(moved, axis=0, keepdims=True)  # a large common part would cancel
    unit = peak_exponent(moved, (0, 1))
    # Fields of a norm that are None stay so.
    query_norm = jax.tree.map(lambda x: x[number], constants.query_norm)
    key_norm = jax.tree.map(lambda x: x[shared], constants.key_norm)
    positions = len(moved) if key_norm is not None else len(turns)
    every = jnp.arange(positions, dtype=jnp.int32)
    return _Head(
        heads=one,
        moved=times_power(moved, -unit),
        value_norm=constants.value_norms[number],
        query_factor=constants.query_factor[number],
        query_norm=query_norm,
        keys=_maps(constants.key_factor[shared], key_norm, turns, every),
        turns=turns,
        unit=unit,
    )


def _key_slopes(head: _Head, index: Int[Array, " rows"]) -> Float[Array, "rows positions"]:
    """``||W_K^T J_i^T R_i^T q_j||`` of each pair; of each row where all keys have one map."""
    query, (maps, sizes, units) = head.heads.queries[0, index], head.keys
    unit = peak_exponent(query, -1, keepdims=True)
    query = times_power(query, -unit)

    def of_keys(at: Array) -> Float[Array, "rows keys"]:
        # A sum of squares, not a product with a Gram matrix, whose terms would cancel.
        turned = jnp.einsum("rb,pcb->rpc", query, maps[at], **_exact)
        return safe_sqrt(jnp.sum(turned * turned, axis=-1))

    slopes = by_rows(of_keys, len(maps), KEYS)
    # (rows, 1) and (1, positions) -> (rows, positions)
    taken = _given_back(query.shape[-1], query.dtype) * euclidean_norm(query)[:, None] * sizes[None]
    return times_power(slopes + taken, unit + units[None])


@border()
def schatten_norm(matrix: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    r"""Schatten norm of order 16: an upper bound on the operator norm by three squarings.

    .. math:: \lVert A \rVert \le \Bigl( \sum_r s_r^{16} \Bigr)^{1/16} =
       \lVert (A A^\top)^4 \rVert_F^{1/8} \le \mathrm{rank}(A)^{1/16} \lVert A \rVert

    Source: arXiv 2406.04267v2, Theorem 5.1; a tool of its repair.

    Args:
      matrix: Any matrices.

    Returns:
      One norm each; equal to the operator norm at rank one.
    """
    size = euclidean_norm(matrix, axis=(-2, -1))
    scaled = matrix / jnp.where(size == 0, 1, size)[..., None, None]
    # (A A^T), then squared twice; of size at most one, so that no power overflows.
    power = jnp.einsum("...ij,...kj->...ik", scaled, scaled, **_exact)
    for _ in range(2):
        power = jnp.einsum("...ij,...jk->...ik", power, power, **_exact)
    total = jnp.sum(power * power, axis=(-2, -1))
    return size * jnp.where(total == 0, 1, total) ** (1 / 16)


def _query_terms(
    head: _Head,
    index: Int[Array, " rows"],
    moving: Float[Array, "rows seq"],
    mean: Float[Array, "rows rank"],
) -> Float[Array, " rows"]:
    """``||Cov_j R_j J_j W_Q||_16``; ``moving`` are the weights times the logits' slopes."""
    keys = head.heads.keys[0]
    unit = peak_exponent(keys, (0, 1))
    keys, unit = times_power(keys, -unit), unit + head.unit
    # Moved times key at each token, all rows by one product: (seq, rank, head_dim) -> (seq, rank *
    # head_dim) -> (rows, rank * head_dim) -> (rows, rank, head_dim)
    outer = (head.moved[:, :, None] * keys[:, None, :]).reshape(len(keys), -1)
    crossed = jnp.einsum("rs,sp->rp", moving, outer, **_exact).reshape(*mean.shape, -1)
    mean_key = jnp.einsum("rs,sk->rk", moving, keys, **_exact)
    covariance = crossed - mean[:, :, None] * mean_key[:, None, :]
    maps, sizes, units = _maps(head.query_factor, head.query_norm, head.turns, index)
    # A difference of sums over the keys: what rounding may have taken is given back.
    summed = euclidean_norm(head.moved) * euclidean_norm(keys)
    summed = jnp.einsum("rs,s->r", jnp.abs(moving), summed, **_exact)
    taken = len(keys) * jnp.finfo(keys.dtype).eps * summed
    taken += _given_back(keys.shape[-1], keys.dtype) * euclidean_norm(covariance, axis=(1, 2))
    product = jnp.einsum("rvb,rcb->rvc", covariance, maps, **_exact)
    return times_power(schatten_norm(product) + taken * sizes, unit + units)


def _head_rows(head: _Head, index: Int[Array, " rows"]) -> Float[Array, "rows seq"]:
    """Rows of A, for one head."""
    weights, slopes = attention_rows(head.heads, index)[1][0], logit_slopes(head.heads, index)[0]
    mean = jnp.einsum("rs,sv->rv", weights, head.moved, **_exact)
    # (1, seq, rank) and (rows, 1, rank) -> (rows, seq)
    # Differences and not products: equal values must be at distance zero.
    apart = safe_sqrt(jnp.sum((head.moved[None] - mean[:, None]) ** 2, axis=-1))
    apart = times_power(apart, head.unit)
    steep = jnp.abs(slopes) * apart * _key_slopes(head, index)
    key_terms = weights * (head.value_norm + steep)
    query_terms = _query_terms(head, index, weights * slopes, mean)
    return key_terms.at[jnp.arange(len(index)), index].add(query_terms)  # delta_ji


@border()
def repaired_block_bound(
    heads: LayerHeads, constants: LayerConstants, turns: Float[Array, "positions h h"]
) -> Float[Array, "seq seq"]:
    r"""Upper bound on the operator norm of every block of one layer's Jacobian.

    .. math:: \lVert \partial v_j' / \partial v_i \rVert \le B_{ji} =
       (1 + M_j) \Bigl( p_j {\textstyle\sum_h} A_{ji}^h / r_{1,i} + \delta_{ji} \Bigr)

    with A as at the head of this module, M_j = sigma_j / r_{2,j} and p_j = 1; a norm of the output
    of MLP or attention multiplies M_j or p_j by its slope there. Parallel blocks and weighted
    residuals enter through the constants (``trace.constants.layer_constants``).

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5), proof.
    Differs: attention depends on the input. The paper's inequality is this one without the terms
    that have a key slope or a covariance, and is then an equality where these vanish.

    Args:
      heads: Attention of one layer.
      constants: Its norms, MLP and matrices.
      turns: Rotations of its positions, from ``BlockStack.turns``.

    Returns:
      Row j for the layer's output at token j, column i for its input at token i.
    """
    every = jnp.arange(heads.queries.shape[1], dtype=jnp.int32)

    def add(total: Array, number: Array) -> tuple[Array, None]:
        # (seq, seq)
        return total + _head_rows(_head(heads, constants, turns, number), every), None

    zeros = jnp.zeros((len(every), len(every)), heads.queries.dtype)
    numbers = jnp.arange(len(heads.queries), dtype=jnp.int32)
    summed = jax.lax.scan(add, zeros, numbers)[0]
    # 1 / r_1 is of the column i, factor and share of the row j.
    moved = constants.share[:, None] * summed * constants.norm1_slope[None]
    return constants.factor[:, None] * (moved + jnp.diag(constants.skip))


@border()
def repaired_bound(stack: BlockStack) -> Float[Array, " seq"]:
    r"""Upper bound on the sensitivity of the last representation to every token.

    .. math:: \lVert \partial y_n / \partial v_i^{(0)} \rVert \le \frac{1}{\beta_{3,n}}
       \left[ B^{(L-1)} \cdots B^{(0)} \right]_{ni}

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5).
    Differs: attention depends on the input, see :func:`repaired_block_bound`.

    Args:
      stack: All layers, from ``trace.block_stack``; each makes a seq x seq array in turn.

    Returns:
      One bound per token, in operator norm; infinite where it overflows
      (:func:`repaired_rollout` does not).
    """

    def step(row: Array, layer: tuple[LayerHeads, LayerConstants, Array]) -> tuple[Array, None]:
        heads, constants, kind = layer
        matrix = repaired_block_bound(heads, constants, stack.turns[kind])
        return jnp.einsum("r,rs->s", row, matrix, **_exact), None

    # Row by row from the last layer down: no product of two seq x seq matrices.
    length = stack.heads.queries.shape[-2]
    last = jnp.zeros(length, stack.last_slope.dtype).at[-1].set(stack.last_slope)
    return jax.lax.scan(step, last, (stack.heads, stack.constants, stack.kinds), reverse=True)[0]


@border(rows=COUNT)
def repaired_rollout(stack: BlockStack, *, rows: int = TILING.attention_rows) -> Rollout:
    r"""The same bound as a scale and a profile, in memory linear in the length.

    .. math:: \lVert \partial y_n / \partial v_i^{(\ell)} \rVert \le e^{g_\ell} \pi_i^{(\ell)}

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5).
    Differs: attention depends on the input, see :func:`repaired_block_bound`. Costs about
    head_dim times as much as the pass's own attention.

    Args:
      stack: All layers, from ``trace.block_stack``.
      rows: Query rows at once; memory is seq x (rows + head_dim^2), one head at a time.

    Returns:
      Scales and profiles at every layer.
    """

    def multiply(row: Array, layer: tuple[LayerHeads, LayerConstants, Array]) -> Array:
        heads, constants, kind = layer
        row, turns = row * constants.factor, stack.turns[kind]

        def add(total: Array, number: Array) -> tuple[Array, None]:
            head = _head(heads, constants, turns, number)
            make = lambda index: _head_rows(head, index)
            return total + times_rows(row * constants.share, make, rows), None

        # One head after another, for memory: (seq,) each.
        numbers = jnp.arange(len(heads.queries), dtype=jnp.int32)
        moved = jax.lax.scan(add, jnp.zeros_like(row), numbers)[0] * constants.norm1_slope
        return moved + constants.skip * row

    length = stack.heads.queries.shape[-2]
    layers = stack.heads, stack.constants, stack.kinds
    return roll(length, layers, multiply, stack.last_slope, stack.shares)
