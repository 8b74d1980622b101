"""Change of softmax with its logits: Lemma B.2, sharp forms of it, and counterexamples.

All functions act on the last axis. A logit of minus infinity is a masked entry, of weight zero.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.borders import border
from glassesjax.precision import safe_abs


@border()
def total_variation(
    p: Float[Array, "*batch n"], q: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""L1 distance of two distributions, in [0, 2].

    .. math:: \delta(p, q) = \sum_i |p_i - q_i|

    Source: arXiv 2406.04267v2, Eq. (2): without the customary factor one half.

    Args:
      p: The weights of one distribution.
      q: The weights of the other.

    Returns:
      The distance.
    """
    return jnp.sum(safe_abs(p - q), axis=-1)


def _kept(x: Array, x_star: Array) -> Bool[Array, "*batch n"]:
    """Where an entry exists in at least one of the two."""
    return ~(jnp.isneginf(x) & jnp.isneginf(x_star))


def _range(values: Array, kept: Array) -> Float[Array, "*batch"]:
    """Maximum minus minimum of the kept values; NaN where there is none."""
    highest = jnp.max(values, axis=-1, where=kept, initial=-jnp.inf)
    lowest = jnp.min(values, axis=-1, where=kept, initial=jnp.inf)
    return jnp.where(jnp.any(kept, axis=-1), highest - lowest, jnp.nan)


@border()
def softmax_total_variation(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Total variation of two softmax rows, accurate also where they nearly agree.

    With d = x* - x the weights' ratio is exp(d_i) Z / Z*. For a range of d up to one, the sum of
    p_i \|exp(d_i) Z / Z* - 1\| is taken by ``expm1`` and ``log1p``: its error is relative to the
    distance. Otherwise the weights are subtracted, and the error is relative to one.

    Source: arXiv 2406.04267v2, Lemma B.2 (the quantity on its left side).

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other.

    Returns:
      The distance, in [0, 2]; NaN where a row is masked everywhere.
    """
    p, q = jax.nn.softmax(x), jax.nn.softmax(x_star)
    kept = _kept(x, x_star)
    # Both masked: -inf - (-inf) is NaN, and the entry has weight zero in both.
    difference = jnp.where(kept, x_star - x, 0)
    mean = jnp.sum(p * difference, axis=-1, keepdims=True)
    centered = difference - mean  # by Jensen, Z*/Z is now at least one: log1p stays accurate
    drift = jnp.log1p(jnp.sum(p * jnp.expm1(centered), axis=-1, keepdims=True))
    near = jnp.sum(p * safe_abs(jnp.expm1(centered - drift)), axis=-1)
    # Far apart, nothing cancels, and expm1 may overflow.
    return jnp.where(_range(difference, kept) <= 1, near, total_variation(p, q))


@border()
def tv_bound_partition(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Bound on the total variation by the partition sums; no hypothesis, not shift-invariant.

    .. math:: \delta \le \frac{2 \sum_i |e^{x_i} - e^{x^*_i}|}{\max(Z, Z^*)}

    Source: arXiv 2406.04267v2, proof of Lemma B.2.
    Differs: for each n; the proof lets n grow.

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other.

    Returns:
      A bound in [0, 4]; NaN where both rows are masked everywhere.
    """
    # Over the larger exponential of the two rows, entry by entry, so that nothing overflows.
    larger = jnp.maximum(x, x_star)
    top = jnp.max(larger, axis=-1, keepdims=True)
    apart = jnp.where(_kept(x, x_star), safe_abs(x_star - x), 0)
    numerator = jnp.sum(jnp.exp(larger - top) * -jnp.expm1(-apart), axis=-1)
    z, z_star = (jnp.sum(jnp.exp(row - top), axis=-1) for row in (x, x_star))
    return 2 * numerator / jnp.maximum(z, z_star)


@border()
def tv_bound_mean(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Bound on the total variation by the mean change of a logit, for logits in one interval.

    .. math:: \delta \le 2 e^{\Delta} \frac1n \sum_i |x_i - x^*_i|

    So a vanishing mean change is enough for a vanishing distance; the lemma requires each change to
    vanish.

    Source: arXiv 2406.04267v2, Lemma B.2.
    Differs: for each n, under a weaker condition.

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other; masked where x is, and these entries do not count.

    Returns:
      A bound; infinite where only one row is masked, NaN where both are masked everywhere.
    """
    kept = _kept(x, x_star)
    mean = jnp.mean(safe_abs(x_star - x), axis=-1, where=kept)
    interval = _range(jnp.concatenate([x, x_star], -1), jnp.concatenate([kept, kept], -1))
    # The bound is zero for equal rows also if a factor overflows; infinity times zero is NaN.
    return jnp.where(mean == 0, mean, 2 * jnp.exp(interval) * mean)


def _difference_range(x: Array, x_star: Array) -> Float[Array, "*batch"]:
    return _range(x_star - x, _kept(x, x_star))


@border()
def tv_bound_range(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Sharp bound on the total variation by the range of the logits' change; no hypothesis.

    .. math:: \delta \le 2 \tanh(R / 4), \qquad R = \max_i (x^*_i - x_i) - \min_i (x^*_i - x_i)

    Equality: two values of the change, the larger one where softmax(x) has mass
    1 / (1 + exp(R / 2)).

    Source: arXiv 2406.04267v2, Lemma B.2.
    Differs: for each n and invariant under a shift, as softmax is.

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other. Entries masked in both are dropped.

    Returns:
      A bound in [0, 2]; 2, which is vacuous, where an entry is masked in one row only, and NaN
      where both rows are masked everywhere.
    """
    return 2 * jnp.tanh(_difference_range(x, x_star) / 4)


@border()
def tv_bound_half_range(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Bound R / 2 on the total variation: the tangent of :func:`tv_bound_range` at zero.

    Source: arXiv 2406.04267v2, Lemma B.2.
    Differs: for each n.

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other. Entries masked in both are dropped.

    Returns:
      A bound; infinite where an entry is masked in one row only.
    """
    return _difference_range(x, x_star) / 2


@border()
def tv_bound_max(
    x: Float[Array, "*batch n"], x_star: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    r"""Bound on the total variation by the largest change: softmax is 1-Lipschitz, L-inf to L1.

    Source: arXiv 2406.04267v2, Lemma B.2.
    Differs: for each n.

    Args:
      x: Logits of one row, below infinity.
      x_star: Logits of the other. Entries masked in both are dropped.

    Returns:
      A bound; infinite where an entry is masked in one row only.
    """
    kept = _kept(x, x_star)
    largest = jnp.max(jnp.abs(x_star - x), axis=-1, where=kept, initial=0)
    return jnp.where(jnp.any(kept, axis=-1), largest, jnp.nan)


@border()
def alternating_total_variation(gap: float = 1.0) -> float:
    r"""Total variation of the rows (g, 0, g, 0, ...) and (0, g, 0, g, ...), for every even length.

    .. math:: \delta = 2 \frac{e^g - 1}{e^g + 1} = 2 \tanh(g / 2)

    It attains :func:`tv_bound_range`, whose R is 2 g, and does not depend on the length: bounded
    logits that do not converge need not collapse.

    Source: arXiv 2406.04267v2, Proposition B.4.
    Differs: an equality for each even n, where the proposition takes a limit.

    Args:
      gap: The difference g of the two logits.

    Returns:
      The distance.

    Example:
      >>> round(alternating_total_variation(), 6)
      0.924234
    """
    return 2 * math.tanh(abs(gap) / 2)


@border()
def prefix_total_variation(fraction: float, width: float) -> float:
    r"""Total variation of long rows whose first entries are perturbed uniformly.

    The logits have any distribution; on the first ``fraction`` of them an independent
    perturbation, uniform on [0, w], is added. With rho the fraction,
    zeta = 1 + rho ((exp(w) - 1) / w - 1) and eta the perturbation,

    .. math:: \delta \to (1 - \rho) (1 - 1/\zeta) + \rho \, \mathrm{E} |e^{\eta} / \zeta - 1|

    Source: arXiv 2406.04267v2, Figure 9.
    Differs: the figure simulates; this is the law of large numbers' limit at a fixed fraction.

    Args:
      fraction: Perturbed share of the entries, in [0, 1].
      width: Greatest perturbation w; positive.

    Returns:
      The limit of the distance.

    Raises:
      ValueError: An argument is outside its range.
    """
    if not (0 <= fraction <= 1 and width > 0):
        values = f"fraction={fraction} and width={width}"
        raise ValueError(f"Expected fraction in [0, 1] and a positive width, got {values}.")
    # zeta - 1: the mean of e^eta - 1 over all entries, perturbed or not.
    shift = fraction * (math.expm1(width) - width) / width
    zeta, crossing = 1 + shift, math.log1p(shift)
    # The integral of |exp(eta) / zeta - 1|, split where exp(eta) is zeta.
    below = crossing - shift / zeta
    above = (math.expm1(width) - shift) / zeta - (width - crossing)
    return (1 - fraction) * shift / zeta + fraction * (below + above) / width
