"""Predictions of the length from which n and n + 1 collide, after Corollary 6.2.

A pair *collides* where one token is ranked first for both lengths though the correct ones differ.
The predictions read representations of a pass in reference precision, and of a pass in the
format only at lengths of the training. They are compared with the tokens of the pass in the format.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from glassesjax.borders import COUNT, SHARE, border
from glassesjax.precision.bits import peak_exponent, times_power
from glassesjax.precision.formats import FloatFormat
from glassesjax.precision.norms import safe_sqrt
from glassesjax.precision.rounding import first_collision, same_numbers
from glassesjax.theory.margin import margin_certificate
from glassesjax.theory.norms import Norm

NORMS: tuple[Norm, ...] = (1, 2, "inf")
EVEN = 0.5  # probability at which a prediction is made: the median
ALL_SHARED = 0.999  # correlation from which two errors are treated as equal
Chances = Sequence[float] | Float[np.ndarray, " lengths"]
NODES = 801  # nodes of the quadrature, a step of 0.02


@border()
@jax.jit
def surely_confused(
    y: Float[Array, "pairs d"], y_next: Float[Array, "pairs d"], unembed: Float[Array, "vocab d"]
) -> Bool[Array, " pairs"]:
    r"""Whether a certificate proves that the greedy token is the same for both of a pair.

    .. math:: \exists \lVert \cdot \rVert: \; \max_b
        \frac{\lVert w_a - w_b \rVert_* \lVert y' - y \rVert}{\langle w_a - w_b, y \rangle} < 1

    in one of three norms, from y or from y'; or the two are equal. It is sound: no greedy token
    in exact arithmetic contradicts it. For representations and an unembedding that were rounded to
    a format it is a statement on the rounded values.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: sufficient by a margin; the corollary infers equal answers from closeness.

    Args:
      y: Representations of n, in float64.
      y_next: Those of n + 1.
      unembed: One row per token.

    Returns:
      One truth value per pair. A tie in equal representations counts as the same token.
    """
    alike = jnp.all(same_numbers(y, y_next), axis=-1)
    # Either of the two may be the one whose greedy token is certified, in any norm.
    for norm in NORMS:
        for first, second in ((y, y_next), (y_next, y)):
            certify = lambda a, b, norm=norm: margin_certificate(a, b, unembed, norm).certified
            alike = alike | jax.vmap(certify)(first, second)
    return alike


class Noise(NamedTuple):
    """Rounding error of a format in the logit margin of one correct token over the other."""

    spread: Float[Array, ""]
    """Root mean square of the error."""
    shared: Float[Array, ""]
    """Correlation of the errors of n and n + 1, from 0 to 1."""


@border()
def noise(narrow: Float[Array, "pairs 2"], wide: Float[Array, "pairs 2"]) -> Noise:
    r"""Rounding error of a format in the logit margin, over pairs of the training.

    .. math:: \sigma^2 = \frac{1}{2P} \sum_p (e_p^2 + e_p'^2), \qquad
        \rho = \frac{1}{\sigma^2 P} \sum_p e_p e_p', \qquad e = \hat\ell - \ell

    with the margin of the token correct for n over that correct for n + 1. Moments are about zero,
    not about the mean: a shift that is the same at all lengths changes answers as well.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: measured; the corollary has a finite precision without its size.

    Args:
      narrow: Margins in the format's arithmetic, of both of each pair.
      wide: The same in reference precision.

    Returns:
      The spread, in the unit of a logit, infinite where a margin is not finite; and the
      correlation, one where there is no error.
    """
    error = narrow - wide
    exponent = peak_exponent(error, (0, 1))  # squares of errors may underflow
    # Over all pairs and both lengths: (pairs, 2) -> (), in units of the largest.
    error = times_power(error, -exponent)
    square = jnp.mean(jnp.square(error))
    ratio = jnp.mean(error[:, 0] * error[:, 1]) / jnp.where(square > 0, square, 1)
    shared = jnp.where(square > 0, jnp.clip(ratio, 0, 1), 1)
    lost = ~jnp.isfinite(square)
    spread = times_power(safe_sqrt(square), exponent)
    return Noise(jnp.where(lost, jnp.inf, spread), jnp.where(lost, 1, shared))


@border()
@jax.jit
def probability_apart(
    scores: Float[Array, "pairs vocab"], next_scores: Float[Array, "pairs vocab"], error: Noise
) -> Float[Array, " pairs"]:
    r"""Probability that different tokens are ranked first in a pair with normal logit errors.

    .. math:: q = \max_b P\bigl[ (\ell_b + e > 0) \ne (\ell_b' + e' > 0) \bigr]

    with the margin of the token first at n over b, at n and at n + 1, and normal errors of the
    given spread and correlation. Errors of correlation one separate a pair where one falls between
    its two margins: then :math:`q = |\Phi(\ell_b / \sigma) - \Phi(\ell_b' / \sigma)|`.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: a probability, where the corollary has certainty from an unnamed length on.

    Args:
      scores: Logits of n, in reference precision.
      next_scores: Of n + 1.
      error: At a spread of zero, probabilities are zero or one: whether two tokens are ranked
        first, of equal logits the smaller token.

    Returns:
      One probability per pair. Two tokens are considered, the first and one more; a third that is
      first for both is neglected.
    """
    # (pairs, 1)
    first = jnp.argmax(scores, axis=-1)[:, None]
    here, there = (jnp.take_along_axis(s, first, axis=1) - s for s in (scores, next_scores))
    # P(here xor there) by the shared part of the errors: (pairs, vocab).
    both = _over(lambda z, part: _below(here, error, z, part) * _below(there, error, z, part))
    apart = _below(here, error) + _below(there, error) - 2 * both(error.shared)
    # Equal errors have a closed form; the integrand would be a step.
    one = jnp.abs(_below(here, error) - _below(there, error))
    apart = jnp.where(error.shared > ALL_SHARED, one, apart)
    # The token itself is no competitor.
    itself = jnp.arange(scores.shape[1])[None] == first
    seen = jnp.argmax(next_scores, axis=-1) != first[:, 0]
    return jnp.where(
        error.spread > 0, jnp.max(jnp.where(itself, 0, apart), axis=-1), seen.astype(apart.dtype)
    )


@border()
@jax.jit
def chance_wrong(
    lead: Float[Array, " pairs"], next_lead: Float[Array, " pairs"], error: Noise
) -> Float[Array, " pairs"]:
    r"""Probability that the answer to n or to n + 1 is wrong.

    .. math:: f = 1 - P\bigl[ \ell + e > 0, \; \ell' - e' > 0 \bigr]

    An error helps one as much as it hurts the other.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: a probability, where the corollary has certainty from an unnamed length on.

    Args:
      lead: Logit margin of the token correct for n over the best other one, in reference precision.
      next_lead: That of the token correct for n + 1, at n + 1.
      error: As for ``probability_apart``; at a spread of zero a tie is wrong.

    Returns:
      One probability per pair.
    """
    # The correct tokens of n and n + 1 are each other's competitors: one error, two signs.
    both = _over(lambda z, part: _below(lead, error, z, part) * _below(next_lead, error, -z, part))
    one = jnp.maximum(0, _below(lead, error) + _below(next_lead, error) - 1)  # normals are even
    return 1 - jnp.where(error.shared > ALL_SHARED, one, both(error.shared))


def _below(x: Array, error: Noise, z: Array | float = 0.0, part: Array | float = 0.0) -> Array:
    """Probability that the error exceeds -x, given its shared part z; a step at zero variance."""
    sure = jnp.where(x > 0, 1.0, 0.0)
    spread = jnp.where(error.spread > 0, error.spread, 1)
    scaled = (x / spread + jnp.sqrt(part) * z) / jnp.sqrt(1 - jnp.asarray(part))
    return jnp.where(error.spread > 0, jax.scipy.special.ndtr(scaled), sure)


def _over(integrand: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    """The mean over a standard normal z, by a sum over even steps.

    With a step of h the sum over a step function that a normal of width s has smoothed is exact
    but for exp(-2 (pi s / h)^2): here exp(-49), and for what lies beyond 8.
    """

    def mean(shared: Array) -> Array:
        part = jnp.minimum(shared, ALL_SHARED)
        z = jnp.linspace(-8.0, 8.0, NODES, dtype=shared.dtype)
        weight = jnp.exp(-jnp.square(z) / 2)
        # One node at a time, for memory: (nodes, *shape) of the integrand, then its mean.
        terms = jax.lax.map(lambda zw: zw[1] * integrand(zw[0], part), (z, weight))
        return jnp.sum(terms, axis=0) / jnp.sum(weight)

    return mean


@border(share=SHARE)
def settled_from(lengths: Sequence[int], chances: Chances, share: float = EVEN) -> int | None:
    r"""The length from which no event occurs, with a probability of at least ``share``.

    .. math:: N = \min \Bigl\{ n : \prod_{m \ge n} (1 - q_m) \ge s \Bigr\}

    over the given lengths. For observed events the probabilities are zeros and ones.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the length is computed, and is one of those that were measured.

    Args:
      lengths: Ascending.
      chances: Probabilities of independent events, one a length.
      share: The probability s; a half gives the median.

    Returns:
      One of the lengths, or None where the last one does not satisfy it. The first one is only an
      upper bound.
    """
    # Probability of no event from each length on.
    kept = np.cumprod(1 - np.asarray(chances, np.float64)[::-1])[::-1]
    return next((n for n, rest in zip(lengths, kept, strict=True) if rest >= share), None)


@border(share=SHARE)
def occurred_by(lengths: Sequence[int], chances: Chances, share: float = EVEN) -> int | None:
    r"""The length up to which an event has occurred, with a probability of at least ``share``.

    .. math:: N = \min \Bigl\{ n : 1 - \prod_{m \le n} (1 - f_m) \ge s \Bigr\}

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the first failure, which may come long before the failure length.

    Args:
      lengths: Ascending.
      chances: Probabilities of independent events, one a length.
      share: The probability s; a half gives the median.

    Returns:
      One of the lengths, or None.
    """
    # Probability of an event up to each length.
    gone = 1 - np.cumprod(1 - np.asarray(chances, np.float64))
    return next((n for n, so_far in zip(lengths, gone, strict=True) if so_far >= share), None)


@border(reach=COUNT)
def uniform_share(fmt: FloatFormat, reach: int) -> tuple[int | None, int | None]:
    r"""Lengths at which the weight 1/n, rounded to a format, equals 1/(n + 1), and is zero.

    Equal weights at n and n + 1 do not make the averages equal: n rounded weights do not sum to
    one, and n + 1 sum to more. Only weights of zero make the averages equal. So the second number
    is a failure length, the first is not.

    .. math:: \mathrm{rd}(1/n) = \mathrm{rd}(1/(n+1)), \qquad \mathrm{rd}(1/n) = 0

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: on one weight; the corollary is on outputs.

    Args:
      fmt: Format of the attention weights.
      reach: Largest length considered.

    Returns:
      The first length of each; None beyond the reach.
    """
    collides = first_collision(lambda n: 1 / n, fmt, 1, reach + 1)
    lost = 2 / fmt.min_subnormal  # half the smallest number is a tie, and zero is even
    return collides, int(lost) if lost <= reach else None  # infinite in the widest formats
