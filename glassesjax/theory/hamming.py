r"""Bounds on the change of an attention row when a share of its tokens is replaced.

The row's query stays, all logits before and after lie in one interval of length D, and all values
in one ball of radius R. Only the share of the replaced tokens counts, not the length.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import NON_NEGATIVE, SHARE, border


@border()
def relative_hamming(
    tokens: Int[Array, "*batch seq"], others: Int[Array, "*batch seq"]
) -> Float[Array, "*batch"]:
    r"""Share of the positions at which two sequences of one length differ.

    .. math:: \frac1n \, \bigl| \{ i : x_i \ne y_i \} \bigr|

    Source: a definition after arXiv 2505.10606 and arXiv 2601.22950.

    Args:
      tokens: One sequence.
      others: The other.

    Returns:
      A number in [0, 1], in the default floating type.
    """
    return jnp.mean(tokens != others, axis=-1, dtype=float)


@border(share=SHARE, logit_range=NON_NEGATIVE)
def substituted_mass_bound(
    share: Float[Array, "*batch"], logit_range: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Upper bound on the attention that the replaced tokens can have; attained.

    .. math:: \frac{\delta e^D}{1 + \delta (e^D - 1)}

    Equality: every replaced token has the greatest logit, every other token the least.

    Source: after arXiv 2505.10606, continuity, proved in docs/statements/hamming.md.
    Differs: one layer only, with a constant derived by us.

    Args:
      share: Share delta of replaced tokens, in [0, 1).
      logit_range: Length D of the interval of the logits.

    Returns:
      A bound in [0, 1].
    """
    damped = jnp.exp(-logit_range)  # multiplied into both terms, as exp(D) may overflow
    # Zero over zero where nothing is replaced and exp(-D) underflows; a NaN stays one.
    return jnp.where(share == 0, 0, share / (share + (1 - share) * damped))


@border(share=SHARE, logit_range=NON_NEGATIVE)
def hamming_weight_bound(
    share: Float[Array, "*batch"], logit_range: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Upper bound on the L1 change of an attention row when a share of its keys is replaced.

    .. math:: \sum_i |\alpha_i - \alpha^*_i| \le \frac{2 \delta (e^D - 1)}{1 + \delta (e^D - 1)}

    The row keeps at least the mass that the smaller exponentials have in the larger sum. To first
    order in delta the bound is attained: all replaced logits rise from the least to the greatest.

    Source: after arXiv 2505.10606, continuity, proved in docs/statements/hamming.md.
    Differs: one layer only, with a constant derived by us; without the denominator it would be
    the cruder 2 delta (exp(D) - 1).

    Args:
      share: Share delta of replaced tokens, in [0, 1).
      logit_range: Length D of the interval that holds the logits before and after.

    Returns:
      A bound in [0, 2].
    """
    damped = jnp.exp(-logit_range)  # multiplied into both terms, as exp(D) may overflow
    bound = 2 * share * (1 - damped) / (damped + share * (1 - damped))
    return jnp.where(share == 0, 0, bound)


@border(share=SHARE, logit_range=NON_NEGATIVE, radius=NON_NEGATIVE)
def hamming_output_bound(
    share: Float[Array, "*batch"],
    logit_range: Float[Array, "*batch"],
    radius: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Upper bound on the change of an attention output when a share of its tokens is replaced.

    .. math:: \lVert o - o^* \rVert \le 2 R \, \frac{\delta e^D}{1 + \delta (e^D - 1)}

    The tokens that stay have the same values and share, in both rows, at least the mass that
    :func:`substituted_mass_bound` leaves them; this part cancels, and the rest moves by at most
    the ball's diameter. Equality: one value at one end of the ball for the old tokens, the other
    end for the new ones, with greatest logits.

    Source: after arXiv 2505.10606, continuity, proved in docs/statements/hamming.md.
    Differs: one layer only, with a constant derived by us. Adding the change of the weights and
    that of the values gives the cruder 2 R (exp(D) - 1) delta + 2 R exp(D) delta, which counts
    the replaced tokens twice.

    Args:
      share: Share delta of replaced tokens, in [0, 1).
      logit_range: Length D of the interval that holds the logits before and after.
      radius: Radius R of a ball that holds all values before and after, in any norm.

    Returns:
      A bound, in the norm of the radius.
    """
    return 2 * radius * substituted_mass_bound(share, logit_range)
