"""Exact rollouts of uniform attention: rationals wherever terms cancel.

Positions run from 0, a rollout is the last row of a product of layers, and a layer's share is that
of attention in the residual stream. Take ``Fraction`` in and get ``Fraction`` out; alternating sums
in floats lose all digits beyond some thirty tokens.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from glassesjax.borders import NON_NEGATIVE, SHARE, border

HALF = Fraction(1, 2)


def check_sizes(length: int, layers: int = 0) -> None:
    """Validates the sizes of a rollout.

    Args:
      length: Number of tokens; at least 1.
      layers: Depth; non-negative.

    Raises:
      ValueError: A size is outside its range.
    """
    if length < 1 or layers < 0:
        sizes = f"length={length} and layers={layers}"
        raise ValueError(f"Expected a positive length and non-negative layers, got {sizes}.")


@border()
def path_count(length: int, layers: int) -> list[int]:
    r"""Number of attention paths from each token to the last one: the path sum of ones.

    .. math:: \binom{n - i + L - 1}{L - 1}

    Source: arXiv 2406.04267v2, Figure 1(b).
    Differs: for any length and depth.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      One count per token, the first token first.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> path_count(length=5, layers=3)
      [15, 10, 6, 3, 1]
    """
    check_sizes(length, layers)
    if layers == 0:
        return [0] * (length - 1) + [1]
    # Ways to place L - 1 stops between the token and the last one, repeats allowed.
    return [math.comb(length - i + layers - 1, layers - 1) for i in range(1, length + 1)]


def _difference(order: int, at: Callable[[int], Fraction]) -> Fraction:
    """The alternating sum of C(order, m) at(m)."""
    # In fractions: in floats the terms would cancel.
    terms = ((-1) ** m * math.comb(order, m) * at(m) for m in range(order + 1))
    return sum(terms, Fraction(0))


@border()
def cesaro_entry(function: Callable[[Fraction], Fraction], row: int, column: int) -> Fraction:
    r"""Entry of a polynomial of the Cesàro matrix, which is uniform causal attention.

    .. math:: f(M)_{nk} = \binom{n}{k} \sum_{m=0}^{n-k} (-1)^m \binom{n-k}{m}
       f\Bigl(\frac{1}{k + m + 1}\Bigr), \qquad M_{nk} = \frac{1}{n + 1} \quad (k \le n)

    Source: derived; the bound of arXiv 2406.04267v2, Proposition 5.2, is such an entry.

    Args:
      function: The polynomial f, at the eigenvalues 1, 1/2, 1/3 and so on.
      row: Row n, from 0.
      column: Column k, from 0.

    Returns:
      The entry, exact where f is.

    Raises:
      ValueError: An index is negative.

    Example:
      >>> print(cesaro_entry(lambda x: x**2, row=4, column=0))
      137/300
    """
    if row < 0 or column < 0:
        raise ValueError(f"Expected indices from 0, got row={row} and column={column}.")
    # Above the diagonal: a query sees no later key.
    if column > row:
        return Fraction(0)
    alternating = _difference(row - column, lambda m: function(Fraction(1, column + m + 1)))
    return math.comb(row, column) * alternating


@border(order=NON_NEGATIVE, shares=SHARE)
def cesaro_moment(order: int, shares: Sequence[Fraction]) -> Fraction:
    r"""Eigenvalue of the layers' product; a moment of a product of random cuts.

    .. math:: \mathrm{E} X^m = \prod_\ell \Bigl(1 - \lambda_\ell + \frac{\lambda_\ell}{m + 1}\Bigr),
       \qquad X = \prod_\ell U_\ell^{B_\ell}

    with U uniform on [0, 1] and B Bernoulli of mean lambda, all independent. The moment of order
    n - 1 is the last token's own share, an atom that no other token near it has.

    Source: derived; the layers are those of arXiv 2406.04267v2, Proposition 5.2.

    Args:
      order: The order m; non-negative.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      The moment.
    """
    factors = (1 - share + share * Fraction(1, order + 1) for share in shares)
    return math.prod(factors, start=Fraction(1))


@border(shares=SHARE)
def cesaro_rollout(length: int, shares: Sequence[Fraction]) -> list[Fraction]:
    r"""Rollout of uniform causal attention with residuals: last row of the product of layers.

    .. math:: \pi_k = \binom{n-1}{k} \mathrm{E} \bigl[ X^k (1 - X)^{n-1-k} \bigr], \qquad
       \prod_\ell \bigl( (1 - \lambda_\ell) I + \lambda_\ell M \bigr)

    with X as in :func:`cesaro_moment`. The layers commute: their order does not matter.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for uniform attention.

    Args:
      length: Number of tokens n; at least 1.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: The length is not positive.

    Example:
      >>> print(*cesaro_rollout(5, [Fraction(1, 2)] * 2))
      257/1200 197/1200 167/1200 49/400 9/25
    """
    check_sizes(length)
    # Each moment once, though every entry sums over many of them.
    moments = [cesaro_moment(m, shares) for m in range(length)]
    last = length - 1
    entry = lambda k: math.comb(last, k) * _difference(last - k, lambda m: moments[k + m])
    return [entry(k) for k in range(length)]


@border(count=NON_NEGATIVE)
def harmonic(count: int, power: int = 1) -> Fraction:
    r"""Generalized harmonic number.

    .. math:: H^{(p)}_n = \sum_{j=1}^{n} j^{-p}

    Source: classical.

    Args:
      count: Number of terms n; zero gives zero.
      power: The exponent p.

    Returns:
      The sum.
    """
    return sum((Fraction(1, j**power) for j in range(1, count + 1)), Fraction(0))


@border(row=NON_NEGATIVE, column=NON_NEGATIVE)
def cesaro_square(row: int, column: int) -> Fraction:
    r"""Entry of the square of the Cesàro matrix: two layers of uniform attention, no residual.

    .. math:: (M^2)_{nk} = \frac{H_{n+1} - H_k}{n + 1}

    Source: derived; two layers of arXiv 2406.04267v2, Theorem 5.1, with uniform attention.

    Args:
      row: Row n, from 0.
      column: Column k, from 0 to n.

    Returns:
      The entry.
    """
    return (harmonic(row + 1) - harmonic(column)) / (row + 1)


@border(row=NON_NEGATIVE)
def cesaro_cube_first(row: int) -> Fraction:
    r"""First column of the cube of the Cesàro matrix.

    .. math:: (M^3)_{n0} = \frac{H_{n+1}^2 + H^{(2)}_{n+1}}{2 (n + 1)}

    Source: derived; three layers of arXiv 2406.04267v2, Theorem 5.1, with uniform attention.

    Args:
      row: Row n, from 0.

    Returns:
      The entry.
    """
    return (harmonic(row + 1) ** 2 + harmonic(row + 1, 2)) / (2 * (row + 1))


@border()
def uniform_unabsorbed(length: int, layers: int) -> Fraction:
    r"""Share of the last position not at token one: uniform attention with share one half.

    .. math:: 1 - \pi_1 = \sum_{m=1}^{n-1} (-1)^{m+1} \binom{n-1}{m}
       \Bigl(\frac{m + 2}{2 (m + 1)}\Bigr)^L

    Over one denominator, in integers: the terms reach 2^n and cancel to a number below one.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for uniform attention.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      The share, exact.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> print(f"{float(uniform_unabsorbed(length=100, layers=32)):.8e}")
      6.56317294e-03
    """
    check_sizes(length, layers)
    last = length - 1
    common = math.lcm(*range(1, length + 1)) ** layers  # that each (m + 1)^L divides
    terms = (
        (-1) ** (m + 1) * math.comb(last, m) * (m + 2) ** layers * (common // (m + 1) ** layers)
        for m in range(1, length)
    )
    return Fraction(sum(terms), 2**layers * common)
