"""Exact rollouts of windows, geometric attention and sinks, beside those of ``closed_forms``."""

import math
from collections.abc import Sequence
from fractions import Fraction

from glassesjax.borders import SHARE, border
from glassesjax.theory.closed_forms import HALF, cesaro_entry, check_sizes


@border()
def window_two_rollout(length: int, layers: int) -> list[Fraction]:
    r"""Rollout of uniform attention to oneself and the token before, with share one half.

    .. math:: \pi_i = \binom{L}{n-i} \Bigl(\frac14\Bigr)^{n-i} \Bigl(\frac34\Bigr)^{L-n+i}
       \quad (i \ge 2)

    The rest is at the first token. The matrix is not diagonalizable: 3/4 has one eigenvector.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for a window of two tokens.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: An argument is outside its range.
    """
    check_sizes(length, layers)
    # Numerators over 4^L: each layer passes 3/4 on and moves 1/4 by one token.
    counts = [math.comb(layers, r) * 3 ** (layers - r) if r <= layers else 0 for r in range(length)]
    # The first token gets what would pass the left edge.
    later = [Fraction(count, 4**layers) for count in counts[: length - 1]]
    return [1 - sum(later, Fraction(0)), *reversed(later)]


@border(shares=SHARE)
def window_rollout(width: int, shares: Sequence[Fraction]) -> list[Fraction]:
    r"""Rollout of uniform attention in a window, by distance, away from the left edge.

    The convolution, over layers, of the distribution that stays with probability 1 - lambda and
    else takes one of the distances 0 to w - 1.

    Source: derived; arXiv 2406.04267v2, Theorem 5.1, for windows.

    Args:
      width: Tokens w that each token sees, itself included; at least 1.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      The shares of the distances 0 to L (w - 1) before the last token; longer contexts have zeros
      beyond, and in shorter ones the first token breaks the pattern.

    Raises:
      ValueError: The width is not positive.
    """
    if width < 1:
        raise ValueError(f"Expected a positive width, got {width}.")
    shares_by_distance = [Fraction(1)]  # index: distance before the last token
    for share in shares:
        # A layer by distance: its window, and the residual at distance zero.
        seen = [share / width + (1 - share if r == 0 else 0) for r in range(width)]
        grown = [Fraction(0)] * (len(shares_by_distance) + width - 1)
        # The convolution with it.
        for a, mass in enumerate(shares_by_distance):
            for b, weight in enumerate(seen):
                grown[a + b] += mass * weight
        shares_by_distance = grown
    return shares_by_distance


@border()
def alibi_rollout(length: int, layers: int, decay: Fraction) -> list[Fraction]:
    r"""Rollout of attention that decays geometrically with distance, in an infinite context.

    .. math:: \pi(r) = \binom{L - 1 + r}{r} (1 - q)^L q^r, \qquad q = e^{-m}

    This is ALiBi with constant content logits, without residuals: negative binomial.

    Source: derived; compare arXiv 2502.01951, Theorem 4.5.
    Differs: exact, where the theorem has orders of magnitude.

    Args:
      length: Number of distances, from 0; at least 1.
      layers: Depth L; non-negative.
      decay: The factor q per token of distance, in [0, 1).

    Returns:
      The shares of the distances 0, 1 and so on before the last token.

    Raises:
      ValueError: An argument is outside its range.
    """
    check_sizes(length, layers)
    _check_decay(decay)
    if layers == 0:
        return [Fraction(1)] + [Fraction(0)] * (length - 1)
    # Paths of r steps back through L layers, each at the cost of the decay.
    start = (1 - decay) ** layers
    return [math.comb(layers - 1 + r, r) * start * decay**r for r in range(length)]


@border()
def alibi_mode(layers: int, decay: Fraction) -> int:
    r"""Mode of :func:`alibi_rollout`: the distance with the largest share.

    .. math:: \lfloor (L - 1) q / (1 - q) \rfloor

    Source: derived; arXiv 2502.01951, Theorem 4.5, has L / (e^m - 1) for the maximum.
    Differs: exact, and in whole tokens.

    Args:
      layers: Depth L; at least 1.
      decay: The factor q per token of distance, in [0, 1).

    Returns:
      The distance; where the quotient is a whole number above zero, one less is as good.

    Raises:
      ValueError: An argument is outside its range.
    """
    if layers < 1:
        raise ValueError(f"Expected at least one layer, got {layers}.")
    _check_decay(decay)
    return math.floor((layers - 1) * decay / (1 - decay))


def _check_decay(decay: Fraction) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"Expected decay in [0, 1), got {decay}.")


@border()
def sink_rollout(length: int, layers: int, sink: Fraction) -> list[Fraction]:
    r"""Rollout of uniform attention of which a fixed part goes to the first token; share one half.

    With A = (1 - s) M + s 1 e_1^T and N = n - 1,

    .. math:: \pi_k = \binom{N}{k} \sum_{j=0}^{N-k} (-1)^j \binom{N-k}{j}
       \Bigl(\tfrac12 + \frac{1 - s}{2 (k + j + 1)}\Bigr)^L \quad (k \ge 1)

    The rest is at the first token: sinks speed up absorption.

    Source: derived, proved in docs/statements/sinks.md; a model of sinks, after arXiv 2504.02732.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.
      sink: The part s, in [0, 1].

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: An argument is outside its range.
    """
    check_sizes(length, layers)
    if not 0 <= sink <= 1:
        raise ValueError(f"Expected sink in [0, 1], got {sink}.")
    mixed = lambda x: (HALF + HALF * (1 - sink) * x) ** layers
    later = [cesaro_entry(mixed, length - 1, k) for k in range(1, length)]
    return [1 - sum(later, Fraction(0)), *later]
