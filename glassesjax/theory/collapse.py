"""Theorem 4.2 as a certificate: how far two last rows can be apart, layer by layer, and why.

By the prefix identity of causal attention, a sequence and the same sequence with its last token
repeated have their last representations in rows n and n + 1 of one forward pass. The theorem
states that these approach each other. Here the statement is five inequalities that hold for each n.

Measured from the rows, and returned: the distances, T, the weight on itself, the range of the
logits, whether the weights sum to one and are the softmax of the logits, and whether the first
layer's two rows are equal. Inputs that are not verified: the radii, the Lipschitz constants of
MLP, norm and logits, and the mean positional step (``trace.certificate_rows`` computes them from
a decoder), and that the rows come from one causal pass. Where such a constant is NaN, the
inequality that needs it does not apply.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import NON_NEGATIVE, SHARE, border
from glassesjax.precision import same_numbers
from glassesjax.theory.collapse_records import (
    CollapseCertificate,
    Inequality,
    LayerCertificate,
    LayerHypotheses,
)
from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.norms import Norm, vector_norm
from glassesjax.theory.softmax import total_variation, tv_bound_range
from glassesjax.trace.certificate import LayerRows


@border()
def row_change(
    weights: Float[Array, "*batch n"], next_weights: Float[Array, "*batch n+1"]
) -> Float[Array, "*batch"]:
    r"""Change of the attention row when a token is appended, its own weight included.

    .. math:: T = \sum_{i \le n} |\alpha_{n+1,i} - \alpha_{n,i}| + \alpha_{n+1,n+1}

    Source: arXiv 2406.04267v2, proof of Theorem B.3.

    Args:
      weights: Row n.
      next_weights: Row n + 1.

    Returns:
      A number in [0, 2].
    """
    # The shared n keys, and the key that only row n + 1 has.
    return total_variation(next_weights[..., :-1], weights) + next_weights[..., -1]


@border(self_weight=SHARE)
def row_change_bound(
    logits: Float[Array, "*batch n"],
    next_logits: Float[Array, "*batch n+1"],
    self_weight: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Upper bound on :func:`row_change` by the range of the shared logits' change.

    .. math:: T \le 2 \tanh(\Delta / 4) + 2 \alpha_{n+1,n+1}, \qquad
       \Delta = \mathrm{range}_{i \le n} (s_{n+1,i} - s_{n,i})

    Source: arXiv 2406.04267v2, proof of Theorem B.3.
    Differs: for each n. The proof takes the first n weights of row n + 1 for a softmax; they are
    one times 1 - alpha, hence the factor 2 of the last term.

    Args:
      logits: Row n, below infinity.
      next_logits: Row n + 1. Entries masked in both rows are dropped.
      self_weight: The weight of row n + 1 on itself.

    Returns:
      A bound in [0, 4]; 2 or more, which is vacuous, where only one row masks an entry.
    """
    return tv_bound_range(logits, next_logits[..., :-1]) + 2 * self_weight


@border(
    logit_range=NON_NEGATIVE,
    self_weight=SHARE,
    error=NON_NEGATIVE,
    query_lipschitz=NON_NEGATIVE,
    increment=NON_NEGATIVE,
)
def row_change_bound_by_increments(
    logit_range: Float[Array, "*batch"],
    self_weight: Float[Array, "*batch"],
    error: Float[Array, "*batch"],
    query_lipschitz: Float[Array, "*batch"] | float,
    increment: Float[Array, "*batch"] | float,
) -> Float[Array, "*batch"]:
    r"""Upper bound on :func:`row_change` by the mean step of the positional term.

    .. math:: T \le 2 e^{D} (L_q e + \bar\pi) + 2 \alpha_{n+1,n+1}, \qquad
       \bar\pi = \frac1n \sum_{r=0}^{n-1} \sup |k(q, k, p_{r+1}) - k(q, k, p_r)|

    So collapse needs a vanishing mean of the positional steps and not, as printed, vanishing
    positional information.

    Source: arXiv 2406.04267v2, proof of Theorem B.3.
    Differs: for each n, under a weaker condition.

    Args:
      logit_range: Common range D of both rows' logits.
      self_weight: The weight of row n + 1 on itself.
      error: Distance e of the two rows' residuals before the layer.
      query_lipschitz: L_q, Lipschitz constant of a logit in the query's residual, in the norm of
        the error.
      increment: The mean step; the supremum is over the queries and keys that occur.

    Returns:
      A bound; infinite where a logit is masked, NaN where a constant is.
    """
    moved, growth = query_lipschitz * error + increment, jnp.exp(logit_range)
    # Infinity times zero would read as an unknown constant.
    change = jnp.where(jnp.isinf(growth) & ~jnp.isnan(moved), jnp.inf, growth * moved)
    return 2 * change + 2 * self_weight


class _Factors(NamedTuple):
    """What one layer multiplies the distance and attention's movement by, at most."""

    keep: Float[Array, "*layers"]  #: the distance, up to after attention
    moved: Float[Array, "*layers"]  #: sum R T, likewise
    grow: Float[Array, "*layers"]  #: the distance, up to the end of the layer
    add: Float[Array, "*layers"]  #: sum R T, likewise


def _factors(rows: LayerRows) -> _Factors:
    one = lambda field: jnp.ones_like(rows.mlp_lipschitz) if field is None else field
    keep, moved = jnp.abs(one(rows.keep)), jnp.abs(one(rows.share)) * one(rows.attn_norm_lipschitz)
    mlp = rows.mlp_lipschitz * rows.norm_lipschitz * one(rows.mlp_norm_lipschitz)
    parallel = False if rows.parallel is None else rows.parallel
    # In a parallel block the MLP reads what attention reads, and moves by that alone.
    grow = jnp.where(parallel, keep + mlp, (1 + mlp) * keep)
    return _Factors(keep, moved, grow, add=jnp.where(parallel, moved, (1 + mlp) * moved))


@border()
def layer_certificate(rows: LayerRows, norm: Norm) -> LayerCertificate:
    r"""Inequalities (R1) to (R5) for one layer, with their hypotheses.

    With e the distance of rows n and n + 1 before the layer, R_h a radius of the values' ball and
    T_h the row change of head h, in a layer ``z = keep v + share a`` and ``v' = z + psi``,

    .. math::
       \lVert z_{n+1} - z_n \rVert &\le
          |\mathrm{keep}| e + |\mathrm{share}| \Lambda_a {\textstyle\sum_h} R_h T_h \\
       e' &\le (1 + s) (|\mathrm{keep}| e +
          |\mathrm{share}| \Lambda_a {\textstyle\sum_h} R_h T_h),
          \qquad s = \Lambda_m \sigma_\psi \Lambda_2 \\
       e' &\le (|\mathrm{keep}| + s) e + |\mathrm{share}| \Lambda_a {\textstyle\sum_h} R_h T_h
          \quad \text{(parallel)} \\
       T_h &\le 2 \tanh(\Delta_h / 4) + 2 \alpha_{n+1,n+1} \\
       T_h &\le 2 e^{D} (L_q e + \bar\pi) + 2 \alpha_{n+1,n+1} \\
       \alpha_{n+1,n+1} &\le 1 / (1 + n e^{-D})

    The Lipschitz constants are those between the two rows: Lambda_2 of the norm before the MLP, at
    z, or at v where blocks are parallel; Lambda_a and Lambda_m of norms of the outputs of attention
    and MLP, 1 where there are none.

    Source: arXiv 2406.04267v2, Theorem 4.2 (B.3).
    Differs: for each n, any number of heads and any values, where the proof has one head and
    values of unit norm; unit L2 norm is not enough for its L1 statement. The change of a row's
    weights sums to zero, so values count from the center of their ball. Norms of outputs, weighted
    residuals and parallel blocks are not in the paper.

    Args:
      rows: One layer: attention and an MLP, each added to the residual.
      norm: The norm of the distances, in which the radii and the Lipschitz constants must be
        given too.

    Returns:
      Each measured quantity beside its bound, and the hypotheses as measured.
    """
    # rows n and n + 1
    error, mid, out = (vector_norm(pair[1] - pair[0], norm) for pair in _residuals(rows))
    change = row_change(rows.weights, rows.next_weights)
    self_weight = rows.next_weights[..., -1]
    # The hypotheses, as measured in both rows: (heads, n) and (heads, n + 1) -> (heads,).
    both = ((rows.logits, rows.weights), (rows.next_logits, rows.next_weights))
    sums = (jnp.abs(jnp.sum(weights, axis=-1) - 1) for _, weights in both)
    errors = (total_variation(jax.nn.softmax(logits), weights) for logits, weights in both)
    logits = jnp.concatenate([rows.logits, rows.next_logits], axis=-1)
    hypotheses = LayerHypotheses(
        row_sum_error=jnp.maximum(*sums),
        softmax_error=jnp.maximum(*errors),
        logit_range=jnp.max(logits, axis=-1) - jnp.min(logits, axis=-1),
    )
    factors, attention = _factors(rows), jnp.sum(rows.radius * change)  # over heads
    length = rows.next_weights.shape[-1]
    # An unknown constant is NaN: the inequality that needs it then does not apply.
    known = lambda given: jnp.full_like(change, jnp.nan) if given is None else given
    by_increments = row_change_bound_by_increments(
        hypotheses.logit_range,
        self_weight,
        jnp.broadcast_to(error, change.shape),
        known(rows.query_lipschitz),
        known(rows.increment),
    )
    return LayerCertificate(
        error=error,
        mid=Inequality(mid, factors.keep * error + factors.moved * attention),
        out=Inequality(out, factors.grow * error + factors.add * attention),
        row_change=Inequality(change, row_change_bound(rows.logits, rows.next_logits, self_weight)),
        by_increments=Inequality(change, by_increments),
        self_weight=Inequality(
            self_weight, dispersion_bracket(length, hypotheses.logit_range).upper
        ),
        hypotheses=hypotheses,
    )


@border()
def collapse_certificate(rows: LayerRows, norm: Norm) -> CollapseCertificate:
    r"""Theorem 4.2 for one sequence: each layer's inequalities, and their composition.

    .. math:: E_0 = e_0, \qquad
       E_{\ell+1} = (1 + s_\ell) (|\mathrm{keep}| E_\ell +
          |\mathrm{share}| \Lambda_a {\textstyle\sum_h} R_{\ell h} T_{\ell h})

    and for parallel blocks :math:`(|\mathrm{keep}| + s_\ell) E_\ell + |\mathrm{share}| \Lambda_a
    \sum_h R_{\ell h} T_{\ell h}`, with s as in ``layer_certificate``.

    The bound E uses measured row changes and the first distance alone: it holds whatever the
    first distance is. The theorem's conclusion, that it vanishes as n grows, needs a first
    distance of zero (``equal_tokens``) and logits whose range stays bounded.

    Source: arXiv 2406.04267v2, Theorem 4.2 (B.3).
    Differs: a bound for each n in place of a limit.

    Args:
      rows: All layers, stacked.
      norm: The norm of the distances, in which the radii and the Lipschitz constants must be
        given too.

    Returns:
      The certificate; a layer's fields are stacked as ``rows`` is.
    """
    layers = jax.vmap(functools.partial(layer_certificate, norm=norm))(rows)  # over layers
    factors = _factors(rows)
    attention = jnp.sum(rows.radius * layers.row_change.measured, axis=-1)  # over heads: (layers,)

    def step(bound: Array, layer: tuple[Array, Array]) -> tuple[Array, Array]:
        grow, added = layer
        return (grown := grow * bound + added), grown

    # The recursion starts at the measured first distance: (layers,) -> (layers + 1,).
    first = layers.error[0]
    last, after = jax.lax.scan(step, first, (factors.grow, factors.add * attention))
    return CollapseCertificate(
        layers=layers,
        propagated=jnp.concatenate([first[None], after]),
        output=Inequality(layers.out.measured[-1], last),
        equal_tokens=jnp.all(same_numbers(*rows.resid[0])),
    )


@border()
def certificate_roundoff(rows: LayerRows) -> dict[str, Float[Array, "*layers"]]:
    r"""How far rounding in the pass may carry each inequality of each layer, to first order.

    A logit passes its own rounding, relative to its size, on to the weights, and the weights to
    attention's output, which the norms and the MLP of the layer stretch. Rounding of earlier layers
    has no part in it: both sides of an inequality are of the same rows.

    Source: the standard model of rounding; arXiv 2406.04267v2 has exact arithmetic.

    Args:
      rows: One layer, or all layers, stacked.

    Returns:
      By field of ``LayerCertificate``, in units of its measured quantity; for each layer.
    """
    heads, length = rows.next_weights.shape[-2:]
    # Sums over tokens, and products over the width and over a few times that, in each head.
    steps = heads * (length + 16 * rows.resid.shape[-1])
    logits = jnp.where(jnp.isfinite(rows.next_logits), jnp.abs(rows.next_logits), 0)
    eps = jnp.asarray(jnp.finfo(rows.resid.dtype).eps, rows.resid.dtype)
    share = steps * eps * (1 + jnp.max(logits, axis=(-2, -1)))
    sizes = [jnp.max(jnp.sum(jnp.abs(pair), axis=-1), axis=-1) for pair in _residuals(rows)]
    factors, mlp = _factors(rows), rows.mlp_lipschitz * rows.norm_lipschitz
    # The points may be far from where they are counted from: by their radius at the least.
    moved = functools.reduce(jnp.maximum, sizes) + factors.moved * jnp.sum(rows.radius, axis=-1)
    grown = moved * (factors.grow + factors.add + mlp + 1)
    change = 4 * share
    return {"mid": share * moved, "out": share * grown} | dict.fromkeys(
        ("row_change", "by_increments", "self_weight"), change
    )


def _residuals(rows: LayerRows) -> tuple[Array, Array, Array]:
    return rows.resid, rows.resid_mid, rows.resid_out
