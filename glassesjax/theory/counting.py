"""Proposition 6.1: without positions and without a mask, attention sees ratios and not counts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def ratio_attention(
    counts: Float[Array, " types"],
    logits: Float[Array, "types types"],
    values: Float[Array, "types d"],
    resid: Float[Array, "types d"],
) -> Float[Array, "types d"]:
    r"""Output of unmasked attention without positions, for each type of token in the sequence.

    A token of type a, in a sequence with n_t tokens of each type t, becomes

    .. math:: z_a = \frac{\sum_t n_t e^{k(q_a, k_t)} v_t}{\sum_t n_t e^{k(q_a, k_t)}} + r_a

    Only the ratios of the counts enter, and tokens of one type stay equal: so that, by induction,
    a model of any depth has the same representations for the counts n and c n. The statement
    needs attention without a causal mask. With one, two layers already see the order.

    Source: arXiv 2406.04267v2, Proposition 6.1 (B.9).
    Differs: any number of types; the residual r is an argument. The proof's last display, of a one
    that attends, prints the query of a zero where that of a one is meant.

    Args:
      counts: How often each type occurs; non-negative, also fractions.
      logits: The logit k(q_a, k_t), row a for the type that attends.
      values: What attention adds up, one vector a type.
      resid: What the residual stream adds; the paper's own equation has v for both.

    Returns:
      One row per type, whether or not it occurs; NaN where no token occurs.
    """
    # A logarithm turns counts into logits: a type that does not occur is masked.
    weights = jax.nn.softmax(logits + jnp.log(counts)[None, :], axis=-1)
    return jnp.matmul(weights, values, precision="highest") + resid


def expected_error_floor(gap: float = 1.0) -> float:
    r"""Lower bound on the mean error of one answer to two counts.

    .. math:: \tfrac12 (|a - n| + |a - n'|) \ge \tfrac12 |n - n'|

    Equality: any answer between the two counts. The larger of the two errors is bounded by the
    same number, which only the midpoint attains.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the corollary says only that one of the answers is wrong.

    Args:
      gap: Difference of the two counts.

    Returns:
      Half the gap.

    Example:
      >>> expected_error_floor()
      0.5
    """
    return abs(gap) / 2
