"""Dispersion of softmax: bounds on one weight, and Lemma B.1 on the last weight's decrease.

All functions act on the last axis. A logit of minus infinity is a masked entry, of weight zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import COUNT, NON_NEGATIVE, border


class Bracket(NamedTuple):
    """The ends of a closed interval."""

    lower: Float[Array, "*batch"]
    upper: Float[Array, "*batch"]


@border(length=COUNT, logit_range=NON_NEGATIVE)
def dispersion_bracket(
    length: Int[Array, "*batch"] | int, logit_range: Float[Array, "*batch"]
) -> Bracket:
    r"""Least and greatest softmax weight that logits of a given range can have; both attained.

    .. math:: \frac{1}{1 + (n - 1) e^{\Delta}} \le \alpha_i \le \frac{1}{1 + (n - 1) e^{-\Delta}}

    Source: after arXiv 2410.01104, Lemma 2.1, proved in docs/statements/sharpness.md.
    Differs: the lemma's ends are exp(-Delta) / n and exp(Delta) / n.

    Args:
      length: The number n of unmasked logits; at least 1.
      logit_range: The range Delta of these logits; non-negative.

    Returns:
      The two ends, equal where the range is zero or n is one.
    """
    others = jnp.asarray(length, logit_range.dtype) - 1
    # Clipped below infinity: a row of one entry multiplies it by zero.
    grown = jnp.minimum(jnp.exp(logit_range), jnp.finfo(logit_range.dtype).max)
    # All others at the top of the range, or all at its bottom.
    return Bracket(1 / (1 + others * grown), 1 / (1 + others * jnp.exp(-logit_range)))


@border()
def last_weight_drop(
    logits: Float[Array, "*batch n"], inserted: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Loss of the last softmax weight when one logit is inserted before it.

    .. math:: \mathrm{softmax}(x)_n - \mathrm{softmax}(x^*)_{n+1} = p \beta

    The product of p, the last weight without the insertion, and of beta, the inserted entry's
    weight, has no cancellation.

    Source: arXiv 2406.04267v2, Lemma B.1.
    Differs: an identity for each n; the lemma states that the drop is positive and vanishes.

    Args:
      logits: The n logits x without the insertion.
      inserted: The logit b; x* is x with b anywhere before the last entry.

    Returns:
      The drop, in [0, 1]; zero where the inserted or the last entry is masked.
    """
    last = jax.nn.softmax(logits)[..., -1]
    # (*batch, n) -> (*batch, n + 1): the inserted one comes last, for only the sum matters.
    beta = jax.nn.softmax(jnp.concatenate([logits, inserted[..., None]], axis=-1))[..., -1]
    return last * beta


@border(length=COUNT, logit_range=NON_NEGATIVE)
def last_weight_drop_bound(
    length: Int[Array, "*batch"] | int, logit_range: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Upper bound on :func:`last_weight_drop`, of order n^-2; an equality for equal logits.

    .. math:: \frac{1}{(1 + (n-1) e^{-\Delta}) (1 + n e^{-\Delta})}

    Source: arXiv 2406.04267v2, Lemma B.1.
    Differs: a bound for each n; the lemma states that the drop vanishes.

    Args:
      length: The number n of unmasked logits before the insertion; at least 1.
      logit_range: Range Delta of these and the inserted logit; non-negative.

    Returns:
      A bound in (0, 1].
    """
    before = dispersion_bracket(length, logit_range).upper
    return before * dispersion_bracket(length + 1, logit_range).upper
