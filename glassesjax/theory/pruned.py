r"""Over-squashing and collapse under a bounded KV cache (arXiv 2406.04267v2 and 2401.06104v2).

In a layer that evicts tokens query t sees the keys j with :math:`j \le t \le f_j`, where f is the
step that evicts the token: its weights are a softmax over these, zero elsewhere, rows still of sum
one. So Theorem 5.1 holds for this pass, with the pruned weights in place of the full ones; and so
does its repair (``theory.blocks``) with ``LayerHeads.until``. Only the set of zero entries is new.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, SHARE, border
from glassesjax.theory.squashing import path_bound


@border()
def retained_pairs(evicted_at: Int[Array, "*layers seq"]) -> Bool[Array, "*layers seq seq"]:
    r"""Mask of the keys that are visible to each query under a bounded cache.

    .. math:: \mathrm{seen}_{tj} \Leftrightarrow j \le t \le f_j

    Source: arXiv 2401.06104v2, equations 6 to 9; a token is visible in the step that evicts it.

    Args:
      evicted_at: The step that evicted each token; the length or more where none did.

    Returns:
      Row t for the query, column j for the key.
    """
    # A token is visible in the step that evicts it: at least, not over.
    step = jnp.arange(evicted_at.shape[-1], dtype=evicted_at.dtype)
    past = step[None, :] <= step[:, None]
    # Keys on the last axis, queries on the one before it.
    # (*layers, 1, seq) and (1, ..., seq, 1) -> (*layers, seq, seq)
    retained = evicted_at[..., None, :] >= step.reshape(*[1] * (evicted_at.ndim - 1), -1, 1)
    return retained & past.reshape(*[1] * (evicted_at.ndim - 1), *past.shape)


@border()
def pruned_weights(
    logits: Float[Array, "*layers seq seq"], seen: Bool[Array, "*layers seq seq"]
) -> Float[Array, "*layers seq seq"]:
    r"""Attention under a bounded cache: the softmax over visible keys.

    .. math:: \alpha_{tj} = \frac{\mathrm{seen}_{tj} \, e^{s_{tj}}}
       {\sum_i \mathrm{seen}_{ti} \, e^{s_{ti}}}

    Source: arXiv 2401.06104v2, equation 7.

    Args:
      logits: Of all pairs.
      seen: From :func:`retained_pairs`; each query sees itself.

    Returns:
      Rows of sum one, and exact zeros.
    """
    return jax.nn.softmax(jnp.where(seen, logits, -jnp.inf), axis=-1)


@border(beta1=POSITIVE, beta2=POSITIVE, beta3=POSITIVE, sigma=NON_NEGATIVE)
def pruned_path_bound(
    logits: Float[Array, "layers seq seq"],
    evicted_at: Int[Array, "layers seq"],
    beta1: Float[Array, " layers"],
    beta2: Float[Array, " layers"],
    beta3: Float[Array, ""],
    sigma: Float[Array, " layers"],
) -> Float[Array, " seq"]:
    r"""Upper bound on the sensitivity of the last representation under a policy.

    .. math:: \Bigl\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \Bigr\rVert \le
       C \Bigl[ \prod_{\ell = L-1}^{0} \Bigl( \frac{\tilde\Lambda^{(\ell)}}{\beta_1^{(\ell)}} + I
       \Bigr) \Bigr]_{n,i}

    with the pruned weights in place of all. It assumes what Theorem 5.1 does. The logits are those
    of the pruned pass: those of the full one are others from the second layer on, and its weights
    bound nothing here. Equality: MLPs that multiply by a non-negative number.

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5), for the states of arXiv 2401.06104v2.
    Differs: the mask; the weights are constants, and so is the choice of evicted tokens, whose
    derivative is zero almost everywhere.

    Args:
      logits: Of all pairs, in the pruned pass, first layer first.
      evicted_at: The step at which each layer evicted each token.
      beta1: Divisors of the norms before attention; positive.
      beta2: Divisors of the norms before the MLPs; positive.
      beta3: Divisor of the last norm; positive.
      sigma: Lipschitz constants of the MLPs; non-negative.

    Returns:
      One bound per token; an exact zero where no path is left.
    """
    weights = pruned_weights(logits, retained_pairs(evicted_at))
    return path_bound(weights, beta1, beta2, beta3, sigma)


@border()
def paths_left(seen: Bool[Array, "layers seq seq"]) -> Bool[Array, "layers+1 seq"]:
    r"""From which tokens of which layer's input any path still leads to the last representation.

    .. math:: r^{(L)} = e_n, \qquad r_j^{(\ell)} = r_j^{(\ell + 1)} \lor
       \exists t : r_t^{(\ell + 1)} \land \mathrm{seen}_{tj}^{(\ell)}

    Elsewhere the derivative is exactly zero, with attention fixed or not. A token that layer l
    evicted at step s is attended in that layer only by queries up to s, and so influences the
    last representation through later tokens that attended to it before; one that all layers evicted
    by step s, only through tokens that are retained after s.

    Source: arXiv 2406.04267v2, Theorem 5.1, its paths, for the states of arXiv 2401.06104v2.

    Args:
      seen: From :func:`retained_pairs`.

    Returns:
      One row for each layer's input, and the last one for the last output.
    """
    last = jnp.zeros(seen.shape[-1], bool).at[-1].set(True)

    def step(row: Array, layer: Array) -> tuple[Array, Array]:
        # Kept by the residual, or read by a query that is on a path.
        row = row | jnp.any(row[:, None] & layer, axis=0)
        return row, row

    _, rows = jax.lax.scan(step, last, seen, reverse=True)  # last layer first
    return jnp.concatenate([rows, last[None]])


@border(shares=SHARE, step=NON_NEGATIVE)
def flow_through_state(
    weights: Float[Array, "layers seq seq"],
    shares: Float[Array, " layers"],
    step: int | Int[Array, ""],
) -> Float[Array, "layers seq"]:
    r"""Flow of the rollout from the tokens up to a step to those after it, by layer and token.

    .. math:: F_{\ell j} = \lambda_\ell \sum_{t > s} u_t^{(\ell + 1)} \alpha_{tj}^{(\ell)}, \qquad
       u^{(\ell)} = u^{(\ell + 1)} ((1 - \lambda_\ell) I + \lambda_\ell \Lambda^{(\ell)}), \qquad
       \sum_{\ell, j \le s} F_{\ell j} = \sum_{i \le s} \pi_i

    A path from the past to the last token crosses the step once, from a token j that layer l
    retains to a query that attends to it. So the cache is a cut: F is zero wherever layer l has
    evicted j, and all influence of the past goes through the retained tokens.

    Source: arXiv 2406.04267v2, Theorem 5.1, in its normal form, over the state of
    arXiv 2401.06104v2; ours.

    Args:
      weights: Pruned or full weights, first layer first.
      shares: The attention's share of each layer, in [0, 1].
      step: The last step of the past, from 0 to below the last token.

    Returns:
      One number for each layer and token; zero for tokens after the step.
    """
    positions = jnp.arange(weights.shape[-1], dtype=jnp.int32)
    last = jnp.zeros(weights.shape[-1], weights.dtype).at[-1].set(1)

    def layer(row: Array, each: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, share = each
        # What later rows read from this layer's input; only the tokens up to the step count below.
        read = share * jnp.matmul(jnp.where(positions > step, row, 0), matrix, precision="highest")
        moved = share * jnp.matmul(row, matrix, precision="highest") + (1 - share) * row
        return moved, jnp.where(positions <= step, read, 0)

    return jax.lax.scan(layer, last, (weights, shares), reverse=True)[1]


@border(layers=NON_NEGATIVE, slots=COUNT)
def window_reach(layers: int, slots: int) -> int:
    """Reach of a window without sinks in tokens before the last one: layers times slots.

    Source: arXiv 2401.06104v2, the Window policy.

    Args:
      layers: Number of layers.
      slots: Capacity of each; a query sees one token more.

    Returns:
      The distance beyond which influence is exactly zero.
    """
    return layers * slots


@border(
    layers=NON_NEGATIVE, slots=COUNT, sinks=NON_NEGATIVE, inside=NON_NEGATIVE, tail=NON_NEGATIVE
)
def equal_from(layers: int, slots: int, *, sinks: int = 0, inside: int = 0, tail: int = 0) -> int:
    r"""The run length from which n and n + 1 repetitions have equal last representations.

    .. math:: n \ge L (k - i) + 1 + \mathrm{inside} - \mathrm{tail}

    Theorem 4.2 lets the distance vanish in the limit. With a window the last representation is a
    function of the last L k + 1 tokens, so beyond that the distance is zero: they are all equal.
    With sinks, it is one of the i first tokens and the last L (k - i) + 1; it is the same function
    only where the logits do not depend on the distance to the sinks, hence without positions.

    Source: arXiv 2406.04267v2, Theorem 4.2, for the Window policy of arXiv 2401.06104v2; ours.

    Args:
      layers: Number of layers.
      slots: Capacity k of each.
      sinks: First tokens i that are never evicted; fewer than slots. Positive ones need a decoder
        without positions. Without sinks the logits may depend on positions, in any way where the
        run ends the prompt (equal values have one mean), relative ones where another token does.
      inside: How many of the sinks belong to the run.
      tail: Tokens after the run, the same for both.

    Returns:
      The least such run length, at least 1.
    """
    return max(layers * (slots - sinks) + 1 + inside - tail, 1)


@border(slots=COUNT)
def counted_up_to(slots: int) -> int:
    """Number of repetitions that a token after a run at the start of the prompt can distinguish.

    A run that begins the prompt has one representation in each layer, however long it is: equal
    values have one mean. A token after it sees min(n, k) copies, so that n and n + 1 are
    distinguished below k only. This holds for every policy where there are no positions, and for a
    window without sinks where positions are relative; full attention distinguishes all n, with
    decreasing distance.

    Source: arXiv 2406.04267v2, Corollary 6.2, for the states of arXiv 2401.06104v2; ours.

    Args:
      slots: Capacity k of each layer.

    Returns:
      The run length k from which one more changes nothing, whatever the depth.
    """
    return slots
